"""PPO with a KL penalty and, optionally, pretraining gradients: PPO-ptx (InstructGPT, arXiv 2203.02155, §3.5 and C.4).

The environment is a bandit: a prompt, one response, one score. Each iteration

1. samples `rollouts_per_prompt` responses to each prompt of the batch from the policy, and scores them;
2. rewards every token with ``-kl_coefficient * (log pi - log pi_ref)``, and the last action with the score besides;
3. estimates advantages with GAE from a separate value network that started as the reward model;
4. goes over the batch in minibatches, one optimizer step each, on

       policy:  mean over tokens of max( -A * ratio, -A * clip(ratio, 1 - eps, 1 + eps) )
       value:   mean over tokens of 0.5 * max( (V - R)^2, (V_old + clip(V - V_old, -eps, eps) - R)^2 )

   and with PPO-ptx the gradient of ``ptx_coefficient`` (gamma) times the language-model loss on pretraining text is
   added to the policy's before the step (equation 2).

Details that decide whether it works:

- Dropout is off for every network.
- Means are over the tokens of a *minibatch*, however it is cut to fit memory.
- The batch is cut before anything is computed and the first pass uses the same cut, so at the first step the
  ratio is exactly 1, and the KL before any step exactly 0.
- Tokens after the end-of-text token are dropped before scoring. A response without one keeps its score
  (or see `missing_eos_score`, `missing_eos_penalty`) and ends the episode all the same: nothing is bootstrapped.
- The temperature divides the logits of policy, old policy and reference alike. All three log-probabilities are
  computed here, whoever sampled; how far the sampler's own are off is a metric, `sampler_gap`.
- Every random choice is keyed by seed and iteration, so a run continues bit for bit from any checkpoint, with
  the responses it had already sampled.

Differences from the paper: the two networks need not differ in size; advantages are whitened, which the paper
does not mention, nor the gradient clipping it inherits from GPT-3; AdamW without weight decay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from momus.errors import UserError
from momus.lm.forward import token_logprobs, token_values, trees_from_rows
from momus.lm.models import RewardModel
from momus.lm.tree import TokenTree, pack
from momus.runtime.best import BestCheckpoint
from momus.runtime.costs import FlopMeter
from momus.runtime.diagnosis import require_finite, require_kl_within
from momus.runtime.processes import accumulate_gradients, fail_together, is_main_process
from momus.runtime.runs import Progress, Run
from momus.runtime.sharding import gathered
from momus.train.advantages import Floats, apply_eos_penalty, gae, kl_estimate_k1, kl_estimate_k3, token_rewards, whiten
from momus.train.ppo_networks import PPONetworks
from momus.train.rollout import RolloutBatch, RolloutStore, Sampler, Scorer
from momus.train.sampling import draw_texts, prompt_indices
from momus.train.schedules import adaptive_kl_coefficient, warm_up
from momus.train.settings import PPOConfig


class PPOResult(NamedTuple):
    """The trained policy, its averaged copy (None if off), the value network, all metrics, the iteration it is of."""

    policy: Any
    ema: Any
    value: RewardModel
    history: list[dict[str, Any]]
    kept: int


def policy_loss(logprobs: Tensor, old: Tensor, advantages: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Return the clipped surrogate loss per token (arXiv 1707.06347, equation 7, negated) and the ratio; all [T]."""
    ratio = (logprobs - old).exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)), ratio


def value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Return the squared error per token, the worse of that with and without clipping the value's change; all [T]."""
    clipped = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)


def estimate_advantages(
    batch: RolloutBatch, kl: Floats, values: Floats, config: PPOConfig, beta: float
) -> tuple[Floats, Floats, dict[str, float]]:
    """Turn scores into rewards with a KL penalty, and these into advantages and returns by GAE.

    Args:
        batch: Scored rollouts of E episodes.
        kl: Per-token KL estimates from the reference, [E, T].
        values: Values before any step, [E, T].
        config: All settings.
        beta: KL coefficient.

    Returns:
        Advantages and returns, [E, T], and metrics.
    """
    mask = batch.mask
    scores = apply_eos_penalty(batch.scores, batch.finished, config.missing_eos_score, config.missing_eos_penalty)
    rewards = token_rewards(scores, kl, mask, beta)
    if config.whiten_rewards:
        rewards = whiten(rewards, mask, shift_mean=False)
    advantages = gae(rewards, values, mask, config.discount, config.gae_lambda)
    returns = advantages + values
    unexplained = advantages[mask].var() / max(returns[mask].var(), 1e-12)
    if config.whiten_advantages:
        advantages = whiten(advantages, mask)
    metrics = {"reward": float((scores - beta * kl.sum(1)).mean()), "explained_variance": float(1 - unexplained)}
    return advantages, returns, metrics


