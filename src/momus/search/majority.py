"""Aggregation: several critiques of one answer merged into what enough of them agree on.

Reviews of code by a model gain from being written several times and merged; how many must agree is a dial between
"miss nothing" and "claim nothing false".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from momus.critique import Comment, Critique, lines_of


def agreed(critiques: Iterable[Critique], answer: str, share: float) -> Critique:
    """Merge several critiques of one answer into the comments that enough of them agree on.

    Args:
        critiques: All of the same answer.
        answer: The answer.
        share: The share of the critiques that must comment on a line, by its first quoted one, to keep it.

    Returns:
        One comment a line, the most frequent (of two as frequent, the first made), in the order of the code.
    """
    total = 0
    voters: Counter[int] = Counter()
    said: defaultdict[int, Counter[Comment]] = defaultdict(Counter)
    for critique in critiques:
        total += 1
        quoted: dict[int, Comment] = {}
        for comment in critique.anchored:
            assert comment.span is not None
            quoted.setdefault(lines_of(comment.span, answer)[0], comment)
        voters.update(quoted.keys())
        for line, comment in quoted.items():
            said[line][comment] += 1
    kept = sorted(line for line, votes in voters.items() if votes >= share * total - 1e-9)  # 7 of 25 is 28 %
    return Critique(comments=tuple(said[line].most_common(1)[0][0] for line in kept))
