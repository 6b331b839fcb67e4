"""A chat with a model of this process, whose weights are loaded when the first question needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from momus.lm.chat import ChatFormat
from momus.lm.chats.engine import EngineChat
from momus.lm.chats.protocol import Answer, Question
from momus.lm.codec import read_tokenizer
from momus.records import Message

if TYPE_CHECKING:
    from momus.lm.local.load import Precision


class LocalChat:
    """Asks a model of this process; what a cache answers costs no loading.

    Args:
        model: Its folder, GGUF file or name on the hub.
        device: Where it runs; by default on a GPU if there is one.
        precision: What it is computed in; by default what `choose_precision` takes.

    Raises:
        UserError: It has no tokenizer that can be used.
    """

    def __init__(self, model: str, device: str | None = None, precision: Precision | None = None) -> None:
        from momus.lm.local.load import choose_device, choose_precision

        self._model, self._format = model, ChatFormat(read_tokenizer(model))
        self._device = choose_device(device)
        self._precision = precision or choose_precision(model, self._device)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model

    @cached_property
    def loaded(self) -> EngineChat:
        """The chat over the loaded model.

        Raises:
            UserError: It cannot be loaded.
        """
        from momus.lm.local.load import load_local_engine

        engine = load_local_engine(self._model, self._device, self._precision)
        return EngineChat(engine, engine.tokenizer, self._model, constrained=True)

    def identity(self) -> Mapping[str, str]:
        """Return the model's name and, of files on this machine, the digest of its weights; and if they are rounded."""
        return {"api": "engine", "model": self._model, "digest": self._digest}

    def count(self, messages: Sequence[Message]) -> int:
        """Return the tokens of a conversation in the model's layout."""
        return len(self._format.prompt(tuple(messages)))

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions; see `EngineChat.answer`."""
        return self.loaded.answer(questions)

    @cached_property
    def _digest(self) -> str:
        from momus.lm.models import model_digest

        path = Path(self._model)
        known = model_digest(path) if path.exists() else ""
        return known if self._precision == "fp32" else f"{known} bfloat16"  # which may write something else
