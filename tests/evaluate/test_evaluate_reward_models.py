"""Reward models against people: accuracy counted by hand, and cross-validation that lets nothing leak."""

from itertools import combinations

import numpy as np
import pytest
import torch

from momus.cli import main
from momus.errors import UserError
from momus.evaluate.instruct.reward_models import (
    Ranked,
    accuracy,
    accuracy_by,
    cross_validate,
    groups_of_labelers,
    pairs_right,
    part_of,
    ranked_in_tokens,
)
from momus.lm.chat import ChatFormat
from momus.lm.models import RewardModel, save_causal_lm
from momus.records import Ranking, write_jsonl
from momus.train import reward as training
from momus.train.reward import RankedPrompt
from momus.train.settings import RewardConfig
from support.tiny import tiny_model, tiny_tokenizer

CONFIG = RewardConfig.tiny(epochs=1, save_every=1)


def _model():
    torch.manual_seed(0)
    return RewardModel.from_causal_lm(tiny_model()).eval()


def _ranked(count=40, labelers=6, seed=0):
    rng = np.random.default_rng(seed)
    result = []
    for i in range(count):
        prompt = (1, *rng.integers(5, 60, 3).tolist(), 5 + i % 15)
        branches = tuple((*rng.integers(5, 60, int(rng.integers(1, 4))).tolist(), 2) for _ in range(3))
        ranks = tuple(rng.permutation(3).tolist())
        result.append(Ranked(RankedPrompt(prompt, branches, ranks), f"labeler {i % labelers}", f"prompt {i % 15}"))
    return result


def test_accuracy_is_the_share_of_pairs_and_the_same_however_batched():
    model, ranked = _model(), _ranked()
    counts = pairs_right(model, ranked)
    for item, (right, pairs) in zip(ranked, counts, strict=True):
        alone = pairs_right(model, [item])[0]
        assert alone.tolist() == [right, pairs] and pairs == 3
    prompts = [item.prompt for item in ranked]
    result = accuracy(counts, prompts)
    assert result.share.value == pytest.approx(counts[:, 0].sum() / counts[:, 1].sum())
    assert (result.pairs, result.prompts) == (120, 15)
    by = accuracy_by(counts, prompts, [item.labeler for item in ranked])
    assert sum(item.pairs * item.share.value for item in by.values()) == pytest.approx(counts[:, 0].sum())
    flipped = [item._replace(tokens=RankedPrompt(item.tokens.prompt, item.tokens.branches,
                                                tuple(-r for r in item.tokens.ranks))) for item in ranked]  # fmt: skip
    np.testing.assert_allclose(pairs_right(model, flipped)[:, 0], counts[:, 1] - counts[:, 0])


def test_equal_scores_are_half_right_and_ties_no_pair():
    tokens = RankedPrompt((1, 5), ((6, 2), (8, 2), (7, 2)), (1, 2, 2))
    model = _model()
    torch.nn.init.zeros_(model.head.weight)
    assert tuple(pairs_right(model, [Ranked(tokens, "", "p")])[0]) == (1, 2)


def test_labelers_fall_into_even_groups():
    ranked = _ranked(60, 7)
    group = groups_of_labelers(ranked, 3)
    sizes = [sum(group[item.labeler] == k for item in ranked) for k in range(3)]
    assert set(group.values()) == {0, 1, 2} and max(sizes) - min(sizes) <= 9
    assert groups_of_labelers(ranked[::-1], 3) == group
    with pytest.raises(UserError, match="name 7 labelers: 8 groups"):
        groups_of_labelers(ranked, 8)


def test_cross_validation_never_tests_on_training_prompts_or_labelers(tmp_path, monkeypatch):
    ranked, seen = _ranked(), []
    real = training.train_reward_model

    def spy(model, rankings, config, run, progress):
        seen.append(rankings)
        return real(model, rankings, config, run, progress)

    monkeypatch.setattr("momus.evaluate.instruct.reward_models.train_reward_model", spy)
    result = cross_validate(_model, ranked, CONFIG, tmp_path, {}, folds=3)
    group = groups_of_labelers(ranked, 3)
    for fold, trained in enumerate(seen):
        chosen = [item for item in ranked if item.tokens in trained]
        assert len(chosen) == len(trained) == result.folds[fold].trained
        assert all(group[item.labeler] != fold and part_of(item.prompt, 3) != fold for item in chosen)
    assert result.in_group.pairs + result.held_out.pairs == 120  # every ranking is tested once
    pooled = result.in_group.share.value - result.held_out.share.value
    assert result.difference.value == pytest.approx(pooled)
    assert result.difference.low <= pooled <= result.difference.high


def test_stopped_cross_validation_continues_to_the_same_numbers(tmp_path, monkeypatch):
    ranked = _ranked()
    whole = cross_validate(_model, ranked, CONFIG, tmp_path / "whole", {}, folds=2)
    steps = []

    def stop(fold):
        def progress(done, total, metrics):
            steps.append(done)
            if len(steps) == 3:
                raise KeyboardInterrupt

        return progress

    with pytest.raises(KeyboardInterrupt):
        cross_validate(_model, ranked, CONFIG, tmp_path / "cut", {}, folds=2, progress=stop)
    assert cross_validate(_model, ranked, CONFIG, tmp_path / "cut", {}, folds=2) == whole

    def never(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr("momus.evaluate.instruct.reward_models.train_reward_model", never)
    assert cross_validate(_model, ranked, CONFIG, tmp_path / "cut", {}, folds=2) == whole
    with pytest.raises(UserError, match="other settings"):
        cross_validate(_model, ranked, CONFIG, tmp_path / "cut", {"data": "other"}, folds=2)


def test_rankings_that_cannot_be_used_are_counted():
    chat = ChatFormat(tiny_tokenizer())
    usable = Ranking(prompt="def f():", candidates=("a", "b"), ranks=(1, 2), labeler="ann")
    tied = usable.model_copy(update={"ranks": (1, 1)})
    long = usable.model_copy(update={"candidates": ("a", "items " * 90)})
    result, left_out = ranked_in_tokens([usable, tied, long], chat, limit=60)
    assert [item.labeler for item in result] == ["ann"]
    assert left_out == {"no preference among the answers": 1, "longer than 60 tokens": 1}


def _written(tmp_path):
    folder = tmp_path / "m"
    save_causal_lm(tiny_model(), folder, tiny_tokenizer())
    pairs = list(combinations(["return total", "for x in items", "def f"], 2))
    rankings = [
        Ranking(prompt=f"f{i}", candidates=pairs[i % 3], ranks=(1, 2), labeler=f"labeler {i % 4}") for i in range(24)
    ]
    write_jsonl(tmp_path / "r.jsonl", rankings)
    return folder, tmp_path / "r.jsonl"


def test_reward_and_labelers_commands_print_accuracies(tmp_path, capsys):
    folder, data = _written(tmp_path)
    command = ["evaluate", "labelers", str(data), "--model", str(folder), "--out", str(tmp_path / "cv"), "--folds", "2"]
    assert main([*command, "--preset", "tiny", "--epochs", "1"]) == 0
    assert "held-out labelers" in capsys.readouterr().out
    reward = tmp_path / "rm"
    RewardModel.from_causal_lm(tiny_model()).save(reward)
    tiny_tokenizer().save_pretrained(reward)
    assert main(["evaluate", "reward", str(reward), "--data", str(data)]) == 0
    assert "labeler 3" in capsys.readouterr().out
    assert main([*command[:-1], "9", "--preset", "tiny"]) == 2
    assert "at least 9" in capsys.readouterr().err
