"""Small SFT, reward and PPO stages that tests kill, resume and compare; every draw is keyed or restored."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from momus.lm.chat import Turn
from momus.lm.models import RewardModel
from momus.runtime.runs import Run
from momus.train.ppo import _PPO, PPOResult, train_policy
from momus.train.ppo_networks import PPONetworks
from momus.train.reward import RankedPrompt, train_reward_model
from momus.train.settings import PPOConfig, RewardConfig, SFTConfig
from momus.train.sft import fine_tune
from support.tiny import VOCAB, gpt2, llama

EOS, WANTED, LIMIT = 2, 7, 8
PROMPTS = [[1, 5], [1, 6, 9], [1, 2, 11, 12], [1, 3]]
TEXTS = [[1, 4, 4, 8, 2], [1, 9], [1, 10, 11, 12], [1]]
SMALL = PPOConfig.tiny(
    iterations=3, prompts_per_batch=4, rollouts_per_prompt=3, minibatches=2, save_every=1, kl_coefficient=0.1
)
FULL = dataclasses.replace(
    SMALL, iterations=4, save_every=2, ptx_coefficient=0.5, epochs=2, kl_target=0.5, kl_horizon=20
)
"""Everything that has a state."""


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


def reward_model(seed: int = 5) -> RewardModel:
    torch.manual_seed(seed)
    return RewardModel.from_causal_lm(llama(seed))


def ppo(folder: Path, config: PPOConfig = SMALL, **options) -> PPOResult:
    options = {"policy": llama(), "pretraining": TEXTS, "eos_id": EOS, "reward": reward_model(), **options}
    policy, reward, run = options.pop("policy"), options.pop("reward"), options.pop("run", None) or Run(folder, config)
    sampler, scorer = options.pop("sampler", sample), options.pop("scorer", score)
    prompts = options.pop("prompts", PROMPTS)
    return train_policy(policy, reward, prompts, sampler, scorer, config, run, **options)


def ranking(rng: np.random.Generator, k: int) -> RankedPrompt:
    """Answers ranked by how often token 7 occurs; the prompt holds an end-of-text token."""
    prompt = (1, *rng.integers(3, VOCAB, 4), 2, int(rng.integers(3, VOCAB)))
    branches = [(*rng.choice([7, 8, 9], int(rng.integers(2, 6))), 2) for _ in range(k)]
    ranks = tuple(-float(np.sum(np.array(branch) == 7)) for branch in branches)
    return RankedPrompt(tuple(map(int, prompt)), tuple(tuple(map(int, b)) for b in branches), ranks)


class Forgetful(Run):
    """A run that does not restore the optimizer."""

    def restore(self, modules, optimizers=None):
        return super().restore(modules)


def reward(folder: Path, run_class: type[Run] = Run) -> None:
    """Train a reward model with dropout, which is drawn anew by whoever goes on."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    rankings = [made for made in (ranking(rng, int(rng.integers(4, 10))) for _ in range(24)) if made.pairs()]
    config = RewardConfig.tiny(prompts_per_batch=4, save_every=2)
    train_reward_model(RewardModel.from_causal_lm(gpt2(dropout=0.1)), rankings, config, run_class(folder, config))


def demonstrations(count: int, seed: int = 0, prompts: int = 4) -> list[tuple[Turn, ...]]:
    """Several demonstrations of each of a few prompts; an answer is the prompt's last token, repeated."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        own = np.random.default_rng(index % prompts).integers(3, VOCAB, 5)
        answer = (int(own[-1]),) * int(rng.integers(1, 6))
        made.append((Turn((1, *map(int, own)), (*answer, 2)),))
    return made


def sft(folder: Path) -> None:
    """Fine-tune with everything that is drawn: dropout, texts, a limit to the larger of two tasks."""
    made, tasks = demonstrations(12), ["large"] * 8 + ["small"] * 4
    config = SFTConfig.tiny(
        epochs=2, demonstrations_per_batch=3, dropout=0.2, pretraining_share=0.2, per_task=6, save_every=2
    )
    fine_tune(llama(), made, config, Run(folder, config), tasks=tasks, pretraining=TEXTS, held_out=made[:2])


def run_until(stage: str, folder: Path, kill_at: int | None, forgetful: bool = False) -> None:
    """Run a stage in this process and kill it with SIGKILL at its `kill_at`-th flush to disk."""
    torch.set_num_threads(1)
    random.seed(0), np.random.seed(0)  # noqa: NPY002 - not drawn from, but part of a checkpoint
    fsync, calls = os.fsync, 0

    def counted(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    os.fsync = counted
    if stage == "sft":
        sft(folder)
    elif stage == "ppo":
        ppo(folder, FULL)
    else:
        reward(folder, Forgetful if forgetful else Run)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def spy_steps(monkeypatch) -> list[dict[str, float]]:
    """Collect the metrics of every optimizer step of PPO."""
    steps: list[dict[str, float]] = []
    original = _PPO._step

    def spy(self, *args):
        steps.append(original(self, *args))
        return steps[-1]

    monkeypatch.setattr(_PPO, "_step", spy)
    return steps


def first_gradients(folder: Path, monkeypatch, config: PPOConfig, **options) -> dict[str, torch.Tensor]:
    """The policy's and the value network's gradients at PPO's first step, unclipped."""
    found: list[dict[str, torch.Tensor]] = []

    class Stop(Exception):
        pass

    def record(metrics, *_):
        found.append({
            f"{name}.{parameter}": tensor.grad.clone()
            for name, module in networks[0].trained.items()
            for parameter, tensor in module.named_parameters()
            if tensor.grad is not None
        })  # fmt: skip
        raise Stop

    networks: list = []
    original = PPONetworks.__init__

    def init(self, *args):
        original(self, *args)
        networks.append(self)

    with monkeypatch.context() as patch:
        patch.setattr(PPONetworks, "__init__", init)
        patch.setattr("momus.train.ppo.require_finite", record)
        with pytest.raises(Stop):
            ppo(folder, dataclasses.replace(config, max_grad_norm=math.inf), **options)
    return found[0]
