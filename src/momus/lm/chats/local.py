"""A chat with a model of this process, whose weights are loaded when the first question needs them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from momus.files import stamps
from momus.lm.chats.engine import EngineChat
from momus.lm.chats.protocol import Answer, Question
from momus.lm.local.adapter_base import base_path, is_adapter
from momus.records import Message

if TYPE_CHECKING:
    from momus.lm.chat import ChatFormat
    from momus.lm.local.load import Precision


class LocalChat:
    """Asks a model of this process; what a cache answers costs no loading.

    Of a model in a folder or file not even its tokenizer is loaded before something needs it.

    Args:
        model: Its folder, GGUF file or name on the hub.
        device: Where it runs; by default on a GPU if there is one.
        precision: What it is computed in; by default what `choose_precision` takes.
        adapter: The folder of an adapter to put into it.

    Raises:
        UserError: It has no tokenizer that can be used, or there is no such device.
    """

    def __init__(
        self,
        model: str,
        device: str | None = None,
        precision: Precision | None = None,
        adapter: Path | None = None,
    ) -> None:
        self._model, self._wanted, self._adapter = model, (device, precision), adapter
        if device is not None or not _has_tokenizer(Path(model)):
            _ = self._place, self._format  # what is wrong is told now

    def signature(self) -> str:
        """Return what decides the identity and the counts: the files as they lie there, and the machine; "" on the hub.

        A file is told by its size and time of change, as by other tools that do not read what did not change.
        """
        return self._signature

    @cached_property
    def _signature(self) -> str:
        path, base = Path(self._model), Path(base_path(self._model))
        if not stamps(path):
            return ""
        seen = [stamp for place in dict.fromkeys((path, base, self._adapter or base)) for stamp in stamps(place)]
        packages = [_version(name) for name in ("momus", "torch", "transformers")]
        machine = [platform.node(), os.environ.get("CUDA_VISIBLE_DEVICES", ""), Path("/dev/nvidiactl").exists()]
        return json.dumps([self._model, str(path.resolve()), seen, self._wanted, packages, machine])

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model

    @property
    def has_adapter(self) -> bool:
        """Whether the model is a base with an adapter."""
        return self._adapter is not None or is_adapter(self._model)

    @cached_property
    def loaded(self) -> EngineChat:
        """The chat over the loaded model.

        Raises:
            UserError: It cannot be loaded.
        """
        from momus.lm.local.load import load_local_engine

        engine = load_local_engine(self._model, *self._place, adapter=self._adapter, tokenizer=self.tokenizer)
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

    def stream(self, question: Question, show: Callable[[str], None]) -> Answer:
        """Answer one question; see `EngineChat.stream`."""
        return self.loaded.stream(question, show)

    @cached_property
    def _digest(self) -> str:
        from momus.lm.models import model_digest

        path = Path(self._model)
        known = model_digest(path) if path.exists() else ""
        if self._adapter is not None:
            known = f"{known} with {model_digest(self._adapter)}".lstrip()
        return known if self._place[1] == "fp32" else f"{known} bfloat16"  # which may write something else

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer.

        Raises:
            UserError: There is none.
        """
        from momus.lm.codec import read_tokenizer

        return read_tokenizer(self._model)

    @cached_property
    def _format(self) -> ChatFormat:
        from momus.lm.chat import ChatFormat

        return ChatFormat(self.tokenizer)

    @cached_property
    def _place(self) -> tuple[str, Precision]:
        """The device and the precision."""
        from momus.lm.local.load import choose_device, choose_precision

        device, precision = self._wanted
        place = choose_device(device)
        return place, precision or choose_precision(self._model, place)


def _has_tokenizer(folder: Path) -> bool:
    """Return whether a folder has the files of a model and of a fast tokenizer."""
    return all((folder / name).is_file() for name in ("config.json", "tokenizer.json"))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
