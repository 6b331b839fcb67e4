"""Which line would the critic quote? The probability of every line of an answer as the next highlight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from momus.critique import FENCE
from momus.lm.constraint import quotable_texts
from momus.lm.forward import branch_logprobs
from momus.lm.pointers.pointer import Pointer
from momus.lm.prompts import OPEN_QUOTE, prompt_of
from momus.lm.tree import TokenTree
from momus.records import Tamper
from momus.tamper.truth import bug_lines


@torch.no_grad()
def likeliest_line_hits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tampers: Sequence[Tamper]
) -> list[bool]:
    """Return for each of `tampers` whether the likeliest quoted line, a quote forced, is one of a bug.

    A line's probability is that of its whole text and the closing fence after the opened one; all lines of an
    answer are branches of one token tree. Of lines with the same text the first stands for all.
    """
    was_training = model.training
    model.eval()
    encode = tokenizer.backend_tokenizer.encode
    trees, places = [], []
    for tamper in tampers:
        first: dict[str, int] = {}
        for number, line in enumerate(tamper.answer.split("\n")):
            if line.strip():
                first.setdefault(line.strip(), number)
        prompt = [tokenizer.bos_token_id, *encode(prompt_of(tamper) + OPEN_QUOTE).ids]
        trees.append(TokenTree.from_branches(prompt, [encode(f"{line}\n{FENCE}").ids for line in first]))
        places.append(list(first.values()))
    hits = []
    for tamper, lines, logprobs in zip(tampers, places, branch_logprobs(model, trees), strict=True):
        scores = [line.sum().item() for line in logprobs]
        likeliest = lines[scores.index(max(scores))]
        hits.append(any(likeliest in bug_lines(bug, tamper.answer) for bug in tamper.bugs))
    model.train(was_training)
    return hits


def pointed_line_hits(pointer: Pointer, tokenizer: PreTrainedTokenizerFast, tampers: Sequence[Tamper]) -> list[bool]:
    """Return for each of `tampers` whether the line that a pointer finds likeliest is one of a bug."""
    prompts = [
        [tokenizer.bos_token_id, *tokenizer.backend_tokenizer.encode(prompt_of(tamper)).ids] for tamper in tampers
    ]
    hits = []
    for tamper, odds in zip(
        tampers, pointer.line_log_odds(prompts, [tamper.answer for tamper in tampers]), strict=True
    ):
        quotable = [number for number, _ in quotable_texts(tamper.answer)]
        likeliest = max(quotable, key=odds.__getitem__)
        hits.append(any(likeliest in bug_lines(bug, tamper.answer) for bug in tamper.bugs))
    return hits


def line_accuracy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tampers: Sequence[Tamper]) -> float:
    """Return the share of `tampers` for which `likeliest_line_hits` is true."""
    return sum(likeliest_line_hits(model, tokenizer, tampers)) / max(1, len(tampers))
