"""The fast way against the plain one: the same branches, verdicts, embeddings and trees, from far fewer tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from momus.errors import UserError
from momus.lm.branches import BranchPlan
from momus.lm.chat import ChatFormat
from momus.lm.engine import Choice, option_tokens
from momus.lm.local.branches import write_branches
from momus.lm.local.engine import LocalEngine
from momus.lm.local.shared_prefix import shared_prefix
from momus.search.rain.answer import EncodedPrompt
from momus.search.rain.judge import (
    Case,
    Criterion,
    JudgedBy,
    JudgeVerdict,
    SelfJudge,
    cut_to_whole_sentences,
    last_question,
)
from momus.search.rain.models import AttentionEncoder, LocalWriter, SentenceEncoder, normalise
from momus.search.rain.result import RainResult
from momus.search.rain.search import RainConfig, search_answer
from support.rain_reference import ReferenceJudge, ReferenceWriter, nodes_below, search_answer_by_reference
from support.tiny import llama, tiny_model, tiny_tokenizer

ENDS = frozenset({2})
CRITERION = Criterion(
    "Is the reply right or wrong?",
    "The reply is right.",
    "The reply is wrong.",
    cases=(Case("1 + 1?", "2", True), Case("2 + 2?", "5", False)),
)


@lru_cache
def precise_model() -> Any:
    return tiny_model().double()


def engine_with(memory: int = 2**28) -> LocalEngine:
    return LocalEngine(precise_model(), tiny_tokenizer(), cache_bytes=memory)


def read_by(engine: LocalEngine) -> set[tuple[int, ...]]:
    """Return a set to which every (prefix, token) that the engine remembers is added."""
    seen: set[tuple[int, ...]] = set()
    remember = engine.add_to_cache

    def noting(tokens: tuple[int, ...], *rest: Any) -> None:
        seen.update(tokens[:size] for size in range(1, len(tokens) + 1))
        remember(tokens, *rest)

    engine.add_to_cache = noting  # type: ignore[method-assign]
    return seen


plans = st.builds(
    BranchPlan,
    max_tokens=st.integers(1, 9),
    key=st.none() | st.tuples(st.integers(0, 3)),
    sample=st.integers(0, 2),
    rank=st.integers(0, 3),
    top_k=st.sampled_from([5, 15, 10_000]) | st.none(),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    should_stop=st.sampled_from([lambda tokens: False, lambda tokens: tokens[-1] % 7 == 0]),
)


@settings(max_examples=25)
@given(st.lists(st.integers(3, 300), min_size=1, max_size=20), st.lists(plans, min_size=1, max_size=8))
def test_branches_written_together_are_those_written_alone(prefix: list[int], asked: list[BranchPlan]) -> None:
    engine = engine_with()
    seen, start = read_by(engine), (1, *prefix)
    together = write_branches(engine, start, asked, ENDS)
    alone = ReferenceWriter(engine_with(0)).write(start, asked, ENDS)
    assert [branch.tokens for branch in together] == [branch.tokens for branch in alone]
    assert [b.logprob for b in together] == pytest.approx([b.logprob for b in alone], abs=1e-4)
    needed = {(*start, *own.tokens[:size]) for own in together for size in range(len(own.tokens))}
    assert engine.forwarded_tokens == len(needed | {start[:size] for size in range(1, len(start))})
    assert seen <= needed | {start[:size] for size in range(1, len(start))}
    before = engine.forwarded_tokens
    write_branches(engine, (*start, *together[0].tokens), [BranchPlan(1)], ENDS)
    assert engine.forwarded_tokens - before <= 2, "what was written is remembered"


def test_a_branch_follows_its_plan() -> None:
    engine, prefix = engine_with(), (1, 70, 71)
    logits = precise_model()(torch.tensor([prefix])).logits[0, -1].detach()
    order = logits.argsort(descending=True).tolist()
    ranks = write_branches(engine, prefix, [BranchPlan(1, rank=rank, top_k=20) for rank in range(4)], ENDS)
    assert [own.tokens[0] for own in ranks] == order[:4]
    top = logits[order[:20]].log_softmax(-1)
    assert [own.logprob for own in ranks] == pytest.approx(top[:4].tolist(), abs=1e-5)
    drawn = write_branches(engine, prefix, [BranchPlan(1, (i,), top_k=5, temperature=2.0) for i in range(400)], ENDS)
    shares = (logits[order[:5]] / 2).softmax(-1).tolist()
    counts = [sum(own.tokens[0] == token for own in drawn) / 400 for token in order[:5]]
    assert sum(counts) == 1
    assert counts == pytest.approx(shares, abs=0.09)
    for own in drawn:
        assert own.logprob == pytest.approx(math.log(shares[order.index(own.tokens[0])]), abs=1e-5)
    free = write_branches(engine, prefix, [BranchPlan(1, (i,)) for i in range(50)], ENDS)
    expected = logits.log_softmax(-1)
    assert all(own.logprob == pytest.approx(float(expected[own.tokens[0]]), abs=1e-5) for own in free)


def test_a_branch_ends_at_its_first_end_token() -> None:
    order = precise_model()(torch.tensor([(1, 9)])).logits[0, -1].argsort(descending=True)
    ends = frozenset({int(order[0])})
    (branch,) = write_branches(engine_with(), (1, 9), [BranchPlan(8)], ends)
    assert branch.tokens == (int(order[0]),) and branch.ended


def test_what_cannot_be_written_is_refused() -> None:
    engine = engine_with()
    with pytest.raises(UserError, match="empty"):
        write_branches(engine, (), [BranchPlan(1)], ENDS)
    with pytest.raises(UserError, match="exceed"):
        write_branches(engine, (1,) * 500, [BranchPlan(13)], ENDS)
    assert write_branches(engine, (1,) * 500, [BranchPlan(12)], frozenset())[0].tokens
    broken = tiny_model()
    with torch.no_grad():
        broken.model.norm.weight.fill_(math.nan)
    for memory, writer in ((2**28, LocalWriter), (0, ReferenceWriter)):
        with pytest.raises(UserError, match="not numbers"):
            writer(LocalEngine(broken, tiny_tokenizer(), cache_bytes=memory)).write((1, 5), [BranchPlan(1)], ENDS)


@pytest.mark.parametrize("window", [None, 6])
def test_other_attention(window: int | None) -> None:
    """Grouped heads, eager attention, a sliding window: the plain way is the model's own."""
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(tiny_tokenizer()), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=1, max_position_embeddings=128, initializer_range=0.3,
        sliding_window=window, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    asked = [BranchPlan(8), *(BranchPlan(8, (i,), top_k=15) for i in range(5)), BranchPlan(12, (9,))]
    prefix = tuple(range(1, 30))
    fast, plain = (LocalEngine(model, tiny_tokenizer(), cache_bytes=memory) for memory in (2**28, 0))
    one, other = LocalWriter(fast).write(prefix, asked, ENDS), ReferenceWriter(plain).write(prefix, asked, ENDS)
    assert [branch.tokens for branch in one] == [branch.tokens for branch in other]


