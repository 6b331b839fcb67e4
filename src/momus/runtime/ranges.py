"""The ranges of settings that are numbers (`settings.py` of train/, train/pointers/): one for a name in all stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from math import inf
from typing import Any

from momus.errors import UserError

# nan is in none of them, and None, where a setting may be that, in all.
_RANGES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    (
        "at least 1",
        lambda value: 1 <= value < inf,
        "max_prompt max_answer rank epochs demonstrations_per_batch per_task token_budget save_every prompts_per_batch "
        "iterations rollouts_per_prompt minibatches ptx_per_episode rounds prompts_to_rank "
        "heads width layers attention_heads passes batch",
    ),
    ("at least 2", lambda value: 2 <= value < inf, "answers"),
    (
        "at least 0, and finite",
        lambda value: 0 <= value < inf,
        "learning_rate policy_learning_rate value_learning_rate warmup_iterations kl_coefficient ptx_coefficient "
        "missing_eos_penalty warmup_steps warmup weight_decay",
    ),
    ("above 0, and finite", lambda value: 0 < value < inf, "alpha beta adam_eps clip temperature kl_target kl_horizon"),
    ("above 0; inf sets no limit", lambda value: value > 0, "max_grad_norm kl_limit gap_limit"),
    ("from 0 to 1", lambda value: 0 <= value <= 1, "final_fraction discount gae_lambda"),
    ("at least 0 and below 1", lambda value: 0 <= value < 1, "held_out dropout pretraining_share betas ema_decay"),
    ("at least 0 and below 2**63", lambda value: 0 <= value < 2**63, "seed"),
    ("finite", lambda value: -inf < value < inf, "missing_eos_score"),
)
RANGE_OF = {name: (words, fits) for words, fits, names in _RANGES for name in names.split()}
"""What a setting must be, in words, and whether a number is that."""


def check_ranges(settings: Any) -> None:
    """Refuse a dataclass of settings of which a number, or one of several, is out of its range.

    Raises:
        UserError: It names the setting and its range.
    """
    for name in (field.name for field in fields(settings) if field.name in RANGE_OF):
        value, (words, fits) = getattr(settings, name), RANGE_OF[name]
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if not all(map(fits, numbers)):
            raise UserError(f"{name} {value}: must be {words}")
