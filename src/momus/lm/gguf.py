"""Models in GGUF files, the format of llama.cpp: transformers reads them, and unpacks their weights as it does.

A quantised file is a quarter to a half of what it unpacks to, so the memory is looked at first: what a file needs is in
its header. The weights that come out are those the file holds, to rounding; they are trained and saved like any others.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import logging
import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from momus.errors import UserError

_LOG = logging.getLogger(__name__)

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST = 64 << 20
"""Bytes in one text, and numbers in one list: a merged vocabulary has a hundredth of it."""
_MOST_DIMENSIONS = 16


class TensorEntry(NamedTuple):
    """One tensor of a file: how many weights it has, in which of ggml's types, and where, after the header."""

    name: str
    weights: int
    kind: int
    offset: int


@dataclass(frozen=True)
class Header:
    """What a file says of itself: its scalar and text settings, its tensors, and how many bytes it takes to say so."""

    settings: dict[str, Any]
    tensors: tuple[TensorEntry, ...]
    length: int

    @property
    def weights(self) -> int:
        """How many weights the file holds."""
        return sum(tensor.weights for tensor in self.tensors)


def is_gguf(source: str | Path) -> bool:
    """Whether a model's name means a GGUF file."""
    return str(source).endswith(".gguf")


def pretrained(source: str | Path) -> tuple[str, dict[str, Any]]:
    """Return what `from_pretrained` takes for a model: a folder or a name, and the file in it where it is a GGUF file.

    Raises:
        UserError: There is no such file, or it is damaged or cut off.
        ModuleNotFoundError: The package gguf, which reads it, is not installed.
    """
    if not is_gguf(source):
        return str(source), {}
    path = Path(source)
    if not path.is_file():
        raise UserError(f"{path}: no such file")

    import gguf  # noqa: F401

    try:
        known = path.stat()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    _check_whole(path, known.st_size, known.st_mtime_ns)
    return str(path.parent), {"gguf_file": path.name}


def check_memory(path: Path, bytes_per_weight: int) -> None:
    """Say how much memory a file's weights take once unpacked, and refuse it where there is less.

    Raises:
        UserError: It does not fit, or it is no whole GGUF file.
    """
    header = read_header(path)
    parts = header.settings.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise UserError(f"{path}: is one part of a model in several: join them with llama-gguf-split --merge")
    needed, free = header.weights * bytes_per_weight, available_memory()
    about = f"{path}: {header.weights / 1e6:,.0f} million weights take {_gib(needed)} of memory unpacked"
    if free is not None and needed > free:
        raise UserError(
            f"{about}, and {_gib(free)} are free: let llama-server run it (llama-server -m {path}) and give --url "
            "http://localhost:8080/v1, or take --precision bf16 or a smaller model"
        )
    _LOG.warning(about)


def read_header(path: Path) -> Header:
    """Read a file's header.

    Raises:
        UserError: It is no GGUF file of version 2 or 3, or it is cut off.
    """
    try:
        with path.open("rb") as file:
            magic, version, tensors, settings = struct.unpack("<4sIQQ", file.read(24))
            if magic != b"GGUF" or version not in (2, 3):
                raise UserError(f"{path}: not a GGUF file of version 2 or 3")
            known = {_text(file): _value(file, *_numbers(file, "I")) for _ in range(settings)}
            entries = tuple(_entry(file) for _ in range(tensors))
            return Header(known, entries, file.tell())
    except (struct.error, KeyError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not a GGUF file, or cut off") from error


def available_memory() -> int | None:
    """Return how many bytes of main memory are free, its container's limit included; None where that is unknown."""
    free = []
    with suppress(OSError, ValueError, IndexError):  # no such file outside of Linux
        free.append(int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) * 1024)
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # "max" where there is no limit
        free.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return min(free, default=None)


def _numbers(file: BinaryIO, kinds: str) -> tuple[Any, ...]:
    size = struct.calcsize("<" + kinds)
    if size > _LONGEST:  # read, it would fill memory before it is known that the file is shorter
        raise struct.error(f"{size} bytes in one value")
    return struct.unpack("<" + kinds, file.read(size))


def _text(file: BinaryIO) -> str:
    (length,) = _numbers(file, "Q")
    data: bytes = _numbers(file, f"{length}s")[0]
    return data.decode("utf-8")


def _value(file: BinaryIO, kind: int) -> Any:
    """Read one setting; of a list only how long it is."""
    if kind == _STRING:
        return _text(file)
    if kind != _ARRAY:
        return _numbers(file, _SCALARS[kind])[0]
    inner, length = _numbers(file, "IQ")
    if inner in _SCALARS:
        if length > _LONGEST:
            raise struct.error(f"a list of {length}")
        file.seek(struct.calcsize("<" + _SCALARS[inner]) * length, 1)
    else:
        for _ in range(length):
            _value(file, inner)
    return length


def _entry(file: BinaryIO) -> TensorEntry:
    name = _text(file)
    (dimensions,) = _numbers(file, "I")
    if dimensions > _MOST_DIMENSIONS:
        raise struct.error(f"a tensor of {dimensions} dimensions")
    shape = _numbers(file, f"{dimensions}Q")
    return TensorEntry(name, prod(shape), *_numbers(file, "IQ"))


@lru_cache(maxsize=16)
def _check_whole(path: Path, size: int, _: int) -> None:
    """Refuse a file whose tensors are not all in it, each in bytes of its own; of a file as it is now, once.

    Raises:
        UserError: It is damaged, cut off, or of a type that is not known here.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    header = read_header(path)
    alignment = header.settings.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise UserError(f"{path}: damaged: its general.alignment is no number above 0")
    start, end = -(-header.length // alignment) * alignment, 0
    for tensor in sorted(header.tensors, key=lambda tensor: tensor.offset):
        try:
            block, held = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
        except (ValueError, KeyError) as error:
            raise UserError(f"{path}: {tensor.name[:80]!r} is of a type ({tensor.kind}) not known here") from error
        if tensor.offset % alignment or tensor.offset < end:
            raise UserError(f"{path}: damaged: {tensor.name[:80]!r} does not lie where a tensor can: download it again")
        end = tensor.offset + tensor.weights // block * held
    if header.tensors and start + end > size:
        raise UserError(
            f"{path}: {size:,} bytes, where its own header tells of {start + end:,}: cut off, download it again"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