def test_values_are_means_of_the_last_layers_values() -> None:
    prompt, answer = tuple(range(1, 12)), tuple(range(40, 60))
    fast, plain = LocalWriter(engine_with()), ReferenceWriter(engine_with(0))
    from transformers import DynamicCache

    past = DynamicCache()
    precise_model()(torch.tensor([prompt + answer]), past_key_values=past)
    values = past.layers[-1].values[0].transpose(0, 1).flatten(1).detach().numpy()
    starts = [0, 5, 18, 19, 20]
    for own in (fast, plain):
        made = AttentionEncoder(own)(prompt, answer, starts)
        for start, vector in zip(starts, made, strict=True):
            if start >= 19:  # only the token that nothing has read
                assert vector is None
                continue
            mean = values[11 + start : 30].mean(0) - values[:11].mean(0)
            assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert AttentionEncoder(fast)(prompt, (5,), [0]) == [None]
    assert normalise(np.zeros(3)) is None and normalise(np.array([math.nan])) is None


def test_sentence_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    class SentenceTransformer:
        def __init__(self, name: str, trust_remote_code: bool) -> None:
            if name == "missing":
                raise OSError("no such\nmodel")

        def encode(self, texts: list[str], show_progress_bar: bool) -> list[list[float]]:
            asked.append(texts)
            return [[len(text), 1.0] for text in texts]

    with pytest.raises(UserError, match="pip install"):
        SentenceEncoder(engine_with())
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", SimpleNamespace(**locals()))
    engine = engine_with()
    encode = SentenceEncoder(engine)
    answer = tuple(engine.encode("total += x", bos=False))
    first = encode((1,), answer, [0, len(answer)])
    assert first[0] is not None and first[0][0] == len("total += x") and first[1] is None
    encode((1,), answer, [0])
    assert asked == [["total += x"]], "a text is embedded once"
    with pytest.raises(UserError, match="no such model"):
        SentenceEncoder(engine, "missing")


