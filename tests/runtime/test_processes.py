"""Several processes do what one does, in replicas and in shards, and the failure of one is the end of all."""

import re
import shutil
import signal
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch

from momus.errors import UserError
from momus.runtime import processes
from momus.runtime.processes import (
    all_reduce,
    fail_together,
    gather_json,
    is_main_process,
    on_main_process,
    sharded,
    share,
    sum_metrics,
    world_size,
)
from support import forked, spread

JOBS = [job for job in spread.JOBS if job != "killed"]


def ended(started: list[tuple[ForkServerProcess, Path]]) -> list[tuple[int, str]]:
    """Wait for processes; returns their exit statuses and what they said."""
    try:
        return [(forked.finish(process), file.read_text()) for process, file in started]
    finally:
        for process, _ in started:
            process.kill()


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Every job by one process and by two, in replicas and in shards; "resumed" goes on where two were killed."""
    root = tmp_path_factory.mktemp("spread")
    killed = ended(spread.start(root, ["killed"]))
    assert sorted(status for status, _ in killed) == [-signal.SIGKILL, 2]
    survivor = next(text for status, text in killed if status == 2)
    assert "process 1 of 2 waited in vain for another, which was killed" in survivor
    assert "Traceback" not in survivor
    assert {path.name for path in (root / "killed/run").glob("checkpoint-*")} == {"checkpoint-2"}
    actual = {name: root / name for name in ("one", "replicas", "shards")}
    started = {}
    for name in ("replicas", "shards"):
        shutil.copytree(root / "killed/run", actual[name] / "resumed/run")
        started[name] = spread.start(actual[name], JOBS, shards=name == "shards")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    spread.do(actual["one"], JOBS)
    torch.set_num_threads(threads)
    for name, item in started.items():
        for status, text in ended(item):
            assert status == 0, f"{name}: {text}"
    return actual


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("held", ["replicas", "shards"])
@pytest.mark.parametrize("job", JOBS)
def test_two_processes_do_what_one_does(folders, job: str, held: str) -> None:
    """The same losses, gradient norms and weights: also where one has less to do, or nothing, or was killed."""
    tolerance = {"bf16": 0.3}.get(job, 2e-5) if held == "shards" else 2e-5
    history, weights = spread.result(folders["one"] / job)
    other_history, other_weights = spread.result(folders[held] / job)
    assert len(history) == len(other_history) > 0
    for line, other in zip(history, other_history, strict=True):
        assert line == pytest.approx(other, abs=tolerance, rel=tolerance)
    assert weights.keys() == other_weights.keys()
    for name, tensor in weights.items():
        # Adam turns the rounding of a gradient near 0 into a step: with dropout some are.
        torch.testing.assert_close(other_weights[name], tensor, atol=1e-4 if job == "dropout" else tolerance, rtol=0)


def test_one_process_is_left_alone(monkeypatch) -> None:
    values = torch.tensor([1.0, 2.0])
    assert (world_size(), is_main_process(), sharded()) == (1, True, False)
    assert all_reduce(values) is values
    assert sum_metrics({"a": 0.1}) == {"a": 0.1}
    assert gather_json([1]) == [[1]]
    assert on_main_process(lambda: 5) == 5
    before = torch.get_rng_state()
    assert list(share("abc")) == [("a", 1.0), ("b", 1.0), ("c", 1.0)]
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.distributed.is_initialized()
    with pytest.raises(UserError, match=r"^as it was$"), fail_together():
        raise UserError("as it was")


def test_dropout_is_drawn_by_key_and_group() -> None:
    def draws(groups, key):
        return [torch.rand(3).tolist() for _ in share(groups, key)]

    first = draws("abc", (0, 1))
    assert draws("abc", (0, 1)) == first and draws("ab", (0, 1)) == first[:2]
    others = [draws("abc", key) for key in ((0, 2), (1, 0), (1, 1))]
    assert len({tuple(numbers) for numbers in sum(others, first)}) == 12


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("well", ""),
        ("one", "process 1 of 2: bad luck"),
        ("host", "process 0 of 2: bad luck"),
        ("all", "process (0|1) of 2: bad data"),
        ("stuck", r"process 0 of 2 waited in vain for another, .* \(it waits 0.05 minutes at most, MOMUS_TIMEOUT\)"),
    ],
)
def test_processes_meet_and_the_failure_of_one_is_the_end_of_all(tmp_path: Path, how: str, line: str) -> None:
    ranks = spread.ranks(MOMUS_TIMEOUT="0.05" if how == "stuck" else "2")
    files = [tmp_path / f"said-{rank}" for rank in range(2)]
    started = [forked.start(spread.meet_as, own, how, stderr=file) for own, file in zip(ranks, files, strict=True)]
    try:
        if how == "stuck":
            assert forked.finish(started[0]) == 2
            started[1].kill()  # as launchers do
        statuses = [forked.finish(process) for process in started]
    finally:
        for process in started:
            process.kill()
    printed = "".join(file.read_text() for file in files)
    assert statuses == [2 * bool(line), -signal.SIGKILL if how == "stuck" else 2 * bool(line)]
    assert printed.count("\n") == bool(line), printed
    assert re.match(line, printed), printed


def test_a_process_alone_runs_on_the_device_that_was_asked_for(monkeypatch):
    with processes.on_device("meta"):
        assert processes.device() == torch.device("meta")
        with processes.on_device(None):
            assert processes.device() == torch.device("meta")
    assert processes.device() != torch.device("meta")
    monkeypatch.setattr(processes, "world_size", lambda: 2)
    with pytest.raises(UserError, match="each of several its own"), processes.on_device("cpu"):
        pass
