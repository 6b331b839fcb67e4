"""Open a critic by name, and set its dial by hand or by what was measured of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from momus.critics.calibration import describe_promise, read_calibration
from momus.critics.critic import SHIPPED, Critic, narrowed, usual_setting
from momus.critics.prompted import PromptedConfig, PromptedCritic
from momus.critics.refine import Refinement, refine
from momus.critics.small import ADAPTER, another_model, say_what_is_fetched
from momus.critics.trained import ChatWriter, FencedWriter, SearchCritic, VotingCritic, chat_search
from momus.errors import UserError
from momus.files import plain
from momus.lm.chats.asking import Asking
from momus.lm.chats.local import LocalChat
from momus.lm.chats.open import open_chat
from momus.lm.chats.protocol import Chat
from momus.lm.local.adapter_base import base_path, is_adapter
from momus.lm.prompts import is_trained_critic
from momus.lm.tiny import TINY
from momus.search.result import RewardSource

Precision = Literal["fp32", "bf16"]
CriticKind = Literal["trained", "prompted"]


def open_critic(
    model: str | Path | None = None,
    reward: RewardSource | None = None,
    *,
    url: str | None = None,
    kind: CriticKind | None = None,
    prompted: PromptedConfig | None = None,
    device: str | None = None,
    precision: Precision | None = None,
    asking: Asking | None = None,
    refined: Refinement | None = None,
    pointer: str | None = None,
    small: bool = False,
) -> Critic:
    """Open a critic.

    Which of the two kinds it is says `is_prompted`. Where there is a reward model it searches; else one that was
    trained votes, and another is asked.

    Args:
        model: The model's folder, GGUF file or name on the hub, or its name on the server; the shipped one by default.
        reward: Where the reward model is, if anywhere.
        url: A server with an OpenAI-compatible or Anthropic-style API.
        kind: What the model is; None finds out.
        prompted: How a prompted model is asked.
        device: Where models of this process run; by default on a GPU if there is one.
        precision: What a model of this process is held and computed in; by default fp32, of a model that chats bf16
            where that is faster and loses nothing.
        asking: What is put around the chat of a model that is prompted: a cache of answers, a budget.
        refined: What comes after it wrote: a second opinion, scores of its comments.
        pointer: What chooses the lines that a model of this process is asked about: its file or folder, "none", or by
            default one beside the model or one that ships with Momus, where there is one.
        small: Whether the model gets the adapter and the pointer that ship with Momus for it (`critics/small.py`).

    Raises:
        UserError: A directory does not hold the model it should, or the options do not go together.
    """
    source = reward or RewardSource()
    if url is None:
        say_what_is_fetched(str(model))
    if is_prompted(model, url, kind):
        if source and url is not None:
            raise UserError(
                "a critic with a reward model continues texts token by token: that takes a model in this process, and "
                "no server"
            )
        adapter = ADAPTER if small else None
        chat = open_chat(
            None if model is None else str(model), url, device=device, precision=precision, adapter=adapter
        )
        if source:
            critic = _put_search(chat, source, prompted, pointer, small)
            return refine(critic, refined, asking) if refined else critic
        critic = _put_pointer(chat, asking.around(chat) if asking else chat, prompted, pointer, small)
        return refine(critic, refined, asking) if refined else critic
    if small:
        raise another_model(str(model))
    if prompted is not None:
        raise UserError(
            "--rules, --samples and --without-comments are for models that are prompted, and this one is taken for a "
            "trained critic: --kind prompted asks it all the same"
        )
    if pointer is not None:
        raise UserError("--pointer is for models that are prompted: this one is taken for a trained critic")
    critic = _open_trained(model or TINY, source, device, precision or "fp32")
    return refine(critic, refined, asking) if refined else critic


def is_prompted(model: str | Path | None, url: str | None = None, kind: CriticKind | None = None) -> bool:
    """Return whether a critic is prompted: on a server, or with a chat template and not trained by Momus as a critic.

    Raises:
        UserError: It cannot be of the kind that was named.
    """
    if url is not None or (model is None and kind == "prompted"):
        if kind == "trained":
            raise UserError(
                "--kind trained continues texts token by token: name its folder with --model, without --url"
            )
        if url is None:
            raise UserError("--kind prompted: name the model with --model; the one that ships does not chat")
        return True
    if kind is not None or model is None:
        return kind == "prompted"
    return not is_trained_critic(model) and _has_chat_template(model)


def _open_trained(name: str | Path, source: RewardSource, device: str | None, precision: Precision) -> Critic:
    from momus.lm.local.load import load_local_engine
    from momus.lm.models import identify_model
    from momus.lm.pointers.pointer import Pointer
    from momus.search.reward import identify_reward, load_reward_function

    engine = load_local_engine(name, device, precision)
    pointer = Pointer.load_if_present(name, engine.model, engine.vocabulary)
    score = load_reward_function(source, engine, engine.model.device)
    weights = identify_model(name) + ("" if precision == "fp32" else f" in {precision}")
    if score is None:
        return VotingCritic(engine, weights, pointer=pointer)
    both = {"model": weights, "reward": identify_reward(source, score)}
    return SearchCritic(engine, score, FencedWriter(engine, pointer), both)


def _put_pointer(
    chat: Chat, around: Chat, config: PromptedConfig | None, pointer: str | None, small: bool = False
) -> Critic:
    """Return a prompted critic, with a pointer where there is one for its model."""
    if isinstance(chat, LocalChat) and (found := _find_pointer(chat, pointer, small)):
        from momus.critics.pointed import PointedCritic

        return PointedCritic(chat, found, around, config)
    if not isinstance(chat, LocalChat) and pointer not in (None, "none"):
        raise UserError("--pointer reads the states of a model in this process: a server does not give them")
    return PromptedCritic(around, config)


def _put_search(
    chat: Chat,
    source: RewardSource,
    config: PromptedConfig | None,
    pointer: str | None,
    small: bool,
) -> Critic:
    """Return a critic that searches with a model that chats, its lines drawn by a pointer where there is one."""
    assert isinstance(chat, LocalChat)  # no server was named
    if config and (config.samples > 1 or config.bare):
        raise UserError("--samples and --without-comments are for a critic without a reward model: leave them out")
    from momus.lm.local.engine import LocalEngine
    from momus.search.reward import identify_reward, load_reward_function

    engine = chat.loaded.engine
    assert isinstance(engine, LocalEngine)
    writer = ChatWriter(engine, _find_pointer(chat, pointer, small), config)
    writer.check_reward(source)
    score = load_reward_function(source, engine, engine.model.device, engine.model.dtype)
    assert score is not None
    weights = {"model": dict(chat.identity()), "reward": identify_reward(source, score)}
    return SearchCritic(engine, score, writer, weights, chat_search(config or PromptedConfig()))


def _find_pointer(chat: LocalChat, pointer: str | None, small: bool) -> Path | None:
    """Return the pointer of a model of this process, where there is one."""
    if pointer == "none":
        return None
    from momus.critics.pointed import find_pointer, find_shipped_pointer

    tokenizer = None if is_adapter(chat.name) else chat.tokenizer
    if not small:
        return find_pointer(chat.name, pointer, tokenizer)
    found = find_shipped_pointer(chat.name, tokenizer)
    if found is None:
        raise another_model(chat.name)
    return found


def _has_chat_template(model: str | Path) -> bool:
    """Return whether a model lays out conversations: by its files, or for a GGUF file or name by its tokenizer."""
    folder = Path(model)
    if is_adapter(folder) and not (folder / "tokenizer_config.json").is_file():
        return _has_chat_template(base_path(folder))
    if not folder.is_dir():
        from momus.lm.codec import read_tokenizer

        return bool(read_tokenizer(model).chat_template)
    if (folder / "chat_template.jinja").is_file():
        return True
    if not (folder / "tokenizer_config.json").is_file():  # a pipe would be waited for
        return False
    try:
        return bool(json.loads((folder / "tokenizer_config.json").read_bytes()).get("chat_template"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def open_at_setting(
    model: str | Path | None,
    reward: RewardSource,
    confidence: float | None,
    false_alarms: float | None,
    calibration: Path | None,
    *,
    url: str | None = None,
    changes: bool = False,
    **options: Any,
) -> tuple[Critic, float, str]:
    """Open a critic (see `open_critic`, whose `options` are taken) and set its dial: by hand, or by what was measured.

    With `changes` it is a change that is reviewed, and comments on changed lines alone are shown: what was measured on
    whole code then promises no less.

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
        if confidence is not None and not 0 <= confidence <= 1:
            raise UserError(f"--confidence {confidence}: must be between 0 and 1")
        critic = open_critic(model, url=url, **options)
        setting = usual_setting(critic.dial) if confidence is None else confidence
        return narrowed(critic, setting), setting, ""
    if confidence is not None:
        raise UserError("--false-alarms sets the confidence: leave one of them out")
    if calibration is None and (model or reward or url or options.get("refined")):
        raise UserError("--false-alarms needs --calibration, what momus calibrate measured of this model")
    measured = read_calibration(calibration or SHIPPED)
    if measured.changes and not changes:
        raise UserError(
            f"{calibration or SHIPPED} was measured on changes, and whole code is reviewed: momus calibrate without "
            "--changes"
        )
    point = measured.promise(false_alarms)
    options["asking"] = options.get("asking") or Asking(cache=False)
    options["asking"].fingerprints.expected = measured.fingerprints
    critic = open_critic(model, reward, url=url, **options)
    if plain(critic.identity()) != measured.critic:
        raise UserError(
            f"{calibration or SHIPPED} was measured on another critic: calibrate this one, or name that one"
        )
    return narrowed(critic, point.setting), point.setting, describe_promise(measured, point, false_alarms)
