"""Watching a run: what the terminal shows, and that no sink gets a step twice."""

import io
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from momus.errors import UserError
from momus.runtime.monitor import BARS, Monitor, sparkline
from momus.runtime.runs import Run
from momus.runtime.sinks import SINKS

STEPS = 9


def console(terminal: bool, height: int = 30) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80, height=height, color_system=None)


def stage(folder: Path, stop: int, track: tuple[str, ...] = (), shown: Console | None = None) -> None:
    """A stage that saves every fourth step and dies after `stop`."""
    run = Run(folder, {"steps": STEPS})
    with Monitor("toy", run, track, shown or console(False)) as progress:
        for step in range((run.restore({}) or (0, {}))[0], stop):
            metrics = {"loss": 1 / (step + 1), "score": float(step)}
            run.log(step + 1, **metrics)
            if (step + 1) % 4 == 0:
                run.save(step + 1, {})
            progress(step + 1, STEPS, metrics)


def killed_and_resumed(folder: Path, track: str) -> None:
    """Die after step 6, go on from step 4; die again before any new step, and go on to the end."""
    for stop in (6, 5, STEPS):
        stage(folder, stop, (track,))


def test_tensorboard_holds_every_step_once(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    killed_and_resumed(tmp_path, "tensorboard")
    events = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    actual = [(event.step, event.value) for event in events.Scalars("score")]
    assert actual == [(step + 1, float(step)) for step in range(STEPS)]
    assert set(events.Tags()["scalars"]) == {"loss", "score"}


class Service(ModuleType):
    """What wandb and trackio have in common of their interfaces."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = object()
        self.inits: list[dict] = []
        self.lines: list[tuple[int, dict]] = []
        self.finished = 0

    def init(self, *, project, name, config, resume, **settings):
        assert resume == "allow"
        self.inits.append({"project": project, "name": name, "config": config, **settings})

    def log(self, metrics, *, step):
        self.lines.append((step, metrics))

    def finish(self):
        self.finished += 1


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_services_get_every_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    service = Service(name)
    monkeypatch.setitem(sys.modules, name, service)
    killed_and_resumed(tmp_path / "run", name)
    assert [step for step, _ in service.lines] == list(range(1, STEPS + 1))
    assert service.lines[2] == (3, {"loss": 1 / 3, "score": 2.0})
    assert service.finished == len(service.inits) == 3
    assert all(item == service.inits[0] for item in service.inits)  # one run, not three
    assert service.inits[0]["config"] == {"steps": STEPS}
    assert ("id" in service.inits[0]) is (name == "wandb")


@pytest.mark.slow
def test_wandb_itself_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    stage(tmp_path, STEPS, ("wandb",))
    assert json.loads((tmp_path / "sent-wandb.json").read_text()) == {"step": STEPS}
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


@pytest.mark.parametrize("name", SINKS)
def test_a_missing_package_is_one_line_before_anything_runs(tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.setattr("momus.runtime.sinks.find_spec", lambda _: None)
    with pytest.raises(UserError, match=f"{name}, which is not installed: pip install {name}$"):
        Monitor("toy", Run(tmp_path, {}), (name,))
    with pytest.raises(UserError, match="there are tensorboard, wandb, trackio"):
        Monitor("toy", Run(tmp_path, {}), ("mlflow",))


def test_a_terminal_sees_metrics_and_the_curve_of_the_whole_run(tmp_path: Path) -> None:
    stage(tmp_path, 8)
    shown = console(True)
    stage(tmp_path, STEPS, shown=shown)
    lines = shown.file.getvalue().splitlines()
    last = next(line for line in reversed(lines) if "score" in line)
    assert last.split()[:2] == ["score", "8"]
    assert last.split()[2] == sparkline(range(STEPS), 60)
    assert any("9/9" in line for line in lines)


def test_a_small_terminal_is_not_overrun(tmp_path: Path) -> None:
    run, shown = Run(tmp_path, {}), console(True, height=8)
    with Monitor("toy", run, console=shown) as progress:
        progress(1, 2, {f"metric{i}": float(i) for i in range(40)})
    assert "metric4" in shown.file.getvalue()
    assert "metric9" not in shown.file.getvalue()


def test_a_log_file_gets_lines_now_and_then(tmp_path: Path, monkeypatch) -> None:
    shown, clock = console(False), iter(range(0, 10_000, 12))
    monkeypatch.setattr("momus.runtime.monitor.monotonic", lambda: float(next(clock)))
    stage(tmp_path, STEPS, shown=shown)
    lines = shown.file.getvalue().splitlines()
    assert [line.split(":")[0].split(",")[0] for line in lines] == ["toy 1/9", "toy 4/9", "toy 7/9", "toy 9/9"]
    assert lines[-1].endswith("loss 0.1111 score 8")


@given(st.lists(st.floats(-5, 5) | st.just(math.nan), min_size=1, max_size=70), st.integers(1, 30))
def test_sparklines(values: list[float], width: int) -> None:
    drawn = sparkline(values, width)
    assert len(drawn) <= width
    assert set(drawn) <= {*BARS, " "}
    known = [value for value in values if math.isfinite(value)]
    if len(values) <= width and len(set(known)) > 1:
        assert drawn[values.index(max(known))] == BARS[-1]
        assert drawn[values.index(min(known))] == BARS[0]
        assert [math.isnan(value) for value in values] == [bar == " " for bar in drawn]
