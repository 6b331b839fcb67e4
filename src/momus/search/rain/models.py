"""How a RAIN search uses its models: writers write token sets and simulations, encoders embed what was written.

`LocalWriter` reads every distinct token once: branches of a prefix are written together, from the engine's memory.
`RemoteWriter` has a model on a server write.

Similarity needs embeddings. `SentenceEncoder` is the paper's: a sentence-transformers model on text.
`AttentionEncoder` needs no other model: the mean, over the tokens of a text, of the last layer's attention values, less
the prompt's mean, scaled to length 1. They lie in memory already, so they cost nothing; a server does not show them.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from momus.errors import UserError
from momus.lm.branches import Branch, BranchPlan
from momus.lm.engine import SearchEngine
from momus.lm.local.branches import last_values, write_branches
from momus.lm.local.engine import LocalEngine
from momus.lm.tree import Tokens
from momus.search.rain.tree import Vector

SENTENCE_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""What the published code embeds with."""


class Writer(Protocol):
    """Writes branches of a prefix."""

    @property
    def engine(self) -> SearchEngine:
        """The model."""

    def write(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        """Write one branch per plan; the tokens in `ends` end a branch."""


@runtime_checkable
class AttentionReader(Protocol):
    """A writer that can read its model's attention values."""

    def attention_values(self, sequence: Tokens) -> npt.NDArray[np.float64]:
        """Return the last layer's attention values of every token, [T, H * D]."""


class BranchingEngine(SearchEngine, Protocol):
    """An engine that writes branches itself: a model on a server (`lm/remote/engine.py`)."""

    def write(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        """Write one branch per plan, together."""


class Encoder(Protocol):
    """Embeds the ends of a text; `name` says how."""

    name: str

    def __call__(self, prompt: Tokens, answer: Tokens, starts: Sequence[int]) -> list[Vector | None]:
        """Embed the answer from each start (an index into its tokens) on; None where there is nothing to embed."""


class LocalWriter:
    """Writes with a model in this process."""

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine

    def write(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        """Write all branches together."""
        return write_branches(self.engine, prefix, plans, ends)

    def attention_values(self, sequence: Tokens) -> npt.NDArray[np.float64]:
        """Look up the last layer's attention values of every token, [T, H * D]."""
        return last_values(self.engine, sequence)


class RemoteWriter:
    """Writes with a model on a server."""

    def __init__(self, engine: BranchingEngine) -> None:
        self.engine = engine

    def write(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        """Write all branches together."""
        return self.engine.write(prefix, plans, ends)


class AttentionEncoder:
    """Embeds with the attention values of the model's last layer."""

    name = "attention values of the model's last layer"

    def __init__(self, reader: AttentionReader) -> None:
        self._reader = reader

    def __call__(self, prompt: Tokens, answer: Tokens, starts: Sequence[int]) -> list[Vector | None]:
        """Embed the answer from each start on; its last token, which the model has not read, is left out."""
        if len(answer) < 2:
            return [None] * len(starts)
        values = self._reader.attention_values((*prompt, *answer[:-1]))
        centre, of_answer = values[: len(prompt)].mean(0), values[len(prompt) :]
        sums, size = of_answer[::-1].cumsum(0)[::-1], len(of_answer)
        means = [sums[start] / (size - start) if start < size else centre for start in starts]
        return [normalise(mean - centre) for mean in means]


class SentenceEncoder:
    """Embeds text with a sentence-transformers model.

    Raises:
        UserError: sentence-transformers is not installed, or has no such model.
    """

    def __init__(self, engine: SearchEngine, model: str = SENTENCE_MODEL) -> None:
        try:
            library = importlib.import_module("sentence_transformers")
        except ModuleNotFoundError as error:
            raise UserError("sentence embeddings need sentence-transformers: pip install it") from error
        try:
            self._model: Any = library.SentenceTransformer(model, trust_remote_code=False)
        except Exception as error:
            line = " ".join(str(error).split())[:200]
            raise UserError(f"cannot load the sentence model {model}: {line}") from error
        self._engine, self.name = engine, model
        self._embeddings: dict[str, Vector] = {}

    def __call__(self, prompt: Tokens, answer: Tokens, starts: Sequence[int]) -> list[Vector | None]:
        """Embed the answer's text from each start on; None where it is blank."""
        texts = [self._engine.decode(answer[start:]).strip() for start in starts]
        if new := sorted({text for text in texts if text} - self._embeddings.keys()):
            vectors = np.asarray(self._model.encode(new, show_progress_bar=False), np.float64)
            self._embeddings.update(zip(new, vectors, strict=True))
        return [self._embeddings.get(text) for text in texts]


def make_writer(engine: LocalEngine | BranchingEngine) -> Writer:
    """Return the writer for an engine."""
    return LocalWriter(engine) if isinstance(engine, LocalEngine) else RemoteWriter(engine)


def attention_encoder(writer: Writer) -> Encoder | None:
    """Return the encoder by the model's attention values, or None where they cannot be read."""
    return AttentionEncoder(writer) if isinstance(writer, AttentionReader) else None


def normalise(vector: Vector) -> Vector | None:
    """Scale a vector to length 1; None if that is not possible."""
    size = float(np.linalg.norm(vector))
    return vector / size if np.isfinite(size) and size > 0 else None
