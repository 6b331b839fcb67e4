"""PPO with a KL penalty and, optionally, pretraining gradients (InstructGPT, arXiv 2203.02155, §3.5 and C.4).

The environment is a bandit: a prompt, one response, one score. Each iteration

1. samples `rollouts_per_prompt` responses to each prompt of the batch from the policy, and scores them;
2. pays every token ``-kl_coefficient * (log pi - log pi_ref)`` and the last action the score besides;
3. estimates advantages with GAE from a separate value network that started as the reward model;
4. goes over the batch in minibatches, one optimizer step each, on

       policy:  mean over tokens of max( -A * ratio, -A * clip(ratio, 1 - eps, 1 + eps) )
       value:   mean over tokens of 0.5 * max( (V - R)^2, (V_old + clip(V - V_old, -eps, eps) - R)^2 )

   and with PPO-ptx the gradient of ``ptx_coefficient`` times the language-model loss on pretraining text is
   added to the policy's before the step.

Details that decide whether it works:

- Dropout is off for every network.
- Means are over the tokens of a *minibatch*, however it is cut to fit memory.
- The batch is cut before anything is computed and the first pass uses the same cut, so at the first step the
  ratio is exactly 1, and the KL before any step exactly 0.
- What follows the end-of-text token is dropped before scoring. A response that never ends is scored as it is
  (or by `missing_eos_score`) and ends the episode all the same: nothing is bootstrapped.
- The temperature divides the logits of policy, old policy and reference alike.
- Every random choice is keyed by seed and iteration, so a run continues bit for bit from any checkpoint.

Differences from the paper: the two networks need not differ in size; advantages are whitened, which the paper
does not mention, nor the gradient clipping it inherits from GPT-3; AdamW without weight decay.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from momus.errors import UserError
from momus.lm.forward import token_logprobs, token_values, trees_from_rows
from momus.lm.models import RewardModel
from momus.lm.tree import pack
from momus.train.advantages import gae, token_rewards, whiten
from momus.train.rollout import Batch, Sample, Score, prompt_indices, roll_out
from momus.train.runs import Progress, Run, fingerprint


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO; the defaults are InstructGPT's (C.4) unless a field says otherwise."""

    iterations: int = 500
    """Batches sampled; 500 x 512 = 256k episodes."""
    prompts_per_batch: int = 512
    """Prompts in a batch. With `rollouts_per_prompt` it makes the 512 episodes."""
    rollouts_per_prompt: int = 1
    """Responses per prompt, branches of one tree. Not stated: the paper counts episodes only."""
    minibatches: int = 8
    """Optimizer steps per pass over a batch: 8 of 64 episodes."""
    epochs: int = 1
    """Passes over each batch ("inner epochs")."""
    policy_learning_rate: float = 8e-6
    """Peak. Not stated; without pretraining gradients everything above 8.05e-6 diverged (E)."""
    value_learning_rate: float = 9e-6
    """Peak, for the 1.3B and 6B policies."""
    warmup_iterations: int = 10
    """Learning rates rise over these from one tenth of the peak, then stay."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Adam's moments (C)."""
    max_grad_norm: float = 1.0
    """Clip each network's global gradient norm, as GPT-3 did (arXiv 2005.14165, B); not stated."""
    kl_coefficient: float = 0.02
    """Beta of the per-token KL penalty."""
    clip: float = 0.2
    """Clip range of the ratio, and of the value (C.4 names one number)."""
    discount: float = 1.0
    """GAE's gamma: no discount."""
    gae_lambda: float = 0.95
    """GAE's lambda (arXiv 1506.02438); not stated."""
    temperature: float = 1.0
    """Of the rollouts, and of every log-probability."""
    whiten_advantages: bool = True
    """Give the batch's advantages mean 0 and variance 1 (biased); from arXiv 1909.08593's code."""
    whiten_rewards: bool = False
    """Divide the batch's token rewards by their standard deviation, mean kept."""
    missing_eos_score: float | None = None
    """Score of a response that never ends, in place of its own; None keeps it."""
    ptx_coefficient: float = 0.0
    """Gamma of PPO-ptx: 27.8 in the paper; 0 is plain PPO and touches no pretraining text."""
    ptx_per_episode: int = 8
    """Pretraining examples per episode."""
    ema_decay: float | None = 0.992
    """Decay, per optimizer step, of the averaged weights; None keeps no average."""
    seed: int = 0
    """Keys every random choice."""
    token_budget: int = 8192
    """Tokens in one forward pass: memory, not results."""
    save_every: int = 10
    """Iterations between checkpoints."""

    @classmethod
    def tiny(cls, **changes: Any) -> PPOConfig:
        """Settings for a policy of some million parameters on two CPU cores."""
        small: dict[str, Any] = {
            "iterations": 20,
            "prompts_per_batch": 16,
            "rollouts_per_prompt": 4,
            "minibatches": 4,
            "policy_learning_rate": 1e-4,
            "value_learning_rate": 3e-4,
            "warmup_iterations": 3,
            "kl_coefficient": 0.05,
            "ptx_per_episode": 1,
            "token_budget": 2048,
        }
        return cls(**{**small, **changes})

    def __post_init__(self) -> None:
        if self.prompts_per_batch % self.minibatches:
            raise UserError(
                f"prompts_per_batch {self.prompts_per_batch} is no multiple of minibatches {self.minibatches}"
            )


