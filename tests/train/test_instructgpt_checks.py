"""Details that decide whether RLHF as in InstructGPT works, numbered from 1 to 26.

They come from "The N implementation details of RLHF with PPO" (Hugging Face's blog), the paper that followed it (arXiv
2403.17031, "N+"), Ziegler et al. (arXiv 1909.08593), InstructGPT (arXiv 2203.02155), and from faults found in other
trainers. Numbers 4 (the score's token), 6 (centring) and 7 (the loss) are in `test_reward.py`, the head's first
weights (5) in `lm/test_forward.py`.
"""

import copy
import dataclasses
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from momus.lm.chat import ChatFormat
from momus.lm.forward import token_logprobs, token_values, trees_from_rows
from momus.lm.local.engine import LocalEngine
from momus.lm.models import RewardModel
from momus.lm.tree import TokenTree
from momus.runtime.runs import Run
from momus.train.advantages import apply_eos_penalty, gae, kl_estimate_k1, kl_estimate_k3, token_rewards, whiten
from momus.train.ppo import policy_loss, train_policy, value_loss
from momus.train.rollout import engine_sampler, roll_out
from momus.train.sampling import prompt_indices
from momus.train.schedules import adaptive_kl_coefficient
from momus.train.settings import PPOConfig
from support.stages import (
    EOS,
    FULL,
    PROMPTS,
    SMALL,
    TEXTS,
    first_gradients,
    ppo,
    reward_model,
    same,
    sample,
    score,
    spy_steps,
)
from support.tiny import gpt2, llama, tiny_engine, tiny_tokenizer


