"""The local engine at its limits: windows, memory that runs out, an interrupt in the middle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from momus.errors import UserError
from momus.lm.forward import branch_logprobs
from momus.lm.local import radix
from momus.lm.local.engine import LocalEngine
from momus.lm.out_of_memory import is_out_of_memory
from momus.lm.tree import TokenTree
from support.tiny import tiny_engine, tiny_tokenizer

STEM = [1, *np.random.default_rng(0).integers(3, 300, 17).tolist()]
PREFIXES = [STEM, [*STEM[:9], 7, 8, 9], [1, 5], STEM]


def windowed(kind: str) -> LocalEngine:
    torch.manual_seed(0)
    layers = {"layer_types": ["sliding_attention", "full_attention"]} if kind == "gemma3_text" else {}
    config = CONFIG_MAPPING[kind](
        vocab_size=len(tiny_tokenizer()), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, sliding_window=5, initializer_range=0.3,
        max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2, **layers,
    )  # fmt: skip
    return LocalEngine(AutoModelForCausalLM.from_config(config).eval(), tiny_tokenizer(), rows=5)


@pytest.mark.parametrize("kind", ["mistral", "gemma3_text"])
def test_sliding_windows_are_kept_in_every_cache(kind: str) -> None:
    engine = windowed(kind)
    for call in range(2):  # the second call continues from what the first remembered, past the window's length
        prefixes = PREFIXES if not call else [[*STEM, 4, 4, *STEM], [*STEM[:12], 6], [1, 5, 7]]
        result = engine.sample(prefixes, 2, key=call, max_tokens=12)
        for prefix, group in zip(prefixes, result, strict=True):
            for sample in group:
                row = torch.tensor([[*prefix, *sample.tokens]])
                with torch.inference_mode():
                    plain = engine.model(row, use_cache=False).logits[0].log_softmax(-1)
                expected = [float(plain[len(prefix) - 1 + i, t]) for i, t in enumerate(sample.tokens)]
                np.testing.assert_allclose(sample.logprobs, expected, atol=2e-4)
                np.testing.assert_allclose(engine.score(prefix, [sample.tokens])[0], expected, atol=2e-4)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("mamba", {"num_hidden_layers": 1, "state_size": 4}, "mamba models cannot be sampled from"),
        ("gpt_neo", {"num_layers": 2, "attention_types": [[["global", "local"], 1]]}, "layers of local attention"),
        ("falcon", {"num_hidden_layers": 1, "alibi": True}, "layers of ALiBi"),
    ],
)
def test_models_that_go_by_columns_or_states_are_refused_in_words(kind: str, settings: dict, message: str) -> None:
    heads = {} if kind == "mamba" else {"num_heads" if kind == "gpt_neo" else "num_attention_heads": 2}
    config = CONFIG_MAPPING[kind](vocab_size=400, hidden_size=16, **heads, **settings)
    with pytest.raises(UserError, match=message):
        LocalEngine(AutoModelForCausalLM.from_config(config), tiny_tokenizer())


def limited(kind: str, **changes: Any) -> LocalEngine:
    """An engine over a model that reads 24 tokens."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](
        vocab_size=len(tiny_tokenizer()), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, initializer_range=0.3, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        **{"max_position_embeddings": 24, **changes},
    )  # fmt: skip
    return LocalEngine(AutoModelForCausalLM.from_config(config).eval(), tiny_tokenizer(), rows=5)


DYNAMIC = {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}}
LONGROPE = {
    "original_max_position_embeddings": 24,
    "max_position_embeddings": 48,
    "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [9.0] * 4,
        "original_max_position_embeddings": 24,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "changes"), [("gpt2", {}), ("llama", {}), ("llama", DYNAMIC), ("phi3", LONGROPE)],
    ids=["gpt2", "llama", "dynamic", "longrope"],
)  # fmt: skip
def test_all_that_the_model_reads_can_be_used_and_no_more(kind: str, changes: dict[str, Any]) -> None:
    engine = limited(kind, **changes)
    assert engine.context_length == 24
    for call in range(3):  # later ones continue what was remembered, beside prompts that are new and longer
        prefixes = [STEM[: 6 + 5 * call], [1, *STEM[3 : 5 + 2 * call]], [1, 5]]
        for prefix in prefixes:
            (samples,) = engine.sample([prefix], 2, key=call, max_tokens=24 - len(prefix))
            for sample in samples:
                row = torch.tensor([[*prefix, *sample.tokens]])
                with torch.inference_mode():
                    plain = engine.model(row, use_cache=False).logits[0].log_softmax(-1)
                expected = [float(plain[len(prefix) - 1 + i, t]) for i, t in enumerate(sample.tokens)]
                np.testing.assert_allclose(sample.logprobs, expected, atol=2e-4)
                np.testing.assert_allclose(engine.score(prefix, [sample.tokens])[0], expected, atol=2e-4)
        engine.sample(prefixes, 2, key=call, max_tokens=24 - max(map(len, prefixes)))
        full = [[*prefix, *STEM, *STEM][:24] for prefix in prefixes]
        engine.choose(full, ("A", "B"))
        for prefix in prefixes:
            for refused in (
                lambda prefix=prefix: engine.sample([prefix], key=0, max_tokens=25 - len(prefix)),
                lambda prefix=prefix: engine.score(prefix, [[5] * (25 - len(prefix))]),
                lambda prefix=prefix: engine.choose([[*prefix, *STEM, *STEM][:25]], ("A", "B")),
            ):
                with pytest.raises(UserError, match="exceed the 24"):
                    refused()