class PPOResult(NamedTuple):
    """The trained policy, its averaged copy (None if off), the value network, all metrics."""

    policy: Any
    ema: Any
    value: RewardModel
    history: list[dict[str, Any]]


def policy_loss(logprobs: Tensor, old: Tensor, advantages: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Clipped surrogate per token (arXiv 1707.06347, equation 7), negated, and the ratio; all [T]."""
    ratio = (logprobs - old).exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)), ratio


def value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Squared error per token with the change of the value clipped, the worse of the two; all [T]."""
    clipped = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)


@dataclass(frozen=True)
class _Data:
    """What the losses need, [E, T] float32, and the iteration's metrics."""

    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    metrics: dict[str, float]

    def at(self, name: str, where: tuple[Tensor, Tensor], model: Any) -> Tensor:
        """Return some cells of a field, on a model's device."""
        field: Tensor = getattr(self, name)
        return field[where].to(model.device)


def train_ppo(
    policy: Any,
    reward_model: RewardModel,
    prompts: Sequence[Sequence[int]],
    sample: Sample,
    score: Score,
    config: PPOConfig,
    run: Run,
    *,
    eos_id: int,
    pretraining: Sequence[Sequence[int]] = (),
    progress: Progress | None = None,
) -> PPOResult:
    """Train `policy` in place, continuing where `run` stopped.

    Args:
        policy: A causal language model. As it is on entry it is also the KL reference, so a continued run
            must be given the same one.
        reward_model: What the value network starts as; it is copied.
        prompts: Tokenised prompts.
        sample: ``sample(policy, prompts, n, (seed, iteration))`` draws n responses to each prompt at
            `config.temperature`, each ending in `eos_id` when finished. It must depend on nothing else.
        score: ``score(prompts, responses)`` returns float [prompts, n].
        config: All settings.
        run: Where checkpoints and metrics go.
        eos_id: The end-of-text token.
        pretraining: Tokenised texts for PPO-ptx.
        progress: Called after every iteration.

    Raises:
        UserError: There is no prompt, or pretraining text is missing, or training became non-finite.
    """
    if not prompts:
        raise UserError("PPO needs at least one prompt")
    texts = [text for text in pretraining if len(text) > 1]
    if config.ptx_coefficient and not texts:
        raise UserError("PPO-ptx (ptx_coefficient above 0) needs pretraining texts of at least two tokens")
    trainer = _Trainer(policy, reward_model, config, texts)
    start = trainer.restore(run)
    for iteration in range(start, config.iterations):
        key = (config.seed, iteration)
        chosen = [prompts[i] for i in prompt_indices(len(prompts), config.prompts_per_batch, key)]
        batch = roll_out(policy, chosen, sample, score, config.rollouts_per_prompt, key, eos_id)
        metrics = trainer.iterate(batch, iteration)
        run.log(iteration + 1, **metrics)
        if (iteration + 1) % config.save_every == 0 or iteration + 1 == config.iterations:
            trainer.save(run, iteration + 1)
        if progress:
            progress(iteration + 1, config.iterations, metrics)
    return PPOResult(policy, trainer.ema, trainer.value, run.history())


