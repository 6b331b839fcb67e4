"""What lies in a folder that is said to hold a model, looked at before any of it is loaded.

A download that broke off, a file of another kind, sizes that no machine has, pickled weights, and an index that points
out of the folder are each one line here, where the libraries would end in a traceback, a hang or full memory.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from momus.errors import UserError

MOST_LAYERS = 10_000
LARGEST = 2**31
"""The largest whole number in a model's configuration, and thereby of any one size."""

PICKLED = ("pytorch_model*.bin", "adapter_model.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_DEPTHS = {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_local_experts", "num_experts", "r"}
_INDEX = "*.index.json"
_SETTINGS = (
    "config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "adapter_config.json", _INDEX,
)  # fmt: skip
_READ = (".json", ".safetensors", ".jinja", ".txt", ".model")
"""Endings of what the libraries open: a pipe or device of such a name would have them wait or read for ever."""
_LONGEST_HEADER = 100_000_000


def check_model_folder(folder: Path, weights: bool = True) -> int:
    """Refuse a folder whose files are damaged, or that asks for what it must not have; return how many weights it has.

    Args:
        folder: The folder.
        weights: Whether it has to hold weights, or may hold only a tokenizer.

    Raises:
        UserError: Something is wrong with a file; the message names it.
    """
    for file in sorted(folder.iterdir()):
        if file.suffix in _READ and not file.is_file():
            raise UserError(f"{file}: is not a file, or a link to none")
    for file in sorted(file for name in _SETTINGS for file in folder.glob(name)):
        value = _object(file)
        if file.name in ("config.json", "adapter_config.json"):
            _check_sizes(value, file)
        elif file.match(_INDEX):
            _check_index(value, file)
    held = sum(count_weights(file) for file in sorted(folder.glob("*.safetensors")))
    if weights and not any(folder.glob("*.safetensors")):
        pickled = sorted(file.name for pattern in PICKLED for file in folder.glob(pattern))
        if pickled:
            raise UserError(
                f"{folder} holds only pickled weights ({pickled[0]}), which can run any code and are never loaded: "
                "convert them to safetensors"
            )
        raise UserError(f"{folder} holds no weights (*.safetensors)")
    return held


def count_weights(file: Path) -> int:
    """Return how many numbers a safetensors file holds.

    Raises:
        UserError: It is damaged, cut off, or something else.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else math.inf
        if length > min(size - 8, _LONGEST_HEADER):
            raise UserError(f"{file}: not a safetensors file, or cut off: download it again")
        try:
            header = json.loads(stream.read(int(length)))
            tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
            spans, shapes = [tensor["data_offsets"] for tensor in tensors], [tensor["shape"] for tensor in tensors]
            end = max((stop for _, stop in spans), default=0)
            count: int = sum(math.prod(shape) for shape in shapes)
            sides = [min(shape, default=0) for shape in shapes]
            sound = all(0 <= first <= last for first, last in spans) and all(side >= 0 for side in sides)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{file}: not a safetensors file, or damaged: download it again") from error
    if not sound or 8 + length + end != size:
        raise UserError(
            f"{file}: {size:,} bytes, where its own header tells of {8 + length + end:,}: damaged or cut off, "
            "download it again"
        )
    return count


def _object(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not JSON, or cut off: download it again") from error
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    if not isinstance(value, dict):
        raise UserError(f"{file}: must hold an object with named settings")
    return value


def _check_sizes(config: dict[str, Any], file: Path) -> None:
    left: list[tuple[str, Any]] = list(config.items())
    while left:
        name, value = left.pop()
        most = MOST_LAYERS if name in _DEPTHS else LARGEST
        if isinstance(value, int) and abs(value) > most:
            shown = f"{value:,}" if abs(value) < 10**18 else "a number of many digits"
            raise UserError(f"{file}: {name} is {shown}: no model is that large")
        pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        left += [(str(key), inner) for key, inner in pairs]


def _check_index(index: dict[str, Any], file: Path) -> None:
    parts = index.get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(name, str) for name in parts.values()):
        raise UserError(f"{file}: its weight_map must name the file of each tensor")
    for name in sorted(set(parts.values())):
        if Path(name).name != name or name in ("", ".", ".."):
            raise UserError(f"{file}: names {name[:80]!r}: the parts of a model must lie beside it")
        if not (file.parent / name).is_file():
            raise UserError(f"{file}: names {name[:80]!r}, which is not there: is the download complete?")
