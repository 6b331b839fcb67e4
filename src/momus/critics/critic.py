"""What a critic is: it writes critiques of an answer, and a dial chooses among what it wrote.

The dial stands between "miss nothing" and "claim nothing false". A critic writes once, and its dial then says for every
setting what the critique would be, so that measuring all settings (`momus.evaluate.critics.calibration`) costs no more
than using one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from momus.critique import Comment, Critique, lines_of
from momus.records import Task
from momus.search.majority import merge_by_majority
from momus.search.result import SearchResult


class Dial(Protocol):
    """Chooses among the comments that a critic wrote about one answer."""

    def choose(self, written: SearchResult, answer: str, setting: float) -> Critique:
        """Return the critique at a setting."""

    def settings(self, written: SearchResult) -> Iterable[float]:
        """Return one setting for each critique that can be chosen, in ascending order."""


CONFIDENCE = 0.75
"""The setting of a dial where nobody asks for another: quiet rather than complete (calibration.json)."""


SHIPPED = Path(__file__).with_name("calibration.json")
"""What was measured of the critic that ships with Momus."""


def usual_setting(dial: Dial) -> float:
    """Return where a dial stands unless somebody sets it: at its attribute `usual_setting`, or else `CONFIDENCE`."""
    return float(getattr(dial, "usual_setting", CONFIDENCE))


class Critic(Protocol):
    """Who writes the critiques: a trained model, a prompted one, or a plain object in a test.

    One that reads code in some languages only names them in an attribute `languages`.
    """

    @property
    def dial(self) -> Dial:
        """What chooses among the critiques it writes."""

    def fits(self, task: Task) -> bool:
        """Return whether the task and a critique of it fit the critic's context; parts of what fits must fit."""

    def write(self, tasks: Sequence[Task]) -> Sequence[SearchResult]:
        """Write critiques of every task, in order, scored and anchored to its answer; none where it could not."""

    def identity(self) -> Mapping[str, Any]:
        """Return all that decides what it writes, weights by their digests, as what JSON can hold."""


def narrowed(critic: Critic, setting: float) -> Critic:
    """Return the critic for one setting of its dial: one that can asks about nothing that its dial hides there."""
    narrow: Callable[[float], Critic] | None = getattr(critic, "narrowed", None)
    return critic if narrow is None else narrow(setting)


class CriticAround:
    """What a critic that adds something to another has of that one: its dial, what it can read, and its languages."""

    def __init__(self, critic: Critic) -> None:
        self.critic = critic
        if hasattr(critic, "languages"):
            self.languages: Sequence[str] = critic.languages

    @property
    def dial(self) -> Dial:
        """The critic's own dial."""
        return self.critic.dial

    def fits(self, task: Task) -> bool:
        """Return whether the critic can read a task."""
        return self.critic.fits(task)


def innermost(critic: Critic) -> Critic:
    """Return the critic that writes, inside of all that comes after it."""
    while isinstance(critic, CriticAround):
        critic = critic.critic
    return critic


class AgreementDial:
    """Keeps comments on the lines that enough critiques agree on; the setting is the share, from 0 to 1."""

    def choose(self, written: SearchResult, answer: str, setting: float) -> Critique:
        """Return the comments that this share of the critiques make."""
        return merge_by_majority([candidate.critique for candidate in written.candidates], answer, setting)

    def settings(self, written: SearchResult) -> Iterable[float]:
        """Return every share that a number of critiques can make."""
        count = len(written.candidates)
        return [votes / count for votes in range(1, count + 1)]


class LengthDial:
    """Takes the best critique; the setting is the length modifier (CriticGPT, arXiv 2407.00215, appendix 7.1)."""

    def choose(self, written: SearchResult, answer: str, setting: float) -> Critique:
        """Return the critique with the best score, every highlight adding `setting` to it."""
        from momus.search.fsbs import choose_best

        return choose_best(written, setting).critique if written.candidates else Critique()

    def settings(self, written: SearchResult) -> Iterable[float]:
        """Return one modifier between any two at which the choice changes, and one beyond each end; 0 for no choice."""
        from momus.search.fsbs import find_ties, take_midpoints

        return take_midpoints(find_ties(written)) if len(written.candidates) > 1 else (0.0,)


def confidence_of(comment: Comment, written: SearchResult, answer: str, dial: Dial) -> float | None:
    """Return the highest setting of a dial that keeps a comment: its score, or the share of critiques on its line."""
    assert comment.span is not None
    first = written.candidates[0]
    if first.scores:
        return max(s for c, s in zip(first.critique.comments, first.scores, strict=True) if c == comment)
    if not isinstance(dial, AgreementDial):
        return None
    line = lines_of(comment.span, answer)[0]
    agreeing = sum(
        any(other.span is not None and lines_of(other.span, answer)[0] == line for other in candidate.critique.comments)
        for candidate in written.candidates
    )
    return agreeing / len(written.candidates)
