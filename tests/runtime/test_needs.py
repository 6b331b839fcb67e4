"""What training takes, as it is told before the first step, against what it takes."""

from __future__ import annotations

import pytest
import torch

from momus.lm.tree import TokenTree
from momus.runtime import needs
from momus.runtime.costs import training_flops
from momus.runtime.needs import Needs, matrix_speed, training_flops_of
from support.tiny import tiny_model

CPU = torch.device("cpu")


@pytest.mark.parametrize(("kind", "kept"), [(torch.optim.AdamW, 2), (torch.optim.RMSprop, 1)])
def test_memory_is_that_of_weights_gradients_and_optimizer(kind, kept: int) -> None:
    model = tiny_model()
    told = Needs.of([model], [model], [model], kept)
    weights = sum(parameter.numel() * 4 for parameter in model.parameters())
    optimizer = kind(model.parameters())
    model(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values() if value.numel() > 1]
    held = weights + sum(parameter.grad.numel() * 4 for parameter in model.parameters() if parameter.grad is not None)
    held += sum(value.numel() * 4 for value in states)
    assert told.held == held + weights  # of the copy
    assert told.to_come == told.held - weights


def test_operations_are_those_of_the_trees() -> None:
    model = tiny_model()
    items = [(7, [3, 5]), (4, [2]), (9, [1, 1, 6])]
    trees = [
        TokenTree.from_branches(range(1, p + 1), [[10 * i + j for j in range(n)] for i, n in enumerate(answers, 5)])
        for p, answers in items
    ]
    assert training_flops_of(model, items) == pytest.approx(training_flops(model, trees))


def test_it_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "matrix_speed", lambda *_: 1e9)
    monkeypatch.setattr(needs, "available_memory", lambda: 3 << 30)
    words = Needs(4 << 30, 2 << 30, 7.2e12).describe(CPU, torch.float32)
    assert words == (
        "Weights, gradients and optimizer take 4.0 GiB: 2.0 GiB of them come with the first step, and 3.0 GiB are "
        "free; what a forward pass keeps comes on top (--token-budget). It takes at least 2.0 h, at the 1 GFLOP/s of "
        "matrices"
    )
    assert "will not fit" in Needs(4 << 30, (3 << 30) + 1).describe(CPU, torch.float32)
    monkeypatch.setattr(needs, "available_memory", lambda: None)
    assert "128 MiB, 64 MiB of them yet to come;" in Needs(2**27, 2**26).describe(CPU, torch.float32)


def test_the_speed_of_matrices_is_measured() -> None:
    assert 1e8 < matrix_speed(CPU, torch.float32) < 1e15
