"""PPO: its equations against hand-computed values, its bookkeeping, exact resuming, and that it learns."""

import copy
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from momus.errors import UserError
from momus.lm.forward import token_logprobs, trees_from_rows
from momus.lm.models import RewardModel
from momus.train import ppo
from momus.train.advantages import gae, token_rewards, whiten
from momus.train.ppo import PPOConfig, PPOResult, policy_loss, train_ppo, value_loss
from momus.train.rollout import prompt_indices, reward_scorer, roll_out
from momus.train.runs import Run
from tiny import gpt2, llama

EOS, WANTED, LIMIT = 2, 7, 8
PROMPTS = [[1, 5], [1, 6, 9], [1, 2, 11, 12], [1, 3]]
TEXTS = [[1, 4, 4, 8, 2], [1, 9], [1, 10, 11, 12], [1]]
SMALL = PPOConfig.tiny(
    iterations=3, prompts_per_batch=4, rollouts_per_prompt=3, minibatches=2, save_every=1, kl_coefficient=0.1
)


@torch.no_grad()
def sample(policy, prompts, n, key):
    """Sample row by row, from nothing but the key."""
    result = []
    for index, prompt in enumerate(prompts):
        generator = torch.Generator().manual_seed(hash((*key, index)) % 2**31)
        rows, done = torch.tensor([prompt] * n), torch.zeros(n, dtype=torch.bool)
        for _ in range(LIMIT):
            probabilities = policy(rows).logits[:, -1].softmax(-1)
            rows = torch.cat([rows, torch.multinomial(probabilities, 1, generator=generator)], 1)
            done |= rows[:, -1] == EOS
            if done.all():
                break
        result.append(rows[:, len(prompt) :].tolist())
    return result


def score(prompts, responses):
    """Count a token."""
    return [[float(response.count(WANTED)) for response in own] for own in responses]


def reward_model() -> RewardModel:
    torch.manual_seed(5)
    return RewardModel.from_causal_lm(llama(5))


def train(folder: Path, config: PPOConfig = SMALL, **options) -> PPOResult:
    options = {"policy": llama(), "pretraining": TEXTS, "run": Run(folder, config), **options}
    policy, run, sampler = options.pop("policy"), options.pop("run"), options.pop("sampler", sample)
    return train_ppo(policy, reward_model(), PROMPTS, sampler, score, config, run, eos_id=EOS, **options)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# The equations


def test_gae_by_hand() -> None:
    rewards = np.array([[1.0, 2.0, 3.0], [4.0, 9.0, 9.0]])
    values = np.array([[0.5, 1.0, 2.0], [1.0, 7.0, 7.0]])
    mask = np.array([[True, True, True], [True, False, False]])
    # gamma 0.9, lambda 0.5. Last: 3-2 = 1. Middle: 2+0.9*2-1 = 2.8, +0.45*1 = 3.25. First: 1+0.9*1-0.5 = 1.4,
    # +0.45*3.25 = 2.8625. The second episode has one action: 4-1 = 3, whatever stands in the padding.
    expected = [[2.8625, 3.25, 1.0], [3.0, 0.0, 0.0]]
    np.testing.assert_allclose(gae(rewards, values, mask, 0.9, 0.5), expected, rtol=1e-12)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=6), st.floats(0, 1))
def test_gae_limits(steps: list[tuple[float, float]], gamma: float) -> None:
    rewards, values = (np.array([column]) for column in zip(*steps, strict=True))
    mask, n = np.ones_like(rewards, dtype=bool), len(steps)
    after = np.append(values[0, 1:], 0.0)
    np.testing.assert_allclose(gae(rewards, values, mask, gamma, 0.0)[0], rewards[0] + gamma * after - values[0])
    to_go = [sum(gamma ** (k - t) * rewards[0, k] for k in range(t, n)) for t in range(n)]
    np.testing.assert_allclose(gae(rewards, values, mask, gamma, 1.0)[0], to_go - values[0], atol=1e-9)


def test_the_score_is_paid_at_the_last_action() -> None:
    mask = np.array([[True, True, True], [True, False, False]])
    kl = np.array([[1.0, -2.0, 3.0], [0.5, 99.0, 99.0]])
    expected = [[-0.1, 0.2, 10 - 0.3], [20 - 0.05, 0, 0]]
    np.testing.assert_allclose(token_rewards(np.array([10.0, 20.0]), kl, mask, 0.1), expected)


