"""Server-sent events (HTML standard, section 9.2): the JSON values in them, as their bytes come."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from momus.files import surrogate_in

STREAM = "text/event-stream"
"""The content type of a response that is a stream of events."""

_DONE = b"[DONE]"


class BadEventError(Exception):
    """An event is not what it should be; the message says why."""


class EventReader:
    """Reads JSON values out of a stream of events; OpenAI's [DONE] is none.

    Args:
        watch: Called with each as it comes.

    Attributes:
        events: All that came so far.
    """

    def __init__(self, watch: Callable[[Any], None]) -> None:
        self._watch, self._rest, self._data = watch, b"", list[bytes]()
        self.events: list[Any] = []

    def feed(self, piece: bytes) -> None:
        """Read what is whole with these bytes.

        Raises:
            BadEventError: An event's data is not JSON.
        """
        *lines, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line.removeprefix(b"data:").strip())
            elif not line and self._data:
                data, self._data = b"\n".join(self._data), []
                if data != _DONE:
                    self.events.append(_read(data))
                    self._watch(self.events[-1])


def _read(data: bytes) -> Any:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadEventError(f"no JSON: {data[:60].decode(errors='replace')!r}") from error
    if (field := surrogate_in(value)) is not None:
        raise BadEventError(f"{field}holds half a character (a lone surrogate)")
    return value
