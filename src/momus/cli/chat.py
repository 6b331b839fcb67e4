"""`momus chat`: talk to a model in the terminal, or to two side by side; or have them answer a file of prompts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, LocalOptions, split_server
from momus.cli.shared.seed import Seed
from momus.errors import UserError

if TYPE_CHECKING:
    from momus.evaluate.instruct.systems import System
    from momus.lm.chats.conversation import ConversationConfig
    from momus.lm.chats.protocol import StreamingChat

_ANYWHERE = LocalOptions()


def command(
    model: Positional[str] = "",
    url: str | None = None,
    beside: str | None = None,
    system: str = "",
    temperature: float = 0.7,
    top_p: float = 1.0,
    max_tokens: int = 512,
    prompts: str | None = None,
    out: Path | None = None,
    limit: int | None = None,
    seed: Seed = 0,
    local: Annotated[LocalOptions, FLAT] = _ANYWHERE,
) -> int:
    r"""Talk to a model: a folder, an adapter, a GGUF file, a name on the hub, or a model on a server.

    Every line is a question, with all that was said before; a line that ends in \ goes on in the next. /help lists
    what else can be done. Ctrl-C ends an answer, Ctrl-D the conversation.

    Args:
        model: The model; with --url its name on that server.
        url: A server with an OpenAI-compatible or Anthropic-style API; its key is read from MOMUS_API_KEY.
        beside: Another model that is asked the same: as MODEL, URL or MODEL@URL.
        system: What stands before the conversation as the system's message.
        temperature: Of sampling; 0 takes the likeliest token.
        top_p: Of sampling: the share of the probability that is drawn from.
        max_tokens: Longest answer, in tokens.
        prompts: Answer these instead, one by one: prompts, or records that have prompts, in any known format.
        out: With --prompts: the file of answers, which momus evaluate and momus label read. Stopped and run again it
            continues.
        limit: With --prompts: the first so many only.
        seed: Everything random follows from it.
        local: How models in this process run.
    """
    from momus.lm.chats.conversation import ConversationConfig

    if not model and url is None:
        raise UserError("name a model: a folder, a GGUF file, a name on the hub, or --url of a server")
    if (prompts is None) != (out is None):
        raise UserError("--prompts and --out go together: what is asked, and the file of the answers")
    if limit is not None and (prompts is None or limit < 1):
        raise UserError(f"--limit {limit}: must be at least 1, and is for --prompts")
    places = [(model or None, url), *([] if beside is None else [split_server(beside)])]
    if len(set(places)) < len(places):
        raise UserError(f"--beside {beside}: is the same model")
    local.check_used(any(url is None for _, url in places))
    config = ConversationConfig(system, max_tokens, temperature, top_p, seed)
    if prompts is not None and out is not None:
        return _answer_file(places, config, local, prompts, out, limit)
    return _talk(places, config, local)


def _talk(places: list[tuple[str | None, str | None]], config: ConversationConfig, local: LocalOptions) -> int:
    """Load the models and talk to them until the input ends."""
    from momus.cli.shared.talking import talk
    from momus.lm.chats.conversation import Conversation

    chats = [_open(model, url, local) for model, url in places]
    return talk({chat.name: Conversation(chat, config) for chat in chats})


def _open(model: str | None, url: str | None, local: LocalOptions) -> StreamingChat:
    """Open a model; one in this process is loaded now, so that what is wrong with it is said before any question."""
    from momus.cli.shared.output import say
    from momus.lm.chats.local import LocalChat
    from momus.lm.chats.open import open_chat

    chat = open_chat(model, url, device=local.device, precision=local.precision)
    if isinstance(chat, LocalChat):
        say(f"Loading {model} …")
        _ = chat.loaded
    return chat


def _answer_file(
    places: list[tuple[str | None, str | None]],
    config: ConversationConfig,
    local: LocalOptions,
    prompts: str,
    out: Path,
    limit: int | None,
) -> int:
    """Have every model answer every prompt, and write the answers as demonstrations by the models."""
    from momus.cli.shared.output import bad_rows, bar, check_file, say
    from momus.data.convert import BadRowsError
    from momus.evaluate.instruct.chats import ask_chat, behind_system, tell_answers
    from momus.evaluate.instruct.feedback import prompts_in, records_of
    from momus.evaluate.instruct.systems import answers_in
    from momus.files import Ledger
    from momus.records import write_jsonl

    check_file(out)
    try:
        asked = [behind_system(prompt, config.system) for prompt in prompts_in(records_of([prompts]))][:limit]
    except BadRowsError as error:
        return bad_rows(error)
    if not asked:
        raise UserError(f"{prompts}: no prompts in it")
    systems = [_system(model, url, config) for model, url in places]
    with Ledger(out.with_name(f"{out.name}.done"), _settings(systems, config, local)) as ledger:
        for system, (model, url) in zip(systems, places, strict=True):
            with bar(system.name) as progress:
                opened = partial(_open, model, url, local)
                ask_chat(system, opened, asked, ledger, seed=config.seed, progress=progress)
        write_jsonl(out, answers_in(ledger, systems, asked))
        tell_answers(systems, ledger, asked, out, say)
    return 0


def _system(model: str | None, url: str | None, config: ConversationConfig) -> System:
    from momus.evaluate.instruct.systems import System

    name = f"{model} at {url}" if model and url else model or url or ""
    return System(
        name,
        model or "",
        url=url or "",
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_tokens,
    )


def _settings(systems: list[System], config: ConversationConfig, local: LocalOptions) -> dict[str, Any]:
    """Return what decides the answers: a file begun with other settings is not continued."""
    from dataclasses import asdict

    from momus.cli.shared.output import weights_of

    weights = {system.name: system.model if system.url else weights_of(system.model) for system in systems}
    asked = {system.name: {**asdict(system), "model": weights[system.name]} for system in systems}
    return {"systems": asked, "system": config.system, "seed": config.seed, **local.settings()}
