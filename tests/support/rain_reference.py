"""RAIN as one would write it first: the oracle that the fast implementation is tested and measured against.

Every branch, every order of a judgement and every embedding is computed by itself, from its beginning; nothing is kept
from one call to the next, but keys and values within one branch, as `generate` keeps them; every leaf is expanded at
its first visit. It must grow the same tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache

from momus.lm.branches import Branch, BranchPlan, BranchWriter, check_length
from momus.lm.chat import PLAIN, ChatFormat
from momus.lm.engine import Choice
from momus.lm.local.branches import advance, flat_values
from momus.lm.local.engine import LocalEngine
from momus.lm.tree import Tokens
from momus.search.rain.answer import EncodedPrompt
from momus.search.rain.dataset import Rain
from momus.search.rain.judge import Judge, SelfJudge
from momus.search.rain.models import Encoder, RemoteWriter, Writer, attention_encoder
from momus.search.rain.result import Budget, RainResult
from momus.search.rain.search import RainConfig, RainSearch
from momus.search.rain.tasks import RainTask
from momus.search.rain.tree import Node


class ReferenceSearch(RainSearch):
    """Expands every leaf at its first visit."""

    def simulate(self, leaf: Node) -> Tokens:
        if not (leaf.expanded or leaf.terminal):
            self.expand(leaf)
        return super().simulate(leaf)


def search_answer_by_reference(
    writer: Writer,
    judge: Judge,
    prompt: EncodedPrompt,
    config: RainConfig,
    *,
    encoder: Encoder | None = None,
    key: tuple[int, ...] = (0,),
    budget: Budget | None = None,
) -> RainResult:
    """Search as `search_answer` does, with every leaf expanded at its first visit."""
    return ReferenceSearch(writer, judge, prompt, config, encoder, key, budget or Budget(), None).run()


class ReferenceWriter:
    """Writes one branch after the other, each from its beginning."""

    def __init__(self, engine: LocalEngine) -> None:
        assert not engine.has_cache, "the reference needs an engine without memory: LocalEngine(..., cache_bytes=0)"
        self.engine = engine

    def write(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        check_length(self.engine.context_length, prefix, plans)
        return [self._branch(prefix, plan, ends) for plan in plans]

    def attention_values(self, sequence: Tokens) -> npt.NDArray[np.float64]:
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
    def _read(self, tokens: Tokens, past: Any) -> torch.Tensor:
        """Read tokens after those in `past`; returns the logits of the next token, [1, V]."""
        model = self.engine.model
        self.engine.forwarded_tokens += len(tokens)
        ids = torch.tensor([tokens], device=model.device)
        logits: torch.Tensor = model(ids, past_key_values=past, use_cache=True, logits_to_keep=1).logits
        return logits[:, -1]


class ReferenceRemoteWriter(RemoteWriter):
    """Has a server write one branch after the other; the engine must keep nothing: RemoteEngine(..., cache_size=0)."""

    def write(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        return [branch for plan in plans for branch in self.engine.write(prefix, [plan], ends)]


class ReferenceJudge(SelfJudge):
    """Asks in one order after the other."""

    def compare_labels(self, question: str, answer: str) -> tuple[Choice, Choice]:
        prompts = self.prompts(question, answer)
        ((first,), (second,)) = (self._engine.choose([prompt], self.labels) for prompt in prompts)
        return first, second


def reference_rain(engine: LocalEngine, task: RainTask) -> Rain:
    """Put a model without memory and a task together, as `Rain.of` does."""
    chat, writer = ChatFormat(engine.tokenizer), ReferenceWriter(engine)
    judge = ReferenceJudge(engine, task.criterion, None if chat.template == PLAIN else chat)
    return Rain(task, writer, judge, attention_encoder(writer), chat)


def nodes_below(node: Node) -> list[Node]:
    """Return a node and all below it, parents first."""
    return [node, *(below for child in node.children for below in nodes_below(child))]
