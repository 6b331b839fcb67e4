"""Open a critic by name, and set its dial by hand or by what was measured of it."""

from __future__ import annotations

import json
from pathlib import Path

from momus.critics.calibration import describe_promise, read_calibration
from momus.critics.critic import Critic
from momus.critics.trained import SearchCritic, VotingCritic
from momus.errors import UserError
from momus.lm.tiny import TINY
from momus.search.result import RewardSource

SHIPPED = Path(__file__).with_name("calibration.json")
"""What was measured of the shipped critic."""

CONFIDENCE = 0.75
"""The voting critic's setting where nobody asks for another: quiet rather than complete (see calibration.json)."""


def open_critic(model: Path | None = None, reward: RewardSource | None = None) -> Critic:
    """Open a critic: the searching one where there is a reward model, else the voting one.

    Args:
        model: Directory of the critic; the shipped one by default.
        reward: Where the reward model is, if anywhere.

    Raises:
        UserError: A directory does not hold the model it should.
    """
    from momus.lm.local.engine import LocalEngine
    from momus.lm.models import load_causal_lm, load_tokenizer, model_digest
    from momus.lm.pointer import Pointer
    from momus.search.reward import identify_reward, load_reward_function

    folder = model or TINY
    tokenizer = load_tokenizer(folder)
    engine = LocalEngine(load_causal_lm(folder), tokenizer)
    pointer = Pointer.load_if_present(folder, engine.model, engine.vocabulary)
    source = reward or RewardSource()
    score = load_reward_function(source, engine)
    if score is None:
        return VotingCritic(engine, model_digest(folder), pointer=pointer)
    weights = {"model": model_digest(folder), "reward": identify_reward(source, score)}
    return SearchCritic(engine, score, tokenizer.eos_token_id, weights, pointer=pointer)


def open_at_setting(
    model: Path | None,
    reward: RewardSource,
    confidence: float | None,
    false_alarms: float | None,
    calibration: Path | None,
) -> tuple[Critic, float, str]:
    """Open a critic and set its dial: by hand, or by what was measured.

    Returns:
        The critic, the setting of its dial and, where a measurement decided it, what that promises in one line.

    Raises:
        UserError: The options do not go together, nothing was measured, or it was of another critic.
    """
    if false_alarms is None:
        if calibration is not None:
            raise UserError("--calibration says what the dial promises: give --false-alarms with it")
        if reward:
            raise UserError(
                "a critic with a reward model is set by --calibration and --false-alarms: see momus calibrate"
            )
        setting = CONFIDENCE if confidence is None else confidence
        if not 0 <= setting <= 1:
            raise UserError(f"--confidence {setting}: must be between 0 and 1")
        return open_critic(model), setting, ""
    if confidence is not None:
        raise UserError("--false-alarms sets the confidence: leave one of them out")
    if calibration is None and (model or reward):
        raise UserError("--false-alarms needs --calibration, what momus calibrate measured of this model")
    measured = read_calibration(calibration or SHIPPED)
    point = measured.promise(false_alarms)
    critic = open_critic(model, reward)
    if json.loads(json.dumps(critic.identity())) != measured.critic:
        raise UserError(
            f"{calibration or SHIPPED} was measured on another critic: calibrate this one, or name that one"
        )
    return critic, point.setting, describe_promise(measured, point, false_alarms)
