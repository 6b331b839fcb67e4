"""What feedback says more than once: a point of a section made again, and what only gives the question back.

Small models fill a form with one sentence. A reader gets it once, and is told how often it came.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from momus.documents.feedback import FeedbackPoint, FeedbackSection, Repeat
from momus.documents.rubrics import Rubric
from momus.match.text import words
from momus.normalise import letters, normalise

SAME = 0.7
"""The share of two points' content words that both have, from which on they say the same."""
_ECHO_WORDS, _ECHO_SHARE = 6, 0.6
"""A point gives the question back where so many of its words in a row, and this share of them, are the question's."""


def without_repeats(
    sections: Sequence[FeedbackSection], rubric: Rubric
) -> tuple[tuple[FeedbackSection, ...], tuple[Repeat, ...]]:
    """Merge points that say the same, and leave out those that only say what was asked.

    A point that stands word for word in an earlier section goes too, unless its own would be without any. Details that
    repeat their point or each other go without being counted.

    Returns:
        The sections, and what went.
    """
    asked = [normalise(section.ask).split() for section in rubric.sections]
    kept: list[FeedbackSection] = []
    repeats: list[Repeat] = []
    for section in sections:
        points: list[FeedbackPoint] = []
        for point in section.points:
            same = next((other.text for other in points if _say_the_same(other.text, point.text)), None)
            if any(_gives_back(point.text, question) for question in asked):
                repeats.append(Repeat(section=section.key, point="", text=point.text))
            elif same is not None:
                repeats.append(Repeat(section=section.key, point=same, text=point.text))
            else:
                points.append(_distinct_details(point))
        earlier = {letters(point.text): point.text for part in kept for point in part.points}
        fresh = [point for point in points if letters(point.text) not in earlier] or points
        for point in (point for point in points if point not in fresh):
            repeats.append(Repeat(section=section.key, point=earlier[letters(point.text)], text=point.text))
        kept.append(section.model_copy(update={"points": tuple(fresh)}))
    return tuple(kept), tuple(repeats)


def _say_the_same(first: str, second: str) -> bool:
    if letters(first) == letters(second):
        return True
    one, other = set(words(first)), set(words(second))
    return bool(one and other) and len(one & other) >= SAME * len(one | other)


def _gives_back(text: str, question: Sequence[str]) -> bool:
    point_words = normalise(text).split()
    matcher = SequenceMatcher(None, point_words, list(question), autojunk=False)
    longest = matcher.find_longest_match().size
    return longest >= _ECHO_WORDS and longest >= _ECHO_SHARE * len(point_words)


def _distinct_details(point: FeedbackPoint) -> FeedbackPoint:
    seen = {letters(point.text)}
    details = []
    for detail in point.details:
        if letters(detail) not in seen and re.search(r"\w", detail):
            seen.add(letters(detail))
            details.append(detail)
    return point.model_copy(update={"details": tuple(details)})
