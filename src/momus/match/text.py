"""Text features of the lexical matcher: stems of words, and character n-grams inside them.

English words lose the endings of number, tense and derivation. A Korean word (an *eojeol*: a stem with particles or
verb endings) loses one particle or one ending, and its syllables are taken apart into letters (*jamo*), so that forms
of one verb share most of their runs: 비교하는, 비교했다, 비교하면. Han and kana, written without spaces, are cut into
single and pairs of characters. Nothing here is a morphological analyser: endings are lists, and a wrong cut costs
little because the runs of letters match anyway.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from functools import lru_cache

from momus.match.words import ENGLISH, PARTICLES, STOP, VERB_ENDINGS
from momus.normalise import normalise

BUCKETS = 1 << 20
"""Features are hashed into this many buckets, so memory does not grow with the texts."""

_HAN = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana and Han, with compatibility forms
_WORD = re.compile(rf"[가-힣]+|[{_HAN}]+|[^\W\d_]+?(?=[가-힣{_HAN}])|[^\W\d_]+|\d+(?:\.\d+)?")
_HANGUL, _UNSPACED = re.compile(r"[가-힣]"), re.compile(rf"[{_HAN}]")

_STOP = frozenset(STOP.split())
_ENGLISH = [tuple(rule.split("=")) for rule in ENGLISH.split()]
_PARTICLES = sorted(PARTICLES.split(), key=len, reverse=True)
_ENDINGS = sorted(VERB_ENDINGS.split(), key=len, reverse=True)


def words(text: str) -> list[str]:
    """Return the stems of a text's content words, in order."""
    return [_stem(word) for word in _WORD.findall(normalise(text)) if word not in _STOP]


def forms(text: str) -> dict[str, str]:
    """Return the stems of a text's content words, each with the first word in the text that has it."""
    by_stem: dict[str, str] = {}
    for word in _WORD.findall(normalise(text)):
        if word not in _STOP:
            by_stem.setdefault(_stem(word), word)
    return by_stem


def features(text: str) -> list[int]:
    """Return the features of a text as numbers below `BUCKETS`, repeated as often as they occur.

    A text without content words that is not blank is one feature, so that it is identical to itself.
    """
    folded = normalise(text)
    numbers = [number for word in _WORD.findall(folded) if word not in _STOP for number in _features(word)]
    return numbers or ([_number(folded)] if folded else [])


@lru_cache(maxsize=1 << 17)
def _features(word: str) -> tuple[int, ...]:
    """Return the features of one word: its stem, and the n-grams of the stem, its beginning marked."""
    if _UNSPACED.match(word):
        return tuple(_number(word[i : i + size]) for size in (1, 2) for i in range(len(word) - size + 1))
    stem = _stem(word)
    korean = _HANGUL.match(word)
    letters = "<" + (unicodedata.normalize("NFD", stem) if korean else stem)
    sizes = (3, 4, 5) if korean else (4,)
    runs = (letters[i : i + size] for size in sizes for i in range(len(letters) - size + 1))
    return (_number(stem), *(_number("~" + run) for run in runs))


@lru_cache(maxsize=1 << 17)
def _stem(word: str) -> str:
    return _korean(word) if _HANGUL.match(word) else _english(word)


def _english(word: str) -> str:
    for ending, instead in _ENGLISH:
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + instead
            break
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


def _korean(word: str) -> str:
    for particle in _PARTICLES:
        if word.endswith(particle) and len(word) - len(particle) >= 2:
            return word[: -len(particle)]
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending):
            return word[: -len(ending)]
    return word


def _number(feature: str) -> int:
    return zlib.crc32(feature.encode()) % BUCKETS
