"""Make a tiny Llama with random weights and a tokenizer trained on the given files: something to try `momus train` on.

    python examples/make_tiny_model.py --out runs/tiny-base --data FILE [FILE …]

It knows no language, so what is trained from it shows that the machinery works and nothing about alignment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from transformers import LlamaConfig, LlamaForCausalLM

from momus.data.convert import read, recognise
from momus.data.prompts import plain
from momus.data.sources import Problem
from momus.lm.models import save_causal_lm
from momus.records import Demonstration, Prompt, Ranking
from momus.tiny.tokenizer import train_tokenizer


@dataclass(frozen=True)
class TinyModel:
    """What to make."""

    data: tuple[str, ...]
    """Files of demonstrations, rankings or prompts to train the tokenizer on."""
    out: Path
    """The directory of the model."""
    vocabulary: int = 2048
    """Tokens."""
    width: int = 128
    """Hidden size."""
    layers: int = 3
    """Layers."""
    positions: int = 512
    """Longest text in tokens."""
    seed: int = 0
    """Draws the weights."""


def texts(files: tuple[str, ...]) -> Iterator[str]:
    """Yield every prompt and answer of the files."""
    for name in files:
        for record in read(*recognise(name)):
            if isinstance(record, Problem):
                continue
            if isinstance(record, Prompt | Demonstration | Ranking):
                yield plain(record.prompt)
            if isinstance(record, Demonstration):
                yield plain(record.answer)
            if isinstance(record, Ranking):
                yield from map(plain, record.candidates)


def make(asked: TinyModel) -> None:
    """Write the model and its tokenizer."""
    tokenizer = train_tokenizer(texts(asked.data), asked.vocabulary)
    torch.manual_seed(asked.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=asked.width,
            intermediate_size=3 * asked.width,
            num_hidden_layers=asked.layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=asked.positions,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    save_causal_lm(model, asked.out, tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()):,} random weights, {len(tokenizer)} tokens: {asked.out}")


if __name__ == "__main__":
    make(tyro.cli(TinyModel))
