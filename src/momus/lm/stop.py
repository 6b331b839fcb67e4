"""Stop strings: texts that end a sample, wherever they begin and end among its tokens.

A sample is over with the first token after which its text contains a stop string, and the text that is returned is
what stands before the stop string that is complete first (of two complete at the same character, the longer). Read
one character after another, the text would end at the same place: however text and stop string are cut into tokens,
what is returned is the same. Only the sample's own text counts: a stop string that begins in the prefix is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from momus.errors import UserError
from momus.lm.constraint import Vocabulary


def cut_at_stop(text: str, stops: Sequence[str]) -> tuple[str, str] | None:
    """Return what stands before the stop string that is complete first in a text, and that stop string."""
    found = [(at + len(stop), at, stop) for stop in stops if (at := text.find(stop)) >= 0]
    if not found:
        return None
    _, at, stop = min(found)
    return text[:at], stop


class StopStrings:
    """Tells when the text of some tokens has come to a stop string.

    Args:
        strings: The stop strings.
        vocabulary: The bytes behind the tokens.
        decode: Turns tokens into the text that counts.

    Raises:
        UserError: They are one string and no list, or one of them is empty or no text.
    """

    def __init__(self, strings: Sequence[str], vocabulary: Vocabulary, decode: Callable[[Sequence[int]], str]) -> None:
        if isinstance(strings, str):
            raise UserError(f"stop must be a list of strings, such as [{strings!r}], not one string")
        for string in strings:
            if not string or "\N{REPLACEMENT CHARACTER}" in string or not _encodable(string):
                raise UserError(f"a stop string must be text of at least one character, not {string!r}")
        self.strings, self._vocabulary, self._decode = tuple(strings), vocabulary, decode
        self._bytes = [string.encode() for string in strings]
        self._longest = max(map(len, self._bytes), default=0)

    def completed(self, tokens: Sequence[int]) -> tuple[str, str] | None:
        """Return the text before the stop string that the last token completed, and that stop string.

        None where it completed none; the tokens before it must have completed none either.
        """
        if not self._bytes:
            return None
        # The bytes that the last token could have completed a stop string in; only then is a text made of them all.
        pieces = self._vocabulary.pieces
        tail, room = b"", len(pieces[tokens[-1]] or b"") + self._longest
        for token in reversed(tokens):
            tail = (pieces[token] or b"") + tail
            if len(tail) >= room:
                break
        if not any(stop in tail for stop in self._bytes):
            return None
        return cut_at_stop(self._decode(tokens), self.strings)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True
