"""PPO: bookkeeping, what stops it, rollouts in flight, and that it learns; the rest is in the InstructGPT checks."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from momus.errors import UserError
from momus.lm.forward import token_values
from momus.runtime.costs import PETAFLOP_DAY, shape_of, summary, work_of
from momus.runtime.runs import Run
from momus.train import ppo as ppo_module
from momus.train.advantages import gae
from momus.train.ppo import PPOResult, train_policy
from momus.train.rollout import Response, engine_sampler, reward_scorer, roll_out
from momus.train.settings import PPOConfig
from support.stages import EOS, FULL, PROMPTS, SMALL, TEXTS, ppo, reward_model, same, sample, score
from support.tiny import llama, tiny_engine


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=6), st.floats(0, 1))
def test_gae_limits(steps: list[tuple[float, float]], gamma: float) -> None:
    rewards, values = (np.array([column]) for column in zip(*steps, strict=True))
    mask, n = np.ones_like(rewards, dtype=bool), len(steps)
    after = np.append(values[0, 1:], 0.0)
    np.testing.assert_allclose(gae(rewards, values, mask, gamma, 0.0)[0], rewards[0] + gamma * after - values[0])
    to_go = [sum(gamma ** (k - t) * rewards[0, k] for k in range(t, n)) for t in range(n)]
    np.testing.assert_allclose(gae(rewards, values, mask, gamma, 1.0)[0], to_go - values[0], atol=1e-9)


# Rollouts


def test_bad_samplers_and_scores_are_refused() -> None:
    good = [[[4, EOS]]]
    for drawn, value, message in [
        ([], [0.0], "must return 1 responses"),
        ([[[]]], [0.0], "empty response"),
        ([[Response([4, EOS], [-1.0])]], [0.0], "one log-probability for each token"),
        (good, [math.nan], "finite"),
        (good, [0.0, 1.0], "finite number"),
    ]:
        with pytest.raises(UserError, match=message):
            roll_out(None, [[1]], lambda *_, d=drawn: d, lambda *_, v=value: v, 1, (0, 0), {EOS})


def test_reward_scorer() -> None:
    model = reward_model()
    responses = [[[4, EOS], [5, 6, EOS]], [[EOS], [9]]]
    actual = np.asarray(reward_scorer(model)(PROMPTS[:2], responses))
    assert actual.shape == (2, 2)
    with torch.no_grad():
        states = model.backbone(torch.tensor([[1, 5, 5, 6, EOS]])).last_hidden_state[0, -1]
        assert actual[0, 1] == pytest.approx(model(states).item(), abs=1e-5)


def test_how_far_the_sampler_is_from_the_trainer_is_measured_and_changes_nothing(tmp_path) -> None:
    @torch.no_grad()
    def says(shift: float):
        def sampler(policy, prompts, n, key):
            drawn = sample(policy, prompts, n, key)
            result = []
            for prompt, item in zip(prompts, drawn, strict=True):
                result.append([])
                for response in item:
                    row = torch.tensor([[*prompt, *response]])
                    logprobs = policy(row).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
                    returned = logprobs.gather(1, torch.tensor(response)[:, None]).squeeze(1) + shift
                    result[-1].append(Response(response, [*returned[:-1].tolist(), math.nan]))
            return result

        return sampler

    silent = ppo(tmp_path / "silent")
    assert all("sampler_gap" not in line for line in silent.history)
    for shift in (0.0, 0.25):
        result = ppo(tmp_path / f"{shift}", sampler=says(shift))
        assert [line["sampler_gap"] for line in result.history] == pytest.approx([shift] * 3, abs=1e-5)
        assert same(result.policy, silent.policy)


@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_the_engine_says_what_the_trainer_computes(tmp_path, temperature: float) -> None:
    engine = tiny_engine()
    config = dataclasses.replace(SMALL, iterations=2, temperature=temperature)
    prompts = [engine.encode(text, bos=True) for text in ("def f(items):", "total", "for x")]
    result = train_policy(
        engine.model, None, prompts, engine_sampler(engine, 6, temperature), score, config, Run(tmp_path, config),
        eos_id=engine.tokenizer.eos_token_id,
    )  # fmt: skip
    gaps = [line.get("sampler_gap") for line in result.history]
    # At another temperature the engine's numbers are of another distribution, and are not compared.
    assert gaps == ([pytest.approx(0, abs=1e-4)] * 2 if temperature == 1 else [None] * 2)


# Rollouts in flight


def killed_while_learning(folder, monkeypatch, iteration: int) -> None:
    """Sample, keep, and die before an iteration's first step."""

    class Killed(Exception):
        pass

    original = ppo_module._PPO.iterate

    def iterate(self, batch, number):
        if number == iteration:
            raise Killed
        return original(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(ppo_module._PPO, "iterate", iterate)
        with pytest.raises(Killed):
            ppo(folder, FULL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> PPOResult:
    return ppo(tmp_path_factory.mktemp("whole"), FULL)


@pytest.mark.parametrize("iteration", [0, 1, 3])
def test_what_was_sampled_before_a_kill_is_not_sampled_again(tmp_path, monkeypatch, whole, iteration: int) -> None:
    killed_while_learning(tmp_path, monkeypatch, iteration)
    asked = []

    def spy(policy, prompts, n, key):
        asked.append(key[1])
        return sample(policy, prompts, n, key)

    resumed = ppo(tmp_path, FULL, sampler=spy)
    assert asked == list(range(iteration + 1, FULL.iterations))
    assert same(resumed.policy, whole.policy)
    assert resumed.history == whole.history
    # Kept are those since the oldest checkpoint.
    assert sorted(path.name for path in (tmp_path / "rollouts").iterdir()) == ["2", "3"]


def test_rollouts_of_other_prompts_or_damaged_are_sampled_again(tmp_path, monkeypatch, whole) -> None:
    for name in ("other", "damaged"):
        killed_while_learning(tmp_path / name, monkeypatch, 0)
    with next((tmp_path / "damaged/rollouts/0").glob("*.safetensors")).open("ab") as file:
        file.write(b"x")
    assert same(ppo(tmp_path / "damaged", FULL).policy, whole.policy)
    new = ppo(tmp_path / "other", FULL, prompts=PROMPTS[:2])
    assert same(new.policy, ppo(tmp_path / "fresh", FULL, prompts=PROMPTS[:2]).policy)
    assert not same(new.policy, whole.policy)


def test_rollouts_of_another_policy_are_not_touched(tmp_path, monkeypatch, whole) -> None:
    killed_while_learning(tmp_path, monkeypatch, 0)
    other = ppo(tmp_path, FULL, policy=llama(seed=8))
    assert same(other.policy, ppo(tmp_path / "fresh", FULL, policy=llama(seed=8)).policy)


# What a checkpoint holds


class Killed(Exception):
    pass


def killed_and_resumed(folder, kill_after: int, run_class: type[Run]) -> PPOResult:
    def progress(done: int, total: int, metrics: object) -> None:
        if done == kill_after:
            raise Killed

    with pytest.raises(Killed):
        ppo(folder, FULL, progress=progress)
    return ppo(folder, FULL, run=run_class(folder, FULL))


@pytest.mark.parametrize("forget", ["policy", "value", "ema", "optimizers", "beta"])
def test_forgetting_any_state_is_noticed(tmp_path, whole, forget: str) -> None:
    class Forgetful(Run):
        def restore(self, modules, optimizers=None):
            kept = {name: module for name, module in modules.items() if name != forget}
            step, state = super().restore(kept, {} if forget == "optimizers" else optimizers)
            return step, {**state, **({"beta": FULL.kl_coefficient} if forget == "beta" else {})}

    resumed = killed_and_resumed(tmp_path / "killed", 3, Forgetful)
    kept = [same(getattr(whole, name), getattr(resumed, name)) for name in ("policy", "value", "ema")]
    assert not all(kept)
    assert (resumed.history == whole.history) is (forget == "ema")


def test_a_run_of_other_models_is_refused(tmp_path) -> None:
    ppo(tmp_path)
    with pytest.raises(UserError, match="another policy"):
        ppo(tmp_path, policy=llama(seed=8))
    with pytest.raises(UserError, match="another reward model"):
        ppo(tmp_path, reward=reward_model(seed=6))


# What stops it


def steady(policy, prompts, n, key):
    return [[[7, EOS], [8, EOS], [9, EOS]] for _ in prompts]


def test_non_finite_training_stops_with_a_diagnosis(tmp_path) -> None:
    config = dataclasses.replace(SMALL, policy_learning_rate=1e30, warmup_iterations=0)
    with pytest.raises(UserError, match="non-finite in iteration") as caught:
        ppo(tmp_path / "a", config, sampler=steady)
    assert "\n" not in str(caught.value)
    assert "learning rate" in str(caught.value)
    assert "mend that and start in another directory" in str(caught.value)

    class Blows:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, prompts, responses):
            self.calls += 1
            return np.full((len(prompts), 3), 1e38 if self.calls == 3 else 1.0)

    config = dataclasses.replace(SMALL, iterations=4)
    with pytest.raises(UserError) as caught:
        ppo(tmp_path / "b", config, sampler=steady, scorer=Blows())
    printed = str(caught.value)
    assert "value_loss inf" in printed and "rewards are far from 1" in printed
    assert "\n" not in printed
    with pytest.raises(UserError) as caught:
        ppo(tmp_path / "b", config, sampler=steady)  # a reward that is mended: what it gave before is kept
    assert str(caught.value) == printed and "The same command ends here again" in printed


def test_a_policy_that_runs_away_is_stopped(tmp_path) -> None:
    config = dataclasses.replace(SMALL, policy_learning_rate=0.3, warmup_iterations=0, kl_limit=5.0)
    with pytest.raises(UserError, match="beyond kl_limit 5") as caught:
        ppo(tmp_path / "a", config)
    assert "learning rate is too high or kl_coefficient too small" in str(caught.value)
    assert "start in another directory" in str(caught.value)
    assert len(ppo(tmp_path / "b", dataclasses.replace(config, kl_limit=None)).history) == 3
    assert PPOConfig().kl_limit == 200.0


def test_responses_that_are_not_the_policys_own_are_noticed(tmp_path) -> None:
    """A trained policy finds what the untrained one wrote unlikely: the estimate of the KL falls below 0."""
    start = llama()

    def stale(policy, prompts, n, key):
        return sample(start, prompts, n, key)

    config = dataclasses.replace(SMALL, policy_learning_rate=0.1, warmup_iterations=0, kl_limit=3.0)
    with pytest.raises(UserError, match="sampler draws from another distribution"):
        ppo(tmp_path, config, sampler=stale)


def test_bad_settings_are_refused(tmp_path) -> None:
    for settings, message in [
        ({"prompts_per_batch": 10, "minibatches": 4}, "no multiple"),
        ({"missing_eos_score": -1.0, "missing_eos_penalty": 1.0}, "set one of them"),
        ({"kl_target": 0.0}, "above 0"),
        ({"kl_target": 6.0, "kl_horizon": 0.0}, "above 0"),
        ({"ptx_coefficient": -1.0}, "ptx_coefficient -1.0: must be at least 0"),
    ]:
        with pytest.raises(UserError, match=message):
            PPOConfig(**settings)
    with pytest.raises(UserError, match="at least one prompt"):
        ppo(tmp_path, prompts=[])
    with pytest.raises(UserError, match="needs pretraining texts"):
        ppo(tmp_path / "d", dataclasses.replace(SMALL, ptx_coefficient=1.0), pretraining=TEXTS[-1:])


# What it does


def test_every_iteration_says_what_it_cost(tmp_path) -> None:
    config = dataclasses.replace(SMALL, iterations=1, epochs=2, ptx_coefficient=1.0)
    batches = []

    def spy(policy, prompts, n, key):
        drawn = sample(policy, prompts, n, key)
        batches.append((prompts, drawn))
        return drawn

    text = [TEXTS[0]]
    result = ppo(tmp_path, config, sampler=spy, pretraining=text)
    batch = roll_out(None, batches[0][0], lambda *_: batches[0][1], score, 3, (0, 0), {EOS})
    policy, value = (shape_of(net).forward(work_of(batch.trees)) for net in (result.policy, result.value))
    texts = config.epochs * len(batch.scores) * config.ptx_per_episode
    learned = texts * shape_of(result.policy).forward(work_of(ppo_module.trees_from_rows(text)))
    # Sampled, and three networks of no gradient; the reward model; then three passes' worth for each of two epochs.
    expected = policy * (1 + 2 + 3 * 2) + value * (1 + 1 + 3 * 2) + 3 * learned
    assert result.history[0]["flops"] == pytest.approx(expected, rel=1e-12)
    assert summary(result.history)["petaflop_s_days"] == pytest.approx(expected / PETAFLOP_DAY)


def test_it_learns_to_say_a_token(tmp_path) -> None:
    config = PPOConfig.tiny(
        iterations=12, prompts_per_batch=4, rollouts_per_prompt=8, minibatches=2, policy_learning_rate=1e-2,
        value_learning_rate=1e-2, kl_coefficient=0.01, warmup_iterations=1, save_every=100,
    )  # fmt: skip
    history = ppo(tmp_path, config).history
    first, last = (np.mean([line["score"] for line in part]) for part in (history[:3], history[-3:]))
    assert last > first + 1.5
    assert history[-1]["kl"] > 0.5
    assert history[-1]["entropy"] < history[0]["entropy"]


@pytest.mark.parametrize("values", [[0.1, 0.5, 0.3, 0.5], [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
def test_the_policy_of_the_best_checkpoint_stays_also_after_a_kill(tmp_path, monkeypatch, values) -> None:
    config = dataclasses.replace(SMALL, iterations=4, save_every=1, ema_decay=None)
    best = 1 + values.index(max(values))
    wanted = ppo(tmp_path / "short", dataclasses.replace(config, iterations=best)).policy

    def measures():
        seen = iter(values)
        return lambda policy: next(seen)

    whole = ppo(tmp_path / "whole", config, measure=measures())
    assert whole.kept == best and same(whole.policy, wanted)
    assert [line["held_out_score"] for line in whole.history] == values

    class Killed(Exception):
        pass

    def die(self, step, value):
        raise Killed

    seen = measures()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ppo_module.BestCheckpoint, "offer", die)  # between the checkpoint and what is kept of it
        ppo(tmp_path / "killed", config, measure=seen)
    again = ppo(tmp_path / "killed", config, measure=seen)
    assert again.kept == best and same(again.policy, wanted)
    assert ppo(tmp_path / "last", config).kept == 4


def test_the_value_network_keeps_nothing_for_its_backward_pass_beside_the_policys(tmp_path, monkeypatch) -> None:
    """Its forward pass begins when the policy's backward pass is over: half the memory."""
    policy, seen = llama(), []

    def after(model, trees):
        if torch.is_grad_enabled():
            seen.append(all(parameter.grad is not None for parameter in policy.parameters()))
        return token_values(model, trees)

    monkeypatch.setattr("momus.train.ppo.token_values", after)
    ppo(tmp_path, dataclasses.replace(SMALL, iterations=1), policy=policy)
    assert seen == [True] * SMALL.minibatches


@pytest.mark.parametrize(
    "name",
    [
        *("iterations", "prompts_per_batch", "rollouts_per_prompt", "minibatches", "epochs"),
        *("ptx_per_episode", "token_budget", "save_every"),
    ],
)
def test_no_number_of_steps_is_zero(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} 0: must be at least 1"):
        PPOConfig(**{name: 0})
    with pytest.raises(UserError, match="temperature"):
        PPOConfig(temperature=0.0)