def test_whitening_is_masked_and_biased() -> None:
    x, mask = np.array([[1.0, 3.0, 50.0], [5.0, 7.0, -50.0]]), np.array([[True, True, False]] * 2)
    white = whiten(x, mask)
    assert white[mask].mean() == pytest.approx(0, abs=1e-9)
    assert white[mask].var() == pytest.approx(1, rel=1e-6)
    assert (white[~mask] == 0).all()
    assert whiten(x, mask, shift_mean=False)[mask].mean() == pytest.approx(4)


def test_losses_by_hand() -> None:
    old, new = torch.zeros(4), torch.tensor([1.5, 0.5, 1.5, 0.5]).log()
    losses, ratio = policy_loss(new, old, torch.tensor([1.0, 1.0, -1.0, -1.0]), 0.2)
    torch.testing.assert_close(losses, torch.tensor([-1.2, -0.5, 1.5, 0.8]))
    torch.testing.assert_close(ratio, torch.tensor([1.5, 0.5, 1.5, 0.5]))
    # From 0 to 1 the value may move to 0.2: the worse error counts.
    found = value_loss(torch.tensor([1.0, 0.1]), torch.zeros(2), torch.tensor([1.0, 1.0]), 0.2)
    torch.testing.assert_close(found, torch.tensor([0.5 * 0.8**2, 0.5 * 0.9**2]))


# Rollouts


def test_what_follows_the_end_of_text_is_dropped() -> None:
    seen = []

    def spy(prompts, responses):
        seen.extend(responses)
        return np.zeros((len(prompts), 2))

    drawn = [[[4, EOS, 9, 9], [4, 5]], [[EOS], [EOS, EOS]]]
    batch = roll_out(None, PROMPTS[:2], lambda *_: drawn, spy, 2, (0, 0), EOS)
    assert seen == [[[4, EOS], [4, 5]], [[EOS], [EOS]]]
    assert batch.finished.tolist() == [True, False, True, True]
    assert batch.mask.tolist() == [[True, True], [True, True], [True, False], [True, False]]
    rows, columns = batch.cells([1, 0])
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [
        (2, 0),
        (3, 0),
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]


def test_bad_samplers_and_scores_are_refused() -> None:
    good = [[[4, EOS]]]
    for drawn, value, message in [
        ([], [0.0], "must return 1 responses"),
        ([[[]]], [0.0], "empty response"),
        (good, [math.nan], "finite"),
        (good, [0.0, 1.0], "finite number"),
    ]:
        with pytest.raises(UserError, match=message):
            roll_out(None, [[1]], lambda *_, d=drawn: d, lambda *_, v=value: v, 1, (0, 0), EOS)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 3))
def test_prompts_come_round_evenly(available: int, size: int, seed: int) -> None:
    drawn = [i for iteration in range(available) for i in prompt_indices(available, size, (seed, iteration))]
    assert all(sorted(drawn[e * available : (e + 1) * available]) == list(range(available)) for e in range(size))


def test_reward_scorer() -> None:
    model = reward_model()
    responses = [[[4, EOS], [5, 6, EOS]], [[EOS], [9]]]
    found = np.asarray(reward_scorer(model)(PROMPTS[:2], responses))
    assert found.shape == (2, 2)
    with torch.no_grad():
        states = model.backbone(torch.tensor([[1, 5, 5, 6, EOS]])).last_hidden_state[0, -1]
        assert found[0, 1] == pytest.approx(model(states).item(), abs=1e-5)


# Training


