"""A critic whose comments are scored, and the dial that goes by the scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from momus.critics.critic import Critic, CriticAround, Dial
from momus.critics.scores.protocol import CommentScore, Opinion, Scored
from momus.critics.scores.share import gather
from momus.critics.vacuous import drop_vacuous, is_vacuous
from momus.critique import Critique, format_critique
from momus.records import Task
from momus.search.result import Candidate, SearchResult


class ScoreDial:
    """Keeps the comments with a high enough score; the setting is the least, from 0 to 1.

    Comments without a place have no score: they stay, to be counted, and nobody is shown them.
    """

    def choose(self, written: SearchResult, answer: str, setting: float) -> Critique:
        """Return the comments that score at least as much."""
        if not written.candidates:
            return Critique()
        (candidate,) = written.candidates
        return candidate.keep(lambda comment, score: comment.span is None or score >= setting - 1e-9).critique

    def settings(self, written: SearchResult) -> Iterable[float]:
        """Return every score, and 1, at which nothing less than certain is said."""
        return sorted({1.0, *(score for candidate in written.candidates for score in candidate.scores)})


class ScoredCritic(CriticAround):
    """Has a critic write, puts together what its reviews say, and scores every comment.

    Args:
        critic: Who writes.
        score: What scores.
    """

    def __init__(self, critic: Critic, score: CommentScore) -> None:
        super().__init__(critic)
        self._score = score

    @property
    def dial(self) -> Dial:
        """The dial that goes by the scores."""
        return ScoreDial()

    def write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        """Return one candidate for every task: all different comments, each with its score."""
        written = self.critic.write(tasks)
        opinions = [
            gather([c.critique for c in drop_vacuous(result, task.answer).candidates], task.answer)
            for result, task in zip(written, tasks, strict=True)
        ]
        scored = self._score.score(tasks, opinions)
        return [
            _merge(result, task.answer, opinion, scores) if result.candidates else result
            for task, result, opinion, scores in zip(tasks, written, opinions, scored, strict=True)
        ]

    def identity(self) -> Mapping[str, Any]:
        """Return what identifies the critic and the score."""
        return {"kind": "scored", "critic": dict(self.critic.identity()), "score": dict(self._score.identity())}


def _merge(written: SearchResult, answer: str, opinion: Opinion, scored: Scored) -> SearchResult:
    """Return one candidate with all comments; those that are dropped later come last, so that they can be counted."""
    if scored.problem:
        return SearchResult((), scored.problem)
    known = dict.fromkeys(c for candidate in written.candidates for c in candidate.critique.comments)
    dropped = {c: 1.0 for c in known if c.span is None or is_vacuous(c, answer)}
    scores = {**dict(zip(opinion.comments, scored.values, strict=True)), **dropped}
    critique = Critique(comments=tuple(scores))
    return SearchResult((Candidate(format_critique(critique), (), 0.0, critique, scores=tuple(scores.values())),))
