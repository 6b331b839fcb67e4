"""The local engine: same numbers as plain forward passes, same samples however the work is grouped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

import momus.lm.local.decoding as decoding
from momus.errors import UserError
from momus.lm.engine import Engine, Sample, choose_in_both_orders, prompt_keys, uniforms
from momus.lm.local.engine import LocalEngine
from momus.lm.local.radix import RadixCache, group_by_length
from momus.lm.local.sampling import draw
from support.openai_server import OpenAIServer
from support.tiny import tiny_engine, tiny_model, tiny_tokenizer

RNG = np.random.default_rng(0)
STOPS = range(40, 60)
STEM = [1, *RNG.integers(3, 300, 20).tolist()]
PREFIXES = [
    STEM,
    [1],
    [*STEM, *RNG.integers(3, 300, 9).tolist()],
    [1, *RNG.integers(3, 300, 3).tolist()],
    STEM,
    [*STEM[:12], *RNG.integers(3, 300, 30).tolist()],
]


def reference(model: object, prefix: list[int], sample: Sample) -> list[float]:
    """Log-probabilities by one plain forward pass without any cache."""
    row = torch.tensor([[*prefix, *sample.tokens]])
    with torch.inference_mode():
        logprobs = model(row, use_cache=False).logits[0].log_softmax(-1)  # type: ignore[operator]
    return [float(logprobs[len(prefix) - 1 + i, t]) for i, t in enumerate(sample.tokens)]


@pytest.fixture(params=["local", "remote"], scope="module")
def contract(request: pytest.FixtureRequest) -> tuple[Engine, Any]:
    """Every engine there is, over one model: what the tests that ask for it say holds for all."""
    local = tiny_engine()
    return local if request.param == "local" else OpenAIServer(local).remote(), local.model


def tokens_of(result: list[list[Sample]]) -> list[list[tuple[int, ...]]]:
    return [[sample.tokens for sample in group] for group in result]


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("memory", [0, 2**29])
def test_sampling_follows_the_model_exactly(
    kv_heads: int, shared: bool, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "can_fork", lambda model: shared)
    engine = tiny_engine(rows=7, kv_heads=kv_heads, cache_bytes=memory)
    for call in range(2):  # the second call reuses what the first left in memory
        result = engine.sample(PREFIXES, 3, key=5 + call, max_tokens=24, stop_tokens=STOPS)
        for prefix, group in zip(PREFIXES, result, strict=True):
            for sample in group:
                assert sample.finished == (sample.tokens[-1] in {2, *STOPS})
                assert sample.finished or len(sample.tokens) == 24
                plain = reference(engine.model, prefix, sample)
                np.testing.assert_allclose(sample.logprobs, plain, atol=2e-4)
                np.testing.assert_allclose(engine.score(prefix, [sample.tokens])[0], plain, atol=2e-4)
    lengths = {len(s.tokens) for group in result for s in group}
    assert len(lengths) > 1, "no sample ended early: dropping rows went untested"


def test_samples_do_not_depend_on_batching_or_order() -> None:
    keys: list = [(3, i) for i in range(len(PREFIXES))]
    expected = tokens_of(tiny_engine().sample(PREFIXES, 4, key=keys, max_tokens=20, stop_tokens=STOPS))
    assert tokens_of(tiny_engine().sample(PREFIXES, 4, key=3, max_tokens=20, stop_tokens=STOPS)) == expected
    for rows in (1, 3, 5):
        assert tokens_of(tiny_engine(rows).sample(PREFIXES, 4, key=3, max_tokens=20, stop_tokens=STOPS)) == expected
    order = [4, 2, 0, 5, 1, 3]
    shuffled = tiny_engine(5).sample(
        [PREFIXES[i] for i in order], 4, key=[keys[i] for i in order], max_tokens=20, stop_tokens=STOPS
    )
    assert tokens_of(shuffled) == [expected[i] for i in order]
    fewer = tiny_engine().sample(PREFIXES[:2], 2, key=3, max_tokens=6, stop_tokens=STOPS)
    for short, long in zip(fewer, expected, strict=False):
        assert [s.tokens for s in short] == [tokens[:6] for tokens in long[:2]]
    assert len({len(tokens) for group in expected for tokens in group}) > 3
    assert expected[0] != expected[4], "the same prompt twice must not give the same samples twice"
    assert len({tokens for group in expected for tokens in group}) == 24


def test_nothing_to_score() -> None:
    assert tiny_engine().score(STEM, []) == [] and tiny_engine().score(STEM, [[]]) == [[]]


def test_every_distinct_prompt_is_computed_once() -> None:
    engine = tiny_engine(cache_bytes=0)
    engine.sample([STEM, STEM], 5, key=0, max_tokens=1)
    assert engine.forwarded_tokens == len(STEM), "all samples of a prompt are drawn from one reading of it"
    engine = tiny_engine()
    engine.sample([STEM], 3, key=0, max_tokens=1)
    engine.sample([STEM], 3, key=1, max_tokens=1)
    assert engine.forwarded_tokens == len(STEM) + 1, "of what is remembered, only the last token is read again"
    engine.sample([[*STEM, 7, 8, 9]], 1, key=1, max_tokens=1)
    assert engine.forwarded_tokens == len(STEM) + 1 + 3


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([0.0, 0.02, 0.1, 0.2, 0.3, 1.0]), st.booleans(), st.integers(0, 2**20))
def test_samples_that_agree_are_computed_once(temperature: float, shared: bool, key: int) -> None:
    engine, prompts = tiny_engine(), [STEM, [5, 6, 7], STEM]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "can_fork", lambda model: shared)
        groups = engine.sample(prompts, 5, key=key, max_tokens=8, temperature=temperature, stop_tokens=STOPS)
    pairs = [(prompt, sample) for prompt, group in zip(prompts, groups, strict=True) for sample in group]
    paths = [(*prompt, *sample.tokens[:-1]) for prompt, sample in pairs]
    assert engine.forwarded_tokens == len({path[:n] for path in paths for n in range(1, len(path) + 1)})
    for prompt, sample in pairs:
        np.testing.assert_allclose(sample.logprobs, reference(engine.model, prompt, sample), atol=2e-4)


def test_memory_does_not_outlive_the_weights() -> None:
    engine = LocalEngine(tiny_model(), tiny_tokenizer())
    engine.sample([STEM], 1, key=0, max_tokens=4)
    with torch.no_grad():
        for parameter in engine.model.parameters():
            parameter.data.mul_(1.01)
    (sample,) = engine.sample([STEM], 1, key=0, max_tokens=4)[0]
    np.testing.assert_allclose(sample.logprobs, reference(engine.model, STEM, sample), atol=1e-4)


def test_memory_does_not_outlive_an_adapter() -> None:
    adapted = get_peft_model(tiny_model(), LoraConfig(r=2, target_modules=["k_proj", "v_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    engine = LocalEngine(adapted, tiny_tokenizer())
    engine.sample([STEM], 1, key=0, max_tokens=4)
    with adapted.disable_adapter():
        (sample,) = engine.sample([STEM], 1, key=0, max_tokens=4)[0]
        np.testing.assert_allclose(sample.logprobs, reference(adapted, STEM, sample), atol=1e-4)


def test_tokens_unknown_to_the_tokenizer_are_never_drawn() -> None:
    model, size = tiny_model(), len(tiny_tokenizer())
    model.resize_token_embeddings(size + 300, mean_resizing=False)
    (samples,) = LocalEngine(model, tiny_tokenizer()).sample([STEM], 16, key=0, max_tokens=8)
    assert max(token for sample in samples for token in sample.tokens) < size


def test_every_engine_samples_and_scores_as_the_model_does(contract: tuple[Engine, Any]) -> None:
    engine, model = contract
    keys: list = [(3, i) for i in range(len(PREFIXES))]
    result = engine.sample(PREFIXES, 3, key=keys, max_tokens=12, temperature=0.8, stop_tokens=STOPS)
    for prefix, group in zip(PREFIXES, result, strict=True):
        plain = [reference(model, prefix, sample) for sample in group]
        scores = engine.score(prefix, [sample.tokens for sample in group])
        for sample, expected, score in zip(group, plain, scores, strict=True):
            assert sample.finished == (sample.tokens[-1] in {2, *STOPS})
            assert sample.finished or len(sample.tokens) == 12
            np.testing.assert_allclose(sample.logprobs, expected, atol=2e-4)
            np.testing.assert_allclose(score, expected, atol=2e-4)
    assert len({len(sample.tokens) for group in result for sample in group}) > 3
    assert len({tokens for group in tokens_of(result) for tokens in group}) == 3 * len(PREFIXES)
    some = engine.sample([PREFIXES[4], PREFIXES[1]], 2, key=[keys[4], keys[1]], max_tokens=12, temperature=0.8,
                         stop_tokens=STOPS)  # fmt: skip
    assert tokens_of(some) == tokens_of([result[4][:2], result[1][:2]])


def test_greedy_takes_the_likeliest_token(contract: tuple[Engine, Any]) -> None:
    engine, model = contract
    row = list(STEM)
    (sample,) = engine.sample([STEM], 1, key=0, max_tokens=8, temperature=0)[0]
    for token in sample.tokens:
        with torch.inference_mode():
            assert int(model(torch.tensor([row])).logits[0, -1].argmax()) == token
        row.append(token)


def test_stop_tokens_end_a_sample_and_stay_out_of_its_text(contract: tuple[Engine, Any]) -> None:
    engine, _ = contract
    (free,) = engine.sample([STEM], 1, key=2, max_tokens=10)[0]
    stop = free.tokens[4]
    (sample,) = engine.sample([STEM], 1, key=2, max_tokens=10, stop_tokens=[stop])[0]
    assert sample.finished
    assert sample.tokens == free.tokens[: free.tokens.index(stop) + 1]
    assert sample.text == engine.decode(sample.tokens[:-1])


def test_model_is_left_as_it_was() -> None:
    engine = tiny_engine()
    engine.model.train()
    engine.sample([STEM], 1, key=1, max_tokens=2)
    assert engine.model.training and engine.model.config._attn_implementation == "sdpa"


def test_special_tokens_in_text_stay_text(contract: tuple[Engine, Any]) -> None:
    engine, _ = contract
    text = "end <|eos|> ```\nx = 'é 漢'\n```\n"
    tokens = engine.encode(text, bos=True)
    assert tokens[0] == 1 and 2 not in tokens and engine.decode(tokens) == text


def test_choose_compares_next_token_probabilities(contract: tuple[Engine, Any]) -> None:
    engine, model = contract
    prompts = ["Right (A) or wrong (B)?\n", "x\n"]
    prefixes = [engine.encode(text, bos=True) for text in prompts]
    pair = [engine.encode(option, bos=False)[0] for option in "AB"]
    for prefix, choice in zip(prefixes, engine.choose(prefixes, ("A", "B")), strict=True):
        with torch.inference_mode():
            p = model(torch.tensor([prefix])).logits[0, -1].softmax(-1)[pair]
        assert choice.probability == pytest.approx(float(p[0] / p.sum()), abs=1e-5)
        assert choice.mass == pytest.approx(float(p.sum()), abs=1e-5)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("x\n", ("AB", "B"), "not exactly one token"),
        ("x\n", ("A", "A"), "the same token"),
        ("tota", ("l", "x"), "not exactly one token"),
    ],
)
def test_ambiguous_labels_are_refused(
    contract: tuple[Engine, Any], text: str, options: tuple[str, str], message: str
) -> None:
    engine, _ = contract
    with pytest.raises(UserError, match=message):
        engine.choose([engine.encode(text, bos=True)], options)


def test_bad_arguments_are_refused_in_one_line(contract: tuple[Engine, Any]) -> None:
    engine, _ = contract
    cases = [
        ({"prefixes": [[]]}, "empty"),
        ({"n": 0}, "at least 1"),
        ({"max_tokens": 0}, "at least 1"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"prefixes": [[1] * 600]}, "exceed"),
        ({"key": [1, 2]}, "2 keys for 1"),
        ({"key": -1}, "non-negative"),
        ({"constraints": []}, "0 constraints for 1"),
    ]
    for changed, message in cases:
        arguments = {"prefixes": [STEM], "n": 1, "key": 0, "max_tokens": 4, **changed}
        with pytest.raises(UserError, match=message) as caught:
            engine.sample(**arguments)
        assert "\n" not in str(caught.value)
    for prefix, message in ([], "empty"), ([1] * 600, "exceed"):
        with pytest.raises(UserError, match=message):
            engine.score(prefix, [[5]])


def test_every_engine_is_an_engine(contract: tuple[Engine, Any]) -> None:
    engine, _ = contract
    assert {name for name in vars(Engine) if not name.startswith("_")} <= set(dir(engine))


def test_a_diverged_model_is_refused_in_words() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="not numbers"):
        LocalEngine(model, tiny_tokenizer()).sample([STEM], 1, key=0, max_tokens=2)
    with pytest.raises(UserError, match="not numbers"):
        LocalEngine(model, tiny_tokenizer()).choose([STEM], ("A", "B"))


def test_keys_and_random_numbers() -> None:
    assert prompt_keys(7, 2) == [(7, 0), (7, 1)]
    assert prompt_keys([7, (8, 9)], 2) == [(7,), (8, 9)]
    np.testing.assert_array_equal(uniforms((1, 2), 3, 5), uniforms((1, 2), 3, 9)[:5])
    assert uniforms((1, 2), 3, 5)[0] != uniforms((1, 2), 4, 5)[0]
    assert len({uniforms(key, 0, 1)[0] for key in [(1,), (1, 0), (1, 0, 0), (0, 1)]}) == 4


def test_draw_matches_the_distribution() -> None:
    probabilities = torch.tensor([0.5, 0.0, 0.2, 0.3, 0.0])
    noise = torch.arange(1000, dtype=torch.float64) / 1000
    counts = torch.bincount(draw(probabilities.expand(1000, -1), noise), minlength=5)
    assert (counts - probabilities * 1000).abs().max() <= 1
    top = torch.bincount(draw(probabilities.expand(1000, -1), noise, top_p=0.6), minlength=5)
    assert top.tolist() == [pytest.approx(625, abs=1), 0, 0, pytest.approx(375, abs=1), 0]
    last = torch.tensor([1 - 2**-53], dtype=torch.float64)
    assert draw(probabilities[None], last).item() == 3, "a token of probability 0 was drawn"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3000), st.sampled_from([1.0, 0.999, 0.9, 0.3, 1e-6]), st.booleans())
def test_draw_inverts_the_cumulative_distribution(seed: int, size: int, top_p: float, alike: bool) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, (3, size)).astype(float) if alike else rng.exponential(size=(3, size)) ** 3
    weights[:, rng.integers(size)] = 5.0
    probabilities = torch.from_numpy(weights / weights.sum(-1, keepdims=True)).float()
    noise = torch.from_numpy(rng.random(3))
    for row, drawn, number in zip(probabilities.double(), draw(probabilities, noise, top_p), noise, strict=True):
        order = row.sort(descending=True, stable=True).indices
        kept = order[row[order].cumsum(0) - row[order] < top_p]
        allowed = torch.zeros_like(row).scatter(0, kept, row[kept])
        below = float(allowed[: int(drawn)].sum() / allowed.sum())
        assert allowed[drawn] > 0
        assert below - 1e-9 <= float(number) <= below + float(allowed[drawn] / allowed.sum()) + 1e-9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), max_size=12), st.integers(0, 4))
def test_memory_finds_the_longest_prefix(stored: list[tuple[int, ...]], room: int) -> None:
    cache = RadixCache(max_bytes=10**9 if room == 4 else room * 40)
    for tokens in stored:
        before = cache.match(tokens)
        rest = torch.tensor(tokens[before.length :], dtype=torch.float64).view(1, 1, -1, 1)
        cache.put(tokens, before, rest)
    kept = list(cache._pieces)
    assert sorted(kept) == cache._sorted
    distinct = {
        p.untyped_storage().data_ptr(): p.untyped_storage().nbytes()
        for pieces in cache._pieces.values()
        for p in pieces
    }
    assert cache.bytes == sum(distinct.values()) <= cache.max_bytes
    assert cache._users.keys() == distinct.keys(), "what is forgotten is still counted"
    for tokens in [(0, 1, 2, 0), (2, 2), (1,), *stored]:
        match = cache.match(tokens)
        lengths = (n for k in kept for n in range(len(tokens) + 1) if k[:n] == tokens[:n])
        assert match.length == max(lengths, default=0)
        assert [int(x) for piece in match.pieces for x in piece.flatten()] == list(tokens[: match.length])
    if room == 4:
        assert all(cache.match(tokens).length == len(tokens) for tokens in stored)


def test_a_search_that_goes_on_from_its_own_samples_reads_nothing_twice() -> None:
    engine = tiny_engine()
    (first,) = engine.sample([STEM], 4, key=1, max_tokens=9)
    beams = [[*STEM, *sample.tokens] for sample in first[:2]]
    second = engine.sample(beams, 4, key=2, max_tokens=9)
    rows = [(*STEM, *sample.tokens) for sample in first]
    rows += [(*beam, *sample.tokens) for beam, group in zip(beams, second, strict=True) for sample in group]
    # The last token of a sample is written and never read.
    distinct = {row[:n] for row in rows for n in range(1, len(row))}
    assert engine.forwarded_tokens <= len(distinct) + 2, "more than beams of unlike length read side by side"


@given(st.lists(st.integers(0, 300), min_size=1, max_size=40))
def test_sequences_read_together_waste_little(sizes: list[int]) -> None:
    groups = group_by_length(sizes)
    assert sorted(i for group in groups for i in group) == list(range(len(sizes)))
    for group in groups:
        needed, padded = sum(sizes[i] for i in group), max(sizes[i] for i in group) * len(group)
        assert padded <= max(1.25 * needed, needed + 16)
    largest = [max(sizes[i] for i in group) for group in groups]
    assert largest == sorted(largest, reverse=True)


@pytest.mark.parametrize("memory", [0, 2**29])
def test_prompts_of_unlike_length_are_not_padded_to_the_longest(memory: int) -> None:
    engine = tiny_engine(cache_bytes=memory)
    prefixes = [[1, *RNG.integers(3, 300, size - 1).tolist()] for size in (80, 20, 5, 78)]
    result = engine.sample(prefixes, 2, key=0, max_tokens=2, stop_tokens=())
    distinct = sum(map(len, prefixes)) + sum(len(group) for group in result)
    assert engine.forwarded_tokens <= distinct + 2 + 15, "beside padding of a few tokens, something is read twice"
    for prefix, group in zip(prefixes, result, strict=True):
        for sample in group:
            np.testing.assert_allclose(sample.logprobs, reference(engine.model, prefix, sample), atol=2e-4)


def test_both_orders_cancel_a_liking_for_a_label() -> None:
    engine = tiny_engine()
    one, other = [*STEM, 10], [*STEM, 11]
    (there,), (back,) = (choose_in_both_orders(engine, [pair], ("A", "B")) for pair in [(one, other), (other, one)])
    assert there.probability + back.probability == pytest.approx(1) and there.mass == pytest.approx(back.mass)
    plain = engine.choose([one, other], ("A", "B"))
    assert there.probability == pytest.approx((plain[0].probability + 1 - plain[1].probability) / 2)
    (same,) = choose_in_both_orders(engine, [(one, one)], ("A", "B"))
    assert same.probability == pytest.approx(0.5), "whatever the label liked, equals are equal"


def test_an_instruction_before_different_prompts_is_read_once() -> None:
    head = [1, *RNG.integers(3, 300, 60).tolist()]
    prompts = [[*head, *RNG.integers(3, 300, 10).tolist()] for _ in range(6)]
    engine = tiny_engine()
    samples = engine.sample(prompts, 2, key=0, max_tokens=1)
    assert engine.forwarded_tokens == len(head) + 6 * 10
    for prompt, group in zip(prompts, samples, strict=True):
        for sample in group:
            np.testing.assert_allclose(sample.logprobs, reference(engine.model, prompt, sample), atol=2e-4)


@pytest.mark.filterwarnings("error::FutureWarning")
def test_a_model_is_called_as_the_installed_transformers_wants() -> None:
    """Its release 5.24 renamed an argument and warns of the old name at each call."""
    engine = tiny_engine()
    engine.sample(PREFIXES, 2, key=0, max_tokens=4)
    engine.sample(PREFIXES, 2, key=1, max_tokens=4)
