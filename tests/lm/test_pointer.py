"""The pointer: where lines end, what it may depend on, how quotes are drawn by it, training that goes on exactly."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.critique import parse_critique
from momus.data import stdlib
from momus.data.functions import Size
from momus.errors import UserError
from momus.lm.constraint import VerbatimQuotes, Vocabulary
from momus.lm.engine import sample_by_log_odds
from momus.lm.pointers.pointer import POINTER_FILE, Pointer, PointerNetwork, line_end_positions, pad_prompts
from momus.lm.prompts import OPEN_QUOTE, critique_prompt, prompt_of
from momus.records import Task
from momus.search.best_of_n import decode_greedily
from momus.search.candidates import add_line_odds, encode_tasks, zero_reward
from momus.search.fsbs import FSBSConfig, choose_best, force_sampling_beam_search
from momus.search.result import EncodedTask
from momus.tamper.sites import find_edits
from momus.tiny import pointer as pointing
from momus.tiny.examples import CorpusFunction, draw_tamper
from momus.tiny.lessons import TinyPointerConfig, corpus_lessons
from momus.tiny.pointer import make_lesson, pointing_loss, train_pointer
from support.tiny import llama, tiny_engine, tiny_tokenizer

ANSWER = "def f(items):\n    total = 0\n\n    for x in items:\n        total -= x\n    return total"
LINES = ANSWER.split("\n")
SHAPE = {"layers": 2, "heads": 4, "inner": 32}


def network(seed: int = 0, model=None) -> PointerNetwork:
    """A pointer over one layer of a random Llama, its weights wide enough that attention matters."""
    torch.manual_seed(seed)
    made = PointerNetwork.from_model(model or llama(vocab=len(tiny_tokenizer())), 1, **SHAPE).eval()
    for parameter in made.body.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.fixture(scope="module")
def engine():
    return tiny_engine()


@pytest.fixture(scope="module")
def pointer(engine):
    return Pointer(network(), engine.vocabulary)


def prompt(engine, answer: str = ANSWER, question: str = "Adds up."):
    return engine.encode(critique_prompt(question, answer), bos=True)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("ab ():\n=é漢`", max_size=12), min_size=1, max_size=6), st.text("ab \n", max_size=8))
def test_every_line_ends_at_the_token_with_its_newline(parts: list[str], question: str) -> None:
    tokenizer = tiny_tokenizer()
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    answer = "\n".join(parts)
    tokens = tokenizer.encode(critique_prompt(question, answer), add_special_tokens=False)
    ends = line_end_positions(tokens, answer, vocabulary)
    assert len(ends) == len(answer.split("\n"))
    pieces = [vocabulary.pieces[token] or b"" for token in tokens]
    head = len(critique_prompt(question, answer)) - len(answer) - len("\n```\n")
    before = critique_prompt(question, answer)[:head].encode()
    read = b""
    for line, end in zip(answer.split("\n"), ends, strict=True):
        read += line.encode() + b"\n"
        so_far = b"".join(pieces[: end + 1])
        assert len(so_far) >= len(before + read) > len(so_far) - len(pieces[end])


def test_an_answer_that_the_prompt_lacks_is_refused() -> None:
    vocabulary = Vocabulary([b"a", b"\n"])
    with pytest.raises(ValueError, match="does not hold"):
        line_end_positions([0, 1], "b", vocabulary)


def test_it_begins_with_a_copy_of_the_models_lower_layers(engine) -> None:
    tokens, real = pad_prompts([prompt(engine), prompt(engine)[:20]], engine.model.device)
    before = engine.model(tokens).logits
    pointer_net = network(model=engine.model)
    states = pointer_net.below(input_ids=tokens).last_hidden_state
    assert torch.equal(states, engine.model.base_model(tokens, output_hidden_states=True).hidden_states[1])
    pointer_net.below.layers[0].mlp.up_proj.weight.data.zero_()
    assert torch.equal(engine.model(tokens).logits, before), "the model itself must stay as it is"
    assert real.sum(1).tolist() == [len(prompt(engine)), 20]


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)), st.integers(1, 5))
def test_neither_padding_nor_order_nor_batches_change_what_it_says(order: list[int], at_once: int) -> None:
    engine = tiny_engine()
    pointer = Pointer(network(), engine.vocabulary)
    answers = [ANSWER, "x = 1", "\n".join(LINES[:3]), ANSWER.replace("total", "s"), "a\nb\nc"]
    prompts = [prompt(engine, answer) for answer in answers]
    alone = [pointer.line_log_odds([p], [a])[0] for p, a in zip(prompts, answers, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("momus.lm.pointers.pointer.AT_ONCE", at_once)
        together = pointer.line_log_odds([prompts[i] for i in order], [answers[i] for i in order])
    for i, lines in zip(order, together, strict=True):
        assert len(lines) == len(answers[i].split("\n"))
        assert lines == pytest.approx(alone[i], abs=1e-4)


def test_what_comes_later_counts(engine, pointer) -> None:
    other = ANSWER.replace("return total", "return items")
    first, second = pointer.line_log_odds([prompt(engine), prompt(engine, other)], [ANSWER, other])
    assert abs(first[1] - second[1]) > 1e-3


def test_it_lies_beside_its_model_in_half_precision(engine, tmp_path) -> None:
    network().save(tmp_path)
    found = Pointer.load_if_present(tmp_path, engine.model, engine.vocabulary)
    assert found is not None
    direct = Pointer(network(), engine.vocabulary)
    asked = ([prompt(engine)], [ANSWER])
    assert found.line_log_odds(*asked)[0] == pytest.approx(direct.line_log_odds(*asked)[0], abs=0.05)
    size = sum(parameter.numel() for parameter in network().parameters())
    assert (tmp_path / POINTER_FILE).stat().st_size < 2 * size + 4000
    assert Pointer.load_if_present(tmp_path / "elsewhere", engine.model, engine.vocabulary) is None
    (tmp_path / POINTER_FILE).write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot load the pointer"):
        Pointer.load_if_present(tmp_path, engine.model, engine.vocabulary)


def quoted(text: str) -> list[int]:
    """The numbers of the lines that a critique quotes."""
    return [LINES.index(next(line for line in LINES if line.strip() == comment.highlight))
            for comment in parse_critique(text, ANSWER).comments]  # fmt: skip


def test_quotes_are_drawn_by_its_odds(engine) -> None:
    """Quotes come as often as their odds say, whatever the model would like."""
    odds = {0: 0.1, 1: 0.3, 3: 0.05, 4: 0.5, 5: 0.05}
    lines = tuple(torch.tensor([odds.get(i, 0.9) for i in range(len(LINES))]).log().tolist())
    subject = EncodedTask(tuple(prompt(engine)), ANSWER, lines)
    config = FSBSConfig(n=400, k=1, d=1, max_tokens=40)
    (result,) = force_sampling_beam_search(engine, zero_reward, [subject], config, key=3)
    counts = Counter(quote[0] for candidate in result.candidates if (quote := quoted(candidate.text)))
    total = sum(counts.values())
    assert total > 350 and set(counts) <= set(odds)
    for line, share in odds.items():
        assert counts[line] / total == pytest.approx(share, abs=0.08)


def test_the_likeliest_line_is_quoted_where_nothing_is_left_to_chance(engine) -> None:
    for best in (0, 1, 3, 4, 5):
        lines = tuple(float(i == best) for i in range(len(LINES)))
        subject = EncodedTask(tuple(prompt(engine)), ANSWER, lines)
        forced = FSBSConfig(n=1, k=1, d=1, temperature=0.0, max_tokens=40)
        (result,) = force_sampling_beam_search(engine, zero_reward, [subject], forced, key=0)
        assert quoted(choose_best(result).text)[0] == best


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_a_chosen_line_is_what_gets_quoted(seed: int, distinct: bool) -> None:
    rng = random.Random(seed)
    vocabulary = Vocabulary.from_tokenizer(tiny_tokenizer())
    scores = [rng.gauss(0, 1) for _ in LINES]
    rule = VerbatimQuotes(ANSWER, vocabulary, written=OPEN_QUOTE, distinct=distinct, line_log_odds=scores)
    plain = VerbatimQuotes(ANSWER, vocabulary, written=OPEN_QUOTE, distinct=distinct)
    state, written, chosen = rule.start(), b"", []
    assert plain.choice_log_odds(plain.start()) is None
    for _ in range(60):
        odds = rule.choice_log_odds(state)
        if odds is not None:
            assert rule.allowed(state) == plain.allowed(state)
            assert len(odds) == len(set(odds)) and set(odds) <= set(scores)
            choice = rng.randrange(len(odds))
            state = rule.choose(state, choice)
            assert rule.choice_log_odds(state) is None
            chosen.append(scores.index(odds[choice]))
        token = rng.choice(list(rule.allowed(state) or range(3, len(vocabulary))))
        state = rule.advance(state, token)
        written += vocabulary.pieces[token] or b""
    whole = quoted(OPEN_QUOTE + written.decode(errors="replace"))
    assert whole == chosen[: len(whole)] and len(chosen) - len(whole) <= 1
    left = len(LINES) - 1  # one is blank
    assert not distinct or len(set(whole[:left])) == len(whole[:left])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(0.2, 3.0))
def test_a_choice_leaves_noise_that_is_spread_evenly(odds: list[float], temperature: float) -> None:
    shares = torch.tensor(odds, dtype=torch.float64).div(temperature).softmax(-1).tolist()
    steps = 2000
    drawn = [sample_by_log_odds(odds, (i + 0.5) / steps, temperature) for i in range(steps)]
    for index, share in enumerate(shares):
        left = [rest for choice, rest in drawn if choice == index]
        assert len(left) == pytest.approx(share * steps, abs=1.01)
        assert all(0 <= rest < 1 for rest in left)
        if len(left) > 20:
            assert sum(left) / len(left) == pytest.approx(0.5, abs=0.05)
    assert sample_by_log_odds(odds, 0.3, 0.0) == (odds.index(max(odds)), 0.3)


def test_a_critic_without_one_chooses_as_before(engine, pointer) -> None:
    tasks = [Task(id="a", question="Adds up.", answer=ANSWER)]
    (plain,) = encode_tasks(engine, tasks)
    assert plain == EncodedTask(tuple(prompt(engine)), ANSWER) and add_line_odds([plain], None) == [plain]
    (task,) = add_line_odds([plain], pointer)
    assert task.line_log_odds == pytest.approx(pointer.line_log_odds([plain.prompt], [ANSWER])[0])
    assert decode_greedily(engine, [plain], max_tokens=8, verbatim=False) == decode_greedily(
        engine, [task], max_tokens=8, verbatim=False
    )


@pytest.fixture(scope="module")
def lessons():
    """Functions of the standard library, each with a bug."""
    tokenizer = tiny_tokenizer()
    few = list(islice(stdlib.modules(), 60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stdlib, "modules", lambda: iter(few))
        tasks = [task for task in stdlib.stdlib_tasks(Size(max_chars=300)) if task.split == "train"][:24]
    functions = [CorpusFunction(t.question, t.answer, tuple(find_edits(t.answer))) for t in tasks]
    tampers = [draw_tamper(function, 1, random.Random(i)) for i, function in enumerate(functions) if function.edits]
    return functions, [tamper for tamper in tampers if tamper], tokenizer


def test_lessons_mark_the_lines_of_the_bugs(lessons) -> None:
    _, tampers, tokenizer = lessons
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    for tamper in tampers:
        lesson = make_lesson(tamper, tamper.task.question, tokenizer, vocabulary)
        lines = [line for line in tamper.answer.split("\n") if line.strip()]
        marked = [line.strip() for line, buggy in zip(lines, lesson.buggy, strict=True) if buggy]
        gold = {line.strip() for c in tamper.gold_critique().comments for line in c.highlight.split("\n")}
        assert marked and gold & set(marked)
        assert tokenizer.decode(lesson.tokens[1:]) == prompt_of(tamper)


def test_the_loss_is_the_mean_over_answers_and_over_lines(lessons) -> None:
    _, tampers, tokenizer = lessons
    vocabulary, net = Vocabulary.from_tokenizer(tokenizer), network()
    chosen = [make_lesson(t, "", tokenizer, vocabulary) for t in tampers[:5]]
    together, _ = pointing_loss(net, chosen, 0.0)
    alone = [pointing_loss(net, [lesson], 0.0)[0].item() for lesson in chosen]
    assert together.item() == pytest.approx(sum(alone) / len(alone), rel=1e-4)
    by_line = [(pointing_loss(net, [lesson], 1.0)[0].item() - a) * len(lesson.ends)
               for lesson, a in zip(chosen, alone, strict=True)]  # fmt: skip
    every = pointing_loss(net, chosen, 1.0)[0].item() - together.item()
    assert every == pytest.approx(sum(by_line) / sum(len(lesson.ends) for lesson in chosen), rel=1e-3)


def test_training_goes_on_exactly_and_learns(lessons, tmp_path, monkeypatch) -> None:
    functions, tampers, tokenizer = lessons
    model = llama(vocab=len(tokenizer))
    config = TinyPointerConfig(
        layers=1,
        heads=2,
        inner=32,
        tokens=30_000,
        whole_tokens=20_000,
        batch_tokens=2048,
        warmup=2,
        long_share=1.0,
        pool=16,
        save_every=2,
    )

    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    held_out = [make_lesson(tamper, tamper.task.question, tokenizer, vocabulary) for tamper in tampers]

    def train(folder):
        return train_pointer(model, 1, corpus_lessons(functions, config, tokenizer), held_out, config, folder)

    real, done = pointing._step, []

    seen, scores = [], []

    def watched(network, optimizers, *rest):
        assert all(group["lr"] >= 0 for optimizer in optimizers.values() for group in optimizer.param_groups)
        before = network.below.layers[0].mlp.up_proj.weight.clone()
        losses = real(network, optimizers, *rest)
        scores.append(network.score.weight.detach().clone())
        if optimizers["muon"].param_groups[0]["lr"] > 0:  # the last pool may go on after the last token
            seen.append(torch.equal(network.below.layers[0].mlp.up_proj.weight, before))
        return losses

    monkeypatch.setattr(pointing, "_step", watched)
    whole = train(tmp_path / "whole")  # its last pool goes past the last of its tokens
    first = seen.count(True)
    assert 0 < first < len(seen) and seen == [True] * first + [False] * (len(seen) - first)
    assert torch.equal(whole.score.weight, scores[-1].lerp(scores[first - 1], 0.25))

    def dies(*arguments):
        done.append(None)
        if len(done) == 11:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(pointing, "_step", dies)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut")
    assert list((tmp_path / "cut").glob("checkpoint-*")), "it is to go on from somewhere"
    monkeypatch.setattr(pointing, "_step", real)
    again = train(tmp_path / "cut")
    for (name, a), (_, b) in zip(whole.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    shutil.rmtree(tmp_path / "cut")
    other = train_pointer(
        model, 1, corpus_lessons(functions, config, tokenizer), held_out, replace(config, seed=1), tmp_path / "other"
    )
    assert not torch.equal(whole.score.weight, other.score.weight)
    rows = [row["choice"] for row in pointing.Run(tmp_path / "whole", {**pointing.asdict(config), "reads": 1}).history()
            if "choice" in row]  # fmt: skip
    assert sum(rows[-5:]) < 0.9 * sum(rows[:5])
