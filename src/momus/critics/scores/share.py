"""The share of n samples that make a comment, matched by line and meaning.

Reviews of code by a model gain from being written several times: what a model makes up, it seldom makes up twice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from momus.critics.scores.protocol import Opinion, Scored
from momus.critique import PROPOSED_LINE, Comment, Critique, lines_of
from momus.match.lexical import LexicalMatcher
from momus.match.matcher import SAME_SCORE, Matcher
from momus.records import Task


class SampleShare:
    """Scores a comment by the share of the reviews that make it."""

    def score(self, tasks: Sequence[Task], opinions: Sequence[Opinion]) -> list[Scored]:
        """Return for each comment the share of its task's reviews that make it."""
        return [Scored(tuple(count / opinion.reviews for count in opinion.counts)) for opinion in opinions]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of score."""
        return {"kind": "samples"}


def gather(reviews: Sequence[Critique], answer: str, matcher: Matcher | None = None) -> Opinion:
    """Gather the different comments of several reviews of one answer, whatever order the reviews come in.

    Two comments are the same where their quotes begin on the same line, they do not propose different code, and the
    matcher says that they mean the same, or a chain of such comments joins them. Of those that are the same the most
    frequent stands for all.

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


def _by_meaning(comments: Sequence[Comment], matcher: Matcher) -> list[list[Comment]]:
    """Put comments on one line together that mean the same."""
    if len(comments) == 1:
        return [list(comments)]
    texts = [comment.text for comment in comments]
    (compared,) = matcher.compare([(texts, texts)])
    codes = [code[2].strip() if (code := PROPOSED_LINE.search(text)) else "" for text in texts]
    differ = [[bool(one and other and one != other) for other in codes] for one in codes]
    same = (matcher.scale.scores(compared.similarity) >= SAME_SCORE) & ~np.array(differ)
    from scipy.sparse.csgraph import connected_components  # late: it takes a third of a second to load

    count, labels = connected_components(same, directed=False)
    return [[c for c, label in zip(comments, labels, strict=True) if label == group] for group in range(count)]


def _order(comment: Comment) -> tuple[str, ...]:
    """Return what puts comments in an order of their own: no sample comes first."""
    return comment.text, comment.highlight, comment.severity or "", str(comment.span)
