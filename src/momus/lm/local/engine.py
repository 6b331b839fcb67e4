"""The local engine: any causal language model of Hugging Face transformers, in this process.

Every distinct prefix of a batch is computed once and shared by its samples (`lm/local/fork.py`), and remembered for
the next call (`lm/local/radix.py`); samples that agree so far are computed once, too, and leave their batch the moment
they end; sampling is keyed, so results do not depend on batching (to rounding of the model's arithmetic).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import DynamicCache

from momus.errors import UnfitInputError, UserError
from momus.lm.codec import Codec
from momus.lm.constraint import Constraint
from momus.lm.context_length import context_length
from momus.lm.end_tokens import end_tokens
from momus.lm.engine import (
    Choice,
    Key,
    Sample,
    check_sampling,
    constraint_per_prefix,
    option_tokens,
    prompt_keys,
    uniforms,
)
from momus.lm.forward import backbone_of, branch_logprobs
from momus.lm.local.decoding import DecodingBatch, decoding
from momus.lm.local.few_rows import few_rows
from momus.lm.local.fork import windows_of
from momus.lm.local.radix import CachedPrefix, RadixCache, group_by_length, parameter_sample, prefill_mask, stack_padded
from momus.lm.local.rows import Row, SampleSettings, batches, pick
from momus.lm.local.sampling import check_numbers, log_total
from momus.lm.local.shared_prefix import logits_after, shared_prefix
from momus.lm.out_of_memory import run_within_memory
from momus.lm.stop import StopStrings
from momus.lm.tree import Tokens, TokenTree

T = TypeVar("T")

HEAD = 32  # tokens that prompts have in common from which on a forward pass of their own is worth it


class LocalEngine(Codec):
    """Samples from, and scores with, a causal language model in this process.

    Args:
        model: A causal language model of transformers, of full or sliding-window attention.
        tokenizer: Its fast tokenizer.
        rows: Most samples in one batch.
        cache_bytes: Bytes of keys and values to keep between calls, so that a prompt sampled from again, or a
            continuation extended, is not computed again; 0 keeps nothing.

    Raises:
        UserError: The model's attention or the tokenizer is of a kind this cannot serve exactly, or they do not
            belong together.

    Attributes:
        cache_argument: What the model's argument for keys and values is called; transformers 5.24 renamed it.
        context_length: Most tokens that the model reads, None for any number.
        end_tokens: The tokens that end a text of the model's; see `lm/end_tokens.py`.
        forwarded_tokens: Tokens pushed through the model so far, padding included.
        peak_cache_bytes: The most bytes of keys and values that were ever remembered.
    """

    streams = True  # its samples can be watched

    def __init__(self, model: Any, tokenizer: Any, *, rows: int = 128, cache_bytes: int = 2**29) -> None:
        parameters = inspect.signature(backbone_of(model).forward).parameters
        if "position_ids" not in parameters:
            raise UserError(
                f"{model.config.model_type} models cannot be sampled from here: their positions cannot be set"
            )
        self.cache_argument = "cache" if "cache" in parameters else "past_key_values"
        self.windows = windows_of(model.config)
        limits = (context_length(model.config), getattr(model.config, "max_position_embeddings", None))
        self.context_length = min((limit for limit in limits if limit is not None), default=None)
        super().__init__(tokenizer)
        self.model, self.rows = model, rows
        if len(self.vocabulary) > model.get_input_embeddings().weight.shape[0]:
            raise UserError("the tokenizer has more tokens than the model: they do not belong together")
        self.end_tokens = end_tokens(tokenizer, getattr(model, "generation_config", None))
        self._memory, self._parameter_sample = RadixCache(cache_bytes), parameter_sample(model)
        self.forwarded_tokens = self.peak_cache_bytes = 0

    def sample(
        self,
        prefixes: Sequence[Sequence[int]],
        n: int = 1,
        *,
        key: Key | list[Key],
        max_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        stop_tokens: Sequence[int] = (),
        stop: Sequence[str] = (),
        constraints: Sequence[Constraint | None] | None = None,
        watch: Callable[[Sequence[int]], None] | None = None,
    ) -> list[list[Sample]]:
        """Sample `n` continuations of every prefix; see `Engine.sample`.

        `watch` is called with the tokens of a sample whenever it has one more and goes on; should memory run out, the
        sample begins again, with the same tokens.
        """
        check_sampling(prefixes, n, max_tokens, temperature, top_p)
        self._check_lengths(prefixes, max_tokens)
        ends, stops = self.end_tokens | frozenset(stop_tokens), StopStrings(stop, self.vocabulary, self.decode)
        settings = SampleSettings(max_tokens, temperature, top_p, ends, stops, len(self.vocabulary), watch)
        rules = constraint_per_prefix(constraints, prefixes)
        keys = prompt_keys(key, len(prefixes))
        rows = [
            [Row(tuple(prefix), uniforms(prompt_key, j, max_tokens), rule) for j in range(n)]
            for prefix, prompt_key, rule in zip(prefixes, keys, rules, strict=True)
        ]
        with self.inference():
            for batch in batches([row for group in rows for row in group], self.rows):
                self._within_memory(batch, lambda part: self._generate(part, settings))
        return [[self._finish(row) for row in group] for group in rows]

    def score(self, prefix: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the log-probability (nats) of each token of each continuation of one prefix.

        Raises:
            UserError: The prefix is empty, or too long for the model with a continuation, or what it says is no number.
        """
        found: list[list[float]] = []
        longest = max(map(len, continuations), default=0)
        check_sampling([prefix], 1, max(longest, 1), 1.0, 1.0)
        self._check_lengths([prefix], longest)

        def score(part: Sequence[Sequence[int]]) -> None:
            tree = TokenTree.from_branches(prefix, part)
            self.forwarded_tokens += len(tree)
            for logprobs in branch_logprobs(self.model, [tree])[0]:
                check_numbers(logprobs)
                found.append(logprobs.tolist())

        with self.inference():
            self._within_memory(continuations, score)
        return found

    def choose(self, prefixes: Sequence[Sequence[int]], options: tuple[str, str]) -> list[Choice]:
        """Compare two one-token options as the next token of each prefix; see `Engine.choose`."""
        check_sampling(prefixes, 1, 1, 1.0, 1.0)
        self._check_lengths(prefixes, 0)
        pairs = [option_tokens(self, prefix, options) for prefix in prefixes]
        choices: dict[int, Choice] = {}
        order = sorted(range(len(prefixes)), key=lambda i: -len(prefixes[i]))

        def compare(part: Sequence[int]) -> None:
            logits = logits_after(self, [tuple(prefixes[i]) for i in part]).float()
            logprobs = logits - log_total(logits)[:, None]
            for i, row in zip(part, logprobs, strict=True):
                first, second = row[pairs[i][0]], row[pairs[i][1]]
                choices[i] = Choice(float(torch.sigmoid(first - second)), float(first.exp() + second.exp()))

        with self.inference():
            self._within_memory(order, compare)
        return [choices[i] for i in range(len(prefixes))]

    def read(self, sequences: Sequence[Tokens]) -> tuple[DynamicCache, torch.Tensor]:
        """Compute the keys and values of some sequences, less what is remembered of them.

        Returns:
            Keys and values [P, H, T, D] a layer, and which of the T columns are the sequence's, bool [P, T].
        """
        self._read_common_head(sequences)
        found = [self._memory.match(sequence) for sequence in sequences]
        groups = group_by_length([len(s) - m.length for s, m in zip(sequences, found, strict=True)])
        if len(groups) == 1:
            return self._read(sequences, found)
        whole = list(found)
        for group in groups:
            past, seen = self._read([sequences[i] for i in group], [found[i] for i in group])
            parts = [part for layer in past.layers for part in (layer.keys, layer.values)]
            for row, i in enumerate(group):
                columns = torch.stack([part[row][:, seen[row]] for part in parts])
                whole[i] = CachedPrefix(len(sequences[i]), (columns,))
        lengths = torch.tensor([match.length for match in whole], device=self.model.device)
        size = int(lengths.max())
        return stack_padded(whole, size), torch.arange(size, device=lengths.device) < lengths[:, None]

    def _read_common_head(self, sequences: Sequence[Tokens]) -> None:
        """Read what different prompts begin with, such as one instruction, before all that follows it: once."""
        head = shared_prefix(sequences) if self.has_cache else ()
        if len(head) - self._memory.match(head).length >= HEAD:
            self._read([head], [self._memory.match(head)])

    def _read(self, sequences: Sequence[Tokens], found: Sequence[CachedPrefix]) -> tuple[DynamicCache, torch.Tensor]:
        """Read sequences side by side, from where their matches in memory end; see `read`."""
        old, new = (
            max(m.length for m in found),
            max(len(s) - m.length for s, m in zip(sequences, found, strict=True)),
        )
        new = max(new, int(not old))  # a cache needs a column
        tokens = np.zeros((len(sequences), new), np.int64)
        seen = torch.zeros(len(sequences), old + new, dtype=torch.bool)
        for i, (sequence, (length, _)) in enumerate(zip(sequences, found, strict=True)):
            tokens[i, : len(sequence) - length] = sequence[length:]
            seen[i, :length] = seen[i, old : old + len(sequence) - length] = True
        seen = seen.to(self.model.device)
        past = stack_padded(found, old)
        if new:
            starts = torch.tensor([length for length, _ in found], device=self.model.device)[:, None]
            lasts = torch.tensor([max(len(s) - 1, 0) for s in sequences], device=self.model.device)[:, None]
            backbone_of(self.model)(
                torch.from_numpy(tokens).to(self.model.device),
                # Of padding too they must be positions that the model has.
                position_ids=torch.minimum(starts + torch.arange(new, device=self.model.device), lasts),
                # Padding on the right is where causal attention never looks; holes in the past must be
                # masked.
                attention_mask=prefill_mask(seen, old, starts[:, 0], self.windows, self.model.dtype) if old else None,
                use_cache=True,
                **{self.cache_argument: past},
            )
            self.forwarded_tokens += tokens.size
        if self.has_cache:
            for i, (sequence, (length, _)) in enumerate(zip(sequences, found, strict=True)):
                if length < len(sequence):
                    columns = slice(old, old + len(sequence) - length)
                    parts = [part[i][:, columns] for layer in past.layers for part in (layer.keys, layer.values)]
                    self.add_to_cache(sequence, found[i], torch.stack(parts))
        return past, seen

    @property
    def has_cache(self) -> bool:
        """Whether anything is kept from one call to the next."""
        return self._memory.max_bytes > 0

    def cached_prefix(self, sequence: Tokens) -> CachedPrefix:
        """Return what is remembered of a sequence: its keys and values as far as they are there."""
        return self._memory.match(sequence)

    def add_to_cache(self, sequence: Tokens, before: CachedPrefix, states: torch.Tensor) -> None:
        """Keep a sequence: `states` are its keys and values [2 * layers, H, t, D] from where `before` ends."""
        self._memory.put(sequence, before, states)
        self.peak_cache_bytes = max(self.peak_cache_bytes, self._memory.bytes)

    def add_branch_to_cache(self, prefix: Tokens, branch: Sequence[int], states: Callable[[], torch.Tensor]) -> None:
        """Keep a finished branch, whose last token nothing has read, if its prefix was not forgotten meanwhile."""
        before = self.cached_prefix(prefix[:-1])
        if before.length == len(prefix) - 1:
            self.add_to_cache((*prefix, *branch[:-1]), before, states())

    def clear_cache(self, keep: Tokens = ()) -> None:
        """Start as if nothing had been read but one sequence: what comes then depends on nothing before."""
        if not self.has_cache:
            return
        with self.inference():
            found = self.cached_prefix(keep)
            self._memory.clear()
            if keep and found.length == len(keep):
                self.add_to_cache(keep, CachedPrefix(0, ()), torch.cat(found.pieces, 2))
            elif keep and (self.context_length is None or len(keep) <= self.context_length):
                self.read([keep])

    def _within_memory(self, items: Sequence[T], work: Callable[[Sequence[T]], None]) -> None:
        """Do `work` on all items, as many rows at once as fit; see `run_within_memory`."""
        self.rows = run_within_memory(items, self.rows, work, self._memory.clear)

    def _generate(self, rows: Sequence[Row], settings: SampleSettings) -> None:
        """Write the samples of one batch from their beginning to their end."""
        for row in rows:
            row.restart()
        with decoding(self, [row.prefix for row in rows]) as batch:
            for step in range(settings.max_tokens):
                logits = batch.step([row.tokens[-1] for row in rows]) if step else batch.begin()
                for row, token, logprob in zip(rows, *pick(logits.float(), rows, step, settings), strict=True):
                    row.add(token, logprob, settings)
                last = step == settings.max_tokens - 1
                kept = [i for i, row in enumerate(rows) if not (row.finished or last)]
                if len(kept) == len(rows):
                    continue
                self._remember(rows, batch, set(range(len(rows))) - set(kept))
                if not kept:
                    return
                rows = [rows[i] for i in kept]
                batch.keep(kept)

    def _remember(self, rows: Sequence[Row], batch: DecodingBatch, done: set[int]) -> None:
        """Keep what samples read of themselves: a search that goes on from one need not read it again."""
        for i in sorted(done) if self.has_cache else ():
            self.add_branch_to_cache(rows[i].prefix, rows[i].tokens, partial(batch.states, i))

    def _finish(self, row: Row) -> Sample:
        written = row.tokens[:-1] if row.finished else row.tokens
        text, stop = row.stopped or (self.decode(written), "")
        return Sample(tuple(row.tokens), text, tuple(row.logprobs), row.finished, stop)

    def _check_lengths(self, prefixes: Sequence[Sequence[int]], more: int) -> None:
        for index, prefix in enumerate(prefixes):
            if self.context_length is not None and len(prefix) + more > self.context_length:
                raise UnfitInputError(
                    f"prefix {index} of {len(prefix)} tokens and {more} new ones exceed the "
                    f"{self.context_length} that the model reads"
                )

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Compute without gradients; forget everything if the model was trained since, or the work breaks off."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode(), few_rows(self.model):
                if not torch.equal(now := parameter_sample(self.model), self._parameter_sample):
                    self._memory.clear()  # trained since: what it remembers is another model's
                    self._parameter_sample = now
                yield
        except BaseException:
            self._memory.clear()  # an interrupt may have come while it was being changed
            raise
        finally:
            self.model.train(training)
