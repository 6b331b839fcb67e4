"""Where a RAIN search's answers pause and end, and what they say; by tokens and bytes, in any language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from momus.errors import UnfitInputError
from momus.lm.engine import SearchEngine
from momus.lm.stop import StopStrings
from momus.search.result import Tokens

PAUSES = tuple(",.?:;\n" + "，。？：；、！")
"""Where a simulation pauses; the first six are the published code's."""


@dataclass(frozen=True)
class Subject:
    """What is to be answered: the prompt's tokens, and what the judge is told was asked.

    `ends` are the tokens that end an answer; `markers` texts that do: how the asker's next turn would begin.
    """

    prompt: Tokens
    asked: str
    ends: frozenset[int]
    markers: tuple[str, ...] = ()


class Answers:
    """Reads the answers to one subject.

    Args:
        subject: What is answered.
        engine: Whose tokens they are made of.
        most: Longest answer, in tokens.

    Raises:
        UnfitInputError: The prompt leaves no room for an answer.

    Attributes:
        longest: `most`, or what the model has room for.
    """

    def __init__(self, subject: Subject, engine: SearchEngine, most: int) -> None:
        self.longest = most if engine.limit is None else min(most, engine.limit - len(subject.prompt))
        if self.longest < 1:
            raise UnfitInputError(
                f"a prompt of {len(subject.prompt)} tokens leaves no room for an answer: the model reads {engine.limit}"
            )
        self._engine, self._ends = engine, subject.ends
        self._markers = StopStrings(subject.markers, engine.vocabulary, engine.decode)
        self._pauses = tuple(pause.encode() for pause in PAUSES)

    def pausing(self, tokens: Sequence[int]) -> bool:
        """Whether some tokens end in a pause; bytes are compared, so half a character is none."""
        pieces = self._engine.vocabulary.pieces
        return b"".join(pieces[token] or b"" for token in tokens[-4:]).endswith(self._pauses)

    def marked(self, answer: Tokens) -> bool:
        """Whether the last token of an answer begins the asker's next turn."""
        return bool(answer) and self._markers.ended(answer) is not None

    def ended(self, answer: Tokens) -> bool:
        """Whether an answer has come to its end by itself."""
        return bool(answer) and (answer[-1] in self._ends or self.marked(answer))

    def is_final(self, answer: Tokens) -> bool:
        """Whether nothing can follow an answer."""
        return len(answer) >= self.longest or self.ended(answer)

    def text(self, answer: Tokens) -> str:
        """Return what an answer says, without what ended it and without half a character at its end."""
        found = self._markers.ended(answer) if answer else None
        said = answer[:-1] if answer and answer[-1] in self._ends else answer
        text = found[0] if found else self._engine.decode(said)
        return text.rstrip("\N{REPLACEMENT CHARACTER}")
