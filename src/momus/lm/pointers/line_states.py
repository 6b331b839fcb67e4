"""What a frozen language model knows of every line of an answer: its states, and how much each line surprised it.

A line's states are those of some layers, pooled over its tokens. A causal model reads a line before what follows it, so
the answer can be read twice in a row: the second time, the model has seen all of it. The surprise is always that of the
first reading, for the second one only copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from momus.errors import UserError
from momus.lm.local.adapters import without_adapter
from momus.lm.vocabulary_head import predict_tokens

AGAIN = "# Again, line by line:\n"
"""What stands between the two readings."""

POOLS = ("mean", "last")
"""How a line's tokens become one state: their mean, and the last of them."""

SURPRISES = 6
"""Numbers kept of a line's tokens: mean and largest negative log-probability, their sum over ten, the largest distance
of a token's logit from the best one, the mean entropy, and the largest negative log-probability above the entropy."""

_LARGEST = torch.finfo(torch.half).max


class Reads(NamedTuple):
    """Which of a model's states a pointer goes by.

    Attributes:
        layers: Whose states; 0 is the embedding, the number of layers is the last one's output.
        readings: 0 the first, 1 the second.
        pools: Of `POOLS`.
    """

    layers: tuple[int, ...]
    readings: tuple[int, ...] = (0, 1)
    pools: tuple[str, ...] = POOLS


class LineStates(NamedTuple):
    """What a model knows of the lines of one answer.

    Attributes:
        states: Hidden states in half precision, [lines, readings, layers, pools, hidden].
        surprise: How surprising each line was, [lines, SURPRISES].
        written: Which lines are not blank, [lines].
    """

    states: Tensor
    surprise: Tensor
    written: Tensor


class LineReader:
    """Reads answers with a language model whose weights stay as they are; an adapter over them is off meanwhile.

    Args:
        model: A causal language model of transformers.
        tokenizer: Its fast tokenizer.
        reads: Which states are kept.
        batch_tokens: Tokens of a batch at most, padding counted.

    Raises:
        UserError: The model has no such layer.
    """

    def __init__(self, model: Any, tokenizer: Any, reads: Reads, batch_tokens: int = 2048) -> None:
        deepest = model.config.get_text_config().num_hidden_layers
        if not reads.layers or min(reads.layers) < 0 or max(reads.layers) > deepest:
            raise UserError(f"the pointer reads the layers {list(reads.layers)}: this model has 0 to {deepest}")
        self.reads, self._model, self._tokenizer, self._batch_tokens = reads, model, tokenizer, batch_tokens

    def problem(self, question: str, answer: str) -> str:
        """Return why an answer cannot be read; "" where it can."""
        return self._problem_of(self._lay_out(question, answer))

    def read(self, answers: Sequence[tuple[str, str]]) -> list[LineStates]:
        """Read (question, answer) pairs; a line is what a newline ends.

        Raises:
            UserError: An answer is longer than the model can read.
        """
        rows = [self._lay_out(question, answer) for question, answer in answers]
        if problem := next(filter(None, map(self._problem_of, rows)), ""):
            raise UserError(f"an answer is too long: {problem}")
        read: dict[int, LineStates] = {}
        with without_adapter(self._model):
            for batch in _batches([len(row.tokens) for row in rows], self._batch_tokens):
                read.update(zip(batch, self._read_batch([rows[i] for i in batch]), strict=True))
        return [read[i] for i in range(len(rows))]

    def _problem_of(self, row: _Row) -> str:
        limit, size = getattr(self._model.config.get_text_config(), "max_position_embeddings", None), len(row.tokens)
        return "" if limit is None or size <= limit else f"it takes {size} tokens to read, and the model reads {limit}"

    def _lay_out(self, question: str, answer: str) -> _Row:
        """Lay out one pair as tokens: the question as a comment, the answer, and the answer again if that is read.

        The comment is there without a question, too: whatever a model reads first has states unlike all others, and a
        line of code that had them would be pointed to for that.
        """
        before, body = f"# {question}\n", f"{answer}\n"
        twice = max(self.reads.readings) > 0
        starts = (len(before), len(before) + len(body) + len(AGAIN))[: 1 + twice]
        encoded = self._tokenizer(
            before + body + (AGAIN + body) * twice,
            return_offsets_mapping=True,
            add_special_tokens=False,
            split_special_tokens=True,
        )
        lines = answer.split("\n")
        ends = torch.tensor([len(line) + 1 for line in lines]).cumsum(0)
        offsets = torch.tensor([start for start, _ in encoded["offset_mapping"]])
        reading, line = torch.full_like(offsets, -1), torch.full_like(offsets, -1)
        for number, start in enumerate(starts):
            inside = (offsets >= start) & (offsets < start + len(body))
            reading[inside] = number
            line[inside] = torch.searchsorted(ends, offsets[inside] - start, right=True)
        return _Row(torch.tensor(encoded["input_ids"]), reading, line, [bool(text.strip()) for text in lines])

    @torch.inference_mode()
    def _read_batch(self, rows: Sequence[_Row]) -> Iterator[LineStates]:
        """Read rows of similar lengths, padded at their ends."""
        device = self._model.device
        tokens = torch.nn.utils.rnn.pad_sequence([row.tokens for row in rows], batch_first=True).to(device)
        lengths = torch.tensor([len(row.tokens) for row in rows], device=device)
        real = torch.arange(tokens.shape[1], device=device)[None] < lengths[:, None]
        hidden = self._model.base_model(
            input_ids=tokens, attention_mask=real.long(), output_hidden_states=True, use_cache=False
        ).hidden_states
        places = [_predicted(row) for row in rows]
        before = torch.cat([hidden[-1][number, at - 1] for number, at in enumerate(places)])
        targets = torch.cat([row.tokens[at] for row, at in zip(rows, places, strict=True)]).to(device)
        predicted = predict_tokens(self._model.get_output_embeddings(), before, targets)
        of_rows = torch.split(torch.stack(predicted, 1).cpu(), [len(at) for at in places])
        for number, row in enumerate(rows):
            states = torch.stack([hidden[layer][number, : len(row.tokens)] for layer in self.reads.layers], 1)
            pooled = [self._pool(states.float().cpu(), row, reading) for reading in self.reads.readings]
            surprise = _surprise(of_rows[number], row)
            # Some models have states beyond half precision: infinity there would make every score not a number.
            kept = torch.stack(pooled, 1).clamp(-_LARGEST, _LARGEST).half()
            yield LineStates(kept, surprise, torch.tensor(row.written))

    def _pool(self, states: Tensor, row: _Row, reading: int) -> Tensor:
        """Pool states [tokens, layers, hidden] by line, [lines, layers, pools, hidden]; zeros where a line has none."""
        at = row.reading == reading
        states, line = states[at], row.line[at]
        counts = torch.bincount(line, minlength=len(row.written))
        sums = torch.zeros(len(row.written), *states.shape[1:]).index_add_(0, line, states)
        mean = sums / counts.clamp(min=1)[:, None, None]
        last = states[(counts.cumsum(0) - 1).clamp(min=0)] * (counts > 0)[:, None, None]  # tokens come line by line
        pools = {"mean": mean, "last": last}
        return torch.stack([pools[name] for name in self.reads.pools], 2)


