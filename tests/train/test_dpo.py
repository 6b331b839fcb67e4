"""DPO: the Plackett-Luce loss against brute force and its properties, its reference, its training, its command."""

import json
import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.cli import main
from momus.errors import UserError
from momus.lm.models import save_causal_lm
from momus.lm.tree import TokenTree
from momus.records import Ranking, write_jsonl
from momus.runtime.runs import Run
from momus.train.dpo import (
    DPOConfig,
    _step,
    all_answer_logprobs,
    answer_logprobs,
    plackett_luce_loss,
    preference_accuracy,
    train_on_preferences,
)
from momus.train.reward import RankedPrompt, group_by_prompt
from support.stages import ranking
from support.tiny import VOCAB, llama, tiny_model, tiny_tokenizer

rewards_with_ranks = st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 4)), min_size=2, max_size=7).filter(
    lambda items: len({rank for _, rank in items}) > 1
)


def loss_of(rewards: list[float], ranks: list[float]) -> float:
    pairs = RankedPrompt((1,), tuple((3 + i,) for i in range(len(ranks))), tuple(ranks)).pairs()
    return plackett_luce_loss(torch.tensor(rewards, dtype=torch.float64), pairs).item()


def rankings(count: int, seed: int = 0) -> list[RankedPrompt]:
    rng = np.random.default_rng(seed)
    made = [ranking(rng, int(rng.integers(2, 8))) for _ in range(count)]
    return [item for item in made if item.pairs()]


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6))
def test_without_ties_the_loss_is_the_plackett_luce_likelihood(rewards: list[float]) -> None:
    likelihood = 1.0
    for place in range(len(rewards)):
        left = [math.exp(reward) for reward in rewards[place:]]
        likelihood *= left[0] / sum(left)
    assert math.exp(-loss_of(rewards, list(range(len(rewards))))) == pytest.approx(likelihood, rel=1e-9)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=5))
def test_the_likelihoods_of_all_orders_sum_to_one(rewards: list[float]) -> None:
    losses = [loss_of(rewards, list(ranks)) for ranks in permutations(range(len(rewards)))]
    assert sum(math.exp(-loss) for loss in losses) == pytest.approx(1, rel=1e-9)


@given(st.floats(-20, 20), st.floats(-20, 20))
def test_of_two_answers_it_is_the_pairwise_loss(better: float, worse: float) -> None:
    expected = -F.logsigmoid(torch.tensor(better - worse, dtype=torch.float64)).item()
    assert loss_of([better, worse], [1, 2]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(rewards_with_ranks, st.floats(-10, 10), st.randoms())
def test_order_and_a_constant_do_not_matter(items: list[tuple[float, int]], shift: float, random) -> None:
    before = loss_of(*map(list, zip(*items, strict=True)))
    random.shuffle(items)
    after = loss_of([reward + shift for reward, _ in items], [rank for _, rank in items])
    assert after == pytest.approx(before, rel=1e-6, abs=1e-9)


@given(rewards_with_ranks)
def test_tied_answers_are_each_chosen_among_the_worse_ones_only(items: list[tuple[float, int]]) -> None:
    expected = sum(
        math.log(math.exp(reward) + sum(math.exp(r) for r, other in items if other > rank)) - reward
        for reward, rank in items
        if any(other > rank for _, other in items)
    )
    assert loss_of(*map(list, zip(*items, strict=True))) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_an_answers_logprob_is_that_of_its_row() -> None:
    policy, items = llama(), rankings(4)
    with torch.no_grad():
        together = answer_logprobs(policy, [item.tree() for item in items])
        alone = torch.cat(
            [answer_logprobs(policy, [TokenTree.from_branches(i.prompt, [b])]) for i in items for b in i.branches]
        )
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_the_first_step_starts_from_equal_rewards() -> None:
    """The policy is its reference then: every order of K answers is equally likely, 1 / K!."""
    policy = llama().eval()
    item = RankedPrompt((1, 5), ((7, 2), (8, 8, 2), (9, 2), (7, 9, 2)), (1, 2, 3, 4))
    elements = group_by_prompt([item])
    reference = all_answer_logprobs(policy, elements)
    metrics = _step(policy, elements, reference, torch.optim.SGD(policy.parameters(), lr=0.0), DPOConfig(), 0)
    assert metrics["loss"] == pytest.approx(math.log(math.factorial(4)), abs=1e-4)
    assert metrics["first"] == pytest.approx(0, abs=1e-4) and metrics["last"] == pytest.approx(0, abs=1e-4)


def gradients(items: list[RankedPrompt], **changes: int) -> list[torch.Tensor]:
    """Gradients of one step from a reference with other weights, at learning rate 0."""
    policy, elements = llama().eval(), group_by_prompt(items)
    reference = all_answer_logprobs(llama(seed=1), elements)
    config = DPOConfig(max_grad_norm=math.inf, **changes)
    _step(policy, elements, reference, torch.optim.SGD(policy.parameters(), lr=0.0), config, 0)
    return [parameter.grad.clone() for parameter in policy.parameters() if parameter.grad is not None]


def test_the_batch_may_be_cut_anywhere() -> None:
    items = rankings(6)
    for a, b in zip(gradients(items), gradients(items, token_budget=1), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 99), st.integers(2, 3))
