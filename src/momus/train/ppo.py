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
  (or see `missing_eos_score`, `missing_eos_penalty`) and ends the episode all the same: nothing is bootstrapped.
- The temperature divides the logits of policy, old policy and reference alike. All three log-probabilities are
  computed here, whoever sampled; how far the sampler's own are off is a metric, `sampler_gap`.
- Every random choice is keyed by seed and iteration, so a run continues bit for bit from any checkpoint, with
  the responses it had already sampled.

Differences from the paper: the two networks need not differ in size; advantages are whitened, which the paper
does not mention, nor the gradient clipping it inherits from GPT-3; AdamW without weight decay.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from momus.errors import UserError
from momus.lm.forward import token_logprobs, token_values, trees_from_rows
from momus.lm.models import RewardModel
from momus.lm.tree import pack
from momus.runtime.adapters import Reference, copy_of, identity, unfreeze, value_of
from momus.runtime.costs import Meter
from momus.runtime.diagnosis import require_finite, require_near
from momus.runtime.processes import finish_gradients, main, share, together, total, totals
from momus.runtime.runs import Progress, Run
from momus.runtime.sharding import gathered, place
from momus.train.advantages import ended, gae, token_rewards, whiten
from momus.train.kl import adapted, k1, k3
from momus.train.rollout import Batch, RolloutStore, Sample, Score, prompt_indices
from momus.train.settings import PPOConfig


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
    advantages: Tensor
    values: Tensor
    returns: Tensor
    metrics: dict[str, float]

    def at(self, where: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, ...]:
        """Return some cells of the four fields, each [cells]."""
        fields = (self.logprobs, self.advantages, self.values, self.returns)
        return tuple(field[where].to(device) for field in fields)


@together()
def train_ppo(
    policy: Any,
    reward_model: RewardModel | None,
    prompts: Sequence[Sequence[int]],
    sample: Sample,
    score: Score,
    config: PPOConfig,
    run: Run,
    *,
    eos_id: int | Collection[int],
    pretraining: Sequence[Sequence[int]] = (),
    progress: Progress | None = None,
) -> PPOResult:
    """Train `policy` in place, continuing where `run` stopped.

    Args:
        policy: A causal language model. As it is on entry it is also the KL reference, so a continued run
            must be given the same one.
        reward_model: What the value network starts as; it is copied. Without one it starts as the policy with a
            head of zeros (arXiv 1909.08593's), for rewards that no such model gives.
        prompts: Tokenised prompts.
        sample: ``sample(policy, prompts, n, (seed, iteration))`` draws n responses to each prompt at
            `config.temperature`, each ending in `eos_id` when finished. It must depend on nothing else.
        score: ``score(prompts, responses)`` returns float [prompts, n].
        config: All settings.
        run: Where checkpoints and metrics go.
        eos_id: The end-of-text token, or all that end a response.
        pretraining: Tokenised texts for PPO-ptx.
        progress: Called after every iteration.

    Raises:
        UserError: There is no prompt, or pretraining text is missing, or training became non-finite, or the KL passed
            its limit.
    """
    if not prompts:
        raise UserError("PPO needs at least one prompt")
    texts = [text for text in pretraining if len(text) > 1]
    if config.ptx_coefficient and not texts:
        raise UserError("PPO-ptx (ptx_coefficient above 0) needs pretraining texts of at least two tokens")
    ends = {eos_id} if isinstance(eos_id, int) else set(eos_id)
    trainer = _Trainer(policy, reward_model, config, texts, run)
    store, done = RolloutStore(run, trainer.start), trainer.restore()
    store.tidy()
    for iteration in range(done, config.iterations):
        key = (config.seed, iteration)
        chosen = [prompts[i] for i in prompt_indices(len(prompts), config.prompts_per_batch, key)]
        with gathered(policy):
            batch = store.roll_out(policy, chosen, sample, score, config.rollouts_per_prompt, key, ends)
        metrics = trainer.iterate(batch, iteration)
        run.log(iteration + 1, **metrics)
        if (iteration + 1) % config.save_every == 0 or iteration + 1 == config.iterations:
            trainer.save(iteration + 1)
            store.tidy()
        if progress and main():
            progress(iteration + 1, config.iterations, metrics)
    return PPOResult(policy, trainer.ema, trainer.value, run.history())


