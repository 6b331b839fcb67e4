"""A run killed with SIGKILL at arbitrary instants continues to the very same weights and metrics."""

import signal
import subprocess
import sys
import time
from pathlib import Path

STAGE = """
import sys
from pathlib import Path
import torch
from momus.train.runs import Run

torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Linear(8, 8)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
run = Run(Path(sys.argv[1]), {"steps": 60})
step, state = run.restore({"model": model}, {"adamw": optimizer}) or (0, {"sum": 0.0})
print("started", flush=True)
while step < 60:
    loss = (model(torch.randn(4, 8)) - 1).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    step += 1
    state["sum"] += loss.item()
    run.log(step, loss=loss.item(), sum=state["sum"])
    if step % 3 == 0:
        run.save(step, {"model": model}, {"adamw": optimizer}, state)
"""


def _start(folder: Path) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", STAGE, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "started\n"
    return process


def test_killed_at_any_instant_it_continues_bit_for_bit(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert _start(whole).wait() == 0
    killed = 0
    for delay in (0.03, 0.08, 0.15, 0.05):
        process = _start(cut)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed, "the run was over before any kill: make it longer"
    assert _start(cut).wait() == 0
    for name in ("checkpoint-60/model.safetensors", "checkpoint-60/adamw.optimizer.safetensors", "metrics.jsonl"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
