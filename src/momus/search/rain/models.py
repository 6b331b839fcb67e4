"""How a RAIN search speaks to its models: quickly, or plainly for comparison.

`Fast` and `Plain` answer the same questions with the same numbers, to rounding. `Fast` reads every distinct token once:
branches of a prefix together, from the engine's memory; both orders of a judgement are one tree to it. `Plain` is
what one would write first: one branch at a time, one order at a time, everything from the beginning, nothing kept from
one call to the next. Within one branch it does use keys and values, as `generate` does. `Served` is both for a model on
a server: together and remembering what the server said, or one after the other and remembering nothing.

Similarity needs embeddings. `Sentences` is the paper's: a sentence-transformers model on text. `Values` needs no other
model: the mean, over the tokens of a text, of the last layer's attention values, less the prompt's mean, scaled to
length 1. They lie in memory already, so they cost nothing; a server does not show them.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache

from momus.errors import UserError
from momus.lm.branches import Branch, BranchPlan, BranchWriter, check_length
from momus.lm.engine import Choice, SearchEngine
from momus.lm.local.branches import advance, flat_values, last_values, write_branches
from momus.lm.local.engine import LocalEngine
from momus.search.rain.judge import SelfJudge
from momus.search.rain.tree import Vector
from momus.search.result import Tokens

SENTENCE_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""What the published code embeds with."""


class Writer(Protocol):
    """Writes branches of a prefix; `eager` asks the search to propose what may follow a leaf when it is first seen."""

    eager: bool

    @property
    def engine(self) -> SearchEngine:
        """The model."""

    def write(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        """Write one branch per plan."""


@runtime_checkable
class Inside(Protocol):
    """A writer that sees into its model."""

    def values(self, sequence: Tokens) -> npt.NDArray[np.float64]:
        """Return the last layer's attention values of every token, [T, H * D]."""


class BranchingEngine(SearchEngine, Protocol):
    """An engine that writes branches itself: a model on a server (`lm/remote/engine.py`)."""

    @property
    def remembers(self) -> bool:
        """Whether anything is kept from one call to the next."""

    def write(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        """Write one branch per plan, together."""


class Encoder(Protocol):
    """Embeds the ends of a text; `name` says how."""

    name: str

    def __call__(self, prompt: Tokens, answer: Tokens, starts: Sequence[int]) -> list[Vector | None]:
        """Embed the answer from each of some tokens on; None where there is nothing to embed."""


class Fast:
    """The engine's memory and shared prefixes."""

    eager = False

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine

    def write(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        """Write all branches together."""
        return write_branches(self.engine, prefix, plans, ends)

    def values(self, sequence: Tokens) -> npt.NDArray[np.float64]:
        """Look them up."""
        return last_values(self.engine, sequence)


class Plain:
    """One branch at a time, every one from the beginning."""

    eager = True

    def __init__(self, engine: LocalEngine) -> None:
        """Take the model and tokenizer of an engine, which should have no memory.

        Raises:
            UserError: It remembers.
        """
        if engine.remembers:
            raise UserError("the plain way needs an engine without memory: LocalEngine(..., memory=0)")
        self.engine = engine

    def write(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        """Write one branch after the other."""
        check_length(self.engine.limit, prefix, plans)
        return [self._branch(prefix, plan, ends) for plan in plans]

    def values(self, sequence: Tokens) -> npt.NDArray[np.float64]:
        """Read the whole sequence."""
        past = DynamicCache()
        self._read(sequence, past)
        return flat_values(past.layers[-1].values[0])

    def _branch(self, prefix: Tokens, plan: BranchPlan, ends: frozenset[int]) -> Branch:
        writing, past, new = BranchWriter(plan, ends), DynamicCache(), prefix
        while not writing.done:
            advance(self._read(new, past), [[writing]], len(self.engine.vocabulary))
            new = (writing.tokens[-1],)
        return writing.branch()

    @torch.inference_mode()
    def _read(self, tokens: Tokens, past: DynamicCache) -> torch.Tensor:
        """Read tokens after those in `past`; returns the logits of what follows, [1, V]."""
        model = self.engine.model
        self.engine.forwarded_tokens += len(tokens)
        ids = torch.tensor([tokens], device=model.device)
        logits: torch.Tensor = model(ids, past_key_values=past, use_cache=True, logits_to_keep=1).logits
        return logits[:, -1]


class Served:
    """A model on a server: what is asked together, or, plainly, one branch after the other and nothing remembered.

    Raises:
        UserError: It is to be plain, and remembers.
    """

    def __init__(self, engine: BranchingEngine, plain: bool = False) -> None:
        if plain and engine.remembers:
            raise UserError("the plain way needs an engine without memory: RemoteEngine(..., memory=0)")
        self.engine, self.eager = engine, plain

    def write(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        """Write all branches together, or one after the other."""
        if not self.eager:
            return self.engine.write(prefix, plans, ends)
        return [branch for plan in plans for branch in self.engine.write(prefix, [plan], ends)]


class PlainJudge(SelfJudge):
    """Asks one order after the other."""

    def choices(self, asked: str, answered: str) -> tuple[Choice, Choice]:
        """Compare A with B in both orders, the good statement first and then second."""
        ((first,), (second,)) = (self._engine.choose([own], self.labels) for own in self.prompts(asked, answered))
        return first, second


class Values:
    """Embeds with the model's own last layer."""

    name = "attention values of the model's last layer"

    def __init__(self, writer: Inside) -> None:
        self._writer = writer

    def __call__(self, prompt: Tokens, answer: Tokens, starts: Sequence[int]) -> list[Vector | None]:
        """Embed the answer from each of some tokens on; its last token, which nothing has read, is left out."""
        if len(answer) < 2:
            return [None] * len(starts)
        values = self._writer.values((*prompt, *answer[:-1]))
        centre, own = values[: len(prompt)].mean(0), values[len(prompt) :]
        sums = own[::-1].cumsum(0)[::-1]
        means = [sums[start] / (len(own) - start) if start < len(own) else centre for start in starts]
        return [unit(mean - centre) for mean in means]


def writer_of(engine: LocalEngine | BranchingEngine, plain: bool) -> Writer:
    """Return the way to write with an engine; the plain one needs one without memory.

    Raises:
        UserError: It has one.
    """
    if isinstance(engine, LocalEngine):
        return Plain(engine) if plain else Fast(engine)
    return Served(engine, plain)


def own_values(writer: Writer) -> Encoder | None:
    """Return the encoder by the model's own values, or None where nobody can see them."""
    return Values(writer) if isinstance(writer, Inside) else None


class Sentences:
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
            self._model: Any = library.SentenceTransformer(model)
        except Exception as error:
            line = " ".join(str(error).split())[:200]
            raise UserError(f"cannot load the sentence model {model}: {line}") from error
        self._engine, self.name = engine, model
        self._known: dict[str, Vector] = {}

    def __call__(self, prompt: Tokens, answer: Tokens, starts: Sequence[int]) -> list[Vector | None]:
        """Embed the answer's text from each of some tokens on."""
        texts = [self._engine.decode(answer[start:]).strip() for start in starts]
        if new := sorted({text for text in texts if text} - self._known.keys()):
            made = np.asarray(self._model.encode(new, show_progress_bar=False), np.float64)
            self._known.update((text, own) for text, own in zip(new, made, strict=True))
        return [self._known.get(text) for text in texts]


def unit(vector: Vector) -> Vector | None:
    """Scale a vector to length 1; None if it has none."""
    size = float(np.linalg.norm(vector))
    return vector / size if np.isfinite(size) and size > 0 else None
