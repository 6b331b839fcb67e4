"""The pointer: which line should a critique quote? A small network beside the critic reads the answer both ways.

A causal model that has opened a quote must choose its line with the very first words, from what it wrote down about
every line before it had read the next; and where several lines begin alike it chooses nothing yet. The pointer begins
with a copy of the critic's lower layers, reads what they say of the prompt in both directions, and gives every line a
score: line first, text after. `VerbatimQuotes` draws quotes by it (`lm/constraint.py`).

It is part of a critic that has one: `pointer.safetensors` beside the weights.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

from momus.critique import FENCE
from momus.errors import UserError
from momus.lm.constraint import Vocabulary
from momus.lm.prompts import POINTER_FILE

AT_ONCE = 16


class PointerNetwork(nn.Module):
    """The lower layers of a causal model, and over them a bidirectional encoder with one score a token.

    Args:
        below: The shape of the causal part, with as many layers as are wanted of it.
        layers: Of the encoder.
        heads: Of each of these, half as many of them for keys and values.
        inner: Width of their feed-forward blocks.
    """

    def __init__(self, below: LlamaConfig, *, layers: int, heads: int, inner: int) -> None:
        super().__init__()
        self.shape = {"below": below.to_diff_dict(), "layers": layers, "heads": heads, "inner": inner}
        self.below = LlamaModel(below)
        self.below.norm = nn.Identity()  # the model's own stands after its last layer
        self.entry = nn.RMSNorm(below.hidden_size)
        self.body = LlamaModel(
            LlamaConfig(
                vocab_size=1,
                hidden_size=below.hidden_size,
                intermediate_size=inner,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                num_key_value_heads=max(1, heads // 2),
                max_position_embeddings=below.max_position_embeddings,
                pad_token_id=None,
                bos_token_id=None,
                eos_token_id=None,
            )
        )
        self.body.embed_tokens = nn.Identity()  # it reads states, no tokens
        self.score = nn.Linear(below.hidden_size, 1)

    @classmethod
    def from_model(cls, model: LlamaForCausalLM, reads: int, *, layers: int, heads: int, inner: int) -> PointerNetwork:
        """Return a new network over a copy of a model's first `reads` layers.

        Raises:
            UserError: The model is no Llama.
        """
        if model.config.model_type != "llama":
            raise UserError(f"a pointer is made over a Llama, not a {model.config.model_type} model")
        below = copy.deepcopy(model.config)
        below.num_hidden_layers = reads
        network = cls(below, layers=layers, heads=heads, inner=inner)
        weights = model.base_model.state_dict()
        network.below.load_state_dict({name: weights[name] for name in network.below.state_dict()})
        return network.to(model.device)

    def forward(self, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Score tokens: a logit that the fault is in the line each of them ends, [B, T].

        Args:
            tokens: Rows padded at their ends, [B, T].
            real: Which tokens are no padding, [B, T].
        """
        states = self.below(input_ids=tokens, use_cache=False).last_hidden_state
        mask = real[:, None, None, :].expand(-1, 1, real.shape[1], -1)
        read = self.body(inputs_embeds=self.entry(states), attention_mask=mask, use_cache=False)
        scores: torch.Tensor = self.score(read.last_hidden_state).squeeze(-1)
        return scores

    def save(self, folder: Path) -> None:
        """Write `POINTER_FILE` into a model's folder, in half precision."""
        tensors = {name: tensor.half().contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, folder / POINTER_FILE, {"shape": json.dumps(self.shape)})

    @classmethod
    def load(cls, path: Path) -> PointerNetwork:
        """Read what `save` wrote.

        Raises:
            UserError: It cannot be read.
        """
        try:
            with safe_open(path, "pt") as file:
                shape = json.loads(file.metadata()["shape"])
            tensors = load_file(path)
            below = LlamaConfig(**shape.pop("below"))
            if below.num_hidden_layers + shape["layers"] > len(tensors):
                raise ValueError("it states more layers than it has")
            with torch.device("meta"):  # what it states may be larger than any memory
                stated = cls(copy.deepcopy(below), **shape).state_dict()
            if {name: of.shape for name, of in stated.items()} != {name: of.shape for name, of in tensors.items()}:
                raise ValueError("its tensors do not have the shapes that it states")
            network = cls(below, **shape)
            network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except Exception as error:
            raise UserError(f"cannot load the pointer {path}: {' '.join(str(error).split())[:300]}") from error
        return network.eval()


class Pointer:
    """A critic's pointer: its network, and the bytes behind the critic's tokens."""

    def __init__(self, network: PointerNetwork, vocabulary: Vocabulary) -> None:
        self.network, self._vocabulary = network, vocabulary

    @classmethod
    def load_if_present(cls, folder: str | Path, model: Any, vocabulary: Vocabulary) -> Pointer | None:
        """Load the pointer of the model in a folder, or return None where it has none.

        Raises:
            UserError: There is one that cannot be read.
        """
        path = Path(folder) / POINTER_FILE
        return cls(PointerNetwork.load(path).to(model.device), vocabulary) if path.is_file() else None

    @torch.no_grad()
    def line_log_odds(self, prompts: Sequence[Sequence[int]], answers: Sequence[str]) -> list[tuple[float, ...]]:
        """Return for every line of every answer the logarithm of the odds that a critique should quote it.

        Args:
            prompts: The tokens a critique continues, each with its answer in it.
            answers: The answers; a line is what a newline ends.
        """
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found: dict[int, tuple[float, ...]] = {}
        for start in range(0, len(order), AT_ONCE):
            part = order[start : start + AT_ONCE]
            scores = self.network(*pad_prompts([prompts[i] for i in part], self.network.score.weight.device))
            for i, row in zip(part, scores, strict=True):
                found[i] = tuple(row[line_end_positions(prompts[i], answers[i], self._vocabulary)].tolist())
        return [found[i] for i in range(len(prompts))]


def pad_prompts(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return prompts padded at their ends, and which tokens are no padding: [B, T] each."""
    size = max(map(len, prompts))
    tokens = torch.tensor([[*prompt, *[0] * (size - len(prompt))] for prompt in prompts], device=device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    return tokens, torch.arange(size, device=device)[None] < lengths[:, None]


def line_end_positions(prompt: Sequence[int], answer: str, vocabulary: Vocabulary) -> list[int]:
    """Return for every line of an answer the place in its prompt of the token with the newline that ends the line.

    Raises:
        ValueError: The answer is not in the prompt, in a fence.
    """
    pieces = [vocabulary.pieces[token] or b"" for token in prompt]
    text, wanted = b"".join(pieces), f"{answer}\n".encode()
    start = text.rfind(wanted + FENCE.encode())
    if start < 0:
        raise ValueError("the prompt does not hold the answer")
    stops = np.cumsum([len(piece) for piece in pieces])
    newlines = [start + i for i, byte in enumerate(wanted) if byte == ord("\n")]
    return [int(place) for place in np.searchsorted(stops, newlines, side="right")]
