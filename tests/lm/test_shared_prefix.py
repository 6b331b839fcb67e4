"""Prompts that begin alike, read as one tree: the same choices as one by one, every token once, what is shared kept."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MistralConfig, MistralForCausalLM

from momus.lm.local.engine import LocalEngine
from momus.lm.local.shared_prefix import shared_prefix
from support.tiny import tiny_model, tiny_tokenizer

LABELS = ("a", "b")
few = st.lists(st.integers(3, 60), min_size=1, max_size=7)


@cache
def model(kind: str):
    if kind == "full":
        return tiny_model()
    torch.manual_seed(3)
    config = MistralConfig(
        vocab_size=len(tiny_tokenizer()), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=5, initializer_range=0.3,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return MistralForCausalLM(config).eval()


def numbers(choices) -> list[float]:
    return [number for choice in choices for number in (choice.probability, choice.mass)]


@pytest.mark.parametrize("kind", ["full", "sliding"])
@settings(max_examples=25, deadline=None)
@given(first=few, second=few, tails=st.lists(few, min_size=2, max_size=4), memory=st.sampled_from([0, 2**29]))
def test_choices_are_those_of_each_prompt_alone(
    kind: str, first: list[int], second: list[int], tails: list[list[int]], memory: int
) -> None:
    asked = [[(1, *first, *tail, 5) for tail in tails], [(1, *first, *second, *tail, 5) for tail in tails]]
    engine, alone = (LocalEngine(model(kind), tiny_tokenizer(), cache_bytes=size) for size in (memory, 0))
    for prompts in asked:  # the second time much is remembered
        expected = [choice for prompt in prompts for choice in alone.choose([prompt], LABELS)]
        assert numbers(engine.choose(prompts, LABELS)) == pytest.approx(numbers(expected), abs=1e-4)


def test_every_token_is_read_once_and_what_is_shared_is_kept() -> None:
    engine = LocalEngine(model("full"), tiny_tokenizer())
    beginning = (1, *range(10, 40))
    engine.choose([(*beginning, 50, 51), (*beginning, 60, 61, 62)], LABELS)
    assert engine.forwarded_tokens == len(beginning) + 2 + 3
    engine.choose([(*beginning, 7, 50, 51), (*beginning, 7, 60, 61)], LABELS)
    assert engine.forwarded_tokens == len(beginning) + 2 + 3 + 1 + 4
    assert engine.cached_prefix((*beginning, 7, 50)).length == len(beginning) + 1


@pytest.mark.parametrize("few", [0, 6, 10, 2000])
@pytest.mark.parametrize("memory", [0, 2000, 2**29])
def test_however_much_is_one_tree_choices_are_the_same_and_what_all_share_is_read_once(
    few, memory, monkeypatch
) -> None:
    beginning = (1, 9, 8, 7, 3, 4, 5)
    prompts = [(*beginning, *rest) for rest in ((5, 6), (6, 5, 5), (7, 8))]
    monkeypatch.setattr("momus.lm.local.shared_prefix.FEW", few)
    engine, alone = (
        LocalEngine(model("full"), tiny_tokenizer(), cache_bytes=memory),
        LocalEngine(model("full"), tiny_tokenizer()),
    )
    expected = [choice for prompt in prompts for choice in alone.choose([prompt], LABELS)]
    assert numbers(engine.choose(prompts, LABELS)) == pytest.approx(numbers(expected), abs=1e-4)
    if memory > 2000:  # where there is hardly any, the beginning does not stay
        assert engine.forwarded_tokens <= len(beginning) + 9  # padded to the longest, where they are read side by side


def test_what_prompts_share_leaves_each_something_of_its_own() -> None:
    assert shared_prefix([(1, 2, 3)]) == () == shared_prefix([(1, 2, 3), (2, 2, 3)])
    assert shared_prefix([(1, 2, 3), (1, 4, 3)]) == (1,)
    assert shared_prefix([(1, 2, 3, 4), (1, 2, 3, 4)]) == (1, 2)
    assert shared_prefix([(1,), (1, 2, 3)]) == ()