class _Trainer:
    """The networks, their optimizers, and what one iteration does with them."""

    def __init__(self, policy: Any, reward_model: RewardModel, config: PPOConfig, texts: list[Sequence[int]]) -> None:
        self.config, self.texts = config, texts
        self.policy = policy.eval()
        self.reference = copy.deepcopy(policy).requires_grad_(False)
        self.value: RewardModel = copy.deepcopy(reward_model).eval().requires_grad_(True)
        self.ema = None if config.ema_decay is None else copy.deepcopy(self.reference)
        settings: dict[str, Any] = {"betas": config.betas, "weight_decay": 0.0}
        self.optimizers = {
            "policy": torch.optim.AdamW(policy.parameters(), lr=config.policy_learning_rate, **settings),
            "value": torch.optim.AdamW(self.value.parameters(), lr=config.value_learning_rate, **settings),
        }
        self.modules: dict[str, nn.Module] = {"policy": policy, "value": self.value}
        if self.ema is not None:
            self.modules["ema"] = self.ema
        self.start = fingerprint(policy)

    def restore(self, run: Run) -> int:
        """Load the newest checkpoint, if any; return the iterations done."""
        restored = run.restore(self.modules, self.optimizers)
        if restored is None:
            return 0
        if restored[1]["start"] != self.start:
            raise UserError(f"{run.path} was started from another policy: use that one or another directory")
        return restored[0]

    def save(self, run: Run, iteration: int) -> None:
        run.save(iteration, self.modules, self.optimizers, {"start": self.start})

    def iterate(self, batch: Batch, iteration: int) -> dict[str, float]:
        """Learn from one batch; returns its metrics."""
        config = self.config
        scale = min(1.0, 0.1 + 0.9 * iteration / max(1, config.warmup_iterations))
        for name, peak in (("policy", config.policy_learning_rate), ("value", config.value_learning_rate)):
            for group in self.optimizers[name].param_groups:
                group["lr"] = peak * scale
        passes = [self._cut(batch, iteration, epoch) for epoch in range(config.epochs)]
        data = self._evaluate(batch, passes[0])
        steps = [
            self._step(batch, data, groups, (iteration, epoch, index))
            for epoch, minibatches in enumerate(passes)
            for index, groups in enumerate(minibatches)
        ]
        means = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
        return {**data.metrics, **means, "learning_rate": config.policy_learning_rate * scale}

    def _cut(self, batch: Batch, iteration: int, epoch: int) -> list[list[list[int]]]:
        """Cut a batch's trees into minibatches, and each into groups that fit one forward pass."""
        order = np.random.default_rng((self.config.seed, iteration, epoch)).permutation(len(batch.trees))
        minibatches = []
        for part in np.array_split(order, self.config.minibatches):
            groups = pack([len(batch.trees[i]) for i in part], self.config.token_budget)
            minibatches.append([[int(part[i]) for i in group] for group in groups])
        return minibatches

    @torch.no_grad()
    def _evaluate(self, batch: Batch, minibatches: list[list[list[int]]]) -> _Data:
        """Compute what the losses need of the policy as it was when it sampled, before any step."""
        shape = batch.mask.shape
        logprobs, reference, values, entropies = (torch.zeros(shape) for _ in range(4))
        for group in (group for groups in minibatches for group in groups):
            trees, where = [batch.trees[i] for i in group], batch.cells(group)
            own = token_logprobs(self.policy, trees, self.config.temperature, entropies=True)
            assert own.entropies is not None
            logprobs[where], entropies[where] = own.logprobs.cpu(), own.entropies.cpu()
            reference[where] = token_logprobs(self.reference, trees, self.config.temperature).logprobs.cpu()
            values[where] = token_values(self.value, trees).cpu()
        return _evaluate_batch(batch, logprobs, reference, values, entropies, self.config)

    def _step(self, batch: Batch, data: _Data, groups: list[list[int]], key: tuple[int, int, int]) -> dict[str, float]:
        """One optimizer step of both networks on one minibatch, accumulated over its groups."""
        config = self.config
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        tokens = sum(int(batch.mask[batch.rows(group)].sum()) for group in groups)
        sums = dict.fromkeys(("policy_loss", "value_loss", "clip_fraction", "approx_kl", "ratio"), 0.0)
        for group in groups:
            trees, where = [batch.trees[i] for i in group], batch.cells(group)
            old, advantages = (
                data.at("logprobs", where, self.policy),
                data.at("advantages", where, self.policy),
            )
            losses, ratio = policy_loss(
                token_logprobs(self.policy, trees, config.temperature).logprobs, old, advantages, config.clip
            )
            old_values, returns = (
                data.at("values", where, self.policy),
                data.at("returns", where, self.policy),
            )
            errors = value_loss(token_values(self.value, trees), old_values, returns, config.clip)
            ((losses.sum() + errors.sum()) / tokens).backward()  # type: ignore[no-untyped-call]
            ratio = ratio.detach()
            sums["policy_loss"] += losses.sum().item()
            sums["value_loss"] += errors.sum().item()
            sums["clip_fraction"] += ((ratio - 1).abs() > config.clip).sum().item()
            sums["approx_kl"] += (ratio - 1 - ratio.log()).sum().item()
            sums["ratio"] += ratio.sum().item()
        metrics = {name: total / tokens for name, total in sums.items()}
        if config.ptx_coefficient:
            episodes = sum(len(batch.rows(group)) for group in groups)
            metrics["ptx_loss"] = self._add_ptx_gradient(episodes, key)
        for name in self.optimizers:
            norm = nn.utils.clip_grad_norm_(self.modules[name].parameters(), config.max_grad_norm)
            metrics[f"{name}_grad_norm"] = norm.item()
        _require_finite(metrics, key, data)
        for optimizer in self.optimizers.values():
            optimizer.step()
        self._update_ema()
        return metrics

    def _add_ptx_gradient(self, episodes: int, key: tuple[int, int, int]) -> float:
        """Accumulate the gradient of the weighted language-model loss, a token mean; returns that loss."""
        rng = np.random.default_rng((self.config.seed, *key, 1))
        drawn = rng.integers(len(self.texts), size=episodes * self.config.ptx_per_episode)
        trees = trees_from_rows(self.texts[i] for i in drawn)
        tokens, total = sum(len(tree) - 1 for tree in trees), 0.0
        for group in pack([len(tree) for tree in trees], self.config.token_budget):
            loss = -token_logprobs(self.policy, [trees[i] for i in group]).logprobs.sum() / tokens
            (self.config.ptx_coefficient * loss).backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total

    @torch.no_grad()
    def _update_ema(self) -> None:
        if self.ema is None or self.config.ema_decay is None:
            return
        for average, parameter in zip(self.ema.parameters(), self.policy.parameters(), strict=True):
            average.lerp_(parameter, 1 - self.config.ema_decay)


