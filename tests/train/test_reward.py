"""The reward model's loss against a brute-force pair loop, its properties, and its training."""

import math
from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.errors import UserError
from momus.lm.forward import leaf_scores, score_trees
from momus.lm.models import RewardModel
from momus.lm.tree import TokenTree
from momus.runtime.runs import Run
from momus.train.reward import (
    RankedPrompt,
    RewardConfig,
    _step,
    center,
    group_by_prompt,
    pair_accuracy,
    ranking_loss,
    train_reward_model,
)
from momus.train.schedules import cosine
from support.tiny import VOCAB, gpt2, llama

scored_ranks = st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 4)), min_size=2, max_size=9).filter(
    lambda items: len({rank for _, rank in items}) > 1
)


def loss_of(scores: list[float], ranks: list[int]) -> float:
    pairs = RankedPrompt((1,), tuple((3 + i,) for i in range(len(ranks))), tuple(ranks)).pairs()
    return ranking_loss(torch.tensor(scores, dtype=torch.float64), pairs).item()


@given(scored_ranks)
def test_loss_equals_a_pair_loop(items: list[tuple[float, int]]) -> None:
    losses = [
        math.log1p(math.exp(-(score - other)))
        for score, rank in items
        for other, other_rank in items
        if rank < other_rank
    ]
    assert loss_of(*map(list, zip(*items, strict=True))) == pytest.approx(sum(losses) / len(losses), rel=1e-9)


@given(scored_ranks, st.floats(-10, 10), st.randoms())
def test_order_and_a_constant_do_not_matter(items: list[tuple[float, int]], shift: float, random) -> None:
    before = loss_of(*map(list, zip(*items, strict=True)))
    random.shuffle(items)
    after = loss_of([score + shift for score, _ in items], [rank for _, rank in items])
    assert after == pytest.approx(before, rel=1e-6, abs=1e-9)


def test_every_answer_has_a_place() -> None:
    for ranks in [(1.0,), (1.0, 2.0, 3.0), (1.0, math.nan)]:
        with pytest.raises(UserError, match="of 2 answers has the places"):
            RankedPrompt((1,), ((2,), (3,)), ranks)


def test_a_ranking_has_at_least_two_answers() -> None:
    for k in range(2):
        with pytest.raises(UserError, match=f"a ranking of {k} answers says nothing") as caught:
            RankedPrompt((1,), ((2,),) * k, (1.0,) * k)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("k", [*range(2, 10), 12])