def test_01_the_end_of_text_is_trained_though_it_is_the_padding_token() -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.pad_token = tokenizer.eos_token
    turn = ChatFormat(tokenizer).turn("def f(items):", "return total")
    assert turn.answer[-1] == tokenizer.eos_token_id  # every token of an answer is trained
    (tree,) = trees_from_rows([[*turn.prompt, *turn.answer]])
    assert tree.tokens[tree.branches[0]][-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("padding", [1, 7])
def test_02_logits_do_not_depend_on_padding(side: str, padding: int) -> None:
    model, row = llama(), [1, 5, 9, 12, 6, EOS]
    pads, real = [0] * padding, [1] * len(row)
    tokens = pads + row if side == "left" else row + pads
    seen = torch.tensor([[0] * padding + real if side == "left" else real + [0] * padding])
    positions = (seen.cumsum(1) - 1).clamp(min=0)  # the exclusive sum of the mask
    with torch.no_grad():
        logits = model(torch.tensor([tokens]), attention_mask=seen, position_ids=positions).logits[seen.bool()]
        padded = logits[:-1].log_softmax(-1).gather(1, torch.tensor(row[1:])[:, None]).squeeze(1)
        other = [TokenTree.from_branches([1] * padding, [[4] * 3])]
        actual = token_logprobs(model, trees_from_rows([row]) + other).logprobs[: len(row) - 1]
    torch.testing.assert_close(actual, padded, atol=1e-5, rtol=1e-5)


def test_03_positions_are_counted_once_when_sampling() -> None:
    engine = tiny_engine()
    prompts = [engine.encode(text, bos=True) for text in ("def f(items):", "total", "for x in items:\n    total")]
    together = engine.sample(prompts, key=0, max_tokens=6, temperature=0.0)
    for prompt, (actual,) in zip(prompts, together, strict=True):
        row = list(prompt)
        for _ in actual.tokens:  # the model by itself, without padding or cache
            row.append(int(engine.model(torch.tensor([row])).logits[0, -1, : len(engine.vocabulary)].argmax()))
        assert row[len(prompt) :] == list(actual.tokens)


def test_05_how_the_heads_start(tmp_path) -> None:
    config = dataclasses.replace(SMALL, iterations=1, value_learning_rate=0.0)
    model = reward_model()
    assert same(ppo(tmp_path / "copy", config, reward=model).value, model)  # InstructGPT, N+
    zeros = ppo(tmp_path / "zeros", config, reward=None).value  # Ziegler et al.
    assert (token_values(zeros, trees_from_rows(TEXTS[:3])) == 0).all()
    assert same(zeros.backbone, llama().base_model)
    learned = ppo(tmp_path / "learned", dataclasses.replace(config, value_learning_rate=1e-3), reward=None).value
    assert token_values(learned, trees_from_rows(TEXTS[:3])).abs().max() > 0


def test_08_dropout_is_off_in_ppo(tmp_path) -> None:
    policy, backbone, modes = gpt2(dropout=0.3).train(), gpt2(dropout=0.3), []
    torch.manual_seed(3)
    model = RewardModel.from_causal_lm(backbone).train()

    def spy(policy, prompts, n, key):
        modes.append(policy.training)
        return sample(policy, prompts, n, key)

    result = ppo(tmp_path / "a", policy=policy, reward=model, sampler=spy)
    assert modes == [False] * SMALL.iterations
    assert not any(item.training for net in (result.policy, result.value, result.ema) for item in net.modules())
    backbone = gpt2()
    torch.manual_seed(3)
    plain = RewardModel.from_causal_lm(backbone).eval()
    again = ppo(tmp_path / "b", policy=gpt2(), reward=plain)
    assert [line["entropy"] for line in result.history] == [line["entropy"] for line in again.history]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_09_one_temperature_for_all_logits_and_nothing_else_bends_them(tmp_path, monkeypatch, temperature) -> None:
    steps = spy_steps(monkeypatch)
    config = dataclasses.replace(SMALL, iterations=2, temperature=temperature)
    history = ppo(tmp_path, config).history
    assert (steps[0]["ratio"], history[0]["kl"]) == (1.0, 0.0)
    model, (tree,) = llama(), trees_from_rows([[1, 5, 9, 12]])
    expected = (model(torch.tensor([[1, 5, 9]])).logits[0] / temperature).log_softmax(-1)
    actual = token_logprobs(model, [tree], temperature).logprobs
    torch.testing.assert_close(actual, expected.gather(1, torch.tensor([[5], [9], [12]])).squeeze(1))
    asked = {}
    engine = SimpleNamespace(sample=lambda prompts, n, **settings: asked.update(settings) or [[]])
    engine_sampler(engine, 8, temperature)(None, [[1]], 1, (0, 0))
    assert asked == {"key": (0, 0), "max_tokens": 8, "temperature": temperature, "stop_tokens": ()}  # no top-p


@pytest.mark.parametrize("budget", [1, 60, 8192])
def test_10_the_first_ratio_is_one_and_the_first_kl_zero(tmp_path, monkeypatch, budget: int) -> None:
    steps = spy_steps(monkeypatch)
    result = ppo(tmp_path, dataclasses.replace(SMALL, token_budget=budget), policy=gpt2(dropout=0.3).train())
    assert (steps[0]["ratio"], steps[0]["approx_kl"], steps[0]["clip_fraction"]) == (1.0, 0.0, 0.0)
    assert steps[1]["approx_kl"] > 0
    assert result.history[0]["kl"] == 0.0
    assert result.history[1]["kl"] != 0.0


def test_11_what_follows_the_end_of_text_is_dropped_before_scoring_and_changes_nothing(tmp_path) -> None:
    seen = []

    def spy(prompts, responses):
        seen.extend(responses)
        return np.zeros((len(prompts), 2))

    drawn = [[[4, EOS, 9, 9], [4, 5]], [[EOS], [EOS, EOS]]]
    batch = roll_out(None, PROMPTS[:2], lambda *_: drawn, spy, 2, (0, 0), {EOS})
    assert seen == [[[4, EOS], [4, 5]], [[EOS], [EOS]]]
    assert batch.finished.tolist() == [True, False, True, True]
    assert batch.mask.tolist() == [[True, True], [True, True], [True, False], [True, False]]
    rows, columns = batch.cells([1, 0])
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(2, 0), (3, 0), (0, 0), (0, 1), (1, 0), (1, 1)]

    def noisy(policy, prompts, n, key):
        drawn = sample(policy, prompts, n, key)
        return [[[*r[: r.index(EOS) + 1], 13, 14] if EOS in r else r for r in item] for item in drawn]

    plain, other = ppo(tmp_path / "plain"), ppo(tmp_path / "noisy", sampler=noisy)
    assert any(line["finished"] > 0 for line in plain.history)
    assert same(plain.policy, other.policy)
    assert plain.history == other.history


