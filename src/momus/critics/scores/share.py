"""The share of n samples that make a comment, matched by line and meaning.

Reviews of code by a model gain from being written several times: what a model makes up, it seldom makes up twice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from momus.critics.scores.protocol import Opinion, Scored
from momus.critique import Comment, Critique, lines_of
from momus.match.lexical import LexicalMatcher
from momus.match.matcher import SAME_SCORE, Matcher
from momus.records import Task


class SampleShare:
    """Scores a comment by the share of the reviews that make it."""

    exact = False

    def score(self, tasks: Sequence[Task], opinions: Sequence[Opinion]) -> list[Scored]:
        """Return for each comment the share of its task's reviews that make it."""
        return [Scored(tuple(count / opinion.reviews for count in opinion.counts)) for opinion in opinions]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of score."""
        return {"kind": "samples"}


def gather(reviews: Sequence[Critique], answer: str, matcher: Matcher | None = None) -> Opinion:
    """Gather the different comments of several reviews of one answer, whatever order the reviews come in.

    Two comments are the same where their quotes begin on the same line and the matcher says that they mean the same,
    or a chain of such comments joins them. Of those that are the same the most frequent stands for all.

    Args:
        reviews: Critiques anchored to the answer; comments without a place are left out.
        answer: The answer.
        matcher: Says what means the same; by default the words do.
    """
    by_line: defaultdict[int, Counter[Comment]] = defaultdict(Counter)
    makers: defaultdict[Comment, set[int]] = defaultdict(set)
    for number, review in enumerate(reviews):
        for comment in review.anchored:
            assert comment.span is not None
            by_line[lines_of(comment.span, answer)[0]][comment] += 1
            makers[comment].add(number)
    comments: list[Comment] = []
    counts: list[int] = []
    index: dict[Comment, int] = {}
    for _, on_line in sorted(by_line.items()):
        for same in _by_meaning(sorted(on_line, key=_order), matcher or LexicalMatcher()):
            index |= dict.fromkeys(same, len(comments))
            comments.append(min(same, key=lambda comment: (-len(makers[comment]), *_order(comment))))
            counts.append(len(set().union(*(makers[comment] for comment in same))))
    return Opinion(tuple(comments), tuple(counts), len(reviews), index)


def each_by_itself(reviews: Sequence[Critique], answer: str) -> Opinion:
    """Gather the different comments of several reviews of one answer, whatever they mean: see `gather`."""
    counts = Counter(comment for review in reviews for comment in dict.fromkeys(review.anchored))
    comments = tuple(sorted(counts, key=lambda comment: (comment.span, *_order(comment))))
    index = {comment: number for number, comment in enumerate(comments)}
    return Opinion(comments, tuple(counts[comment] for comment in comments), len(reviews), index)


def _by_meaning(comments: Sequence[Comment], matcher: Matcher) -> list[list[Comment]]:
    """Put comments on one line together that mean the same."""
    if len(comments) == 1:
        return [list(comments)]
    texts = [comment.text for comment in comments]
    (compared,) = matcher.compare([(texts, texts)])
    same = matcher.scale.scores(compared.similarity) >= SAME_SCORE
    from scipy.sparse.csgraph import connected_components  # late: it takes a third of a second to load

    count, labels = connected_components(same, directed=False)
    return [[c for c, label in zip(comments, labels, strict=True) if label == group] for group in range(count)]


def _order(comment: Comment) -> tuple[str, ...]:
    """Return what puts comments in an order of their own: no sample comes first."""
    return comment.text, comment.highlight, comment.severity or "", str(comment.span)