@fail_together()
def train_policy(
    policy: Any,
    reward_model: RewardModel | None,
    prompts: Sequence[Sequence[int]],
    sampler: Sampler,
    scorer: Scorer,
    config: PPOConfig,
    run: Run,
    *,
    eos_id: int | Collection[int],
    pretraining: Sequence[Sequence[int]] = (),
    progress: Progress | None = None,
    measure: Callable[[Any], float] | None = None,
) -> PPOResult:
    """Train `policy` in place, continuing where `run` stopped.

    Args:
        policy: Causal language model. As it is on entry it is also the KL reference, so a continued run needs the
            same one.
        reward_model: Initial value network; it is copied. None starts the value network as the policy with a
            head of zeros (as arXiv 1909.08593), for rewards that no such model computes.
        prompts: Tokenised prompts.
        sampler: ``sampler(policy, prompts, n, (seed, iteration))`` draws n responses to each prompt at
            `config.temperature`, each ending in `eos_id` when finished. It must depend on nothing else.
        scorer: ``scorer(prompts, responses)`` returns float [prompts, n].
        config: All settings.
        run: Run directory for checkpoints and metrics.
        eos_id: The end-of-text token, or all tokens that end a response.
        pretraining: Tokenised texts for PPO-ptx.
        progress: Called after every iteration.
        measure: Says how good a policy is: of all checkpoints the best one's stays. None keeps the last.

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
    ppo = _PPO(PPONetworks(policy, reward_model, config, run), config, texts)
    store, done = RolloutStore(run, ppo.networks.start), ppo.restore()
    store.drop_old()
    best = BestCheckpoint(run, policy)
    if measure and done:  # a kill may have come between the checkpoint and this
        best.offer(done, run.history()[-1]["held_out_score"])
    for iteration in range(done, config.iterations):
        key = (config.seed, iteration)
        chosen = [prompts[i] for i in prompt_indices(len(prompts), config.prompts_per_batch, key)]
        with gathered(policy):
            batch = store.roll_out(policy, chosen, sampler, scorer, config.rollouts_per_prompt, key, ends)
        metrics = ppo.iterate(batch, iteration)
        checkpoint = (iteration + 1) % config.save_every == 0 or iteration + 1 == config.iterations
        if measure and checkpoint:
            metrics["held_out_score"] = measure(policy)
        run.log(iteration + 1, **metrics)
        if checkpoint:
            ppo.save(iteration + 1)
            store.drop_old()
        if measure and checkpoint:
            best.offer(iteration + 1, metrics["held_out_score"])
        if progress and is_main_process():
            progress(iteration + 1, config.iterations, metrics)
    if measure:
        best.load()
    kept = best.step if measure else config.iterations
    return PPOResult(policy, ppo.networks.average, ppo.networks.value, run.history(), kept)


@dataclass(frozen=True)
class _Targets:
    """What the losses compare with, computed before any step: float32 [E, T]."""

    logprobs: Tensor
    advantages: Tensor
    values: Tensor
    returns: Tensor


class _PPO:
    """One run of PPO: its networks, its KL coefficient `beta`, and what an iteration does with them."""

    def __init__(self, networks: PPONetworks, config: PPOConfig, texts: Sequence[Sequence[int]]) -> None:
        self.networks, self.config, self.texts = networks, config, texts
        self.beta, self.meter = config.kl_coefficient, FlopMeter()

    def restore(self) -> int:
        """Load the newest checkpoint, if any; return the iterations done."""
        done, self.beta = self.networks.restore()
        return done

    def save(self, iteration: int) -> None:
        """Write a checkpoint."""
        self.networks.save(iteration, self.beta)

    def iterate(self, batch: RolloutBatch, iteration: int) -> dict[str, float]:
        """Learn from one batch; return its metrics."""
        config, networks = self.config, self.networks
        factor = warm_up(iteration, config.warmup_iterations)
        networks.set_learning_rates(factor)
        passes = [
            batch.minibatches(config.minibatches, config.token_budget, (config.seed, iteration, epoch))
            for epoch in range(config.epochs)
        ]
        targets, measured = self._evaluate(batch, passes[0])
        require_kl_within(config.kl_limit, measured, f"iteration {iteration + 1}")
        steps = [
            self._step(batch, targets, groups, (iteration, epoch, index), measured)
            for epoch, minibatches in enumerate(passes)
            for index, groups in enumerate(minibatches)
        ]
        if config.kl_target is not None:
            episodes = len(batch.scores)
            self.beta = adaptive_kl_coefficient(
                self.beta, measured["kl"], config.kl_target, episodes, config.kl_horizon
            )
        self.meter.ppo(networks.policy, networks.value, batch.trees, config.epochs)
        means = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
        rate, flops = config.policy_learning_rate * factor, self.meter.read()
        return {**measured, **means, "learning_rate": rate, "flops": flops}

    @torch.no_grad()
    def _evaluate(self, batch: RolloutBatch, minibatches: list[list[list[int]]]) -> tuple[_Targets, dict[str, float]]:
        """Evaluate policy, reference and value on the batch before any step, and estimate advantages and returns."""
        networks, temperature = self.networks, self.config.temperature

        def evaluate(trees: list[TokenTree]) -> list[Tensor]:
            policy = token_logprobs(networks.policy, trees, temperature)
            reference = networks.reference.logprobs(trees, temperature)
            return [policy.logprobs, reference, token_values(networks.value, trees), policy.entropies]

        groups = [group for minibatch in minibatches for group in minibatch]
        logprobs, reference, values, entropies = batch.evaluate(groups, evaluate, 4)
        kl = kl_estimate_k1(logprobs, reference).double().numpy()
        advantages, returns, metrics = estimate_advantages(batch, kl, values.double().numpy(), self.config, self.beta)
        metrics |= batch.metrics(kl, logprobs.numpy(), entropies.numpy())
        targets = torch.from_numpy(np.stack([advantages, returns])).float()
        return _Targets(logprobs, targets[0], values, targets[1]), {**metrics, "kl_coefficient": self.beta}

    def _step(
        self,
        batch: RolloutBatch,
        targets: _Targets,
        groups: list[list[int]],
        key: tuple[int, int, int],
        measured: dict[str, float],
    ) -> dict[str, float]:
        """Take one optimizer step of policy and value on one minibatch, cut into groups that fit a forward pass."""
        networks, config = self.networks, self.config
        tokens, device = batch.count_actions(groups), networks.policy.device

        def policy_term(group: list[int]) -> tuple[Tensor, list[float]]:
            cells = batch.cells(group)
            old, advantages = targets.logprobs[cells].to(device), targets.advantages[cells].to(device)
            logprobs = token_logprobs(networks.policy, batch.select(group), config.temperature).logprobs
            losses, ratio = policy_loss(logprobs, old, advantages, config.clip)
            clipped, kl = (ratio - 1).abs() > config.clip, kl_estimate_k3(old, logprobs)
            return losses.sum() / tokens, [x.detach().sum().item() for x in (losses, clipped, kl, ratio)]

        def value_term(group: list[int]) -> tuple[Tensor, list[float]]:
            cells = batch.cells(group)
            old, returns = targets.values[cells].to(device), targets.returns[cells].to(device)
            losses = value_loss(token_values(networks.value, batch.select(group)), old, returns, config.clip)
            return losses.sum() / tokens, [losses.detach().sum().item()]

        networks.zero_grad()
        # One network after the other, so that only one's activations are held for its backward pass.
        sums = accumulate_gradients(groups, policy_term, ("policy_loss", "clip_fraction", "approx_kl", "ratio"))
        sums |= accumulate_gradients(groups, value_term, ("value_loss",))
        metrics = {name: value / tokens for name, value in sums.items()}
        if config.ptx_coefficient:
            metrics["ptx_loss"] = self._add_ptx_gradient(batch.count_episodes(groups), key)
        metrics |= networks.clip_gradients()
        require_finite(metrics, f"iteration {key[0] + 1}, minibatch {key[2] + 1}", measured)
        networks.step()
        return metrics

    def _add_ptx_gradient(self, episodes: int, key: tuple[int, int, int]) -> float:
        """PPO-ptx: add to the policy's gradient that of ``gamma * E[-log pi(x)]`` on pretraining texts x (equation 2).

        Args:
            episodes: Episodes of the minibatch; each brings `ptx_per_episode` texts.
            key: Iteration, epoch and minibatch.

        Returns:
            The language-model loss, a mean over tokens.
        """
        policy, gamma = self.networks.policy, self.config.ptx_coefficient
        texts = draw_texts(self.texts, episodes * self.config.ptx_per_episode, (self.config.seed, *key))
        trees = trees_from_rows(texts)
        tokens = sum(len(text) - 1 for text in texts)

        def ptx_term(group: list[int]) -> tuple[Tensor, list[float]]:
            loss = -token_logprobs(policy, [trees[i] for i in group]).logprobs.sum() / tokens
            return gamma * loss, [loss.item()]

        self.meter.train(policy, trees)
        groups = pack([len(tree) for tree in trees], self.config.token_budget)
        return accumulate_gradients(groups, ptx_term, ("loss",))["loss"]
