"""Linear layers over few rows: the same numbers the other way round, and a model that is left as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.lm.local import few_rows as module
from momus.lm.local.engine import LocalEngine
from momus.lm.local.few_rows import FEW, few_rows, multiply_few_rows
from support.tiny import llama, tiny_model, tiny_tokenizer


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(1,), (2,), (7, 1), (1, 1), (3, 5), (FEW,), (FEW + 1,), (0, 4)]),
    st.booleans(),
    st.sampled_from([torch.bfloat16, torch.float32]),
    st.integers(0, 2**20),
)
def test_the_products_are_those_of_the_layer(shape: tuple[int, ...], bias: bool, dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    layer, rows = torch.nn.Linear(640, 40, bias=bias, dtype=dtype), torch.randn(*shape, 640, dtype=dtype)
    with torch.inference_mode():
        found, plain, exact = multiply_few_rows(layer, input=rows), layer(rows), layer.double()(rows.double())
    assert found.dtype == dtype and found.shape == (*shape, 40) and found.stride() == plain.stride()
    off = (found.double() - exact).abs().max() if found.numel() else torch.zeros(())
    assert off <= (2e-2 if dtype == torch.bfloat16 else 1e-5)


def test_a_model_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGE", 0)
    monkeypatch.setattr(module, "multiplies_bfloat16", lambda device: True)
    model = llama().to(torch.bfloat16)
    hooked = model.model.layers[0].mlp.up_proj
    hooked.forward = mine = lambda rows: torch.nn.functional.linear(rows, hooked.weight)  # as accelerate's hooks do
    before = {name: vars(part).get("forward") for name, part in model.named_modules()}
    tokens = torch.tensor([[1, 5, 9]])
    with torch.inference_mode():
        plain = model(tokens).logits
        with pytest.raises(KeyError), few_rows(model):
            inside = {name for name, part in model.named_modules() if "forward" in vars(part)}
            assert vars(hooked)["forward"] is mine
            torch.testing.assert_close(model(tokens).logits, plain, atol=6e-2, rtol=0)
            raise KeyError
    assert {"lm_head", "model.layers.0.mlp.down_proj", "model.layers.1.self_attn.q_proj"} <= inside
    assert {name: vars(part).get("forward") for name, part in model.named_modules()} == before


@pytest.mark.parametrize("why", ["float32", "small layers", "a processor that has no bfloat16"])
def test_where_nothing_is_gained_layers_are_left_alone(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGE", 2**19 if why == "small layers" else 0)
    monkeypatch.setattr(module, "multiplies_bfloat16", lambda device: "processor" not in why)
    model = llama() if why == "float32" else llama().to(torch.bfloat16)
    with few_rows(model):
        assert not any("forward" in vars(part) for part in model.modules())


def test_an_engine_s_samples_go_that_way_and_its_model_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "multiplies_bfloat16", lambda device: True)
    sizes: list[int] = []
    counted = multiply_few_rows

    def count(layer: torch.nn.Linear, input: torch.Tensor) -> torch.Tensor:
        sizes.append(input.numel() // input.shape[-1])
        return counted(layer, input)

    monkeypatch.setattr(module, "multiply_few_rows", count)
    model = tiny_model().to(torch.bfloat16)
    LocalEngine(copy.deepcopy(model), tiny_tokenizer()).sample([[1, 5, 9]], 1, key=0, max_tokens=4)
    assert not sizes, "layers as small as these gain nothing"
    monkeypatch.setattr(module, "_LARGE", 0)
    found = LocalEngine(model, tiny_tokenizer()).sample([[1, 5, 9]], 1, key=0, max_tokens=4)
    assert 1 in sizes and not any("forward" in vars(part) for part in model.modules())
    again = LocalEngine(model.float(), tiny_tokenizer()).score([1, 5, 9], [found[0][0].tokens])[0]
    assert found[0][0].logprobs == pytest.approx(again, abs=0.2)
