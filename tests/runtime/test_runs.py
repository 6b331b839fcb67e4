"""Run directories: checkpoints are whole or absent, and resuming changes nothing."""
# ruff: noqa: NPY002 - the global random state is what is tested

import json
import random
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import momus.runtime.runs as runs
from momus.errors import UserError
from momus.runtime.runs import ADDED, Run
from momus.train.settings import PPOConfig
from support import forked
from support.forked import finish


@dataclass(frozen=True)
class Config:
    steps: int = 6
    rates: tuple[float, float] = (0.9, 0.95)
    where: Path = Path("somewhere")


def tied() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    return model


def train(folder: Path, stop: int, *, forget: str = "") -> tuple[nn.Module, list[dict[str, float]]]:
    """A toy stage whose every step draws from all three random states."""
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    model = tied()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    run = Run(folder, Config())
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
    restored = run.restore({"model": model}, {} if forget == "optimizer" else {"optimizer": optimizer})
    if forget == "torch":
        torch.set_rng_state(torch_state)
    if forget == "numpy":
        np.random.set_state(numpy_state)
    if forget == "python":
        random.seed(1)
    start, state = restored or (0, {"total": 0.0})
    for step in range(start, stop):
        loss = (model(torch.randn(4, 3)) * np.random.rand() * random.random()).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state["total"] += loss.item()
        run.log(step + 1, loss=loss.item())
        if (step + 1) % 2 == 0:
            run.save(step + 1, {"model": model}, {"optimizer": optimizer}, state)
    return model, run.history()


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 5])
def test_resuming_is_bit_identical(tmp_path: Path, stop: int) -> None:
    whole, history = train(tmp_path / "whole", 6)
    train(tmp_path / "killed", stop)
    resumed, again = train(tmp_path / "killed", 6)
    assert same(whole, resumed)
    assert history == again
    assert [line["step"] for line in again] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("forget", ["torch", "numpy", "python", "optimizer"])
def test_forgetting_any_state_is_noticed(tmp_path: Path, forget: str) -> None:
    whole, _ = train(tmp_path / "whole", 6)
    train(tmp_path / "killed", 3)
    resumed, _ = train(tmp_path / "killed", 6, forget=forget)
    assert not same(whole, resumed)


def test_checkpoint_folder(tmp_path: Path) -> None:
    train(tmp_path, 6)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint-4", "checkpoint-6", "config.json", "latest", "lock", "metrics.jsonl",
    ]  # fmt: skip
    assert (tmp_path / "latest").read_text() == "checkpoint-6\n"
    names = {p.name for p in (tmp_path / "checkpoint-6").iterdir()}
    assert set(json.loads((tmp_path / "checkpoint-6/MANIFEST.json").read_text())["sha256"]) == names - {"MANIFEST.json"}
    assert {Path(name).suffix for name in names} == {".safetensors", ".json"}


def test_extra_state_and_a_missing_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path, {"a": 1})
    assert run.restore({}) is None
    run.save(3, {}, state={"cursor": [1, 2], "name": "x"})
    assert Run(tmp_path, {"a": 1}).restore({}) == (3, {"cursor": [1, 2], "name": "x"})


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.optimizer.json", "rng.safetensors", "MANIFEST.json"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, file: str, keep: float) -> None:
    whole, history = train(tmp_path / "whole", 6)
    train(tmp_path / "hurt", 4)
    damaged = tmp_path / "hurt" / "checkpoint-4" / file
    damaged.write_bytes(damaged.read_bytes()[: int(keep * damaged.stat().st_size)])
    before = {p.name: p.read_bytes() for p in damaged.parent.iterdir()}
    with pytest.warns(UserWarning, match="damaged"):
        resumed, again = train(tmp_path / "hurt", 6)
    assert same(whole, resumed)
    assert history == again
    assert {p.name: p.read_bytes() for p in (tmp_path / "hurt/checkpoint-4.damaged-1").iterdir()} == before


def test_what_cannot_be_read_at_present_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, history = train(tmp_path / "whole", 6)
    train(tmp_path / "hurt", 5)
    before = {p: p.read_bytes() for p in (tmp_path / "hurt").rglob("*") if p.is_file()}

    def fails(_: Path) -> str:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken, pytest.raises(UserError, match=r"cannot read .*checkpoint-4 \(Input"):
        broken.setattr(runs, "_sha256", fails)
        train(tmp_path / "hurt", 6)
    assert {p: p.read_bytes() for p in (tmp_path / "hurt").rglob("*") if p.is_file()} == before
    resumed, again = train(tmp_path / "hurt", 6)
    assert same(whole, resumed) and history == again


