"""An answer while it is written: its growing text, passed on piece by piece."""

from __future__ import annotations

from collections.abc import Callable

from momus.lm.chats.protocol import without_thinking

_THINK = "<think>"


class AnswerStream:
    """Passes on what is new of a growing text, without the thinking that it begins with.

    Args:
        show: Called with each piece.
        thinking: Whether the model is thinking before its first word, as some chat templates have it.

    Attributes:
        text: All that `add` was given.
    """

    def __init__(self, show: Callable[[str], None], thinking: bool = False) -> None:
        self._show, self._before, self._shown = show, _THINK if thinking else "", ""
        self.text = ""

    def add(self, piece: str) -> None:
        """Pass on what is new with one more piece of the text."""
        self.text += piece
        self.update(self.text)

    def update(self, text: str) -> None:
        """Pass on what is new of the text so far; half a character at its end waits for its other half."""
        text = (self._before + text).rstrip("\ufffd")
        if not _THINK.startswith(text.lstrip()[: len(_THINK)]) or text.lstrip().startswith(_THINK):
            self._pass_on(without_thinking(text))

    def finish(self, text: str) -> None:
        """Pass on what was held back of the whole answer's text, which is without its thinking."""
        self._pass_on(text)

    def _pass_on(self, text: str) -> None:
        if len(text) > len(self._shown) and text.startswith(self._shown):
            piece, self._shown = text[len(self._shown) :], text
            self._show(piece)
