"""Whether a comment is right, as a model's pointer and the code that the model finds likely say; nobody is asked.

Small models say untrue things of the right line, and cannot tell when they are asked. But how likely a line is to be
wrong their pointer and the edits of it say (`search/lines.py`), and a comment that names its fix can be weighed as an
edit: is the code likelier with it (`search/proposals.py`)? The two are added as log-odds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from momus.critics.scores.protocol import Opinion, Scored, log_odds, sigmoid
from momus.critique import Comment, lines_of
from momus.lm.chats.local import LocalChat
from momus.lm.pointers.line_pointer import LinePointer
from momus.lm.pointers.line_states import LineReader
from momus.records import Task
from momus.search.fixes import SETTINGS, Place
from momus.search.lines import LEAST_COUNTED, MOST_COUNTED, TRIED, WEIGHT, WeighedLines, counted, weigh_lines
from momus.search.proposals import MOST_PLACES, VERSION, Proposal, weigh_proposals

LINE, GAIN = 2.9, 0.135
"""What counts the probability that the line is wrong, and a nat gained: about as rankings by simulated contractors say
(`benchmarks/weigh_rankings.py`)."""
UNKNOWN = -1.8
"""Nats that count as gained by a comment that proposes nothing that can be tried."""
LEAST = 0.05
"""On lines that cannot come to such a probability no edits are tried."""
REMEMBERED = 1000
"""Pieces of code whose lines are remembered."""


class Weighed(NamedTuple):
    """What is known of a comment.

    Attributes:
        likely: The probability that a line it quotes is wrong, of the likeliest.
        gain: Nats gained by what it proposes; None where it proposes nothing that can be tried.
    """

    likely: float
    gain: float | None


class PointedScore:
    """Scores comments by a model with a pointer.

    Args:
        model: The model.
        pointer: The pointer's file.

    Raises:
        UserError: The pointer cannot be read.
    """

    exact = True

    def __init__(self, model: LocalChat, pointer: Path) -> None:
        self._chat, self._pointer = model, LinePointer.load(pointer)
        self._digest = hashlib.sha256(pointer.read_bytes()).hexdigest()
        self._lines: dict[tuple[str, str], WeighedLines] = {}
        self._gains: dict[Proposal, float | None] = {}

    def score(self, tasks: Sequence[Task], opinions: Sequence[Opinion]) -> list[Scored]:
        """Weigh the lines of every task, and what its comments propose."""
        problems = [
            self._reader.problem(task.question, task.answer) if opinion.comments else ""
            for task, opinion in zip(tasks, opinions, strict=True)
        ]
        weighed = iter(
            self.weigh([
                (task, comment)
                for task, opinion, problem in zip(tasks, opinions, problems, strict=True)
                for comment in (() if problem else opinion.comments)
            ])
        )  # fmt: skip
        return [
            Scored((), problem) if problem else Scored(tuple(worth(*next(weighed)) for _ in opinion.comments))
            for opinion, problem in zip(opinions, problems, strict=True)
        ]

    def weigh(self, comments: Sequence[tuple[Task, Comment]]) -> list[Weighed]:
        """Return what is known of comments on tasks, each with a place.

        Raises:
            UserError: A task is longer than the model can read.
        """
        if len(self._lines) > REMEMBERED:
            self._lines.clear()
            self._gains.clear()
        self._weigh_lines([task for task, _ in comments])
        self._weigh_proposals([_proposal(task, comment) for task, comment in comments])
        return [self._weighed(task, comment) for task, comment in comments]

    def identity(self) -> Mapping[str, Any]:
        """Return the model, the pointer and the numbers that decide."""
        numbers = [
            LINE,
            GAIN,
            UNKNOWN,
            LEAST,
            TRIED,
            WEIGHT,
            LEAST_COUNTED,
            MOST_COUNTED,
            VERSION,
            MOST_PLACES,
            *SETTINGS,
        ]
        return {"kind": "pointer", "model": dict(self._chat.identity()), "pointer": self._digest, "settings": numbers}

    @cached_property
    def _engine(self) -> Any:
        return self._chat.loaded.engine

    @cached_property
    def _reader(self) -> LineReader:
        return LineReader(self._engine.model, self._engine.tokenizer, self._pointer.shape.reads)

    def _weigh_lines(self, tasks: Sequence[Task]) -> None:
        """Remember what is known of the lines of those tasks that are new."""
        new = {key: task for task in tasks if (key := (task.question, task.answer)) not in self._lines}
        if not new:
            return
        read = self._pointer.line_log_odds(self._reader.read(list(new)))
        moved = [[each + self._pointer.shift for each in odds] for odds in read]
        model, tokenizer = self._engine.model, self._engine.tokenizer
        self._lines |= zip(new, weigh_lines(model, tokenizer, list(new.values()), moved, log_odds(LEAST)), strict=True)

    def _weigh_proposals(self, proposals: Sequence[Proposal]) -> None:
        """Remember what is gained by those proposals that are new."""
        new = [proposal for proposal in dict.fromkeys(proposals) if proposal not in self._gains]
        self._gains |= zip(new, weigh_proposals(self._engine.model, self._engine.tokenizer, new), strict=True)

    def _weighed(self, task: Task, comment: Comment) -> Weighed:
        assert comment.span is not None
        odds = self._lines[task.question, task.answer].log_odds
        likely = sigmoid(max(odds[n] for n in lines_of(comment.span, task.answer)))
        return Weighed(likely, self._gains[_proposal(task, comment)])


def worth(likely: float, gain: float | None) -> float:
    """Return the score of a comment of which so much is known (`Weighed`)."""
    return sigmoid(LINE * (likely - 0.5) + GAIN * (UNKNOWN if gain is None else counted(gain)))


def _proposal(task: Task, comment: Comment) -> Proposal:
    """Return what a comment proposes, at the last line that it quotes."""
    assert comment.span is not None
    return Proposal(Place(task.question, task.answer, lines_of(comment.span, task.answer)[-1] + 1), comment.text)
