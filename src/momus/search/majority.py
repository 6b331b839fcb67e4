"""Aggregation: several critiques of one answer merged into what enough of them agree on.

Reviews of code by a model gain from being written several times and merged; how many must agree is a dial between
"miss nothing" and "claim nothing false".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from momus.critique import Comment, Critique, lines_of


def merge_by_majority(critiques: Iterable[Critique], answer: str, share: float) -> Critique:
    """Merge several critiques of one answer into the comments that enough of them agree on.

    Args:
        critiques: All of the same answer.
        answer: The answer.
        share: The share of the critiques, from 0 to 1, that must comment on a line to keep it; a comment is on the
            first line that it quotes.

    Returns:
        One comment a line, the most frequent (of two as frequent, the first made), in the order of the code.
    """
    total = 0
    votes: Counter[int] = Counter()
    comments: defaultdict[int, Counter[Comment]] = defaultdict(Counter)
    for critique in critiques:
        total += 1
        by_line: dict[int, Comment] = {}
        for comment in critique.anchored:
            assert comment.span is not None
            by_line.setdefault(lines_of(comment.span, answer)[0], comment)
        votes.update(by_line.keys())
        for line, comment in by_line.items():
            comments[line][comment] += 1
    kept = sorted(line for line, count in votes.items() if count >= share * total - 1e-9)  # 7 of 25 is 28 %
    return Critique(comments=tuple(comments[line].most_common(1)[0][0] for line in kept))
