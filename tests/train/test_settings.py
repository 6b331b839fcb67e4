"""Settings out of their range are refused, by name, before anything is done with them."""

import math
from dataclasses import fields
from typing import Any, get_type_hints

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from momus.errors import UserError
from momus.runtime.ranges import RANGE_OF
from momus.runtime.settings import LoRA
from momus.train.pointers.settings import PointerConfig
from momus.train.schedules import adaptive_kl_coefficient
from momus.train.settings import DPOConfig, LoopConfig, PPOConfig, RewardConfig, ServerConfig, SFTConfig, TextConfig

KINDS = (TextConfig, LoRA, SFTConfig, RewardConfig, DPOConfig, PPOConfig, ServerConfig, LoopConfig, PointerConfig)
NUMBERS = [
    (kind, field.name)
    for kind in KINDS
    for field in fields(kind)
    if any(word in str(get_type_hints(kind)[field.name]) for word in ("int", "float"))
]


def made(kind: type, name: str, number: float) -> Any:
    """Settings with one number, in all places of a setting that has several; None where that is refused by name."""
    default = getattr(kind(), name)
    try:
        return kind(**{name: (number,) * len(default) if isinstance(default, tuple) else number})
    except UserError as error:
        if str(error).startswith(f"{name} ") and "must be" in str(error):
            return None
        assume("no multiple" not in str(error))  # two settings together
        raise


def test_every_number_has_a_range_and_its_default_is_in_it() -> None:
    assert len(NUMBERS) > 50
    assert {name for _, name in NUMBERS} == RANGE_OF.keys()
    assert all(kind() for kind in KINDS)


@given(st.sampled_from(NUMBERS), st.floats() | st.integers() | st.floats(0, 3))
def test_what_is_accepted_can_be_trained_with(where: tuple[type, str], number: float) -> None:
    kind, name = where
    if made(kind, name, number) is None:
        return
    assert not math.isnan(number)
    assert number >= 0 or name == "missing_eos_score"
    assert number < math.inf or name in ("max_grad_norm", "kl_limit", "gap_limit")
    assert number <= 1 or name not in ("final_fraction", "gae_lambda", "discount")
    assert number < 1 or name not in ("betas", "ema_decay", "dropout", "pretraining_share", "held_out")
    assert number > 0 or name not in ("max_grad_norm", "clip", "adam_eps", "temperature", "kl_target", "kl_horizon")


@pytest.mark.parametrize(
    ("kind", "setting", "value", "message"),
    [
        (SFTConfig, "max_grad_norm", 0.0, "max_grad_norm 0.0: must be above 0; inf sets no limit"),
        (RewardConfig, "max_grad_norm", -1.0, "max_grad_norm -1.0: must be above 0"),
        (SFTConfig, "final_fraction", -5.0, "final_fraction -5.0: must be from 0 to 1"),
        (PPOConfig, "betas", (1.5, 0.9), r"betas \(1.5, 0.9\): must be at least 0 and below 1"),
        (PPOConfig, "betas", (0.9, 1.0), "betas"),
        (PPOConfig, "temperature", math.inf, "temperature inf: must be above 0, and finite"),
        (PPOConfig, "kl_coefficient", -1.0, "kl_coefficient -1.0: must be at least 0"),
        (LoopConfig, "seed", -1, "seed -1: must be at least 0"),
        (LoopConfig, "answers", 1, "answers 1: must be at least 2"),
    ],
)
def test_the_setting_and_its_range_are_named(kind: type, setting: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        kind(**{setting: value})


@given(st.integers(1, 1000), st.integers(1, 8), st.floats(1e-3, 1e5), st.floats(-1e6, 1e6))
def test_no_kl_moves_the_coefficient_below_0(prompts: int, rollouts: int, horizon: float, kl: float) -> None:
    sizes = {"prompts_per_batch": prompts, "rollouts_per_prompt": rollouts, "minibatches": 1}
    try:
        config = PPOConfig(kl_target=6.0, kl_horizon=horizon, **sizes)
    except UserError as error:
        assert "kl_horizon" in str(error) and horizon <= 0.2 * prompts * rollouts
        return
    assert adaptive_kl_coefficient(1.0, kl, 6.0, prompts * rollouts, config.kl_horizon) > 0
