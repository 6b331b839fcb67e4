"""Reading JSON out of what a model wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from momus.files import JsonDecoder, JsonError

_THOUGHT = "</think>"
"""Ends the reasoning that some models write before their answer; JSON in the reasoning is not the answer."""

_TRAILING_COMMA = re.compile(r",(?=\s*[}\]])")
"""What JSON does not allow."""

_STRING_OR_COMMA = re.compile(r'("(?:[^"\\\n]|\\.)*+)(?:(")|(?=(\s*[}\]]?)))|,(?=\s*[}\]])')
"""A string, one that nothing closes on its line and what follows that line, or a trailing comma."""

_START = re.compile(r"[{\[]")


def json_values(text: str) -> Iterator[Any]:
    """Yield the outermost JSON objects and arrays in a text, in order; trailing commas are removed.

    Reasoning before the answer is skipped.
    """
    decoder = JsonDecoder(any_number=True)
    mended = _STRING_OR_COMMA.sub(_mend, text.rpartition(_THOUGHT)[2])
    place = 0
    while (start := _START.search(mended, place)) is not None:
        try:
            value, place, problem = decoder.decode_at(mended, start.start())
        except JsonError:
            place = start.start() + 1
        else:
            if problem is None:
                yield value


def _mend(match: re.Match[str]) -> str:
    """Return a string as it is, and other text without its trailing commas."""
    text, closed, after = match.groups()
    if text is None:
        return ""
    # No quote after the one that nothing closes opens a string on that line: each is escaped, and closed by nothing.
    return match.group() if closed else _TRAILING_COMMA.sub("", text + after).removesuffix(after)