@pytest.mark.parametrize("ours", [True, False])
def test_checkpoints_of_others_are_refused_and_kept(tmp_path: Path, ours: bool) -> None:
    if ours:
        train(tmp_path, 2)
    other = tmp_path / "checkpoint-500"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"theirs")
    with pytest.raises(UserError, match="checkpoint-500 is no checkpoint of a run of Momus: move it away"):
        train(tmp_path, 4)
    assert (other / "model.safetensors").read_bytes() == b"theirs"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"model_type": "llama"}', '{"config": "x"}', "\ud800"])
def test_a_directory_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match=r"config.json is not that of a run, but of something else: name another"):
        Run(tmp_path, {})


def test_a_half_written_checkpoint_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path, 2)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "_rng_state", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, 4)
    assert [step for step, _ in Run(tmp_path, Config()).checkpoints()] == [2]
    assert not list(tmp_path.glob("*.tmp"))


def test_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    run.log(1, loss=2.0)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert run.history() == [{"step": 1, "loss": 2.0}]


def test_another_configuration_is_refused_by_name(tmp_path: Path) -> None:
    Run(tmp_path, {"seed": 1, "optimizer": {"lr": 0.1, "betas": (0.9, 0.95)}})
    Run(tmp_path, {"optimizer": {"betas": (0.9, 0.95), "lr": 0.1}, "seed": 1})
    with pytest.raises(UserError, match=r"optimizer\.lr 0\.1 -> 0\.2\): use") as caught:
        Run(tmp_path, {"seed": 1, "optimizer": {"lr": 0.2, "betas": (0.9, 0.95)}})
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="new None -> 1"):
        Run(tmp_path, {"seed": 1, "optimizer": {"lr": 0.1, "betas": (0.9, 0.95)}, "new": 1})


def test_what_decides_no_result_may_change(tmp_path: Path) -> None:
    Run(tmp_path, {"config": {"seed": 1, "token_budget": 8192, "save_every": 5}, "token_budget": 1})
    Run(tmp_path, {"config": {"seed": 1, "token_budget": 1024, "save_every": 9}, "token_budget": 2})
    with pytest.raises(UserError, match=r"\(config\.seed 1 -> 2\)"):
        Run(tmp_path, {"config": {"seed": 2, "token_budget": 1024, "save_every": 9}})


def test_a_run_begun_before_a_setting_was_there_goes_on_with_what_it_did_then(tmp_path: Path) -> None:
    before = {key: value for key, value in asdict(PPOConfig()).items() if key not in ADDED}
    Run(tmp_path, {"config": before})
    Run(tmp_path, {"config": asdict(PPOConfig())})
    with pytest.raises(UserError, match=r"\(config\.keep 'last' -> 'best'\)"):
        Run(tmp_path, {"config": asdict(PPOConfig(keep="best"))})


def opened_and_kept(folder: Path) -> None:
    run = Run(folder, {})
    run.log(1)
    time.sleep(60)


def opened(folder: Path) -> int:
    try:
        Run(folder, {})
    except UserError as error:
        return 2 if "another command is at work in" in str(error) else 1
    return 0


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    run, again = Run(tmp_path / "here", {}), Run(tmp_path / "here", {})
    del run
    assert finish(forked.start(opened, tmp_path / "here")) == 2
    assert finish(forked.start(opened, tmp_path / "elsewhere")) == 0
    del again
    process = forked.start(opened_and_kept, tmp_path / "here")
    while not (tmp_path / "here/metrics.jsonl").exists():
        time.sleep(0.05)
    with pytest.raises(UserError, match=r"another command is at work in .*here: wait for it, or name another --out"):
        Run(tmp_path / "here", {})
    process.kill()
    assert finish(process) == -signal.SIGKILL
    assert Run(tmp_path / "here", {}).history() == [{"step": 1}]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, {})
    run.save(1, {"model": tied()})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "fill_json", full)
    with pytest.raises(UserError, match="no space left on the disk"):
        run.save(2, {"model": tied()})
    assert run.restore({"model": tied()}) is not None
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match="no space left on the disk"):
        run.log(3, loss=1.0)
    with pytest.raises(UserError, match="no space left on the disk"):
        Run(tmp_path / "new", {})


def test_low_precision_tensors_survive(tmp_path: Path) -> None:
    run, model = Run(tmp_path, {}), nn.Linear(4, 4).bfloat16()
    run.save(1, {"model": model})
    other = nn.Linear(4, 4).bfloat16()
    run.restore({"model": other})
    assert same(model, other)
