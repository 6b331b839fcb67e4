"""Which line would the critic quote? The probability of every line of an answer as the next highlight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from momus.critique import lines_of
from momus.lm.prompts import OPEN_QUOTE, prompt_of
from momus.lm.tree import TokenTree
from momus.records import Tamper


def line_accuracy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tampers: Sequence[Tamper], batch: int = 16
) -> float:
    """Return the share of `tampers` in which the likeliest quoted line, a quote forced, touches a bug."""
    return sum(likeliest_line_hits(model, tokenizer, tampers, batch)) / max(1, len(tampers))


@torch.no_grad()
def likeliest_line_hits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tampers: Sequence[Tamper], batch: int = 16
) -> list[bool]:
    """Return for each of `tampers` whether the likeliest quoted line, a quote forced, touches a bug.

    A line's probability is that of its whole text and the closing fence after the opened one; all lines of an
    answer are branches of one token tree.
    """
    was_training = model.training
    model.eval()
    hits = [False] * len(tampers)
    order = sorted(range(len(tampers)), key=lambda i: len(tampers[i].answer))
    for first in range(0, len(order), batch):
        chosen = order[first : first + batch]
        for i, line in zip(chosen, _likeliest_lines(model, tokenizer, [tampers[i] for i in chosen]), strict=True):
            answer = tampers[i].answer
            hits[i] = any(line in lines_of(span, answer) for bug in tampers[i].bugs for span in bug.spans)
    model.train(was_training)
    return hits


def _likeliest_lines(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tampers: Sequence[Tamper]
) -> list[int]:
    encode = tokenizer.backend_tokenizer.encode
    trees, numbers = [], []
    for tamper in tampers:
        first_place: dict[str, int] = {}
        for number, line in enumerate(tamper.answer.split("\n")):
            if line.strip():
                first_place.setdefault(line.strip(), number)
        prompt = [tokenizer.bos_token_id, *encode(prompt_of(tamper) + OPEN_QUOTE).ids]
        trees.append(TokenTree.from_branches(prompt, [encode(f"{line}\n```").ids for line in first_place]))
        numbers.append(list(first_place.values()))
    width = max(map(len, trees))
    tokens = torch.zeros(len(trees), width, dtype=torch.long)
    depth = torch.zeros_like(tokens)
    mask = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1, 1)
    for row, tree in enumerate(trees):
        n = len(tree)
        tokens[row, :n], depth[row, :n] = torch.from_numpy(tree.tokens), torch.from_numpy(tree.depth)
        mask[row, 0, :n, :n] = torch.from_numpy(tree.mask())
    device = model.device
    hidden = model.model(
        input_ids=tokens.to(device),
        position_ids=depth.to(device),
        attention_mask=mask.to(device),
        use_cache=False,
    ).last_hidden_state
    best = []
    for row, (tree, lines) in enumerate(zip(trees, numbers, strict=True)):
        scores = []
        for branch in tree.branches:
            logits = model.lm_head(hidden[row, torch.from_numpy(tree.parent[branch]).to(device)]).float()
            targets = torch.from_numpy(tree.tokens[branch]).to(device)
            scores.append(-F.cross_entropy(logits, targets, reduction="sum").item())
        best.append(lines[scores.index(max(scores))])
    return best
