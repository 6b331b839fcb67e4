"""Which tokens end a text.

A model's makers name them in up to three places: the tokenizer's end-of-text token, the list in
`generation_config.json`, and the token with which the chat template ends a turn. A model may write any of them, so
engines, rollouts, training and the saved model all go by the union.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from momus.errors import UserError
from momus.lm.chat import ChatFormat
from momus.lm.gguf import is_gguf, pretrained
from momus.lm.local.adapter_base import base_name, is_adapter


def end_tokens(tokenizer: Any, generation_config: Any = None) -> frozenset[int]:
    """Return all tokens of a vocabulary that end a text.

    Args:
        tokenizer: The model's tokenizer; its chat template, if it has one, names the end of a turn.
        generation_config: The model's, of transformers, where it has one.
    """
    listed = getattr(generation_config, "eos_token_id", None)
    named = [tokenizer.eos_token_id, _end_of_turn(tokenizer), *(listed if isinstance(listed, list) else [listed])]
    return frozenset(int(token) for token in named if isinstance(token, int) and 0 <= token < len(tokenizer))


def read_end_tokens(source: str | Path, tokenizer: Any) -> frozenset[int]:
    """Return the same for a model that is not loaded: a folder, a name on the hub or a GGUF file.

    An adapter's folder that says nothing of it has what its base says.

    Raises:
        UserError: Its settings cannot be read.
    """
    from transformers import AutoConfig, GenerationConfig  # heavy, and models on a server do without

    revision = None
    if is_adapter(source) and not (Path(source) / "generation_config.json").is_file():
        source, revision = base_name(Path(source))
    folder, options = pretrained(source)
    commit = {} if revision is None else {"revision": revision}
    try:
        try:
            if is_gguf(source):
                raise OSError("no generation_config.json in a GGUF file")
            listed = GenerationConfig.from_pretrained(folder, **commit)
        except OSError:  # then transformers takes them from the model's configuration
            listed = GenerationConfig.from_model_config(
                AutoConfig.from_pretrained(folder, trust_remote_code=False, **options, **commit)
            )
    except Exception as error:  # whatever transformers makes of settings of the wrong types
        raise UserError(f"cannot read the settings of {source}: {' '.join(str(error).split())[:200]}") from error
    return end_tokens(tokenizer, listed)


def _end_of_turn(tokenizer: Any) -> int | None:
    """Return the token with which a tokenizer's chat template ends an answer; None without a template that works."""
    if not tokenizer.chat_template:
        return None
    try:
        return ChatFormat(tokenizer).end_id
    except (UserError, ValueError):  # whoever lays out a conversation is told what is wrong with it
        return None