# The judge


def test_both_ways_judge_alike_and_what_orders_share_is_read_once() -> None:
    fast, plain = SelfJudge(engine_with(), CRITERION), ReferenceJudge(engine_with(0), CRITERION)
    seen = read_by(fast._engine)
    for answer in ("4", "a total of 5, I think", "", "한국어 답"):
        one, other = fast("what is 2 + 2?", answer), plain("what is 2 + 2?", answer)
        assert one.value == other.value and one.abstained == other.abstained
        for mine, its in ((one.first, other.first), (one.second, other.second)):
            assert mine == pytest.approx(its, abs=1e-5)
        seen.update(own[:size] for own in fast.prompts("what is 2 + 2?", answer) for size in range(1, len(own) + 1))
    assert fast._engine.forwarded_tokens == len(seen)
    assert plain._engine.forwarded_tokens > 3 * len(seen)


probability = st.floats(0, 1)


@given(probability, probability)
def test_a_liking_for_a_label_is_no_verdict(first: float, second: float) -> None:
    verdict = JudgeVerdict.from_choices(Choice(first, 0.9), Choice(second, 0.9), 0.01)
    swapped = JudgeVerdict.from_choices(Choice(second, 0.9), Choice(first, 0.9), 0.01)
    assert verdict.value in (-1, -0.5, 0, 0.5, 1) and verdict.value == -swapped.value
    if first == second or (first > 0.5) == (second > 0.5) != (0.5 in (first, second)):
        assert verdict.value in (-0.5, 0, 0.5)
    assert JudgeVerdict.from_choices(Choice(0.9, 1.0), Choice(0.1, 1.0), 0.01).value == 1
    assert JudgeVerdict.from_choices(Choice(0.1, 1.0), Choice(0.9, 1.0), 0.01).value == -1


@given(st.floats(-6, 6), st.floats(-6, 6))
def test_by_log_odds_what_a_judge_adds_to_a_label_cancels_out(belief: float, liking: float) -> None:
    def asked(belief: float) -> JudgeVerdict:
        chances = (1 / (1 + math.exp(-x)) for x in (belief + liking, liking - belief))
        return JudgeVerdict.from_choices(*(Choice(chance, 0.9) for chance in chances), 0.01, "log-odds")

    verdict = asked(belief)
    assert verdict.log_odds == pytest.approx(belief, abs=1e-6)
    assert verdict.value == pytest.approx(2 / (1 + math.exp(-belief)) - 1, abs=1e-6)  # 2 p - 1
    assert verdict.value == pytest.approx(-asked(-belief).value, abs=1e-6)
    if abs(abs(liking) - abs(belief)) > 1e-6:
        assert verdict.disagreed == (abs(liking) > abs(belief))


def test_a_judge_that_is_sure_has_a_value_by_log_odds_too() -> None:
    for first, second, value in ((1.0, 0.0, 1), (0.0, 1.0, -1), (1.0, 1.0, 0), (0.5, 0.5, 0)):
        verdict = JudgeVerdict.from_choices(Choice(first, 1.0), Choice(second, 1.0), 0.01, "log-odds")
        assert verdict.value == pytest.approx(value, abs=1e-8)


@pytest.mark.parametrize("by", ["verdict", "log-odds"])
@pytest.mark.parametrize("mass", [0.0, 0.009, math.nan])
def test_who_does_not_answer_the_question_abstains(mass: float, by: JudgedBy) -> None:
    for choices in ((Choice(0.9, mass), Choice(0.1, 0.9)), (Choice(0.9, 0.9), Choice(0.1, mass))):
        verdict = JudgeVerdict.from_choices(*choices, 0.01, by)
        assert verdict.abstained and verdict.value == 0 and not verdict.disagreed
    assert JudgeVerdict.from_choices(Choice(0.9, 0.9), Choice(0.9, 0.9), 0.01).disagreed


