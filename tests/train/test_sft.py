"""Supervised fine-tuning: the batch's token mean however cut, shared prompts, dropout, the epoch kept, resuming."""

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import momus.runtime.runs as runs
from momus.errors import UserError
from momus.files import atomic_directory
from momus.lm.chat import Turn
from momus.lm.forward import token_logprobs, trees_from_rows
from momus.lm.tree import TokenTree
from momus.runtime.runs import Run
from momus.train.sampling import by_task, epoch_order
from momus.train.settings import PAPER_DROPOUT, SFTConfig
from momus.train.sft import _step, demonstration_trees, dropout_of, expected_flops, fine_tune, mean_loss
from support.stages import demonstrations
from support.tiny import VOCAB, gpt2, llama

tokens = st.lists(st.integers(3, VOCAB - 1), min_size=1, max_size=6).map(tuple)
turns = st.tuples(tokens, tokens).map(lambda pair: (Turn((1, *pair[0]), (*pair[1], 2)),))


def conversation() -> tuple[Turn, ...]:
    """Two turns of one conversation, the second after the first."""
    return (Turn((1, 5, 6), (7, 8, 2)), Turn((1, 5, 6, 7, 8, 2, 9, 4), (10, 2)))


def config(**changes: object) -> SFTConfig:
    return SFTConfig.tiny(**{"epochs": 2, "demonstrations_per_batch": 3, "learning_rate": 1e-2, **changes})


