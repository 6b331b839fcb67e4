"""The settings of all stages, one frozen dataclass each, apart from the mathematics so that `--help` is quick.

Defaults are InstructGPT's (arXiv 2203.02155) unless a field says otherwise, and every field names its source;
settings for small machines are named presets (`tiny`). A value out of its range (`runtime/ranges.py`) or a wrong
combination is refused when it is made.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from momus.errors import UserError
from momus.runtime.ranges import check_ranges

KL_ERROR_CLIP = 0.2
"""The error that moves PPO's KL coefficient is clipped to this (Ziegler et al., arXiv 1909.08593, §2.2)."""

PAPER_DROPOUT = 0.2
"""Residual dropout of InstructGPT's fine-tuning (C.1)."""

ADAPTER_RATE = 10.0
"""Adapters learn best at about ten times the learning rate of full fine-tuning, whatever their rank (Schulman et al.,
"LoRA Without Regret", Thinking Machines Lab 2025; likewise Biderman et al., arXiv 2405.09673)."""

ConfigT = TypeVar("ConfigT")


def for_adapter(config: ConfigT) -> ConfigT:
    """Return a stage's settings with all learning rates times `ADAPTER_RATE`."""
    named: Any = config
    rates = [field.name for field in fields(named) if field.name.endswith("learning_rate")]
    changed: ConfigT = replace(named, **{name: float(f"{ADAPTER_RATE * getattr(named, name):.6g}") for name in rates})
    return changed


