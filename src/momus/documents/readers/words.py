"""Lines joined to text: a hyphen at the end of a line stays or goes as the document itself writes the word.

Print does not tell "rea-der" from "well-known". What the document writes elsewhere does:

1. the word with the hyphen, or without it: the form that occurs more often, with it where they occur as often;
2. of a longer compound only the two parts that the line parts ("multi-lan-guage"): joined where the document has them
   joined, with the hyphen where it has both as words;
3. failing that, the hyphen stays in what is a compound anyway ("state-of-the-art"), after a figure or capitals
   ("K-means"), before a capital, and where the document hyphenates the first part before other words ("multi-"); else
   it goes.

Korean lines may end in the middle of a word, without a hyphen. It is joined where the document has it elsewhere in one
piece and not as two words. Where that says nothing, spaces do: where the file draws one after some lines, others go on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_BROKEN = re.compile(r"(?<![^\W_])(?<![^\W_]-)([^\W_]++(?:-[^\W_]++)*+)-$")
_NEXT = re.compile(r"[^\W\d_][^\W_]*(?:-[^\W_]+)*")
_KOREAN_END, _KOREAN_START = re.compile(r"(?<![가-힣])[가-힣]+$"), re.compile(r"[가-힣]+")
_SOME = 0.2
"""Share of the Korean lines with a space drawn after them from which on the other lines are taken to go on."""
_LONGEST = 100
"""Characters of a word, so that joining does not read a long text again for every line."""


class Words:
    """The words of a document, by which a hyphen at the end of a line is judged.

    Args:
        lines: All of its lines, in order, with a space at the end of those that the file draws one after; the two
            halves of a word broken at the end of one do not count.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._known, self._parts, self._prefixes = Counter[str](), set[str](), set[str]()
        broken, spaced, unspaced = False, 0, 0
        for line in lines:
            words = [word.casefold() for word in _WORD.findall(line)]
            first = int(broken and bool(_NEXT.match(line)))
            korean = bool(_KOREAN_END.search(line.rstrip()))
            spaced, unspaced = spaced + (korean and line.endswith(" ")), unspaced + (korean and not line.endswith(" "))
            broken = line.rstrip().endswith("-") or (korean and not line.endswith(" "))
            for word in words[first : -1 if broken else None]:
                self._known[word] += 1
                parts = word.split("-")
                self._parts.update(parts)
                self._prefixes.update(parts[:1] if len(parts) > 1 else ())
        self._tells = spaced > _SOME * (spaced + unspaced)

    def joined(self, lines: Sequence[str]) -> str:
        """Join the lines of a paragraph."""
        text = ""
        for line in lines:
            text = self.join(text, line)
        return text.rstrip()

    def join(self, text: str, line: str) -> str:
        """Add a line to a text."""
        bare = text.rstrip()
        before, after = _BROKEN.search(bare[-_LONGEST:]) if bare.endswith("-") else None, _NEXT.match(line)
        if not before or not after:
            return text + line if self._goes_on(text, line) else f"{bare} {line}".lstrip()
        return bare + line if self._keeps(before.group(1), after.group()) else bare[:-1] + line

    def _goes_on(self, text: str, line: str) -> bool:
        """Whether a Korean word goes on from one line to the next; see the module."""
        before, after = _KOREAN_END.search(text[-_LONGEST:]), _KOREAN_START.match(line)
        if not before or not after:
            return False
        left, right = before.group(), after.group()
        one, two = bool(self._known[left + right]), bool(self._known[left] and self._known[right])
        return one if one != two else self._tells

    def _keeps(self, left: str, right: str) -> bool:
        """Whether the hyphen between the halves of a word belongs to it; see the module."""
        one, other = left.casefold(), right.casefold()
        compound, whole = self._known[f"{one}-{other}"], self._known[one + other]
        if compound or whole:
            return compound >= whole
        if not right[0].islower() or left.isupper() or any(character.isdigit() for character in left):
            return True
        last, first = one.split("-")[-1], other.split("-")[0]
        if "-" in one + other:
            return last + first not in self._parts or {last, first} <= self._parts
        return one in self._prefixes and other in self._parts