def gradients(model: nn.Module, trees: list[TokenTree], token_budget: int) -> list[torch.Tensor]:
    """Gradients of one step at learning rate 0."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    _step(model, trees, optimizer, config(max_grad_norm=math.inf, token_budget=token_budget), 0)
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def test_the_defaults_are_the_papers() -> None:
    paper = SFTConfig()
    assert (paper.epochs, paper.demonstrations_per_batch, paper.learning_rate) == (16, 32, 9.65e-6)
    assert (PAPER_DROPOUT, paper.final_fraction, paper.betas) == (0.2, 0.1, (0.9, 0.95))
    before_ppo = SFTConfig.for_ppo()
    assert (before_ppo.epochs, before_ppo.pretraining_share, before_ppo.dropout) == (2, 0.1, None)
    assert (paper.keep, before_ppo.keep) == ("best", "last")


@given(st.lists(turns, min_size=1, max_size=8))
def test_the_loss_is_the_token_mean_of_separate_rows(made: list[tuple[Turn, ...]]) -> None:
    """Equal to brute force: every demonstration by itself, one forward pass each."""
    model = llama(tied=False)
    total, count = 0.0, 0
    for (turn,) in made:
        with torch.no_grad():
            row = torch.tensor([[*turn.prompt, *turn.answer]])
            logprobs = model(row).logits[0, :-1].double().log_softmax(-1)
        total -= sum(logprobs[len(turn.prompt) - 1 + i, token].item() for i, token in enumerate(turn.answer))
        count += len(turn.answer)
    assert mean_loss(model, made) == pytest.approx(total / count, rel=1e-4)


def test_one_batch_is_the_same_in_one_pass_and_in_eight() -> None:
    made = demonstrations(8, prompts=8)
    trees = demonstration_trees(made)
    whole, cut = gradients(llama(), trees, 10_000), gradients(llama(), trees, 1)
    assert len({len(tree) for tree in trees}) > 1, "answers of one length would hide a mean of means"
    for a, b in zip(whole, cut, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_shared_prompts_are_computed_once_and_change_nothing() -> None:
    made = [*demonstrations(9, prompts=3), conversation(), conversation()[1:]]
    together = demonstration_trees(made)
    alone = [TokenTree.from_branches(turn.prompt, [turn.answer]) for item in made for turn in item]
    assert len(together) == 5 and sum(map(len, together)) < 0.7 * sum(map(len, alone))
    for a, b in zip(gradients(llama(), together, 10_000), gradients(llama(), alone, 10_000), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_the_operations_told_before_are_those_of_the_steps(tmp_path: Path) -> None:
    """Shared prompts and instructions count once, in what is told as in what is done."""
    made = [(Turn((*range(1, 41), 1 + i % 3), (5 + i % 7, 9)),) for i in range(12)]
    config = SFTConfig.tiny(epochs=2, demonstrations_per_batch=4)
    expected = expected_flops(llama(), made, config)
    history = fine_tune(llama(), made, config, Run(tmp_path / "run", config))
    assert sum(line["flops"] for line in history) == pytest.approx(expected, rel=0.1)


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_holds_every_demonstration_once_those_of_a_prompt_together(
    count: int, prompts: int, seed: int, epoch: int
) -> None:
    made = demonstrations(count, prompts=prompts)
    order = epoch_order([turns[0].prompt for turns in made], by_task([""] * count, None), (seed, epoch))
    assert sorted(order) == list(range(count))
    runs = [made[i][0].prompt for i in order]
    changes = sum(a != b for a, b in pairwise(runs))
    assert changes == len(set(runs)) - 1


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.integers(1, 12), st.integers(0, 5))
def test_tasks_are_mixed_by_their_sizes_up_to_the_limit_and_nothing_is_left_out(
    tasks: list[str], limit: int, seed: int
) -> None:
    """An epoch holds min(size, limit) of each task, and over epochs each demonstration of it has its turn."""
    made, sizes = demonstrations(len(tasks)), Counter(tasks)
    limited = by_task(tasks, limit)
    rounds = math.lcm(*(-(-size // limit) for size in sizes.values()))
    seen: Counter[int] = Counter()
    for epoch in range(rounds):
        order = epoch_order([turns[0].prompt for turns in made], limited, (seed, epoch)).tolist()
        assert Counter(tasks[i] for i in order) == {task: min(size, limit) for task, size in sizes.items()}
        seen.update(order)
    assert seen.keys() == set(range(len(tasks)))
    for task, size in sizes.items():
        often = [seen[i] for i in range(len(tasks)) if tasks[i] == task]
        assert max(often) - min(often) <= 1
        assert sum(often) == rounds * min(size, limit)


def test_a_limit_to_a_task_is_steps_not_taken(tmp_path: Path) -> None:
    made, tasks = demonstrations(30), ["large"] * 27 + ["small"] * 3
    history = fine_tune(llama(), made, config(per_task=6), Run(tmp_path / "run", {}), tasks=tasks)
    assert len(history) == 2 * 3  # epochs of 6 + 3 demonstrations, 3 a batch
    with pytest.raises(UserError, match="must be"):
        config(per_task=0)


def test_every_token_of_the_answer_is_trained_and_none_of_the_prompt(tmp_path: Path) -> None:
    """After training on one answer the model says it and stops; the prompt's own tokens it has not learnt."""
    made = [(Turn((1, 5, 6, 5, 6), (7, 8, 9, 2)),)]
    model = llama(tied=False)
    fine_tune(model, made, config(epochs=30), Run(tmp_path / "run", {}))
    with torch.no_grad():
        rows = trees_from_rows([(1, 5, 6, 5, 6, 7, 8, 9, 2)])
        learnt = token_logprobs(model, rows).logprobs.exp()
    assert (learnt[4:] > 0.9).all()
    assert (learnt[:4] < 0.5).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_pretraining_texts_are_their_share_of_the_tokens_trained(tmp_path: Path, share: float) -> None:
    texts = [tuple(range(10, 40)), (5, 6, 7)]
    made = demonstrations(9, prompts=9)
    answers = sum(len(turn.answer) for (turn,) in made)
    run = Run(tmp_path / "run", {})
    settings = config(epochs=1, demonstrations_per_batch=9, pretraining_share=share)
    history = fine_tune(llama(), made, settings, run, pretraining=texts)
    assert history[0]["tokens"] == answers + round(answers * share / (1 - share))
    with pytest.raises(UserError, match="needs pretraining texts"):
        fine_tune(llama(), made, settings, Run(tmp_path / "other", {}))


