"""The example that puts a search into weights, at its smallest."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from momus.records import Demonstration, Task, read_jsonl

EXAMPLE = Path(__file__).parents[2] / "examples" / "rain_distil.py"


@pytest.mark.slow
def test_the_example_searches_trains_and_compares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [f"def f(x):\n    return x {sign} 1" for sign in "+-*%"]
    tasks = [Task(id=f"m:{i}", question="", answer=answer, split="train") for i, answer in enumerate(answers)]
    monkeypatch.setattr("momus.data.stdlib.stdlib_tasks", lambda size: tasks)
    example = runpy.run_path(str(EXAMPLE))
    options = ["--out", str(tmp_path), "--tasks", "2", "--max-tokens", "40", "--cases", "0", "--threshold", "-0.9"]
    example["main"](options)
    shown = capsys.readouterr().out
    assert [line.split("│")[1].split(",")[0].strip() for line in shown.splitlines() if "│" in line and "," in line] == [
        *("greedy before", "RAIN", "greedy after", "greedy before", "greedy after"),
    ]
    trained = list(read_jsonl(tmp_path / "rain" / "demonstrations.jsonl", Demonstration))
    assert trained and all(own.answer for own in trained)
    assert (tmp_path / "sft" / "model" / "model.safetensors").exists()
    with pytest.raises(SystemExit, match="no answer met the threshold"):
        example["main"]([*options[:1], str(tmp_path / "strict"), *options[2:-1], "1"])
