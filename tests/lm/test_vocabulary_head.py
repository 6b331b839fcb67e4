"""What states predict of tokens, computed some columns of the vocabulary at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from momus.lm import vocabulary_head
from momus.lm.vocabulary_head import predict_tokens
from support.tiny import VOCAB, llama


def plainly(head, states, tokens, change=None, temperature=1.0):
    logits = head(states).float()
    logits = (logits if change is None else change(logits)) / temperature
    log_all = logits.log_softmax(-1)
    chosen, logprobs = (each.gather(-1, tokens[:, None])[:, 0] for each in (logits, log_all))
    return logprobs, logits.amax(-1) - chosen, -(log_all.exp() * log_all).sum(-1)


def capped(logits):
    return 5.0 * (logits / 5.0).tanh()


@given(
    rows=st.integers(0, 9),
    vocabulary=st.integers(1, 40),
    cells=st.integers(1, 200),
    most_rows=st.integers(1, 9),
    bias=st.booleans(),
    change=st.sampled_from([None, capped]),
    temperature=st.sampled_from([1.0, 0.7]),
    seed=st.integers(0, 5),
)
def test_values_and_gradients_are_those_of_all_logits_at_once(
    rows, vocabulary, cells, most_rows, bias, change, temperature, seed
):
    torch.manual_seed(seed)
    head = torch.nn.Linear(6, vocabulary, bias=bias)
    states = (3 * torch.randn(rows, 6)).requires_grad_()
    tokens, weights = torch.randint(vocabulary, (rows,)), torch.randn(rows)
    expected = plainly(head, states, tokens, change, temperature)
    held: list[int] = []
    blocks = vocabulary_head._blocks

    def watched(*given):
        for block in blocks(*given):
            held.append(block[2].numel())
            yield block

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary_head, "CELLS", {"cpu": cells})
        patch.setattr(vocabulary_head, "ROWS", most_rows)
        patch.setattr(vocabulary_head, "_blocks", watched)
        found = predict_tokens(head, states, tokens, change, temperature)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
        inputs = (states, *head.parameters())
        gradients = torch.autograd.grad((found.logprobs * weights).sum(), inputs)
    for one, other in zip(gradients, torch.autograd.grad((expected[0] * weights).sum(), inputs), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    assert max(held) <= max(cells, min(rows, most_rows))  # never less than a column


def test_huge_logits_and_equal_ones_stay_numbers():
    head = torch.nn.Linear(1, 3, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0], [1.0], [-1.0]]))
    for size in (0.0, 1e4, -1e4):
        states = torch.full((1, 1), size, requires_grad=True)
        found = predict_tokens(head, states, torch.tensor([0]))
        for one, other in zip(found, plainly(head, states, torch.tensor([0])), strict=True):
            torch.testing.assert_close(one, other, atol=1e-3, rtol=0)  # what the plain way rounds away
        assert all(torch.isfinite(each).all() for each in torch.autograd.grad(found.logprobs.sum(), states))


def test_what_nothing_is_learnt_through_says_so():
    found = predict_tokens(torch.nn.Linear(2, 5), torch.ones(1, 2, requires_grad=True), torch.tensor([3]))
    assert found.logprobs.requires_grad and not found.margins.requires_grad and not found.entropies.requires_grad


def test_autocast_computes_as_the_head_would():
    head, states, tokens = torch.nn.Linear(8, 30), torch.randn(4, 8, requires_grad=True), torch.arange(4)
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = plainly(head, states, tokens)[0], predict_tokens(head, states, tokens).logprobs
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    inputs = (states, *head.parameters())
    for one, other in zip(
        torch.autograd.grad(found.sum(), inputs), torch.autograd.grad(expected.sum(), inputs), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-2, rtol=2e-2)


def test_a_head_that_is_gathered_as_it_is_called_is_called():
    """FSDP gathers a head that is a unit of its own in a hook before its forward pass."""
    head, states, tokens = torch.nn.Linear(4, 9), torch.randn(3, 4), torch.tensor([0, 4, 8])
    expected = plainly(head, states, tokens)
    shard, head.weight.data = head.weight.data, torch.zeros(9, 4)
    head.register_forward_pre_hook(lambda module, inputs: setattr(module.weight, "data", shard))
    for one, other in zip(predict_tokens(head, states, tokens), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_an_adapter_over_the_head_counts():
    torch.manual_seed(0)
    model = get_peft_model(llama(), LoraConfig(target_modules=["lm_head"], r=2, init_lora_weights=False))
    head, states = model.get_base_model().get_output_embeddings(), torch.randn(3, model.config.hidden_size)
    tokens = torch.arange(3) % VOCAB
    for one, other in zip(predict_tokens(head, states, tokens), plainly(head, states, tokens), strict=True):
        torch.testing.assert_close(one, other)
    adapter = [weight for weight in head.parameters() if weight.requires_grad]
    assert any(each.any() for each in torch.autograd.grad(predict_tokens(head, states, tokens)[0].sum(), adapter))