class _Trainer:
    """The networks, their optimizers, and what one iteration does with them."""

    def __init__(
        self, policy: Any, reward_model: RewardModel | None, config: PPOConfig, texts: list[Sequence[int]], run: Run
    ) -> None:
        self.config, self.texts, self.run = config, texts, run
        self.policy = policy.eval()
        self.reference = Reference(policy)
        self.value = unfreeze(copy_of(reward_model) if reward_model else value_of(policy)).eval()
        self.ema = None if config.ema_decay is None else copy_of(policy).requires_grad_(False)
        self.modules: dict[str, nn.Module] = {"policy": policy, "value": self.value}
        self.start = json.dumps({name: identity(module) for name, module in self.modules.items()})
        for module in (policy, self.value, self.reference.model, *([self.ema] if self.ema else [])):
            place(module)
        self.rates = {"policy": config.policy_learning_rate, "value": config.value_learning_rate}
        settings: dict[str, Any] = {"betas": config.betas, "eps": config.adam_eps, "weight_decay": 0.0}
        self.optimizers = {
            name: torch.optim.AdamW(self.modules[name].parameters(), lr=rate, **settings)
            for name, rate in self.rates.items()
        }
        if self.ema is not None:
            self.modules["ema"] = self.ema
        self.beta, self.meter = config.kl_coefficient, Meter()

    def restore(self) -> int:
        """Load the newest checkpoint, if any; return the iterations done."""
        step, state = self.run.restore(self.modules, self.optimizers) or (0, {"start": self.start, "beta": self.beta})
        before, now = json.loads(state["start"]), json.loads(self.start)
        if other := [name for name in now if before[name] != now[name]]:
            what = "reward model" if other == ["value"] else "policy"
            raise UserError(f"{self.run.path} was started from another {what}: use that one or another directory")
        self.beta = state["beta"]
        return step

    def save(self, iteration: int) -> None:
        self.run.save(iteration, self.modules, self.optimizers, {"start": self.start, "beta": self.beta})

    def iterate(self, batch: Batch, iteration: int) -> dict[str, float]:
        """Learn from one batch; returns its metrics."""
        config = self.config
        warm = iteration / config.warmup_iterations if config.warmup_iterations else 1.0
        scale = min(1.0, 0.1 + 0.9 * warm)
        for name, rate in self.rates.items():
            for group in self.optimizers[name].param_groups:
                group["lr"] = rate * scale
        passes = [
            batch.minibatches(config.minibatches, config.token_budget, (config.seed, iteration, epoch))
            for epoch in range(config.epochs)
        ]
        data = self._evaluate(batch, passes[0])
        require_near(data.metrics, config.kl_limit, f"iteration {iteration + 1}")
        steps = [
            self._step(batch, data, groups, (iteration, epoch, index))
            for epoch, minibatches in enumerate(passes)
            for index, groups in enumerate(minibatches)
        ]
        if config.kl_target is not None:
            episodes = len(batch.scores)
            self.beta = adapted(self.beta, data.metrics["kl"], config.kl_target, episodes, config.kl_horizon)
        self.meter.ppo(self.policy, self.value, batch.trees, config.epochs)
        means = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
        rate, flops = self.rates["policy"] * scale, self.meter.read()
        return {**data.metrics, **means, "learning_rate": rate, "flops": flops}

    @torch.no_grad()
    def _evaluate(self, batch: Batch, minibatches: list[list[list[int]]]) -> _Data:
        """Compute what the losses need of the policy as it was when it sampled, before any step."""
        shape = batch.mask.shape
        logprobs, reference, values, entropies = (torch.zeros(shape) for _ in range(4))
        for group, weight in share([group for groups in minibatches for group in groups]):
            trees, where = [batch.trees[i] for i in group], batch.cells(group)
            own = token_logprobs(self.policy, trees, self.config.temperature, entropies=True)
            assert own.entropies is not None
            logprobs[where] += weight * own.logprobs.cpu()
            entropies[where] += weight * own.entropies.cpu()
            reference[where] += weight * self.reference.logprobs(trees, self.config.temperature).cpu()
            values[where] += weight * token_values(self.value, trees).cpu()
        logprobs, reference, values, entropies = total(torch.stack([logprobs, reference, values, entropies])).unbind()
        return _evaluate_batch(batch, logprobs, reference, values, entropies, self.config, self.beta)

    def _step(self, batch: Batch, data: _Data, groups: list[list[int]], key: tuple[int, int, int]) -> dict[str, float]:
        """One optimizer step of both networks on one minibatch, accumulated over its groups."""
        config = self.config
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        tokens = sum(int(batch.mask[batch.rows(group)].sum()) for group in groups)
        sums = dict.fromkeys(("policy_loss", "value_loss", "clip_fraction", "approx_kl", "ratio"), 0.0)
        for group, weight in share(groups):
            trees, where = [batch.trees[i] for i in group], batch.cells(group)
            old, advantages, old_values, returns = data.at(where, self.policy.device)
            # One network after the other: what either keeps for its backward pass is not held beside the other's.
            logprobs = token_logprobs(self.policy, trees, config.temperature).logprobs
            losses, ratio = policy_loss(logprobs, old, advantages, config.clip)
            (weight * losses.sum() / tokens).backward()  # type: ignore[no-untyped-call]
            errors = value_loss(token_values(self.value, trees), old_values, returns, config.clip)
            (weight * errors.sum() / tokens).backward()  # type: ignore[no-untyped-call]
            seen = (losses, errors, (ratio - 1).abs() > config.clip, k3(old, logprobs), ratio)
            for name, values in zip(sums, seen, strict=True):
                sums[name] += weight * values.detach().sum().item()
        metrics = {name: value / tokens for name, value in totals(sums).items()}
        if config.ptx_coefficient:
            episodes = sum(len(batch.rows(group)) for group in groups)
            metrics["ptx_loss"] = self._add_ptx_gradient(episodes, key)
        for name in self.optimizers:
            metrics[f"{name}_grad_norm"] = finish_gradients(self.modules[name], config.max_grad_norm)
        require_finite(metrics, f"iteration {key[0] + 1}, minibatch {key[2] + 1}", data.metrics)
        for optimizer in self.optimizers.values():
            optimizer.step()
        self._update_ema()
        return metrics

    def _add_ptx_gradient(self, episodes: int, key: tuple[int, int, int]) -> float:
        """Accumulate the gradient of the weighted language-model loss, a token mean; returns that loss."""
        rng = np.random.default_rng((self.config.seed, *key, 1))
        drawn = rng.integers(len(self.texts), size=episodes * self.config.ptx_per_episode)
        trees = trees_from_rows(self.texts[i] for i in drawn)
        self.meter.train(self.policy, trees)
        tokens, summed = sum(len(tree) - 1 for tree in trees), 0.0
        for group, weight in share(pack([len(tree) for tree in trees], self.config.token_budget)):
            loss = -weight * token_logprobs(self.policy, [trees[i] for i in group]).logprobs.sum() / tokens
            (self.config.ptx_coefficient * loss).backward()  # type: ignore[no-untyped-call]
            summed += loss.item()
        return totals({"loss": summed})["loss"]

    @torch.no_grad()
    def _update_ema(self) -> None:
        if self.ema is None or self.config.ema_decay is None:
            return
        for average, parameter in zip(self.ema.parameters(), self.policy.parameters(), strict=True):
            if parameter.requires_grad:  # not the base of an adapter, which both share
                average.lerp_(parameter, 1 - self.config.ema_decay)


