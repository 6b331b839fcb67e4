"""Damage to files, drawn by a seed: bits flipped, cut off, doubled, lost, spliced, and values of another size."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

LARGEST = 8 << 20
"""The most bytes that a mutation makes."""

STRANGE: Sequence[Any] = (
    None, True, -1, 0, 1.5, 10**12, 2**63, -(2**70), "", "x", "\x00", "\x1b[31m", [], {}, [[]], [None], {"": None},
    "../../x", [10**9], float("nan"), float("inf"), "가" * 50, "a\nb", ["a", 1],
)  # fmt: skip
NUMBERS = (b"9" * 5000, b"-1", b"1e999", b"NaN", b"0", b"4294967296", b"18446744073709551615", b"1" * 30, b"0.0000001")
INSERTED = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\r", b"\x0c", b'"', b"\\ud800", b"[" * 3000, b"{" * 200,
    b"<" * 500, b"*" * 4000, b"`" * 300, b"&a;", b"<!DOCTYPE x>", b"\t" * 100, b"\x1b]0;x\x07", b"(" * 2000,
    b"| " * 500, b"1e5", b"\xed\xa0\x80", b"''' \"\"\"", b"> " * 400, b"\n" * 500,
)  # fmt: skip


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Return damaged data; parts of `other` may come into it."""
    if data.startswith(b"PK") and chance.random() < 0.7:
        return _in_archive(data, chance)
    if data.startswith(b"\x1f\x8b") and chance.random() < 0.5:
        return gzip.compress(mutated(gzip.decompress(data), other, chance), mtime=0)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        data = chance.choice(_MUTATIONS)(data, other, chance)[:LARGEST]
    return data


def _place(data: bytes, chance: random.Random) -> int:
    """Return a place, often at an end, where headers and directories are."""
    at, near = chance.randrange(len(data) + 1), min(len(data), chance.randrange(1, 300))
    return chance.choice((at, at, near, len(data) - near))


def _flipped(data: bytes, other: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 3, 20)) if data else 0):
        changed[min(_place(data, chance), len(data) - 1)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut_off(data: bytes, other: bytes, chance: random.Random) -> bytes:
    return data[: _place(data, chance)]


def _doubled(data: bytes, other: bytes, chance: random.Random) -> bytes:
    start = _place(data, chance)
    end = start + chance.randrange(1, 400)
    return data[:end] + data[start:end] * chance.choice((1, 2, 100)) + data[end:]


def _deleted(data: bytes, other: bytes, chance: random.Random) -> bytes:
    start = _place(data, chance)
    return data[:start] + data[start + chance.choice((1, 2, 10, 200)) :]


def _spliced(data: bytes, other: bytes, chance: random.Random) -> bytes:
    return data[: _place(data, chance)] + other[_place(other, chance) :]


def _inserted(data: bytes, other: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + chance.choice((*INSERTED, chance.randbytes(8))) + data[at:]


def _other_number(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Put another number in the place of one in the text, or in four or eight bytes."""
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?", data[: 1 << 16]))
    if found and chance.random() < 0.8:
        match = chance.choice(found)
        return data[: match.start()] + chance.choice(NUMBERS) + data[match.end() :]
    at, size = _place(data, chance), chance.choice((4, 8))
    return data[:at] + chance.choice((b"\xff", b"\x00", b"\x7f")) * size + data[at + size :]


def _other_value(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Put a strange value in the place of one of a line of JSON, or leave it out; else in the place of a word."""
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    for start, end in ((0, len(lines)), (at, at + 1)):
        try:
            value = _damaged(json.loads(b"\n".join(lines[start:end])), chance)
        except (ValueError, RecursionError):
            continue
        return b"\n".join([*lines[:start], json.dumps(value).encode(), *lines[end:]])
    words = list(re.finditer(rb"\w+", data[: 1 << 16]))
    if not words:
        return data
    match = chance.choice(words)
    return data[: match.start()] + json.dumps(chance.choice(STRANGE)).encode() + data[match.end() :]


_MUTATIONS: Sequence[Callable[[bytes, bytes, random.Random], bytes]] = (
    _flipped, _cut_off, _doubled, _deleted, _spliced, _inserted, _other_number, _other_value, _other_value,
)  # fmt: skip


def _damaged(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict) and value:
        key = chance.choice(sorted(value))
        if isinstance(value[key], dict | list) and chance.random() < 0.7:
            return {**value, key: _damaged(value[key], chance)}
        if chance.random() < 0.3:
            return {name: inner for name, inner in value.items() if name != key}
        return {**value, key: chance.choice(STRANGE)}
    if isinstance(value, list) and value:
        at = chance.randrange(len(value))
        return [*value[:at], _damaged(value[at], chance), *value[at + 1 :]]
    return chance.choice(STRANGE)


def _in_archive(data: bytes, chance: random.Random) -> bytes:
    """Damage one file of an archive, and pack it again, whole."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(sorted(members))
    if chance.random() < 0.1:
        del members[name]
    else:
        members[name] = mutated(members[name], members[chance.choice(sorted(members))], chance)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()