def test_any_number_of_answers_from_two_on_with_ties(k: int) -> None:
    """Places come in pairs (0, 0, 1, 1, …), so that all but the two of a pair are compared."""
    ranked = RankedPrompt((1,), tuple((3 + i,) for i in range(k)), tuple(float(i // 2) for i in range(k)))
    ties = k // 2
    assert len(ranked.pairs()) == k * (k - 1) // 2 - ties
    assert all(i // 2 < j // 2 for i, j in ranked.pairs())
    assert len(group_by_prompt([ranked])) == (k > 2)


def test_ties_are_dropped() -> None:
    ranked = RankedPrompt((1,), ((2,), (3,), (4,), (5,)), (1, 2, 2, 1))
    assert ranked.pairs() == [(0, 1), (0, 2), (3, 1), (3, 2)] and ranked.ties() == 2
    assert loss_of([3.0, 1.0, 1.0], [1, 2, 2]) == pytest.approx(loss_of([3.0, 1.0], [1, 2]))


@given(st.lists(st.tuples(st.integers(3, 5), st.integers(1, 4)), min_size=2, max_size=9))
def test_no_answer_is_better_than_itself(items: list[tuple[int, int]]) -> None:
    """Pairs are preferred, tied, or of one answer with itself: only the first are learnt and measured."""
    ranked = RankedPrompt((1,), tuple((token,) for token, _ in items), tuple(float(rank) for _, rank in items))
    pairs = [(better, worse) for i, better in enumerate(items) for worse in items[:i] + items[i + 1 :]]
    expected = Counter((x, y) for (x, rank), (y, other) in pairs if rank < other and x != y)
    assert Counter((items[i][0], items[j][0]) for i, j in ranked.pairs()) == expected
    actual = group_by_prompt([ranked])
    learnt = [(entry.branches[i][0], entry.branches[j][0]) for entry in actual for i, j in entry.pairs[0]]
    assert Counter(learnt) == expected and len(actual) == bool(expected)


def ranking(rng: np.random.Generator, k: int) -> RankedPrompt:
    """Answers ranked by how often token 7 occurs; the prompt holds an end-of-text token."""
    prompt = (1, *rng.integers(3, VOCAB, 4), 2, int(rng.integers(3, VOCAB)))
    branches = [(*rng.choice([7, 8, 9], int(rng.integers(2, 6))), 2) for _ in range(k)]
    ranks = tuple(-float(np.sum(np.array(branch) == 7)) for branch in branches)
    return RankedPrompt(tuple(map(int, prompt)), tuple(tuple(map(int, b)) for b in branches), ranks)


def rankings(count: int, seed: int = 0) -> list[RankedPrompt]:
    rng = np.random.default_rng(seed)
    made = [ranking(rng, int(rng.integers(4, 10))) for _ in range(count)]
    return [item for item in made if item.pairs()]


def reward_model(seed: int = 0) -> RewardModel:
    model = llama(seed)
    torch.manual_seed(seed)
    return RewardModel.from_causal_lm(model)


def gradients(model: RewardModel, items: list[RankedPrompt], **changes: int) -> list[torch.Tensor]:
    """Gradients of one step, at learning rate 0."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    _step(model, group_by_prompt(items), optimizer, RewardConfig(max_grad_norm=math.inf, **changes), 0)
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def test_a_prompt_with_nine_answers_weighs_as_one_with_four() -> None:
    rng = np.random.default_rng(1)
    four, nine = ranking(rng, 4), ranking(rng, 9)
    both = gradients(reward_model(), [four, nine])
    for together, a, b in zip(both, gradients(reward_model(), [four]), gradients(reward_model(), [nine]), strict=True):
        torch.testing.assert_close(together, (a + b) / 2, atol=1e-6, rtol=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99), st.integers(1, 3), st.integers(0, 3))
def test_several_rankings_of_a_prompt_are_one_element_of_the_same_weight(seed: int, labelers: int, new: int) -> None:
    """Labelers who rank the same answers, or some of their own: the element's loss is the mean of theirs."""
    rng = np.random.default_rng(seed)
    first = ranking(rng, 5)
    answers = [*first.branches[new:], *ranking(rng, 5).branches[:new]]
    ranks = [tuple(map(float, rng.permutation(len(answers)))) for _ in range(labelers)]
    many = [first, *(RankedPrompt(first.prompt, tuple(answers), entry) for entry in ranks)]
    many = [item for item in many if item.pairs()]
    elements = group_by_prompt(many)
    assert len(elements) == 1 and len(elements[0].branches) == len({b for item in many for b in item.branches})
    alone = [gradients(reward_model(), [item]) for item in many]
    for actual, *each in zip(gradients(reward_model(), many), *alone, strict=True):
        torch.testing.assert_close(actual, sum(each) / len(many), atol=1e-6, rtol=1e-4)


def test_the_batch_may_be_cut_anywhere() -> None:
    items = rankings(6)
    whole, cut = gradients(reward_model(), items), gradients(reward_model(), items, token_budget=1)
    for a, b in zip(whole, cut, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_the_score_is_read_at_the_answers_last_token_though_the_prompt_ends_a_text() -> None:
    model = reward_model().eval()
    item = RankedPrompt((1, 5, 2, 6), ((7, 8, 2), (9, 2)), (1, 2))
    with torch.no_grad():
        expected = [
            model(model.backbone(torch.tensor([[*item.prompt, *branch]])).last_hidden_state[0, -1]).item()
            for branch in item.branches
        ]
        assert leaf_scores(model, [item.tree()]).tolist() == pytest.approx(expected, abs=1e-5)


def test_it_learns(tmp_path: Path) -> None:
    model, held_out = reward_model(), rankings(40, seed=9)
    before, count = pair_accuracy(model, held_out)
    steps: list[int] = []
    config = RewardConfig.tiny(epochs=3, learning_rate=3e-3)
    history = train_reward_model(
        model, rankings(150), config, Run(tmp_path, config), lambda step, total, metrics: steps.append(step)
    )
    after, _ = pair_accuracy(model, held_out)
    assert count == sum(len(item.pairs()) for item in held_out)
    assert after.value > max(0.85, before.value)
    assert history[-1]["loss"] < history[0]["loss"]
    assert steps == [line["step"] for line in history] == list(range(1, len(history) + 1))
    assert history[0]["learning_rate"] == config.learning_rate


def test_pair_accuracy_counts_equal_scores_as_half() -> None:
    model = reward_model()
    torch.nn.init.zeros_(model.head.weight)
    assert pair_accuracy(model, rankings(3))[0].value == 0.5
    assert math.isnan(pair_accuracy(model, [RankedPrompt((1,), ((2,), (3,)), (1, 1))])[0].value)


def test_centering_moves_demonstrations_to_zero_and_no_difference() -> None:
    model, items = reward_model(), rankings(5)
    demonstrations = [TokenTree.from_branches(item.prompt, item.branches[:1]) for item in items]
    before = np.array(score_trees(model, [items[0].tree()])[0])
    center(model, demonstrations)
    after = np.array(score_trees(model, [items[0].tree()])[0])
    assert np.mean(score_trees(model, demonstrations)) == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(np.diff(after), np.diff(before), atol=1e-5)
    assert not np.allclose(before, after)
    with pytest.raises(UserError, match="no demonstrations"):
        center(model, [])
    assert model.bias.isfinite()


def test_cosine_schedule() -> None:
    assert [cosine(done, 0.1) for done in (0, 0.5, 1)] == pytest.approx([1, 0.55, 0.1])


class Killed(Exception):
    pass


def run_stage(folder: Path, kill_after: int | None, forget: str = "") -> RewardModel:
    """Train with dropout, so that the random state matters; `forget` drops one part of the checkpoint."""
    torch.manual_seed(0)
    model = RewardModel.from_causal_lm(gpt2(dropout=0.1))
    config = RewardConfig.tiny(prompts_per_batch=4, save_every=2)

    def progress(step: int, total: int, metrics: object) -> None:
        if step == kill_after:
            raise Killed

    class Forgetful(Run):
        def restore(self, modules, optimizers=None):
            random_state = torch.get_rng_state()
            result = super().restore(modules, {} if forget == "optimizer" else optimizers)
            if forget == "rng":
                torch.set_rng_state(random_state)
            return result

    try:
        train_reward_model(model, rankings(24), config, Forgetful(folder, config), progress)
    except Killed:
        assert kill_after is not None
    return model


def test_resuming_is_bit_identical_and_forgetting_is_not(tmp_path: Path) -> None:
    whole = run_stage(tmp_path / "whole", None).state_dict()
    for forget in ("", "optimizer", "rng"):
        run_stage(tmp_path / f"killed-{forget}", 3)
        resumed = run_stage(tmp_path / f"killed-{forget}", None, forget).state_dict()
        # Dropout is keyed by step and forward pass, so that it is the same on any number of processes.
        assert all(torch.equal(whole[name], resumed[name]) for name in whole) == (forget != "optimizer")
    assert (tmp_path / "whole/metrics.jsonl").read_text() == (tmp_path / "killed-/metrics.jsonl").read_text()


def test_bad_rankings_are_refused(tmp_path: Path) -> None:
    config = RewardConfig.tiny()
    with pytest.raises(UserError, match="nothing to learn"):
        train_reward_model(reward_model(), [RankedPrompt((1,), ((2,), (3,)), (1, 1))], config, Run(tmp_path, config))
    with pytest.raises(UserError, match="empty answer"):
        train_reward_model(reward_model(), [RankedPrompt((1,), ((2,), ()), (1, 2))], config, Run(tmp_path, config))
    broken = reward_model()
    broken.head.weight.data[0, 0] = math.nan
    with pytest.raises(UserError, match="non-finite at step 1"):
        train_reward_model(broken, rankings(4), config, Run(tmp_path, config))


def test_every_order_of_four_gives_one_loss() -> None:
    items = list(zip([0.3, -1.0, 2.0, 0.5], [2, 3, 1, 2], strict=True))
    losses = {round(loss_of(*map(list, zip(*order, strict=True))), 12) for order in permutations(items)}
    assert len(losses) == 1