def test_12_a_response_that_never_ends_may_score_less_whatever_ends_one(tmp_path) -> None:
    scores, finished = np.array([2.0, -3.0, 5.0]), np.array([True, False, False])
    np.testing.assert_array_equal(apply_eos_penalty(scores, finished), scores)
    np.testing.assert_array_equal(apply_eos_penalty(scores, finished, missing_score=-1.0), [2.0, -1.0, -1.0])  # N+
    np.testing.assert_array_equal(apply_eos_penalty(scores, finished, missing_penalty=1.5), [2.0, -4.5, 3.5])  # TRL

    def steady(policy, prompts, n, key):
        return [[[4, EOS], [5, 9, 13], [5, 6]] for _ in prompts]

    plain, config = [], dataclasses.replace(SMALL, iterations=1)
    for change in ({}, {"missing_eos_score": -1.0}, {"missing_eos_penalty": 3.0}):
        for end in (EOS, [EOS, 9]):  # a chat model's end of turn, say
            folder = tmp_path / f"{change}{end}"
            settings = dataclasses.replace(config, **change)
            plain.append(
                ppo(folder, settings, sampler=steady, scorer=lambda p, _: [[1.0, 2.0, 3.0]] * len(p), eos_id=end)
            )
    lines = [result.history[0] for result in plain]
    assert [line["finished"] for line in lines] == pytest.approx([1 / 3, 2 / 3] * 3)
    assert [line["reward"] for line in lines] == pytest.approx([2, 2, -1 / 3, 2 / 3, 0, 1])
    assert [line["length"] for line in lines] == pytest.approx([7 / 3, 2] * 3)


def test_13_the_score_is_paid_for_the_last_action() -> None:
    mask = np.array([[True, True, True], [True, False, False]])
    kl = np.array([[1.0, -2.0, 3.0], [0.5, 99.0, 99.0]])
    rewards = token_rewards(np.array([10.0, 20.0]), kl, mask, 0.1)
    np.testing.assert_allclose(rewards, [[-0.1, 0.2, 10 - 0.3], [20 - 0.05, 0, 0]])
    # So the last advantage is score - V, undamped by lambda: one slot later it would be V' - V + lambda (score - V').
    values = np.array([[0.0, 0.0, 4.0], [5.0, 0.0, 0.0]])
    advantages = gae(rewards, values, mask, 1.0, 0.95)
    np.testing.assert_allclose(advantages[[0, 1], [2, 0]], [9.7 - 4, 19.95 - 5])


def test_14_gae_by_hand() -> None:
    rewards = np.array([[1.0, 2.0, 3.0], [4.0, 9.0, 9.0]])
    values = np.array([[0.5, 1.0, 2.0], [1.0, 7.0, 7.0]])
    mask = np.array([[True, True, True], [True, False, False]])
    # gamma 0.9, lambda 0.5. Last: 3-2 = 1. Middle: 2+0.9*2-1 = 2.8, +0.45*1 = 3.25. First: 1+0.9*1-0.5 = 1.4,
    # +0.45*3.25 = 2.8625. The second episode has one action: 4-1 = 3, whatever stands in the padding; it is cut short
    # or finished alike.
    expected = [[2.8625, 3.25, 1.0], [3.0, 0.0, 0.0]]
    np.testing.assert_allclose(gae(rewards, values, mask, 0.9, 0.5), expected, rtol=1e-12)
    assert (PPOConfig().discount, PPOConfig().gae_lambda) == (1.0, 0.95)


def test_15_whitening_is_masked_and_biased_and_keeps_the_mean_of_rewards() -> None:
    x, mask = np.array([[1.0, 3.0, 50.0], [5.0, 7.0, -50.0]]), np.array([[True, True, False]] * 2)
    white = whiten(x, mask)
    # Mean 4, variance (9 + 1 + 1 + 9) / 4 = 5: over n, not n - 1.
    np.testing.assert_allclose(white[mask], np.array([-3, -1, 1, 3]) / math.sqrt(5), rtol=1e-6)
    assert (white[~mask] == 0).all()
    np.testing.assert_allclose(whiten(x, mask, shift_mean=False)[mask], white[mask] + 4)


@given(st.lists(st.tuples(st.floats(-4, 0), st.floats(-4, 0)), min_size=1, max_size=8))
def test_16_the_estimators_of_the_kl(pairs: list[tuple[float, float]]) -> None:
    p, q = torch.tensor(pairs, dtype=torch.float64).T
    assert (kl_estimate_k3(p, q) >= 0).all()
    torch.testing.assert_close(kl_estimate_k1(p, q), p - q)
    # Over all outcomes of two distributions both average to the KL.
    p, q = p.log_softmax(0), q.log_softmax(0)
    kl = (p.exp() * (p - q)).sum()
    for estimator in (kl_estimate_k1, kl_estimate_k3):
        torch.testing.assert_close((p.exp() * estimator(p, q)).sum(), kl, atol=1e-9, rtol=1e-9)


