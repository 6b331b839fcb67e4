"""Text to tokens, not before its size is known: what is certainly too long is told from its bytes.

A tokenizer takes some 250 bytes of memory for every byte of a text, so that 56 MB would take 15 GB to be called too
long. But a token stands for a bounded number of bytes, and a text of B bytes has at least B / b tokens where no token
stands for more than b. That bound is exact for tokenizers that spell every byte (byte-level ones, and SentencePiece's
with byte fallback); where a token may swallow text of any length (an unknown word, spaces around a special token),
`SWALLOWED` bytes are counted as one. Everything that tokenizes a stranger's text goes through here.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from momus.errors import UnfitInputError

MOST_BYTES = 4 << 20
"""Bytes of a text that are tokenized at once, whatever the limit: about a million tokens of English."""

SWALLOWED = 1024
"""Bytes counted as one token where a tokenizer may make one of text of any length."""

_SHRINKS = {"NFC": 4, "NFD": 4, "NFKC": 4, "NFKD": 4, "Lowercase": 4, "Prepend": 1, "ByteLevel": 1}
"""Normalisers that drop nothing, and how many times shorter one may make a text in UTF-8 (tests try all characters)."""
_KEEPING = {"ByteLevel", "Metaspace", "Digits", "Split", "Punctuation", "UnicodeScripts"}
"""Pre-tokenizers that drop nothing, but where they are told to."""


class TooLongError(UnfitInputError):
    """A text has more tokens than are read: certainly at least `fewest`; it was not tokenized to learn that.

    `part` says what it is of a turn: "prompt" or "answer".
    """

    def __init__(self, fewest: int, message: str, part: str = "") -> None:
        super().__init__(message)
        self.fewest, self.part = fewest, part


class Encoder:
    """Turns texts into tokens with a fast tokenizer, unless they are too long.

    Args:
        tokenizer: The tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def fewest_tokens(self, text: str) -> int:
        """Return how many tokens a text has at least, without tokenizing it."""
        data = text.encode(errors="replace")
        return -(-len(data.translate(None, self._bound.dropped)) // self.bytes_per_token)

    def check(self, text: str, limit: int | None = None) -> None:
        """Refuse a text that certainly has more than `limit` tokens, or is too large for any model.

        Raises:
            TooLongError: It is so.
        """
        if limit is not None and len(text) * 4 > limit and (fewest := self.fewest_tokens(text)) > limit:
            raise TooLongError(fewest, f"too long: at least {fewest:,} tokens, where {limit:,} are read")
        if len(text) * 4 > MOST_BYTES and (size := _size(text)) > MOST_BYTES:
            raise TooLongError(
                self.fewest_tokens(text), f"too long: {size:,} bytes of text, where {MOST_BYTES:,} are read at most"
            )

    def encode(self, text: str, limit: int | None = None, *, special: bool = False) -> list[int]:
        """Return a text's tokens.

        Args:
            text: The text.
            limit: Most tokens that are of use: a text that certainly has more is refused instead of tokenized. One that
                is not refused may still have more.
            special: Whether special tokens spelled out in the text are taken as such.

        Raises:
            TooLongError: The text has more than `limit` tokens for certain, or more than `MOST_BYTES` bytes.
        """
        self.check(text, limit)
        return self._encode(text, special)

    def newest(self, text: str, limit: int | None) -> str:
        """Return the end of a text: all of which `limit` tokens may be made, for whoever keeps the last ones.

        Of what is kept, only the first word's tokens may be others than in the whole.
        """
        most = self._most_bytes(limit)
        return text if len(text) * 4 <= most else text.encode(errors="replace")[-most:].decode(errors="ignore")

    def oldest(self, text: str, limit: int | None) -> str:
        """Return the beginning of a text: all of which `limit` tokens may be made, for whoever keeps the first ones."""
        most = self._most_bytes(limit)
        return text if len(text) * 4 <= most else text.encode(errors="replace")[:most].decode(errors="ignore")

    def count(self, text: str, limit: int | None = None) -> int:
        """Return how many tokens a text has; of one that has more than `limit` for certain, how many at least."""
        try:
            return len(self.encode(text, limit))
        except TooLongError as error:
            return error.fewest

    def encode_in_parts(self, text: str) -> Iterator[list[int]]:
        """Yield the tokens of a text of any length, parts of at most `MOST_BYTES` bytes by themselves, cut at lines."""
        while len(text) * 4 > MOST_BYTES:
            end = MOST_BYTES // 4
            end = text.rfind("\n", end // 2, end) + 1 or end
            yield self._encode(text[:end], special=False)
            text = text[end:]
        yield self._encode(text, special=False)

    def _most_bytes(self, limit: int | None) -> int:
        return MOST_BYTES if limit is None else min(MOST_BYTES, limit * self.bytes_per_token)

    @property
    def bytes_per_token(self) -> int:
        """The most bytes of text that one token stands for."""
        return self._bound.bytes_per_token

    @cached_property
    def _bound(self) -> _Bound:
        return _Bound.of(self._tokenizer)

    def _encode(self, text: str, special: bool) -> list[int]:
        encoded = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not special)
        return [int(token) for token in encoded]


class _Bound(NamedTuple):
    """At most so many bytes of a text are one token; `dropped` are bytes that the tokenizer leaves out."""

    bytes_per_token: int
    dropped: bytes = b""

    @classmethod
    def of(cls, tokenizer: Any) -> _Bound:
        """Read the bound off a tokenizer's settings."""
        names = tokenizer.get_vocab()
        added = tokenizer.added_tokens_decoder.values()
        longest_added = max((_size(token.content) for token in added), default=1)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        settings = json.loads(backend.to_str()) if backend is not None else {}
        normalizers = [*_parts(settings.get("normalizer"), "normalizers")]
        splits = [*_parts(settings.get("pre_tokenizer"), "pretokenizers")]
        byte_level = any(part["type"] == "ByteLevel" for part in (*normalizers, *splits))
        longest = max(longest_added, max(len(name) if byte_level else _size(name) for name in names))
        swallowing = cls(max(longest, SWALLOWED))
        shrinks = math.prod(map(_shrinks, normalizers))
        if not shrinks or any(token.lstrip or token.rstrip for token in added) or any(map(_drops, splits)):
            return swallowing
        if byte_level:
            dropped = bytes(byte for byte, character in enumerate(_byte_characters()) if character not in names)
            unchanged = shrinks == 1 and not any(part["type"] == "Replace" for part in normalizers)
            return cls(longest * shrinks, dropped) if unchanged or not _IN_UTF8.intersection(dropped) else swallowing
        spelled = settings["model"].get("byte_fallback") and all(f"<0x{byte:02X}>" in names for byte in range(256))
        return cls(longest * shrinks) if spelled else swallowing


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


def _shrinks(normalizer: Mapping[str, Any]) -> int:
    """Return how many times shorter a normaliser may make a text; 0 where there is no bound."""
    if normalizer["type"] == "Replace" and "String" in normalizer["pattern"] and normalizer["content"]:
        return max(1, -(-_size(normalizer["pattern"]["String"]) // _size(normalizer["content"])))
    return _SHRINKS.get(normalizer["type"], 0)


def _drops(split: Mapping[str, Any]) -> bool:
    return split["type"] not in _KEEPING or str(split.get("behavior")).lower() == "removed"


def _parts(step: Any, name: str) -> Iterator[Mapping[str, Any]]:
    """Yield a step of a tokenizer, or what a sequence of steps is made of."""
    if not step:
        return
    if step["type"] != "Sequence":
        yield step
        return
    for part in step[name]:
        yield from _parts(part, name)


def _byte_characters() -> list[str]:
    """Return the characters that byte-level tokenizers write for the 256 bytes."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = itertools.count(256)
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


_IN_UTF8 = frozenset(range(256)) - {0xC0, 0xC1, *range(0xF5, 0x100)}
