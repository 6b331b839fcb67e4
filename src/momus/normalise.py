"""The one form in which two texts are compared: quotes with their source, points with points, prompts with prompts.

The same words reach us typed in many ways. What is compared goes through `normalise` on both sides, or is looked for by
`find`, which answers with places in the text as it is. What is *kept* is never normalised.

The same, for comparing:

* composed and decomposed letters (NFC and NFD), Hangul syllables and their letters;
* white space of any kind and length, no-break and full-width spaces included;
* straight, curly, low and full-width quotation marks, guillemets, primes; hyphens, dashes and minus signs;
* full-width and half-width forms, ligatures, letters of mathematical alphabets, presentation forms of Arabic;
* with or without what cannot be seen: soft hyphens, zero-width spaces and joiners, variation selectors, marks of
  direction;
* upper and lower case, unless `case` is kept (code).

Different: superscripts, subscripts, circled numbers and fractions, which other forms (NFKC) turn into plain digits: x²
is not x2, and 5½ not 51/2. So are letters that only look alike, and letters with and without their accents.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_UNSEEN = {
    0x00AD, 0x034F, 0x061C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065),
    *range(0x2066, 0x2070), *range(0xFE00, 0xFE10), 0xFEFF, *range(0xE0100, 0xE01F0),
}  # fmt: skip
_MARKS = {
    **dict.fromkeys("“”„‟«»〝〞〟″", '"'), **dict.fromkeys("‘’‚‛‹›ʼ′´", "'"), **dict.fromkeys("‐‑‒–—―−﹘﹣", "-"),
}  # fmt: skip
_DIFFERENT = ("<super>", "<sub>", "<circle>", "<fraction>")
"""Forms of a character that mean something else than the plain one."""

# Characters of class 0 that compose with the one before them: Hangul vowels and final consonants, and signs of Indic
# scripts. A test compares this with every decomposition that Unicode has.
_SECOND = frozenset(
    [
        *map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))),
        *"\u09be\u09d7\u0b3e\u0b56\u0b57\u0bbe\u0bd7\u0cc2\u0cd5\u0cd6\u0d3e\u0d57\u0dcf\u0ddf\u102e\u1b35",
        *"\U00011127\U0001133e\U00011357\U000114b0\U000114ba\U000114bd\U000115af\U00011930",
    ]
)


class _Forms(dict[int, str]):
    """The comparing form of every character by its number, worked out when it is first met; a table to translate by."""

    def __missing__(self, code: int) -> str:
        self[code] = _form(chr(code))
        return self[code]


def _form(character: str) -> str:
    if ord(character) in _UNSEEN:
        return ""
    if character in _MARKS:
        return _MARKS[character]
    if character.isspace():
        return character if character.isascii() else " "
    tag, *codes = unicodedata.decomposition(character).split() or [""]
    if not tag or tag in _DIFFERENT or (tag.startswith("<") and codes[0] == "0020"):  # an accent by itself
        return character
    if not tag.startswith("<"):
        codes.insert(0, tag)
    return "".join(_form(chr(int(code, 16))) for code in codes)


_FORMS = _Forms()


def normalise(text: str, *, case: bool = False) -> str:
    """Return the form of a text for comparing it; see the module.

    Args:
        text: The text.
        case: Keep upper and lower case apart.
    """
    return " ".join(_folded(text, case).split())


def letters(text: str) -> str:
    """Return the letters and digits of a text alone, in the form for comparing it."""
    return "".join(character for character in normalise(text) if character.isalnum())


def find(quote: str, text: str) -> tuple[int, int] | None:
    """Return the first place in a text, as `(start, end)`, where it says what a quote says; None without one."""
    return next(find_all(quote, text), None)


def find_all(quote: str, text: str, *, case: bool = False, spaces: bool = False) -> Iterator[tuple[int, int]]:
    """Yield the places in a text, as `(start, end)`, where it says what a quote says.

    A place covers whole letters with their accents: half of a ligature is the ligature.

    Args:
        quote: What to look for; blank, it is nowhere.
        text: Where to look.
        case: Keep upper and lower case apart.
        spaces: White space must be of the same length, line breaks line breaks.
    """
    pattern = _folded(quote, case) if spaces else normalise(quote, case=case)
    if not pattern.strip():
        return
    folded = fold(text, case, spaces)
    at = -1
    while (at := folded.text.find(pattern, at + 1)) >= 0:
        yield folded.starts[at], folded.ends[at + len(pattern) - 1]


class Folded(NamedTuple):
    """A text in its comparing form, and where each character of it begins and ends in the text as it is."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]


@lru_cache(maxsize=8)
def fold(text: str, case: bool, spaces: bool) -> Folded:
    """Return a text's comparing form with its places; the arguments are those of `find_all`."""
    made: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end, form in _letters(text):
        folded = _composed(form, case)
        if not spaces and folded.isspace():
            if made and made[-1] == " ":
                ends[-1] = end
                continue
            folded = " "
        made += folded
        starts += [start] * len(folded)
        ends += [end] * len(folded)
    return Folded("".join(made), tuple(starts), tuple(ends))


def _letters(text: str) -> list[tuple[int, int, str]]:
    """Return every letter with what composes with it: where it begins and ends, and its form before composing."""
    made: list[tuple[int, int, str]] = []
    for place, character in enumerate(text):
        form = _FORMS[ord(character)]
        if not form:
            continue
        if made and (form[0] in _SECOND or unicodedata.combining(form[0])):
            start, _, before = made[-1]
            made[-1] = start, place + 1, before + form
        else:
            made.append((place, place + 1, form))
    return made


def _folded(text: str, case: bool) -> str:
    return _composed(text if text.isascii() else text.translate(_FORMS), case)


def _composed(form: str, case: bool) -> str:
    composed = unicodedata.normalize("NFC", form)
    return composed if case else unicodedata.normalize("NFC", composed.casefold())
