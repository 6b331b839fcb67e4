"""Where a RAIN search's answers pause and end, and their text; by tokens and bytes, in any language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from momus.errors import UnfitInputError
from momus.lm.engine import SearchEngine
from momus.lm.stop import StopStrings
from momus.lm.tree import Tokens

PAUSES = tuple(",.?:;\n" + "，。？：；、！")
"""Where a simulation pauses; the first six are the published code's."""


@dataclass(frozen=True)
class EncodedPrompt:
    """What is to be answered.

    Attributes:
        tokens: The prompt as the model reads it.
        question: What the judge reads as the question.
        end_tokens: Tokens that end an answer.
        stop_strings: Texts that end an answer: the beginning of the user's next turn.
    """

    tokens: Tokens
    question: str
    end_tokens: frozenset[int]
    stop_strings: tuple[str, ...] = ()


class AnswerReader:
    """Reads answers to one prompt: where they pause and end, and their text.

    Args:
        prompt: What is answered.
        engine: Whose tokens the answers are made of.
        max_tokens: Greatest length of an answer.

    Raises:
        UnfitInputError: The prompt leaves no room for an answer.

    Attributes:
        max_tokens: Greatest length of an answer, or what the model has room for.
    """

    def __init__(self, prompt: EncodedPrompt, engine: SearchEngine, max_tokens: int) -> None:
        size = len(prompt.tokens)
        self.max_tokens = max_tokens if engine.context_length is None else min(max_tokens, engine.context_length - size)
        if self.max_tokens < 1:
            raise UnfitInputError(
                f"a prompt of {size} tokens leaves no room for an answer: the model reads {engine.context_length}"
            )
        self._engine, self._end_tokens = engine, prompt.end_tokens
        self._stop_strings = StopStrings(prompt.stop_strings, engine.vocabulary, engine.decode)
        self._pauses = tuple(pause.encode() for pause in PAUSES)

    def ends_in_pause(self, tokens: Sequence[int]) -> bool:
        """Whether tokens end in a pause; bytes are compared, so half a character is none."""
        pieces = self._engine.vocabulary.pieces
        return b"".join(pieces[token] or b"" for token in tokens[-4:]).endswith(self._pauses)

    def hits_stop_string(self, answer: Tokens) -> bool:
        """Whether the last token of an answer completes a stop string."""
        return bool(answer) and self._stop_strings.completed(answer) is not None

    def has_ended(self, answer: Tokens) -> bool:
        """Whether an answer has ended by itself."""
        return bool(answer) and (answer[-1] in self._end_tokens or self.hits_stop_string(answer))

    def is_terminal(self, answer: Tokens) -> bool:
        """Whether nothing can follow an answer."""
        return len(answer) >= self.max_tokens or self.has_ended(answer)

    def text(self, answer: Tokens) -> str:
        """Return an answer's text, without what ended it and without half a character at its end."""
        stopped = self._stop_strings.completed(answer) if answer else None
        if stopped:
            text = stopped[0]
        else:
            text = self._engine.decode(answer[:-1] if answer and answer[-1] in self._end_tokens else answer)
        return text.rstrip("\N{REPLACEMENT CHARACTER}")