@dataclass(frozen=True)
class TextConfig:
    """How files become tokens."""

    max_prompt: int = 1024
    """Longest prompt in tokens; records with a longer one are left out (C: 1k)."""
    max_answer: int = 1024
    """Longest answer in tokens, of people and of the policy (C: 1k)."""
    held_out: float = 0.1
    """Share of the prompts' owners held out to measure on, where no split is stated."""
    format: str | None = None
    """The format of the files, where it cannot be recognised (docs/guides/data.md)."""
    skip_bad: bool = False
    """Leave bad rows out, and use the others."""

    @classmethod
    def tiny(cls, **changes: Any) -> TextConfig:
        """Return lengths for a model of some million parameters."""
        return cls(**{"max_prompt": 256, "max_answer": 128, **changes})

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class SFTConfig:
    """Settings of supervised fine-tuning; the defaults are InstructGPT's for 1.3B and 6B (C.1)."""

    epochs: int = 16
    """Passes over the demonstrations (C.1)."""
    demonstrations_per_batch: int = 32
    """Demonstrations in one step (C.1; 8 for 175B)."""
    learning_rate: float = 9.65e-6
    """Peak learning rate (C.1; 5.03e-6 for 175B)."""
    final_fraction: float = 0.1
    """The cosine schedule ends at this fraction of the peak (C.1)."""
    dropout: float | None = None
    """Residual dropout. None: the paper's 0.2 (C.1) where the model's configuration has dropout, as GPT-3's ancestors
    do, and 0 where it has none: a deliberate difference, for dropout ruins models that were pretrained without it
    (SmolLM2-135M's loss goes from 1.9 to 8 and more, and training learns nothing)."""
    pretraining_share: float = 0.0
    """Share of a batch's trained tokens that are of pretraining texts: 0.1 before PPO (C.3)."""
    per_task: int | None = None
    """Most demonstrations of one task (data set) in an epoch (arXiv 1910.10683, 3.5.2; FLAN: 3,000); None: all."""
    keep: Literal["best", "last"] = "best"
    """Which epoch's weights stay: the best, where there is something to choose by (C.1), or the last (C.3)."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Adam's moments (C)."""
    max_grad_norm: float = 1.0
    """Clip the gradient's global norm, as GPT-3 (arXiv 2005.14165, B); InstructGPT does not say. inf: no clipping."""
    seed: int = 0
    """Orders the demonstrations, draws texts and dropout."""
    token_budget: int = 8192
    """Tokens in one forward pass: memory and, but for rounding and dropout's draws, not results."""
    save_every: int = 50
    """Steps between checkpoints, besides the one after every epoch."""

    @classmethod
    def for_ppo(cls, **changes: Any) -> SFTConfig:
        """The model that PPO starts from (C.3): 2 epochs and 10 % pretraining; its rate is the 1.3B model's."""
        return cls(**{"epochs": 2, "pretraining_share": 0.1, "learning_rate": 5e-6, "keep": "last", **changes})

    @classmethod
    def for_mixture(cls, **changes: Any) -> SFTConfig:
        """The baseline on public instructions, FLAN or T0 (C.5): one pass, batches of 64; FLAN's limit to a task."""
        mixture = {"epochs": 1, "demonstrations_per_batch": 64, "learning_rate": 4e-6, "per_task": 3000}
        return cls(**{**mixture, **changes})

    @classmethod
    def tiny(cls, **changes: Any) -> SFTConfig:
        """Settings for a model of some million parameters on two CPU cores."""
        small = {"epochs": 4, "demonstrations_per_batch": 8, "learning_rate": 1e-3, "dropout": 0.0}
        return cls(**{**small, "token_budget": 2048, **changes})

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class RewardConfig:
    """Settings of reward-model training; the defaults are InstructGPT's."""

    epochs: int = 1
    """Passes over the rankings; more overfits at once (C.2)."""
    prompts_per_batch: int = 64
    """Prompts, each with all its pairs, in one step (C.2)."""
    learning_rate: float = 9e-6
    """Peak learning rate (C.2)."""
    final_fraction: float = 0.1
    """The cosine schedule ends at this fraction of the peak (C.2)."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Adam's moments (C)."""
    max_grad_norm: float = 1.0
    """Clip the gradient's global norm, as GPT-3 (arXiv 2005.14165, B); InstructGPT does not say. inf: no clipping."""
    seed: int = 0
    """Orders the prompts and draws dropout, where the model has any."""
    token_budget: int = 8192
    """Tokens in one forward pass: memory and, but for rounding and dropout's draws, not results. Processes share a
    batch by forward passes."""
    save_every: int = 50
    """Steps between checkpoints."""

    @classmethod
    def tiny(cls, **changes: Any) -> RewardConfig:
        """Settings for a model of some million parameters on two CPU cores."""
        return cls(**{"epochs": 2, "prompts_per_batch": 8, "learning_rate": 3e-4, "token_budget": 2048, **changes})

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class DPOConfig:
    """Settings of direct preference optimisation; the defaults are those of its paper (arXiv 2305.18290, B)."""

    epochs: int = 1
    """Passes over the rankings. Not stated in the appendix; their code has 1."""
    prompts_per_batch: int = 64
    """Prompts, each with all its answers, in one step (B: 64)."""
    beta: float = 0.1
    """How dear it is to leave the reference (B; 0.5 for summaries)."""
    learning_rate: float = 1e-6
    """Of RMSprop (B)."""
    warmup_steps: int = 150
    """The learning rate rises from 0 over these steps, then stays (B)."""
    max_grad_norm: float = 1.0
    """Clip the gradient's global norm; ours (their code: 10). inf: no clipping."""
    seed: int = 0
    """Orders the prompts."""
    token_budget: int = 8192
    """Tokens in one forward pass: memory and, but for rounding, not results."""
    save_every: int = 50
    """Steps between checkpoints."""

    @classmethod
    def tiny(cls, **changes: Any) -> DPOConfig:
        """Settings for a policy of some million parameters on two CPU cores."""
        small = {"epochs": 2, "prompts_per_batch": 8, "learning_rate": 3e-5, "warmup_steps": 10, "token_budget": 2048}
        return cls(**{**small, **changes})

    def __post_init__(self) -> None:
        check_ranges(self)


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
    adam_eps: float = 1e-8
    """GPT-3's (arXiv 2005.14165, B); not stated. The "N+ details" (arXiv 2403.17031) have 1e-5."""
    max_grad_norm: float = 1.0
    """Clip each network's global gradient norm, as GPT-3 did (arXiv 2005.14165, B); not stated. inf: no clipping."""
    kl_coefficient: float = 0.02
    """Beta of the per-token KL penalty; where it starts if `kl_target` moves it."""
    kl_target: float | None = None
    """Keep the KL, in nats per episode, near this by moving beta (arXiv 1909.08593, 2.2: 6, with beta from 0.15)."""
    kl_horizon: float = 10_000
    """Episodes in which beta can about double or vanish (their code)."""
    kl_limit: float | None = 200.0
    """Stop when the KL is further from 0 than this, in nats per episode; None never does. Ours, not the paper's."""
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
    """Score of a response that never ends, in place of the reward model's; None keeps that. -1 in the "N+ details"."""
    missing_eos_penalty: float = 0.0
    """What the score of a response that never ends loses, as in TRL."""
    ptx_coefficient: float = 0.0
    """Gamma of PPO-ptx: 27.8 in the paper; 0 is plain PPO and touches no pretraining text."""
    ptx_per_episode: int = 8
    """Pretraining examples per episode."""
    ema_decay: float | None = 0.992
    """Decay, per optimizer step, of the averaged weights; None keeps no average."""
    keep: Literal["last", "best"] = "last"
    """Which checkpoint's policy stays: the last, or the one whose answers to held-out prompts score best. CriticGPT's
    were chosen on validation (arXiv 2407.00215). The averaged weights are the last's."""
    seed: int = 0
    """Keys every random choice."""
    token_budget: int = 8192
    """Tokens in one forward pass: memory and, but for rounding, not results."""
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
        check_ranges(self)
        if self.prompts_per_batch % self.minibatches:
            raise UserError(
                f"prompts_per_batch {self.prompts_per_batch} is no multiple of minibatches {self.minibatches}"
            )
        if self.missing_eos_score is not None and self.missing_eos_penalty:
            raise UserError("missing_eos_score replaces the score that missing_eos_penalty lowers: set one of them")
        shortest = KL_ERROR_CLIP * self.prompts_per_batch * self.rollouts_per_prompt
        if self.kl_target is not None and self.kl_horizon <= shortest:
            raise UserError(
                f"kl_horizon {self.kl_horizon:g}: must be above {shortest:g}, {KL_ERROR_CLIP:g} of a batch's episodes, "
                "or kl_coefficient would fall below 0"
            )


@dataclass(frozen=True)
class ServerConfig:
    """How a server that PPO's rollouts come from is given the policy's weights; all of it ours."""

    kind: Literal["vllm", "sglang"] = "vllm"
    """What kind of server it is: how it loads weights."""
    model: str | None = None
    """The model's name there, where it serves several."""
    weights: Path | None = None
    """The folder through which weights reach it, the same path on both machines; by default OUT/weights."""
    gap_limit: float = 0.1
    """Stop when its log-probabilities are so far from the policy's, in nats per token: it has other weights."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class LoopConfig:
    """Settings of the loop around the three steps."""

    rounds: int = 1
    """How often steps 2 and 3 are done."""
    answers: int = 4
    """Answers to rank of each prompt: K, 4 to 9 (§3.5)."""
    prompts_to_rank: int = 1000
    """Prompts whose answers are ranked in a round that brings no rankings."""
    seed: int = 0
    """Chooses those prompts and samples their answers."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Steps:
    """The settings of all three steps."""

    sft: SFTConfig
    reward: RewardConfig
    ppo: PPOConfig
