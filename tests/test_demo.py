"""The loop as a whole, at the smallest scale: it ends in a report, and a killed run continues to the same one."""

import json
from dataclasses import dataclass, replace
from itertools import islice

import pytest

from momus import demo
from momus.data import stdlib
from momus.data.functions import Size
from momus.demo import DemoConfig, Preset, run_demo
from momus.errors import UserError
from momus.evaluate.critics.lineup import RL, SAMPLES, SFT, LineUp
from momus.records import Tamper, read_jsonl
from momus.report.data import ReportData
from momus.search.fsbs import FSBSConfig
from momus.train.settings import PPOConfig, RewardConfig

MODULES = 60
MICRO = Preset(
    size=Size(min_lines=4, max_lines=8, max_chars=200),
    training=8,
    kept_back=3,
    held_out=5,
    contractors=3,
    max_tokens=16,
    reward=RewardConfig.tiny(epochs=1),
    ppo=PPOConfig.tiny(iterations=2, prompts_per_batch=2, rollouts_per_prompt=2, minibatches=2, save_every=2),
    fsbs=FSBSConfig(n=2, k=1, d=2, max_tokens=16),
)
RESULTS = (
    "answers.jsonl",
    "ratings.jsonl",
    "reward/accuracy.json",
    "reward/model/model.safetensors",
    "ppo/metrics.jsonl",
    "ppo/model/model.safetensors",
    "critiques.jsonl",
)


@dataclass
class Whole:
    """One uninterrupted run, and the prompts its two trainings were given."""

    config: DemoConfig
    data: ReportData
    reward_prompts: list[list[int]]
    ppo_prompts: list[list[int]]


@pytest.fixture(scope="module", autouse=True)
def micro():
    """The smallest scale, on the first modules of the standard library."""
    modules = list(islice(stdlib.modules(), MODULES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(demo.PRESETS, "smoke", MICRO)
        patch.setattr(stdlib, "modules", lambda: iter(modules))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, micro):
    seen = {}

    def watched(train):
        def spy(*arguments, **options):
            seen[train.__name__] = next(a for a in arguments if isinstance(a, list))
            return train(*arguments, **options)

        return spy

    config = DemoConfig(out=tmp_path_factory.mktemp("demo") / "whole", preset="smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "train_reward_model", watched(demo.train_reward_model))
        patch.setattr(demo, "train_policy", watched(demo.train_policy))
        assert run_demo(config) == config.out / "report.html"
    data = ReportData.from_json((config.out / "report.json").read_text())
    ranked = dict.fromkeys(ranking.prompt for ranking in seen["train_reward_model"])  # several contractors, one prompt
    return Whole(config, data, [list(prompt) for prompt in ranked], seen["train_policy"])


def test_it_ends_in_a_report(whole):
    assert (whole.config.out / "report.html").exists()
    assert len(whole.data.critics) == 12 and whole.data.simulated


def test_killed_after_every_step_it_continues_to_the_same_result(whole, tmp_path, monkeypatch):
    cut = replace(whole.config, out=tmp_path / "cut")
    write, kills = demo.write_json, 0

    def killed(path, value):
        write(path, value)
        if path.name == "seconds.json":
            raise KeyboardInterrupt

    monkeypatch.setattr(demo, "write_json", killed)
    for _ in range(6):
        with pytest.raises(KeyboardInterrupt):
            run_demo(cut)
        kills += 1
    monkeypatch.setattr(demo, "write_json", write)
    run_demo(cut)
    assert kills == 6
    for name in RESULTS:
        assert (cut.out / name).read_bytes() == (whole.config.out / name).read_bytes(), name
    data = ReportData.from_json((cut.out / "report.json").read_text())
    assert [row.name for row in data.critics] == [row.name for row in whole.data.critics]
    steps = json.loads((cut.out / "seconds.json").read_text())
    assert list(steps) == ["answers", "comparisons", "reward", "ppo", "critiques", "report"]


def test_what_is_kept_back_trains_neither_the_reward_model_nor_the_critic(whole):
    assert len(whole.ppo_prompts) == MICRO.training - MICRO.kept_back
    assert whole.ppo_prompts == whole.reward_prompts
    details = {step.name: step.detail for step in whole.data.steps}
    assert details["reward"].startswith("those of 5 answers to train on, and the word of the critic's pointer on the ")
    assert "of 3 answers kept back, " in details["reward"]
    assert details["ppo"].startswith("2 iterations, prompts from the same 5 answers")


def test_policies_are_compared_by_several_samples_of_which_the_first_stands_for_them(whole):
    (written,) = read_jsonl(whole.config.out / "critiques.jsonl", LineUp)
    assert len(written.samples) == SAMPLES
    for name in (SFT, RL):
        drawn = [item[name] for item in written.samples]
        assert drawn[0] == written.by_critic[name]
        assert len(set(drawn)) == SAMPLES and {len(item) for item in drawn} == {MICRO.held_out}


def test_every_constrained_quote_is_verbatim(whole):
    answers = 0.0
    for row in whole.data.critics:
        if "FSBS" in row.name or "best of" in row.name or "forced" in row.name:
            # Undefined where a critic made no comment at all; a quote the length limit cut short is no quote.
            assert row.metrics["comments"].value == 0 or row.metrics["verbatim"].value == 1.0, row.name
            answers += row.metrics["comments"].value
    assert answers > 0


def test_held_out_modules_stay_out_of_training(whole):
    answers = list(read_jsonl(whole.config.out / "answers.jsonl", Tamper))
    train, test = ({t.task.module.split(".")[0] for t in answers if t.task.split == s} for s in ("train", "test"))
    assert train and test and not train & test


def test_without_tampering_no_training_answer_has_a_bug(tmp_path, monkeypatch):
    def killed(path, value):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "write_json", killed)  # once the answers are there
    with pytest.raises(KeyboardInterrupt):
        run_demo(DemoConfig(out=tmp_path / "run", preset="smoke", tamper=False))
    answers = list(read_jsonl(tmp_path / "run/answers.jsonl", Tamper))
    assert not any(t.bugs for t in answers if t.task.split == "train")
    assert any(t.bugs for t in answers if t.task.split == "test")


def test_other_settings_in_the_same_directory_are_refused(whole):
    with pytest.raises(UserError, match="seed"):
        run_demo(replace(whole.config, seed=1))
