"""How critiques are written: what a search must know of it to force a highlight, to cut an end off, and to read.

`FENCED` is the paper's: a highlight between fences, then the comment. `momus.critics.constrained.JsonCritiques` is that
of models that chat.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from momus.critique import FENCE, NO_PROBLEMS, Critique, focus, parse_critique, strip_closing
from momus.lm.constraint import Constraint, VerbatimQuotes, Vocabulary
from momus.search.result import EncodedTask

_OPENING = f"{FENCE}\n"


class CritiqueForm(Protocol):
    """How critiques are written."""

    @property
    def nothing(self) -> str:
        """The critique that finds nothing."""

    @property
    def stop_tokens(self) -> Sequence[int]:
        """Tokens that end a critique, besides the model's own end of text."""

    def force_highlight(self, critique: str) -> str:
        """Return an unfinished critique with what makes the next thing a highlight; "" begins one."""

    def strip_end(self, critique: str) -> str:
        """Return a critique without what ends it, so that another highlight can follow; "" where it has none."""

    def constrain(
        self, task: EncodedTask, vocabulary: Vocabulary, written: str = "", highlight: bool = False
    ) -> Constraint:
        """Return the constraint that keeps quotes verbatim.

        Args:
            task: What is criticised.
            vocabulary: The bytes behind the tokens.
            written: The part of the critique that is in the prefix already.
            highlight: Whether a highlight must come next.
        """

    def read(self, text: str, answer: str) -> Critique:
        """Read a critique of an answer, each comment at the line that it is about."""


class FencedCritiques:
    """The paper's form."""

    nothing = NO_PROBLEMS
    stop_tokens: Sequence[int] = ()

    def force_highlight(self, critique: str) -> str:
        """Append an opening fence."""
        return f"{critique}\n\n{_OPENING}" if critique else _OPENING

    def strip_end(self, critique: str) -> str:
        """Strip what ends a critique: a quote the length limit left open, and the closing remark."""
        fences = [match.start() for match in re.finditer(f"^{FENCE}", critique, re.MULTILINE)]
        closed = critique[: fences[-1]].rstrip() if len(fences) % 2 else critique
        return strip_closing(closed)

    def constrain(
        self, task: EncodedTask, vocabulary: Vocabulary, written: str = "", highlight: bool = False
    ) -> Constraint:
        """Keep quotes to lines of the answer; what is `written` ends in a fence where a highlight must come next."""
        return VerbatimQuotes(task.answer, vocabulary, written=written, line_log_odds=task.line_log_odds)

    def read(self, text: str, answer: str) -> Critique:
        """Read quotes and comments."""
        return focus(parse_critique(text, answer), answer)


FENCED = FencedCritiques()