def _weights(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def _same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_epoch_scored_best_is_kept(tmp_path: Path) -> None:
    made, seen = demonstrations(6), {}

    def score(model: nn.Module, epoch: int) -> float:
        seen[epoch] = _weights(model)
        return {1: 0.1, 2: 0.7, 3: 0.7, 4: -2.0}[epoch]

    model = llama()
    history = fine_tune(model, made, config(epochs=4), Run(tmp_path / "run", {}), score=score, held_out=made[:2])
    assert history[-1]["best_epoch"] == 3 and history[-1]["score"] == -2.0  # of equal scores the later
    assert _same(_weights(model), seen[3]) and not _same(seen[3], seen[4])


def test_without_a_score_the_lowest_held_out_loss_is_kept(tmp_path: Path) -> None:
    made = demonstrations(6)
    model = llama()
    held_out = [(Turn((1, 3, 4), (60, 61, 62, 2)),)]
    history = fine_tune(model, made, config(epochs=3), Run(tmp_path / "run", {}), held_out=held_out)
    losses = [line["valid_loss"] for line in history if "valid_loss" in line]
    assert len(losses) == 3 and history[-1]["best_epoch"] == 1 + int(np.argmin(losses))
    assert mean_loss(model, held_out) == pytest.approx(min(losses), rel=1e-6)


def test_before_ppo_the_last_epoch_stays_whatever_its_score(tmp_path: Path) -> None:
    made, seen = demonstrations(6), {}

    def score(model: nn.Module, epoch: int) -> float:
        seen[epoch] = _weights(model)
        return -epoch

    model = llama()
    history = fine_tune(model, made, config(keep="last"), Run(tmp_path / "run", {}), score=score)
    assert history[-1]["best_epoch"] == 2 and _same(_weights(model), seen[2])


class KilledError(Exception):
    """Stands for a kill: nothing after it is written."""


@pytest.mark.parametrize("chosen_by", ["nothing", "loss"])
def test_killed_after_every_step_it_ends_the_same(tmp_path: Path, chosen_by: str) -> None:
    made = demonstrations(7)
    settings = config(epochs=3, dropout=0.2, pretraining_share=0.2, save_every=2)
    more = {"pretraining": [(3, 4, 5, 6), (9, 8, 7)], "held_out": made[:2] if chosen_by == "loss" else []}
    whole = llama()
    run = Run(tmp_path / "whole", {})
    history = fine_tune(whole, made, settings, run, **more)

    def die(at: int):
        def progress(done: int, total: int, metrics: object) -> None:
            if done == at:
                raise KilledError

        return progress

    for step in range(1, len(history) + 1):
        with pytest.raises(KilledError):
            fine_tune(llama(), made, settings, Run(tmp_path / "cut", {}), die(step), **more)
    model = llama()
    assert fine_tune(model, made, settings, Run(tmp_path / "cut", {}), **more) == history
    assert _same(_weights(model), _weights(whole))
    # The comparison would notice: with other dropout, which the random state decides, the weights differ.
    other = llama()
    fine_tune(other, made, config(**{**vars(settings), "seed": 1}), Run(tmp_path / "other", {}), **more)
    assert not _same(_weights(other), _weights(whole))


@pytest.mark.parametrize("writes", range(1, 7))
def test_the_epoch_named_is_the_one_kept_whenever_killed(tmp_path: Path, monkeypatch, writes: int) -> None:
    """Also where an epoch that is done again is judged otherwise."""
    made, seen, begun = demonstrations(6), {}, 0

    def written(path: Path):
        nonlocal begun
        begun += 1
        if begun == writes:
            raise KilledError
        return atomic_directory(path)

    def judge(better: int):
        def score(model: object, epoch: int) -> float:
            seen[epoch] = _weights(model)
            return float(better * epoch)

        return score

    with monkeypatch.context() as killing, pytest.raises(KilledError):
        killing.setattr(runs, "atomic_directory", written)
        fine_tune(llama(), made, config(epochs=3), Run(tmp_path, {}), score=judge(1))
    model = llama()
    history = fine_tune(model, made, config(epochs=3), Run(tmp_path, {}), score=judge(-1))
    assert len(seen) == 3 and not _same(seen[1], seen[2])
    assert _same(_weights(model), seen[history[-1]["best_epoch"]])


def test_mistakes_are_refused_in_one_line(tmp_path: Path) -> None:
    for nothing in ([], [()]):
        with pytest.raises(UserError, match="no demonstration"):
            fine_tune(llama(), nothing, config(), Run(tmp_path / "run", {}))
    nothing_done = ({"epochs": 0}, {"save_every": 0}, {"token_budget": 0}, {"learning_rate": -1.0})
    for wrong in ({"dropout": 1.0}, {"pretraining_share": 1.0}, *nothing_done):
        with pytest.raises(UserError, match="must be"):
            config(**wrong)
    with pytest.raises(UserError, match="lower learning_rate"):
        fine_tune(llama(), demonstrations(40), config(learning_rate=1e30, epochs=9), Run(tmp_path / "wild", {}))


@given(rate=st.sampled_from([0.0, 0.05, 0.3]), given_rate=st.sampled_from([None, 0.0, 0.1]))
def test_dropout_is_the_papers_only_where_the_model_has_dropout(rate: float, given_rate: float | None) -> None:
    settings = config(dropout=given_rate)
    expected = given_rate if given_rate is not None else PAPER_DROPOUT if rate else 0.0
    assert dropout_of(gpt2(dropout=rate), settings) == expected
    model = llama()
    model.config.attention_dropout = rate
    assert dropout_of(model, settings) == expected
