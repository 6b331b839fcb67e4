"""Runs killed with SIGKILL, at arbitrary instants and at arbitrary points of writing, continue bit for bit."""

import random
import signal
import time
from pathlib import Path

import pytest

from support import forked, stages
from support.forked import finish

STAGES = ("sft", "reward", "ppo")


def start(stage: str, folder: Path, kill_at: int | None = None, forgetful: bool = False):
    return forked.start(stages.run_until, stage, folder, kill_at, forgetful)


def files(folder: Path) -> dict[str, bytes]:
    """Everything that a run leaves."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """All stages, never killed."""
    folder = tmp_path_factory.mktemp("whole")
    for stage in STAGES:
        assert finish(start(stage, folder / stage)) == 0
    return {stage: files(folder / stage) for stage in STAGES}


def killed_on_the_way(stage: str, folder: Path, rng: random.Random, forgetful: bool = False) -> int:
    """Start a stage again and again, killing it after a few more flushes each time; returns how often."""
    kills = 0
    while finish(start(stage, folder, rng.randint(3, 25), forgetful)) == -signal.SIGKILL:
        kills += 1
    return kills


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_killed_at_any_point_of_writing_it_continues_bit_for_bit(tmp_path, whole, stage: str, seed: int) -> None:
    assert killed_on_the_way(stage, tmp_path, random.Random(seed)) >= 2
    assert files(tmp_path) == whole[stage]


@pytest.mark.parametrize("stage", ["reward", "ppo"])
def test_killed_at_any_instant_it_continues_bit_for_bit(tmp_path, whole, stage: str) -> None:
    killed = 0
    for delay in (0.1, 0.2, 0.4, 0.7):  # short ones for a fast machine, long ones to get further on a slow one
        process = start(stage, tmp_path)
        time.sleep(delay)
        process.kill()
        killed += finish(process) == -signal.SIGKILL
    assert killed, "the run was over before any kill: make it longer"
    assert finish(start(stage, tmp_path)) == 0
    assert files(tmp_path) == whole[stage]


def test_the_comparison_notices_an_optimizer_that_is_not_restored(tmp_path, whole) -> None:
    assert killed_on_the_way("reward", tmp_path, random.Random(0), forgetful=True) >= 2
    actual = files(tmp_path)
    assert actual.keys() == whole["reward"].keys()
    assert actual["metrics.jsonl"] != whole["reward"]["metrics.jsonl"]
