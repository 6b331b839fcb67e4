"""Reading JSON from strangers: a value that can be written again and read as the same, or a line that says why not.

Python's own reader takes more than JSON has (NaN, Infinity), makes infinity of `1e999`, fails on long numbers and deep
nesting, and keeps halves of surrogate pairs, which no file can hold.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from momus.errors import UserError

LONGEST = 64 << 20
"""The longest line that is read, in bytes: memory stays bounded whatever a file holds."""

DEEPEST = 100
"""How deep lists and objects may lie in one another: what every reader and writer of JSON can do."""

MOST_DIGITS = 300
"""The most digits of a whole number: as many as a float can come near to."""

_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class JsonError(ValueError):
    """What is wrong with a JSON text, in words that may follow its place."""


class JsonDecoder:
    """Decodes JSON values, one after another.

    Args:
        any_number: Take numbers that are not finite too, where nothing of them is kept.
    """

    def __init__(self, any_number: bool = False) -> None:
        self._refused: list[str] = []
        self._any_number = any_number
        self._decoder = json.JSONDecoder(
            parse_constant=self._constant,
            parse_float=self._float,
            parse_int=self._whole_number,
            object_pairs_hook=self._object,
        )

    def decode_at(self, text: str, at: int) -> tuple[Any, int, JsonError | None]:
        """Return the value that begins at `at`, where it ends, and the reason if it cannot be kept.

        Raises:
            JsonError: It does not end, or is no JSON.
        """
        self._refused.clear()
        try:
            value, end = self._decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise JsonError(f"not JSON: {error.msg} at character {error.pos + 1 - at}") from error
        except RecursionError as error:
            raise JsonError(_DEEP) from error
        if text.count("[", at, end) + text.count("{", at, end) > DEEPEST and _is_deeper(value, DEEPEST):
            return value, end, JsonError(_DEEP)
        if self._refused:
            return value, end, JsonError(self._refused[0])
        if _ESCAPED_SURROGATE.search(text, at, end) and (field := surrogate_in(value)) is not None:
            return value, end, JsonError(f"{field}holds half a character (a lone surrogate): repair the text")
        return value, end, None

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            self._refused.append(f"two fields of one object are called {_short(twice)!r}: one would be lost")
        return value

    def _constant(self, name: str) -> float:
        if not self._any_number:
            self._refused.append(f"{name} is not JSON: write null, or leave the field out")
        return float(name)

    def _float(self, digits: str) -> float:
        number = float(digits)
        if not math.isfinite(number) and not self._any_number:
            self._refused.append(f"the number {_short(digits)} is too large to be kept")
        return number

    def _whole_number(self, digits: str) -> int:
        if len(digits) > MOST_DIGITS:
            self._refused.append(f"a number of {len(digits)} digits: too long to be kept")
            return 0
        return int(digits)


def parse_json(text: str | bytes, any_number: bool = False) -> Any:
    """Return a JSON value; `any_number` as in `JsonDecoder`.

    Raises:
        JsonError: It is no JSON, no UTF-8 text, or cannot be kept as it is.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise JsonError("not UTF-8 text: save the file as UTF-8") from error
    start = len(text) - len(text.lstrip(_SPACE))
    value, end, problem = JsonDecoder(any_number).decode_at(text, start)
    if text[end:].strip(_SPACE):
        raise JsonError(f"not JSON: more after the value, at character {end + 1}")
    if problem is not None:
        raise problem
    return value


def read_json(path: Path, any_number: bool = False) -> Any:
    """Return the JSON value in a file; `any_number` as in `JsonDecoder`.

    Raises:
        UserError: It holds none that can be kept; the message names the file.
        OSError: It cannot be read.
    """
    try:
        return parse_json(path.read_bytes(), any_number)
    except JsonError as error:
        raise UserError(f"{path}: {error}") from error


def json_lines(path: Path) -> Iterator[tuple[int, Any | JsonError]]:
    """Yield the number of each line of a file, gzipped or not, that is not blank, and its value, or what is wrong.

    Raises:
        UserError: A line is longer than `LONGEST`, or the gzip file is damaged.
        OSError: The file cannot be read.
    """
    with open_bytes(path) as file:
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise UserError(f"{path}:{number}: a line of more than {LONGEST >> 20} MiB: is this JSON Lines?")
            if line.strip():
                try:
                    yield number, parse_json(line)
                except JsonError as error:
                    yield number, error


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file to read, unzipped if it is gzipped; damage is a UserError."""
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    return io.BufferedReader(_Unzipped(path), 1 << 16) if zipped else path.open("rb")


class _Unzipped(io.RawIOBase):
    """Bytes of a gzip file, whose damage is told in words."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = gzip.GzipFile(path)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except EOFError as error:
            raise UserError(f"{self._path}: the gzip file ends too early: download it again") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{self._path}: the gzip file is damaged: download it again") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


_SPACE = " \t\n\r"
_DEEP = f"JSON nested too deeply: more than {DEEPEST} lists and objects in one another"


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        level = [inner for outer in level if isinstance(outer, list | dict) for inner in _inner(outer)]
        if not level:
            return False
    return True


def surrogate_in(value: Any) -> str | None:
    """Return the field that holds a lone surrogate, such as "messages.0.content: "; None where there is none."""
    left: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while left:
        path, one = left.pop()
        if isinstance(one, str) and _SURROGATE.search(one):
            return ".".join(path) + ": " if path else ""
        pairs = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, inner in pairs:
            if isinstance(key, str) and _SURROGATE.search(key):
                return "a field's name "
            left.append(((*path, str(key)), inner))
    return None


def _inner(outer: list[Any] | dict[str, Any]) -> list[Any]:
    return list(outer.values()) if isinstance(outer, dict) else outer


def _short(text: str) -> str:
    return text if len(text) <= 20 else text[:19] + "…"


def stamps(place: Path) -> list[tuple[str, int, int]]:
    """Return the name, size and time of change in nanoseconds of a file, or of each file in a folder, in order.

    They tell what has changed without reading it, as other tools do; nothing is there of a place that is not.
    """
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    seen = [(file.name, file.stat()) for file in files if file.is_file()]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in seen]