def test_16_no_gradient_goes_through_the_reward(tmp_path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr("momus.train.ppo.token_rewards", lambda *a: seen.append(a[1]) or token_rewards(*a))
    ppo(tmp_path, dataclasses.replace(SMALL, iterations=1))
    assert isinstance(seen[0], np.ndarray)  # no tensor, so no graph


def test_17_both_losses_by_hand() -> None:
    old, new = torch.zeros(4), torch.tensor([1.5, 0.5, 1.5, 0.5]).log()
    losses, ratio = policy_loss(new, old, torch.tensor([1.0, 1.0, -1.0, -1.0]), 0.2)
    torch.testing.assert_close(losses, torch.tensor([-1.2, -0.5, 1.5, 0.8]))
    torch.testing.assert_close(ratio, torch.tensor([1.5, 0.5, 1.5, 0.5]))
    # From 0 to 1 the value may move to 0.2: the worse error counts.
    actual = value_loss(torch.tensor([1.0, 0.1]), torch.zeros(2), torch.tensor([1.0, 1.0]), 0.2)
    torch.testing.assert_close(actual, torch.tensor([0.5 * 0.8**2, 0.5 * 0.9**2]))


def test_18_a_minibatch_may_be_cut_anywhere(tmp_path, monkeypatch) -> None:
    config = dataclasses.replace(SMALL, minibatches=1, ptx_coefficient=2.0)
    whole = first_gradients(tmp_path / "whole", monkeypatch, config)
    cut = first_gradients(tmp_path / "cut", monkeypatch, dataclasses.replace(config, token_budget=1))
    assert whole.keys() == cut.keys()
    assert {name.split(".")[0] for name in whole} == {"policy", "value"}
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, cut[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("epochs", "minibatches"), [(1, 1), (1, 4), (2, 2)])
def test_19_optimizer_steps_are_iterations_by_epochs_by_minibatches(tmp_path, monkeypatch, epochs, minibatches) -> None:
    steps, count = spy_steps(monkeypatch), 0
    original = torch.optim.AdamW.step

    def step(self, *args):
        nonlocal count
        count += 1
        return original(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    history = ppo(tmp_path, dataclasses.replace(SMALL, epochs=epochs, minibatches=minibatches)).history
    assert len(steps) == SMALL.iterations * epochs * minibatches
    assert count == 2 * len(steps)
    assert [line["step"] for line in history] == [1, 2, 3]  # what the schedule counts


@pytest.mark.parametrize("eps", [1e-8, 1e-2])
def test_20_adam_by_hand(tmp_path, eps: float) -> None:
    assert (PPOConfig().betas, PPOConfig().adam_eps) == ((0.9, 0.95), 1e-8)
    config = dataclasses.replace(SMALL, iterations=1, minibatches=1, warmup_iterations=0, adam_eps=eps)
    start, result = dict(llama().named_parameters()), ppo(tmp_path, config)
    for name, after in result.policy.named_parameters():
        # The first step is rate * g / (|g| + eps): the bias correction comes before the epsilon.
        step = after.grad / (after.grad.abs() + eps)
        expected = start[name] - config.policy_learning_rate * step
        torch.testing.assert_close(after, expected, atol=1e-7, rtol=1e-5)


def test_21_the_rate_warms_up_over_iterations_from_a_tenth_and_stays(tmp_path) -> None:
    assert PPOConfig().warmup_iterations == 10
    config = dataclasses.replace(SMALL, iterations=4, warmup_iterations=2)
    rates = [line["learning_rate"] / config.policy_learning_rate for line in ppo(tmp_path, config).history]
    assert rates == pytest.approx([0.1, 0.55, 1.0, 1.0])


def test_22_the_adaptive_kl_coefficient(tmp_path) -> None:
    assert PPOConfig().kl_target is None
    # Target 6, horizon 10,000, 512 episodes: 10 % over gives 1 + 0.1 * 0.0512, and no error counts more than 0.2.
    assert adaptive_kl_coefficient(0.15, 6.6, 6.0, 512, 10_000) == pytest.approx(0.15 * 1.00512)
    assert adaptive_kl_coefficient(0.15, 60.0, 6.0, 512, 10_000) == pytest.approx(0.15 * 1.01024)
    assert adaptive_kl_coefficient(0.15, -9.0, 6.0, 512, 10_000) == pytest.approx(0.15 * 0.98976)
    config = dataclasses.replace(SMALL, iterations=4, kl_target=0.2, kl_horizon=60)
    lines = ppo(tmp_path / "on", config).history
    for before, after in pairwise(lines):
        expected = adaptive_kl_coefficient(before["kl_coefficient"], before["kl"], 0.2, 12, 60)
        assert after["kl_coefficient"] == expected != before["kl_coefficient"]
    fixed = ppo(tmp_path / "off").history
    assert {line["kl_coefficient"] for line in fixed} == {SMALL.kl_coefficient}


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 3))
def test_23_prompts_come_round_evenly(available: int, size: int, seed: int) -> None:
    drawn = [i for iteration in range(available) for i in prompt_indices(available, size, (seed, iteration))]
    assert all(sorted(drawn[e * available : (e + 1) * available]) == list(range(available)) for e in range(size))