def test_several_rankings_of_a_prompt_weigh_as_one(seed: int, labelers: int) -> None:
    rng = np.random.default_rng(seed)
    first = rankings(1, seed=seed) or rankings(3)
    ranks = [tuple(map(float, rng.permutation(len(first[0].branches)))) for _ in range(labelers)]
    many = [RankedPrompt(first[0].prompt, first[0].branches, entry) for entry in ranks]
    many = [item for item in many if item.pairs()]
    for together, *each in zip(gradients(many), *[gradients([item]) for item in many], strict=True):
        torch.testing.assert_close(together, sum(each) / len(many), atol=1e-5, rtol=1e-3)


def test_it_learns_what_the_labelers_prefer(tmp_path: Path) -> None:
    policy, held_out = llama(), rankings(40, seed=9)
    before = all_answer_logprobs(policy, group_by_prompt(held_out))
    assert preference_accuracy(policy, before, held_out).value == 0.5
    config = DPOConfig.tiny(epochs=3, learning_rate=1e-3)
    history = train_on_preferences(policy, rankings(150), config, Run(tmp_path, config))
    assert preference_accuracy(policy, before, held_out).value > 0.85
    assert history[-1]["loss"] < history[0]["loss"] and history[-1]["first"] > history[-1]["last"]
    assert history[0]["learning_rate"] == pytest.approx(config.learning_rate / config.warmup_steps)


class Killed(Exception):
    pass


def run_stage(folder: Path, kill_after: int | None) -> dict[str, torch.Tensor]:
    policy, config = llama(), DPOConfig.tiny(prompts_per_batch=4, save_every=2)

    def progress(step: int, total: int, metrics: object) -> None:
        if step == kill_after:
            raise Killed

    try:
        train_on_preferences(policy, rankings(24), config, Run(folder, config), progress)
    except Killed:
        assert kill_after is not None
    return policy.state_dict()


def test_resuming_is_bit_identical(tmp_path: Path) -> None:
    whole = run_stage(tmp_path / "whole", None)
    run_stage(tmp_path / "killed", 3)
    resumed = run_stage(tmp_path / "killed", None)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (tmp_path / "whole/metrics.jsonl").read_text() == (tmp_path / "killed/metrics.jsonl").read_text()


def test_bad_rankings_are_refused(tmp_path: Path) -> None:
    config = DPOConfig.tiny()
    with pytest.raises(UserError, match="nothing to learn"):
        train_on_preferences(llama(), [RankedPrompt((1,), ((2,), (3,)), (1, 1))], config, Run(tmp_path, config))
    with pytest.raises(UserError, match="empty answer"):
        train_on_preferences(llama(), [RankedPrompt((1,), ((2,), ()), (1, 2))], config, Run(tmp_path, config))
    broken = llama()
    broken.lm_head.weight.data[: VOCAB // 2] = math.nan
    with pytest.raises(UserError, match="non-finite at step 1"):
        train_on_preferences(broken, rankings(4), config, Run(tmp_path, config))


@pytest.mark.parametrize("adapted", [(), ("--lora", "--lora.rank", "2")])
def test_the_command_leaves_a_model_and_says_how_it_orders_held_out_pairs(
    tmp_path: Path, capsys, adapted: tuple[str, ...]
) -> None:
    save_causal_lm(tiny_model(), tmp_path / "base", tiny_tokenizer())
    ranked = (Ranking(prompt=f"is {n} odd?", candidates=("yes", "no", "maybe no"), ranks=(1, 2, 2)) for n in range(40))
    write_jsonl(tmp_path / "rankings.jsonl", ranked)
    out = tmp_path / "dpo"
    options = ["--preset", "tiny", "--model", tmp_path / "base", "--out", out, "--data", tmp_path / "rankings.jsonl"]
    assert main([str(word) for word in ("train", "dpo", *options, *adapted, "--max-prompt", "60")]) == 0
    printed = capsys.readouterr()
    summary = json.loads((out / "summary.json").read_text())
    assert printed.out.endswith(f"The model is {out / 'model'}\n") and "ranked first, in green" in printed.err
    accuracy = summary["result"]["held_out_pair_accuracy"]
    assert 0.5 < accuracy["value"] <= 1 and summary["result"]["cost"]
    assert (out / "adapter").is_dir() == bool(adapted)
