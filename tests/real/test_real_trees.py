"""Token trees over real models: what shares a prefix is computed once, and every number is that of a row of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from momus.lm.codec import Codec, read_tokenizer
from momus.lm.forward import hidden_states, leaf_scores, token_logprobs, tree_problem
from momus.lm.models import RewardModel
from momus.lm.tree import TokenTree

STEM = "The following function has one mistake.\n\ndef mean(values):\n    return sum(values) / (len(values) + 1)\n\n"
ANSWERS = ["The mistake is", "The mistake is in the divisor: it counts one too many.", "No problems found.", "-"]


@pytest.fixture(scope="module")
def codec(folder: Path) -> Codec:
    return Codec(read_tokenizer(folder))


def branches(codec: Codec) -> tuple[list[int], list[list[int]]]:
    return codec.encode(STEM * 4, bos=False), [codec.encode(answer, bos=False) for answer in ANSWERS]


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@torch.inference_mode()
def test_states_on_a_tree_are_those_of_plain_rows(codec: Codec, model: Any) -> None:
    prompt, answers = branches(codec)
    other, _ = codec.encode("Another tree in the same row.", bos=False), None
    trees = [
        TokenTree.from_branches(prompt, answers),
        TokenTree.from_prefixes([prompt[:20], other], [answers[1], answers[0]]),
    ]
    assert not tree_problem(model.base_model), "the architecture runs as plain rows: nothing is shared"
    states = iter(hidden_states(model.base_model, trees).split([len(tree) for tree in trees]))
    for tree in trees:
        found = next(states)
        for path in tree.paths():
            row = torch.from_numpy(tree.tokens[path])[None]
            plain = model.base_model(row, use_cache=False).last_hidden_state[0]
            assert relative(found[torch.from_numpy(path)], plain) < 1e-4


@torch.inference_mode()
def test_logprobs_on_a_tree_are_those_of_plain_rows(codec: Codec, model: Any) -> None:
    prompt, answers = branches(codec)
    flat = token_logprobs(model, [TokenTree.from_branches(prompt, answers)]).logprobs
    for found, answer in zip(flat.split([len(answer) for answer in answers]), answers, strict=True):
        logits = model(torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0, len(prompt) - 1 : -1]
        plain = logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None])[:, 0]
        torch.testing.assert_close(found, plain, atol=2e-3, rtol=0)


@torch.inference_mode()
def test_scores_on_a_tree_are_those_of_plain_rows(codec: Codec, model: Any) -> None:
    prompt, answers = branches(codec)
    torch.manual_seed(0)
    reward = RewardModel(model.base_model).eval()
    scores = leaf_scores(reward, [TokenTree.from_branches(prompt, answers)])
    for score, answer in zip(scores, answers, strict=True):
        states = model.base_model(torch.tensor([[*prompt, *answer]]), use_cache=False).last_hidden_state
        torch.testing.assert_close(score, reward(states[0, -1]), atol=1e-3, rtol=1e-3)


def test_gradients_on_a_tree_are_those_of_plain_rows(codec: Codec, model: Any) -> None:
    prompt, answers = branches(codec)
    weight = model.base_model.layers[0].self_attn.k_proj.weight
    model.requires_grad_(False)
    weight.requires_grad_(True)
    try:
        token_logprobs(model, [TokenTree.from_branches(prompt, answers)]).logprobs.sum().backward()
        found, weight.grad = weight.grad, None
        for answer in answers:
            token_logprobs(model, [TokenTree.from_branches(prompt, [answer])]).logprobs.sum().backward()
        assert relative(found, weight.grad) < 1e-3
    finally:
        weight.grad = None
        model.requires_grad_(True)
