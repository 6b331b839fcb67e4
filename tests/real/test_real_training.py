"""Short trainings of a real model: killed and continued bit for bit, and adapters saved and loaded again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from momus.lm.codec import Codec, read_tokenizer
from momus.lm.forward import token_logprobs
from momus.lm.models import load_causal_lm
from momus.lm.tree import TokenTree
from momus.runtime.adapters import add_adapter, write_adapter
from momus.runtime.settings import LoRA

CAPITALS = [
    *(("France", "Paris"), ("Japan", "Tokyo"), ("Peru", "Lima"), ("Kenya", "Nairobi"), ("Norway", "Oslo")),
    *(("Cuba", "Havana"), ("Egypt", "Cairo"), ("Greece", "Athens"), ("Iraq", "Baghdad"), ("Chile", "Santiago")),
]


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": f"Capital of {a}?"}, {"role": "assistant", "content": f"It is {b}."}]}
        for a, b in CAPITALS
    ]
    file = tmp_path_factory.mktemp("data") / "demonstrations.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def training(small: Path, demonstrations: Path, out: Path) -> subprocess.Popen[str]:
    tokenizer = read_tokenizer(small)
    pad = next(token for token in tokenizer.get_vocab() if token in ("<empty_output>", "<|fim_pad|>"))
    command = [sys.executable, "-m", "momus", "train", "sft", "--model", str(small), "--data", str(demonstrations)]
    options = ["--preset", "tiny", "--epochs", "3", "--demonstrations-per-batch", "4", "--learning-rate", "1e-5"]
    more = ["--save-every", "2", "--pad-token", pad, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    return subprocess.Popen([*command, *options, *more], env=environment, stdout=subprocess.DEVNULL)


@pytest.mark.timeout(1200)
def test_killed_sft_continues_bit_for_bit(small: Path, demonstrations: Path, tmp_path: Path) -> None:
    assert training(small, demonstrations, tmp_path / "whole").wait() == 0
    process = training(small, demonstrations, tmp_path / "killed")
    metrics = tmp_path / "killed" / "metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and len(metrics.read_text().splitlines()) >= 4):
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the run was over before the kill"
    assert training(small, demonstrations, tmp_path / "killed").wait() == 0
    whole, killed = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("whole", "killed"))
    assert whole.keys() == killed.keys() and all(torch.equal(whole[name], killed[name]) for name in whole)
    before = load_causal_lm(small).state_dict()
    assert any(not torch.equal(before[name], whole[name].float()) for name in whole), "nothing was trained"


@torch.no_grad()
def test_a_saved_adapter_is_loaded_with_the_same_numbers(small: Path, tmp_path: Path) -> None:
    codec = Codec(read_tokenizer(small))
    tree = TokenTree.from_branches(codec.encode("def f(x):", bos=False), [codec.encode(" return x + 1", bos=False)])
    model = load_causal_lm(small)
    plain = token_logprobs(model, [tree]).logprobs
    add_adapter(model, LoRA())
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.01)
    adapted = token_logprobs(model, [tree]).logprobs
    assert not torch.allclose(adapted, plain, atol=1e-2)
    write_adapter(model, tmp_path / "adapter", model.state_dict())
    loaded = load_causal_lm(tmp_path / "adapter")
    torch.testing.assert_close(token_logprobs(loaded, [tree]).logprobs, adapted, atol=1e-5, rtol=0)