def _evaluate_batch(
    batch: Batch, logprobs: Tensor, reference: Tensor, values: Tensor, entropies: Tensor, config: PPOConfig, beta: float
) -> _Data:
    """Turn log-probabilities and values, all float32 [E, T], into advantages and returns."""
    mask, kl = batch.mask, k1(logprobs, reference).double().numpy()
    scores = ended(batch.scores, batch.finished, config.missing_eos_score, config.missing_eos_penalty)
    rewards = token_rewards(scores, kl, mask, beta)
    if config.whiten_rewards:
        rewards = whiten(rewards, mask, shift_mean=False)
    old = values.double().numpy()
    advantages = gae(rewards, old, mask, config.discount, config.gae_lambda)
    returns = advantages + old
    unexplained = advantages[mask].var() / max(returns[mask].var(), 1e-12)
    if config.whiten_advantages:
        advantages = whiten(advantages, mask)
    metrics = {
        "reward": float((scores - beta * kl.sum(1)).mean()),
        **batch.metrics(kl, logprobs.numpy(), entropies.numpy()),
        "kl_coefficient": beta,
        "explained_variance": float(1 - unexplained),
    }
    targets = torch.from_numpy(np.stack([advantages, returns])).float()
    return _Data(logprobs, targets[0], values, targets[1], metrics)