@pytest.mark.parametrize("changes", [DYNAMIC, LONGROPE], ids=["dynamic", "longrope"])
def test_trees_past_the_length_where_positions_depend_on_the_row_are_refused(changes: dict[str, Any]) -> None:
    kind = "llama" if changes is DYNAMIC else "phi3"
    model = limited(kind, **changes).model
    branches = [[5, 6, 7, 8, 9, 5], [9]]
    short, long = TokenTree.from_branches(STEM, branches), TokenTree.from_branches(STEM, [[5] * 7])
    with torch.no_grad():
        for branch, found in zip(branches, branch_logprobs(model, [short])[0], strict=True):
            plain = model(torch.tensor([[*STEM, *branch]])).logits[0, len(STEM) - 1 : -1].log_softmax(-1)
            np.testing.assert_allclose(found, plain[range(len(branch)), branch], atol=2e-5)
        with pytest.raises(UserError, match="a sequence of 25 tokens is too long") as caught:
            branch_logprobs(model, [short, long])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error: BaseException, memory: bool) -> None:
    assert is_out_of_memory(error) == memory


def failing(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Let the model run out of memory on more than `most` rows."""
    forward = engine.model.forward

    def limited(tokens: torch.Tensor, *args: object, **kwargs: object) -> object:
        if len(tokens) > most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return forward(tokens, *args, **kwargs)

    monkeypatch.setattr(engine.model, "forward", limited)


def test_out_of_memory_halves_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tiny_engine().sample(PREFIXES, 4, key=1, max_tokens=10)
    questions = [[*prefix, 10] for prefix in PREFIXES]
    chosen = tiny_engine().choose(questions, ("A", "B"))
    engine = tiny_engine()
    failing(engine, monkeypatch, most=3)
    with pytest.warns(UserWarning, match=r"out of memory with 16 samples at once: going on with 8"):
        assert [[s.tokens for s in g] for g in engine.sample(PREFIXES, 4, key=1, max_tokens=10)] == [
            [s.tokens for s in g] for g in expected
        ]
    assert engine.rows == 2  # and the next call does not try again what cannot work
    assert [c.probability for c in engine.choose(questions, ("A", "B"))] == pytest.approx(
        [c.probability for c in chosen], abs=1e-5
    )
    failing(engine, monkeypatch, most=0)
    with pytest.raises(UserError, match="out of memory with a single sample"):
        engine.sample([STEM], 1, key=0, max_tokens=3)


def test_what_did_not_fit_is_not_tried_again_in_the_same_call(monkeypatch: pytest.MonkeyPatch) -> None:
    prefixes = [[number, *STEM] for number in range(3, 23)]  # nothing alike, or they would be one tree
    chosen = tiny_engine().choose(prefixes, ("A", "B"))
    expected = tiny_engine().sample(prefixes, 1, key=1, max_tokens=3)
    engine = tiny_engine(rows=8)
    failing(engine, monkeypatch, most=3)
    with pytest.warns(UserWarning, match="out of memory") as warned:
        found = engine.choose(prefixes, ("A", "B"))
    assert [c.probability for c in found] == pytest.approx([c.probability for c in chosen], abs=1e-5)
    assert len(warned) == 2  # 8 to 4 to 2, once for all
    engine.rows = 8
    with pytest.warns(UserWarning, match="out of memory") as warned:
        sampled = engine.sample(prefixes, 1, key=1, max_tokens=3)
    assert [[s.tokens for s in g] for g in sampled] == [[s.tokens for s in g] for g in expected]
    assert len(warned) == 2


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny_engine()
    monkeypatch.setattr(engine.model, "forward", lambda *args, **kwargs: (_ for _ in ()).throw(RuntimeError("shape")))
    with pytest.raises(RuntimeError, match="shape"):
        engine.sample([STEM], 2, key=0, max_tokens=3)


@pytest.mark.parametrize("step", range(0, 12, 3))
def test_an_interrupt_leaves_the_engine_as_it_was(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tiny_engine().sample(PREFIXES, 2, key=1, max_tokens=10)
    engine, calls = tiny_engine(), 0
    engine.model.train()
    forward = engine.model.forward

    def interrupted(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == step + 1:
            raise KeyboardInterrupt
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        for _ in range(2):
            engine.sample(PREFIXES, 2, key=1, max_tokens=10)
    assert engine.model.training
    assert engine.model.config._attn_implementation == "sdpa"
    again = engine.sample(PREFIXES, 2, key=1, max_tokens=10)
    assert [[s.tokens for s in g] for g in again] == [[s.tokens for s in g] for g in expected]


def test_an_interrupt_while_something_is_remembered_leaves_no_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tiny_engine().sample(PREFIXES, 2, key=2, max_tokens=6)
    engine, real, calls = tiny_engine(), radix.insort, 0

    def interrupted(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(radix, "insort", interrupted)
    with pytest.raises(KeyboardInterrupt):
        for key in range(9):
            engine.sample(PREFIXES, 2, key=key, max_tokens=6)
    memory = engine._memory
    assert sorted(memory._pieces) == memory._sorted
    kept = {p.untyped_storage().data_ptr(): p.untyped_storage() for pieces in memory._pieces.values() for p in pieces}
    assert memory.bytes == sum(storage.nbytes() for storage in kept.values())
    again = engine.sample(PREFIXES, 2, key=2, max_tokens=6)
    assert [[s.tokens for s in g] for g in again] == [[s.tokens for s in g] for g in expected]