def test_the_question_has_both_statements_under_both_labels() -> None:
    engine = engine_with()
    judge = SelfJudge(engine, CRITERION)
    one, other = (engine.decode(own) for own in judge.prompts("why?", "because"))
    assert "User: why?\nAssistant: because\nOptions:\n(A) The reply is right.\n(B) The reply is wrong.\n" in one
    assert other.endswith("(A) The reply is wrong.\n(B) The reply is right.\nThe answer is: (")
    assert "Assistant: 2\nOptions:\n(A) The reply is right.\n(B) The reply is wrong.\nThe answer is: (A)\n" in one
    assert "Assistant: 5\nOptions:\n(A) The reply is wrong.\n(B) The reply is right.\nThe answer is: (A)\n" in one
    assert len(shared_prefix(judge.prompts("why?", "because"))) > len(engine.encode(one, bos=True)) // 2
    sentences = SelfJudge(engine, Criterion("?", "y", "n", whole_sentences=True))
    assert "Assistant: It is. So.\n" in engine.decode(sentences.prompts("q", "It is. So. But the")[0])
    assert cut_to_whole_sentences("맞다。 그리") == "맞다。" and cut_to_whole_sentences("no stop") == "no stop"


def test_through_a_chat_template_the_lead_is_the_assistants() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer().backend_tokenizer, pad_token="<|pad|>",
                                        bos_token="<|bos|>", eos_token="<|eos|>")  # fmt: skip
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    engine = LocalEngine(precise_model(), tokenizer)
    judge = SelfJudge(engine, CRITERION, ChatFormat(tokenizer))
    for prompt in judge.prompts("say <|eos|> User: x", "y"):
        assert prompt.count(2) == 1, "the asker's words end nothing"
        assert engine.decode(prompt).endswith("<assistant> The answer is: (")
    assert judge("say", "x").value in (-1, 0, 1)


def merging(*extra: str, spaces: bool = False) -> Any:
    """A tokenizer of characters and some longer tokens; with `spaces`, it puts one before every text."""
    characters = sorted({chr(c) for c in range(32, 127)} | {"\n"})
    vocabulary = {"<p>": 0, "<s>": 1, "</s>": 2, "▁": 3}
    vocabulary |= {token: i for i, token in enumerate([*characters, *extra], len(vocabulary))}
    merges = [(token[:-1], token[-1]) for token in extra]
    backend = Tokenizer(models.BPE(vocabulary, merges))
    if spaces:
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    else:
        backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<p>", bos_token="<s>", eos_token="</s>")


def test_labels_are_found_in_any_tokenizer() -> None:
    for tokenizer, expected in (
        (merging(), ("A", "B")),
        (merging("(A", " A", " B"), (" A", " B")),
        (merging("▁A", "▁B", spaces=True), ("A", "B")),
    ):
        engine = LocalEngine(llama(vocab=len(tokenizer)), tokenizer)
        judge = SelfJudge(engine, Criterion("Which?", "Yes.", "No."))
        assert judge.labels == expected
        prompt = judge.prompts("a", "b")[0]
        pair = option_tokens(engine, prompt, judge.labels)
        assert [engine.tokenizer.convert_ids_to_tokens(t).strip("▁ ") for t in pair] == ["A", "B"]
        assert judge("a", "b").value in (-1, 0, 1)
    hopeless = merging("(A", ":A", "\nA")
    with pytest.raises(UserError, match="cannot judge by labels"):
        SelfJudge(LocalEngine(llama(vocab=len(hopeless)), hopeless), Criterion("Which?", "Yes.", "No."))


def test_what_does_not_fit_the_judge_is_refused_in_words() -> None:
    with pytest.raises(UserError, match="exceed"):
        SelfJudge(engine_with(), CRITERION)("why?", "x = 1 " * 300)


def test_what_was_asked() -> None:
    from momus.records import Message

    said = [Message(role=role, content=text) for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))]
    assert last_question("x") == "x" and last_question(tuple(said)) == "c"
    with pytest.raises(UserError):
        last_question((said[1],))


