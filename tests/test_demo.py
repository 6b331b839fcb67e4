"""The loop as a whole, at the smallest scale: it ends in a report, and a killed run continues to the same one."""

import json
from dataclasses import replace

import pytest

from momus import demo
from momus.data.functions import Size
from momus.data.stdlib import stdlib_tasks
from momus.demo import DemoConfig, Scale, run_demo
from momus.errors import UserError
from momus.records import Tamper, read_jsonl
from momus.report.data import ReportData
from momus.search.fsbs import FSBSConfig
from momus.train.ppo import PPOConfig

MICRO = Scale(
    training=10,
    kept_back=4,
    held_out=6,
    contractors=3,
    max_tokens=40,
    ppo=PPOConfig.tiny(iterations=2, prompts_per_batch=2, rollouts_per_prompt=2, minibatches=2, save_every=1),
    fsbs=FSBSConfig(n=2, k=1, d=2, max_tokens=16),
)


@pytest.fixture(scope="module")
def tasks():
    return stdlib_tasks(Size(min_lines=4, max_lines=8, max_chars=200))


@pytest.fixture(autouse=True)
def micro(monkeypatch, tasks):
    monkeypatch.setitem(demo.SCALES, "smoke", MICRO)
    monkeypatch.setattr(demo, "stdlib_tasks", lambda size: list(tasks))


def results(folder):
    return {name: (folder / name).read_bytes() for name in ("answers.jsonl", "ratings.jsonl", "critiques.jsonl")}


def test_killed_after_every_step_it_continues_to_the_same_result(tmp_path, monkeypatch):
    whole = DemoConfig(out=tmp_path / "whole", preset="smoke")
    report = run_demo(whole)
    data = ReportData.from_json((whole.out / "report.json").read_text())
    assert report.exists() and len(data.critics) == 12 and data.simulated

    cut = replace(whole, out=tmp_path / "cut")
    write, kills = demo._write_json, 0

    def killed(path, value):
        write(path, value)
        if path.name == "seconds.json":
            raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_write_json", killed)
    for _ in range(6):
        with pytest.raises(KeyboardInterrupt):
            run_demo(cut)
        kills += 1
    monkeypatch.setattr(demo, "_write_json", write)
    run_demo(cut)
    assert kills == 6 and results(cut.out) == results(whole.out)
    steps = json.loads((cut.out / "seconds.json").read_text())
    assert list(steps) == ["answers", "comparisons", "reward", "ppo", "critiques", "report"]


def test_every_constrained_quote_is_verbatim(tmp_path):
    run_demo(DemoConfig(out=tmp_path / "run", preset="smoke", seed=1))
    data = ReportData.from_json((tmp_path / "run/report.json").read_text())
    for row in data.critics:
        if "FSBS" in row.name or "best of" in row.name or "forced" in row.name:
            # Undefined where a critic made no comment at all; a quote the length limit cut short is no quote.
            assert row.metrics["comments"].value == 0 or row.metrics["verbatim"].value == 1.0, row.name


def test_held_out_modules_stay_out_of_training(tmp_path):
    run_demo(DemoConfig(out=tmp_path / "run", preset="smoke", seed=2))
    answers = list(read_jsonl(tmp_path / "run/answers.jsonl", Tamper))
    train, test = ({t.task.module.split(".")[0] for t in answers if t.task.split == s} for s in ("train", "test"))
    assert train and test and not train & test


def test_without_tampering_no_training_answer_has_a_bug(tmp_path):
    run_demo(DemoConfig(out=tmp_path / "run", preset="smoke", tamper=False))
    answers = list(read_jsonl(tmp_path / "run/answers.jsonl", Tamper))
    assert not any(t.bugs for t in answers if t.task.split == "train")
    assert any(t.bugs for t in answers if t.task.split == "test")


def test_other_settings_in_the_same_directory_are_refused(tmp_path):
    run_demo(DemoConfig(out=tmp_path / "run", preset="smoke"))
    with pytest.raises(UserError, match="seed"):
        run_demo(DemoConfig(out=tmp_path / "run", preset="smoke", seed=1))
