"""Models on disk and in memory: causal language models, and a scalar head on one (reward and value models).

Everything is safetensors and JSON, written to a temporary directory that is renamed when complete.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from momus.errors import UserError
from momus.lm.codec import read_tokenizer

HEAD_FILE = "reward_head.json"

disable_progress_bar()  # ours are enough


class RewardModel(nn.Module):
    """A language model's backbone with one scalar read off a token's last hidden state.

    Serves as reward model and, started from one, as value model (InstructGPT, arXiv 2203.02155, §3.5, C.4).
    The head starts as N(0, 1/sqrt(d+1)). `bias` is no parameter: comparisons cannot teach it, so it is set
    afterwards, to bring the demonstrations' mean to 0 (C.2).
    """

    bias: torch.Tensor

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        size = int(backbone.config.hidden_size)  # type: ignore[union-attr,arg-type]
        self.head = nn.Linear(size, 1, bias=False)
        nn.init.normal_(self.head.weight, std=(size + 1) ** -0.5)
        self.register_buffer("bias", torch.zeros(()))

    @classmethod
    def from_causal_lm(cls, model: Any) -> RewardModel:
        """Take a copy of a causal language model's backbone and put a new head on it."""
        return cls(copy.deepcopy(model.base_model)).to(device=model.device, dtype=model.dtype)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Score hidden states [..., d] of the backbone; returns float32 [...]."""
        scores: torch.Tensor = self.head(states).squeeze(-1).float() + self.bias
        return scores

    def save(self, path: Path) -> None:
        """Write a directory of config.json, model.safetensors and the head's description."""
        with atomic_directory(path) as folder:
            self.backbone.config.save_pretrained(folder)  # type: ignore[union-attr,operator]
            tensors = {name: value.contiguous() for name, value in self.state_dict().items()}
            save_file(tensors, folder / "model.safetensors")
            (folder / HEAD_FILE).write_text(json.dumps({"kind": "reward", "version": 1}) + "\n")

    @classmethod
    def load(cls, path: Path) -> RewardModel:
        """Read what `save` wrote.

        Raises:
            UserError: The directory does not hold a reward model.
        """
        if not (path / HEAD_FILE).is_file():
            raise UserError(f"{path} does not hold a reward model: it has no {HEAD_FILE}")
        try:
            model = cls(AutoModel.from_config(AutoConfig.from_pretrained(path), dtype=torch.float32))
            model.load_state_dict(load_file(path / "model.safetensors"))
        except Exception as error:
            raise UserError(f"cannot load the reward model in {path}: {_one_line(error)}") from error
        return model


def load_causal_lm(path: str | Path, dtype: torch.dtype = torch.float32) -> Any:
    """Load a causal language model from a local directory or the hub, safetensors only.

    Raises:
        UserError: There is no such model, or it cannot be read.
    """
    try:
        return AutoModelForCausalLM.from_pretrained(str(path), dtype=dtype, use_safetensors=True).eval()
    except Exception as error:
        raise UserError(f"cannot load a language model from {path}: {_one_line(error)}") from error


def load_tokenizer(path: str | Path) -> Any:
    """Load a tokenizer from a local directory or the hub and check its padding token.

    Raises:
        UserError: There is no such tokenizer, or padding and end-of-text are the same token.
    """
    tokenizer = read_tokenizer(path)
    check_padding(tokenizer.pad_token_id, tokenizer.eos_token_id, str(path))
    return tokenizer


def check_padding(pad_id: int | None, eos_id: int | None, name: str = "the model") -> None:
    """Refuse a tokenizer whose padding token is its end-of-text token, or that lacks either.

    A model trained with such a tokenizer has the end of its answers masked out and never learns to stop.

    Raises:
        UserError: With the lines that fix it.
    """
    if eos_id is None:
        raise UserError(f"{name} has no end-of-text token: set tokenizer.eos_token to the one that ends a text")
    if pad_id is None or pad_id == eos_id:
        problem = "no padding token" if pad_id is None else "its end-of-text token as padding token"
        raise UserError(
            f"{name} has {problem}, so a model would never learn to stop: run tokenizer.add_special_tokens"
            "({'pad_token': '<|pad|>'}) and model.resize_token_embeddings(len(tokenizer)), then save both"
        )


def contents(folder: Path) -> str:
    """Return the SHA-256 of a model directory's weights and settings: what names a model wherever it lies.

    Raises:
        UserError: There is no model in it.
    """
    files = sorted(file for pattern in ("*.safetensors", "*.json") for file in folder.glob(pattern))
    if not files:
        raise UserError(f"{folder}: no such directory, or no model in it")
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def save_causal_lm(model: Any, path: Path, tokenizer: Any = None) -> None:
    """Write a language model, and its tokenizer if given, as one complete directory or none."""
    with atomic_directory(path) as folder:
        model.save_pretrained(folder, safe_serialization=True)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty directory to fill; on leaving it is flushed to disk and renamed to `path`.

    A directory already at `path` is replaced; on an error nothing is left behind.

    Raises:
        UserError: The disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = path.with_name(path.name + ".tmp"), path.with_name(path.name + ".old")
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        partial.mkdir()
        yield partial
        for file in sorted(partial.rglob("*")):
            _fsync(file)
        _fsync(partial)
        if path.exists():
            path.rename(old)
        partial.rename(path)
        _fsync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        if "No space left" in str(error):  # safetensors raises its own type
            raise UserError(f"no space left on the disk of {path.parent}: free some and run again") from error
        raise


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
