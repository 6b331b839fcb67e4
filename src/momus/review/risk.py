"""What to read first where not everything may be read: a simple measure of what is most likely to be wrong.

    risk = changed lines of code + decisions on them, halved in tests

Large changes and those that decide something are where bugs are put in; a decision is a word such as `if`, `for`,
`except`, `and`, or a comparison. Lines that are blank or a comment count for nothing. It is an order, no probability.
"""

from __future__ import annotations

import re

from momus.review.units import Unit

_DECISION = re.compile(
    r"\b(?:if|elif|else|for|while|except|catch|finally|try|case|switch|match|and|or|not|in|is|return|raise|throw|yield|await"
    r"|del|global|nonlocal|lambda)\b|[<>=!]=|[<>]|&&|\|\||\?"
)
_TEST = re.compile(r"(?:^|/)(?:tests?|testing)/|(?:^|/)(?:test_[^/]*|[^/]*_test|conftest)\.\w+$")
_COMMENT = ("#", "//", "/*", "*")


def risk(unit: Unit, changed: frozenset[int] | None, path: str) -> float:
    """Return how much is to be gained from reading a unit.

    Args:
        unit: The piece of code.
        changed: Numbers of the lines that changed; None for all.
        path: Its file, which says whether it is a test.
    """
    score = 0.0
    for number, line in zip(unit.lines, unit.text.split("\n"), strict=True):
        code = line.strip()
        if code and not code.startswith(_COMMENT) and (changed is None or number in changed):
            score += 1 + len(_DECISION.findall(code))
    return score / 2 if _TEST.search(path) else score
