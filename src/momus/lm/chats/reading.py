"""Reading JSON out of what a model wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from momus.files import JsonDecoder, JsonError

_THOUGHT = "</think>"
"""Ends the reasoning that some models write before their answer; JSON in the reasoning is not the answer."""

_TRAILING_COMMA = re.compile(r'("(?:[^"\\\n]|\\.)*")|,(?=\s*[}\]])')
"""A string, to be kept, or a trailing comma, which JSON does not allow."""

_START = re.compile(r"[{\[]")


def json_values(text: str) -> Iterator[Any]:
    """Yield the outermost JSON objects and arrays in a text, in order; trailing commas are removed.

    Reasoning before the answer is skipped.
    """
    decoder = JsonDecoder(any_number=True)
    mended = _TRAILING_COMMA.sub(lambda match: match[1] or "", text.rpartition(_THOUGHT)[2])
    place = 0
    while (start := _START.search(mended, place)) is not None:
        try:
            value, place, problem = decoder.decode_at(mended, start.start())
        except JsonError:
            place = start.start() + 1
        else:
            if problem is None:
                yield value
