"""Linear layers over few rows: the same numbers the other way round, and a model that is left as it was."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.lm.local.few_rows import FEW, few_rows, multiply_few_rows
from support.tiny import llama


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(1,), (2,), (7, 1), (1, 1), (3, 5), (FEW,), (FEW + 1,), (0, 4)]),
    st.booleans(),
    st.sampled_from([torch.bfloat16, torch.float32]),
    st.integers(0, 2**20),
)
def test_the_products_are_those_of_the_layer(shape: tuple[int, ...], bias: bool, dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    layer, rows = torch.nn.Linear(24, 40, bias=bias, dtype=dtype), torch.randn(*shape, 24, dtype=dtype)
    with torch.inference_mode():
        found, exact = multiply_few_rows(layer, rows), layer.double()(rows.double())
    assert found.dtype == dtype and found.shape == (*shape, 40)
    torch.testing.assert_close(found.double(), exact, atol=2e-2 if dtype == torch.bfloat16 else 1e-5, rtol=0)


def test_a_model_is_left_as_it_was() -> None:
    model = llama().to(torch.bfloat16)
    hooked = model.model.layers[0].mlp.up_proj
    hooked.forward = lambda rows: torch.nn.functional.linear(rows, hooked.weight)  # as accelerate's hooks do
    before = {name: vars(module).get("forward") for name, module in model.named_modules()}
    tokens = torch.tensor([[1, 5, 9]])
    with torch.inference_mode():
        plain = model(tokens).logits
        with pytest.raises(KeyError), few_rows(model):
            inside = {name for name, module in model.named_modules() if "forward" in vars(module)}
            torch.testing.assert_close(model(tokens).logits, plain, atol=6e-2, rtol=0)
            raise KeyError
    assert {"lm_head", "model.layers.0.mlp.up_proj", "model.layers.1.self_attn.q_proj"} <= inside
    assert {name: vars(module).get("forward") for name, module in model.named_modules()} == before
    with few_rows(single := llama()):
        assert not any("forward" in vars(module) for module in single.modules()), "float32 has nothing to gain"
