"""What feedback says that was said already: a point made again, the question given back, the document's own sentences.

Small models fill a form with one sentence, or with what they were given to read. A reader gets a point once and is told
how often it came; what only repeats the question or the document is no feedback.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from difflib import SequenceMatcher

from momus.documents.feedback import FeedbackPoint, FeedbackSection, Repeat
from momus.documents.rubrics import Rubric
from momus.match.text import words
from momus.normalise import letters, normalise

SAME = 0.7
"""The share of two points' content words that both have, from which on they say the same."""
_ECHO_WORDS, _ECHO_SHARE = 6, 0.6
"""A point gives the question back where so many of its words in a row, and this share of them, are the question's."""
_COPY_WORDS, _COPY_SHARE = 6, 0.8
"""A point is the document's own where this share of its words stands there in runs of at least so many."""


def without_repeats(
    sections: Sequence[FeedbackSection], rubric: Rubric, document: str
) -> tuple[tuple[FeedbackSection, ...], tuple[Repeat, ...]]:
    """Merge points that say the same, and leave out those that only say what was asked or what the document says.

    A point that stands word for word in an earlier section goes too, unless its own would be without any. Details that
    repeat their point or each other go without being counted.

    Returns:
        The sections, and what went.
    """
    asked = [normalise(section.ask).split() for section in rubric.sections]
    runs = _runs(normalise(document).split())
    kept: list[FeedbackSection] = []
    repeats: list[Repeat] = []
    for section in sections:
        points: list[FeedbackPoint] = []
        for point in section.points:
            same = next((other.text for other in points if _say_the_same(other.text, point.text)), None)
            if _is_copied(point.text, runs) or any(_gives_back(point.text, question) for question in asked):
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


def _is_copied(text: str, runs: AbstractSet[tuple[str, ...]]) -> bool:
    """Tell whether a text is put together of passages whose runs of words are given."""
    words_of_text = normalise(text).split()
    copied = {
        place
        for start in range(len(words_of_text) - _COPY_WORDS + 1)
        if tuple(words_of_text[start : start + _COPY_WORDS]) in runs
        for place in range(start, start + _COPY_WORDS)
    }
    return bool(copied) and len(copied) >= _COPY_SHARE * len(words_of_text)


def _runs(text_words: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(text_words[i : i + _COPY_WORDS]) for i in range(len(text_words) - _COPY_WORDS + 1)}


def _distinct_details(point: FeedbackPoint) -> FeedbackPoint:
    seen = {letters(point.text)}
    details = []
    for detail in point.details:
        if letters(detail) not in seen and re.search(r"\w", detail):
            seen.add(letters(detail))
            details.append(detail)
    return point.model_copy(update={"details": tuple(details)})