def spy_steps(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """Collect the metrics of every optimizer step."""
    steps: list[dict[str, float]] = []
    original = ppo._Trainer._step

    def spy(self, *args):
        steps.append(original(self, *args))
        return steps[-1]

    monkeypatch.setattr(ppo._Trainer, "_step", spy)
    return steps


@pytest.mark.parametrize("budget", [1, 60, 8192])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_first_ratio_is_one_and_first_kl_zero(tmp_path, monkeypatch, budget: int, temperature: float) -> None:
    steps = spy_steps(monkeypatch)
    config = dataclasses.replace(SMALL, token_budget=budget, temperature=temperature)
    result = train(tmp_path, config, policy=gpt2(dropout=0.3).train())
    assert (steps[0]["ratio"], steps[0]["approx_kl"], steps[0]["clip_fraction"]) == (1.0, 0.0, 0.0)
    assert steps[1]["approx_kl"] > 0
    assert result.history[0]["kl"] == 0.0
    assert result.history[1]["kl"] != 0.0


@pytest.mark.parametrize(("epochs", "minibatches"), [(1, 1), (1, 4), (2, 2)])
def test_optimizer_steps(tmp_path, monkeypatch, epochs: int, minibatches: int) -> None:
    steps = spy_steps(monkeypatch)
    count = 0
    original = torch.optim.AdamW.step

    def step(self, *args):
        nonlocal count
        count += 1
        return original(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    train(tmp_path, dataclasses.replace(SMALL, epochs=epochs, minibatches=minibatches))
    assert len(steps) == SMALL.iterations * epochs * minibatches
    assert count == 2 * len(steps)


def first_gradients(folder: Path, monkeypatch, config: PPOConfig, **options) -> dict[str, torch.Tensor]:
    """The policy's and the value network's gradients at the first step, unclipped."""
    found: list[dict[str, torch.Tensor]] = []

    class Stop(Exception):
        pass

    def record(metrics, key, data):
        found.append({
            f"{name}.{parameter}": tensor.grad.clone()
            for name, module in trainer[0].modules.items()
            for parameter, tensor in module.named_parameters()
            if tensor.grad is not None
        })  # fmt: skip
        raise Stop

    trainer: list = []
    original = ppo._Trainer.__init__

    def init(self, *args):
        original(self, *args)
        trainer.append(self)

    with monkeypatch.context() as patch:
        patch.setattr(ppo._Trainer, "__init__", init)
        patch.setattr(ppo, "_require_finite", record)
        with pytest.raises(Stop):
            train(folder, dataclasses.replace(config, max_grad_norm=math.inf), **options)
    return found[0]


def test_accumulation_equals_one_batch(tmp_path, monkeypatch) -> None:
    config = dataclasses.replace(SMALL, minibatches=1, ptx_coefficient=2.0)
    whole = first_gradients(tmp_path / "whole", monkeypatch, config)
    cut = first_gradients(tmp_path / "cut", monkeypatch, dataclasses.replace(config, token_budget=1))
    assert whole.keys() == cut.keys()
    assert {name.split(".")[0] for name in whole} == {"policy", "value"}
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, cut[name], atol=1e-6, rtol=1e-5)


def test_ptx_adds_its_gradient_and_nothing_else(tmp_path, monkeypatch) -> None:
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


def test_ptx_coefficient_zero_is_plain_ppo(tmp_path) -> None:
    with_texts = train(tmp_path / "a")
    without = train(tmp_path / "b", pretraining=())
    assert same(with_texts.policy, without.policy)
    assert with_texts.history == without.history
    mixed = train(tmp_path / "c", dataclasses.replace(SMALL, ptx_coefficient=1.0))
    assert not same(with_texts.policy, mixed.policy)
    assert mixed.history[0]["ptx_loss"] > 0
    with pytest.raises(UserError, match="needs pretraining texts"):
        train(tmp_path / "d", dataclasses.replace(SMALL, ptx_coefficient=1.0), pretraining=TEXTS[-1:])


def test_tokens_after_the_end_of_text_change_nothing(tmp_path) -> None:
    def noisy(policy, prompts, n, key):
        drawn = sample(policy, prompts, n, key)
        return [[[*r[: r.index(EOS) + 1], 13, 14] if EOS in r else r for r in own] for own in drawn]

    plain = train(tmp_path / "plain")
    other = train(tmp_path / "noisy", sampler=noisy)
    assert any(line["finished"] > 0 for line in plain.history)
    assert same(plain.policy, other.policy)


class Killed(Exception):
    pass


FULL = dataclasses.replace(SMALL, iterations=4, save_every=2, ptx_coefficient=0.5, epochs=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> PPOResult:
    return train(tmp_path_factory.mktemp("whole"), FULL)


def killed_and_resumed(folder: Path, kill_after: int, run_class: type[Run] = Run) -> PPOResult:
    def progress(done: int, total: int, metrics: object) -> None:
        if done == kill_after:
            raise Killed

    with pytest.raises(Killed):
        train(folder, FULL, progress=progress)
    return train(folder, FULL, run=run_class(folder, FULL))


@pytest.mark.parametrize("kill_after", [1, 2, 3])
def test_resuming_is_bit_identical(tmp_path, whole, kill_after: int) -> None:
    resumed = killed_and_resumed(tmp_path / "killed", kill_after)
    assert same(whole.policy, resumed.policy)
    assert same(whole.value, resumed.value)
    assert same(whole.ema, resumed.ema)
    assert whole.history == resumed.history
    assert [line["step"] for line in resumed.history] == [1, 2, 3, 4]


@pytest.mark.parametrize("forget", ["policy", "value", "ema", "optimizers"])
def test_forgetting_any_state_is_noticed(tmp_path, whole, forget: str) -> None:
    class Forgetful(Run):
        def restore(self, modules, optimizers=None):
            kept = {name: module for name, module in modules.items() if name != forget}
            return super().restore(kept, {} if forget == "optimizers" else optimizers)

    resumed = killed_and_resumed(tmp_path / "killed", 3, Forgetful)
    kept = [same(getattr(whole, name), getattr(resumed, name)) for name in ("policy", "value", "ema")]
    assert not all(kept)


def test_a_run_of_another_policy_is_refused(tmp_path) -> None:
    train(tmp_path)
    with pytest.raises(UserError, match="another policy"):
        train(tmp_path, policy=llama(seed=8))


def test_the_average_trails_the_policy(tmp_path) -> None:
    start = dict(llama().named_parameters())
    config = dataclasses.replace(SMALL, iterations=1, minibatches=1, ema_decay=0.75)
    result = train(tmp_path / "on", config)
    ends = dict(result.policy.named_parameters())
    for name, average in result.ema.named_parameters():
        torch.testing.assert_close(average, 0.75 * start[name] + 0.25 * ends[name], atol=1e-6, rtol=1e-5)
    assert train(tmp_path / "off", dataclasses.replace(config, ema_decay=None)).ema is None


def test_the_reward_model_is_left_alone_and_the_warmup_starts_at_a_tenth(tmp_path) -> None:
    model = reward_model()
    before = copy.deepcopy(model)
    config = dataclasses.replace(SMALL, warmup_iterations=2)
    result = train_ppo(llama(), model, PROMPTS, sample, score, config, Run(tmp_path, config), eos_id=EOS)
    assert same(before, model)
    assert not same(model, result.value)
    rates = [line["learning_rate"] / config.policy_learning_rate for line in result.history]
    assert rates == pytest.approx([0.1, 0.55, 1.0])


def test_an_unfinished_response_may_get_a_score_of_its_own(tmp_path) -> None:
    config = dataclasses.replace(SMALL, iterations=1, missing_eos_score=-100.0)
    line = train(tmp_path, config).history[0]
    assert line["finished"] < 1
    assert line["reward"] < -100 * (1 - line["finished"]) + 10
    assert line["score"] >= 0


def test_non_finite_training_stops_with_a_diagnosis(tmp_path) -> None:
    config = dataclasses.replace(SMALL, policy_learning_rate=1e30, warmup_iterations=0)

    def steady(policy, prompts, n, key):
        return [[[7, EOS], [8, EOS], [9, EOS]] for _ in prompts]

    with pytest.raises(UserError, match="non-finite in iteration") as caught:
        train(tmp_path, config, sampler=steady)
    assert "\n" not in str(caught.value)


def test_bad_settings_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="no multiple"):
        PPOConfig(prompts_per_batch=10, minibatches=4)
    with pytest.raises(UserError, match="at least one prompt"):
        train_ppo(llama(), reward_model(), [], sample, score, SMALL, Run(tmp_path, SMALL), eos_id=EOS)


def test_it_learns_to_say_a_token(tmp_path) -> None:
    config = PPOConfig.tiny(
        iterations=12, prompts_per_batch=4, rollouts_per_prompt=8, minibatches=2, policy_learning_rate=1e-2,
        value_learning_rate=1e-2, kl_coefficient=0.01, warmup_iterations=1, save_every=100,
    )  # fmt: skip
    history = train(tmp_path, config).history
    first, last = (np.mean([line["score"] for line in part]) for part in (history[:3], history[-3:]))
    assert last > first + 1.5
    assert history[-1]["kl"] > 0.5
    assert history[-1]["entropy"] < history[0]["entropy"]