def _evaluate_batch(
    batch: Batch, logprobs: Tensor, reference: Tensor, values: Tensor, entropies: Tensor, config: PPOConfig
) -> _Data:
    """Turn log-probabilities and values, all float32 [E, T], into advantages and returns."""
    mask, lengths = batch.mask, batch.mask.sum(1)
    kl = (logprobs - reference).double().numpy()
    scores = batch.scores
    if config.missing_eos_score is not None:
        scores = np.where(batch.finished, scores, config.missing_eos_score)
    rewards = token_rewards(scores, kl, mask, config.kl_coefficient)
    if config.whiten_rewards:
        rewards = whiten(rewards, mask, shift_mean=False)
    old = values.double().numpy()
    advantages = gae(rewards, old, mask, config.discount, config.gae_lambda)
    returns = advantages + old
    unexplained = advantages[mask].var() / max(returns[mask].var(), 1e-12)
    if config.whiten_advantages:
        advantages = whiten(advantages, mask)
    metrics = {
        "reward": float((scores - config.kl_coefficient * kl.sum(1)).mean()),
        "score": float(batch.scores.mean()),
        "score_std": float(batch.scores.std()),
        "kl": float(kl.sum(1).mean()),
        "entropy": float(entropies.double().numpy()[mask].mean()),
        "length": float(lengths.mean()),
        "finished": float(batch.finished.mean()),
        "explained_variance": float(1 - unexplained),
    }
    targets = torch.from_numpy(np.stack([advantages, returns])).float()
    return _Data(logprobs, values, targets[0], targets[1], metrics)


def _require_finite(metrics: dict[str, float], key: tuple[int, int, int], data: _Data) -> None:
    """Stop before a step that would poison the weights, saying what was seen.

    Raises:
        UserError: A metric is not finite.
    """
    broken = [f"{name} {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        raise UserError(
            f"PPO became non-finite in iteration {key[0] + 1}, minibatch {key[2] + 1}: {', '.join(broken)}; "
            f"score {data.metrics['score']:.3g}, KL {data.metrics['kl']:.3g}, largest advantage "
            f"{data.advantages.abs().max():.3g}: try lower learning rates or a larger kl_coefficient"
        )