# Whole searches

SMALL = RainConfig(lengths=(1, 2, 3), candidates=4, draws=3, iterations=20, max_tokens=8)


class Strict:
    """Verdicts by the words, never good: every set takes all its iterations."""

    def __call__(self, asked: str, answered: str) -> JudgeVerdict:
        return JudgeVerdict(float(sum(answered.encode()) % 2) - 1, Choice(0.5, 1.0), Choice(0.5, 1.0), abstained=False)


def grown(engine: LocalEngine, plain: bool, seed: int, config: RainConfig, judge: Any) -> RainResult:
    writer = ReferenceWriter(engine) if plain else LocalWriter(engine)
    search = search_answer_by_reference if plain else search_answer
    prompt = (1, *engine.encode("def f(items):\n    total", bos=False), 60 + seed)
    return search(
        writer, judge, EncodedPrompt(prompt, "go on", ENDS), config, encoder=AttentionEncoder(writer), key=(seed,)
    )


def discrete(result: RainResult) -> Any:
    """All that is exact of a search: shapes, tokens, visits."""
    options = [(o.tokens, o.visits, o.best.tokens) for c in result.commits for o in (c.chosen, *c.rejected)]
    visited = [node for node in nodes_below(result.root) if node.visits]
    nodes = [(node.index_path, node.tokens, node.visits, node.additions_tried) for node in visited]
    return result.tokens, [c.iterations for c in result.commits], options, nodes, result.judged


def assert_same(one: RainResult, other: RainResult) -> None:
    assert discrete(one) == discrete(other)
    for mine, its in zip(one.commits, other.commits, strict=True):
        for a, b in zip((mine.chosen, *mine.rejected), (its.chosen, *its.rejected), strict=True):
            assert (a.weight, a.value, a.prior) == pytest.approx((b.weight, b.value, b.prior), abs=1e-4)


def test_the_fast_way_grows_the_same_tree() -> None:
    iterations = 0
    for seed in range(2):
        fast, plain = engine_with(), engine_with(0)
        judges = (Strict(), Strict()) if seed else (SelfJudge(fast, CRITERION), ReferenceJudge(plain, CRITERION))
        one, other = (grown(e, e is plain, seed, SMALL, j) for e, j in zip((fast, plain), judges, strict=True))
        assert_same(one, other)
        assert one.forwarded * 4 < other.forwarded
        iterations += one.iterations
    assert iterations > 80


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_fast_way_grows_the_same_tree_over_a_thousand_steps() -> None:
    iterations, seed = 0, 100
    while iterations < 1000:
        fast, plain = engine_with(), engine_with(0)
        one, other = grown(fast, False, seed, SMALL, Strict()), grown(plain, True, seed, SMALL, Strict())
        assert_same(one, other)
        iterations, seed = iterations + one.iterations, seed + 1


@pytest.mark.parametrize("memory", [0, 60_000])
def test_a_small_memory_changes_nothing_but_the_work(memory: int) -> None:
    small, large = engine_with(memory), engine_with()
    one, other = (grown(e, False, 7, SMALL, Strict()) for e in (small, large))
    assert_same(one, other)
    assert small.peak_cache_bytes <= memory and one.forwarded > other.forwarded
    assert bool(small.peak_cache_bytes) == bool(memory)


def test_a_search_reads_hardly_more_than_the_distinct_tokens() -> None:
    engine = engine_with()
    seen = read_by(engine)
    judge = SelfJudge(engine, CRITERION)
    prompts = judge.prompts

    def noting(asked: str, answered: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        both = prompts(asked, answered)
        seen.update(own[:size] for own in both for size in range(1, len(own) + 1))
        return both

    judge.prompts = noting  # type: ignore[method-assign]
    result = grown(engine, False, 3, RainConfig(max_tokens=12), judge)
    assert result.forwarded == engine.forwarded_tokens
    assert result.forwarded <= 1.1 * len(seen)


def test_a_search_does_not_depend_on_what_was_searched_before() -> None:
    engine = engine_with()
    results: Sequence[RainResult] = [grown(engine, False, seed, SMALL, Strict()) for seed in (1, 2, 1)]
    assert_same(results[0], results[2])
    assert discrete(results[0]) != discrete(results[1])