class _Row(NamedTuple):
    """One pair as tokens [n], the reading (-1 for neither) and the line of each; and which lines are not blank."""

    tokens: Tensor
    reading: Tensor
    line: Tensor
    written: list[bool]


def _predicted(row: _Row) -> Tensor:
    """Return where the tokens of the first reading stand; nothing comes before the very first token."""
    places = (row.reading == 0).nonzero()[:, 0]
    return places[places > 0]


def _surprise(predictions: Tensor, row: _Row) -> Tensor:
    """Return `SURPRISES` numbers by line, [lines, SURPRISES], of the predictions of the first reading's tokens."""
    surprise, line = torch.zeros(len(row.written), SURPRISES), row.line[_predicted(row)]
    for n in set(line.tolist()):
        logprobs, distance, entropy = predictions[line == n].T
        missed = -logprobs
        surprise[n] = torch.stack([
            missed.mean(), missed.max(), missed.sum() / 10, distance.max(), entropy.mean(), (missed - entropy).max(),
        ])  # fmt: skip
    return surprise


def select(lines: LineStates, kept: Reads, wanted: Reads) -> LineStates:
    """Return of what was kept of an answer what is wanted."""
    states = lines.states[:, [kept.readings.index(reading) for reading in wanted.readings]]
    states = states[:, :, [kept.layers.index(layer) for layer in wanted.layers]]
    states = states[:, :, :, [kept.pools.index(pool) for pool in wanted.pools]]
    return lines._replace(states=states)


def spread_layers(model: Any) -> tuple[int, ...]:
    """Return layers of a model to read: a quarter, half and three quarters of the way up, and the last."""
    deepest = model.config.get_text_config().num_hidden_layers
    return tuple(sorted({max(1, deepest * quarter // 4) for quarter in (1, 2, 3, 4)}))


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Cut rows into batches of similar lengths, of at most so many tokens with padding."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) + 1) * lengths[row] > most:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