def test_23_two_prompts_alike_in_a_batch_are_sampled_apart() -> None:
    engine = tiny_engine()
    prompt = engine.encode("def", bos=True)
    first, again = engine_sampler(engine, 12)(None, [prompt, prompt], 2, (0, 0)), None
    assert len({tuple(drawn.tokens) for item in first for drawn in item}) == 4
    again = engine_sampler(LocalEngine(engine.model, engine.tokenizer), 12)(None, [prompt, prompt], 2, (0, 0))
    assert [[d.tokens for d in item] for item in again] == [[d.tokens for d in item] for item in first]


def test_24_pretraining_text_adds_its_gradient_and_nothing_else(tmp_path, monkeypatch) -> None:
    config, text = dataclasses.replace(SMALL, minibatches=1, ptx_per_episode=2), [TEXTS[0]]
    plain = first_gradients(tmp_path / "plain", monkeypatch, config)
    mixed = first_gradients(
        tmp_path / "mixed", monkeypatch, dataclasses.replace(config, ptx_coefficient=27.8), pretraining=text
    )
    policy = llama()
    loss = -27.8 * token_logprobs(policy, trees_from_rows(text)).logprobs.mean()
    loss.backward()
    for name, parameter in policy.named_parameters():
        joint = plain[f"policy.{name}"] + parameter.grad
        torch.testing.assert_close(mixed[f"policy.{name}"], joint, atol=2e-5, rtol=1e-4)
    for name in (name for name in plain if name.startswith("value.")):
        assert torch.equal(plain[name], mixed[name])


def test_24_without_a_coefficient_it_is_plain_ppo_to_the_bit(tmp_path) -> None:
    with_texts, without = ppo(tmp_path / "a"), ppo(tmp_path / "b", pretraining=())
    assert same(with_texts.policy, without.policy)
    assert with_texts.history == without.history
    mixed = ppo(tmp_path / "c", dataclasses.replace(SMALL, ptx_coefficient=1.0))
    assert not same(with_texts.policy, mixed.policy)
    assert mixed.history[0]["ptx_loss"] > 0


def test_25_the_average_trails_the_policy_by_optimizer_steps(tmp_path, monkeypatch) -> None:
    config, snapshots = dataclasses.replace(SMALL, iterations=1, minibatches=2, ema_decay=0.75), []
    original = torch.optim.AdamW.step

    def step(self, *args):
        original(self, *args)
        snapshots.append([p.detach().clone() for group in self.param_groups for p in group["params"]])

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    start, result = llama(), ppo(tmp_path / "on", config)
    first, second = snapshots[0], snapshots[2]  # the policy's; the value's are between
    expected = [
        0.75 * (0.75 * s + 0.25 * a) + 0.25 * b for s, a, b in zip(start.parameters(), first, second, strict=True)
    ]
    for average, item in zip(result.ema.parameters(), expected, strict=True):
        torch.testing.assert_close(average, item, atol=1e-6, rtol=1e-5)
    assert ppo(tmp_path / "off", dataclasses.replace(config, ema_decay=None)).ema is None
    assert (tmp_path / "on/checkpoint-1/ema.safetensors").exists()
    assert PPOConfig().ema_decay == 0.992


@pytest.mark.parametrize("kill_after", [1, 2, 3])
def test_26_killed_after_any_iteration_it_ends_the_same(tmp_path, kill_after: int) -> None:
    """In this process; `test_sigkill.py` kills processes, `test_ppo.py` forgets each part of the state."""

    class Killed(Exception):
        pass

    def progress(done: int, total: int, metrics: object) -> None:
        if done == kill_after:
            raise Killed

    whole = ppo(tmp_path / "whole", FULL)
    with pytest.raises(Killed):
        ppo(tmp_path / "killed", FULL, progress=progress)
    resumed = ppo(tmp_path / "killed", FULL)
    for name in ("policy", "value", "ema"):
        assert same(getattr(whole, name), getattr(resumed, name))
    assert whole.history == resumed.history
    assert len({line["kl_coefficient"] for line in whole.history}) == 4


def test_26_the_reward_model_is_left_alone(tmp_path) -> None:
    model = reward_model()
    before = copy.deepcopy(model)
    result = train_policy(llama(), model, PROMPTS, sample, score, SMALL, Run(tmp_path, SMALL), eos_id=EOS)
    assert same(before, model)
    assert not same(model, result.value)
