"""A fix by search: which edits are tried, what each gains, and what is said of it."""

from __future__ import annotations

import ast
import copy
import math
import random

import pytest
import torch

from momus.critique import Critique, format_critique, parse_critique
from momus.data.functions import Size
from momus.data.stdlib import stdlib_tasks
from momus.errors import UserError
from momus.lm.text.encode import Encoder
from momus.review.files import source_of
from momus.review.suggestion import propose
from momus.search import fixes
from momus.search.fixes import AFTER, COSTS, FLOOR, TOKEN, WINDOW, Fix, Place, find_fixes, propose_line
from momus.search.lines import LEAST_COUNTED, MOST_COUNTED, WEIGHT, evidence
from momus.tamper.insert import tamper
from momus.tamper.natural.repairs import MOST_EDITS, line_repairs
from support.tiny import gpt2, llama, tiny_tokenizer

CODE = """def f(xs, n):
    total = 0
    for i in range(n):
        if xs[i] < n:
            total += xs[i]
    return total"""
SIZE = Size(4, 30, 1200)
FLAT = "total = 1\nother = total < 2"
PLACES = [
    *(Place("Add up.", CODE, 4), Place("", CODE, 2), Place("", CODE, 6), Place("", "let x = 1;", 1)),
    *(Place("", FLAT, 1), Place("", FLAT, 2)),
]


@pytest.fixture(scope="module")
def model():
    model = llama(vocab=len(tiny_tokenizer()))
    model.config.max_position_embeddings = 4096
    return model.eval()


def plainly(model, tokenizer, place, text, window):
    """What a line is worth in the place of another, and so many tokens after it, in a row of its own."""
    lines = place.code.split("\n")

    def tokens(code):
        return tokenizer(code, add_special_tokens=False)["input_ids"]

    before = tokens("".join(f"{line}\n" for line in [f"# {place.question}", *lines[: place.line - 1]]))
    line = tokens(f"{text}\n")
    row = [*before, *line, *tokens("".join(f"{line}\n" for line in lines[place.line :]))[:window]]
    with torch.no_grad():
        log_p = model(torch.tensor([row])).logits[0].log_softmax(-1)
    worth = [max(float(log_p[i - 1, row[i]]), FLOOR) + TOKEN for i in range(len(before), len(row))]
    return sum(worth[: len(line)]) + AFTER * sum(worth[len(line) :])


@pytest.mark.parametrize("window", [0, 5, WINDOW])
def test_an_edit_gains_what_it_gains_in_a_row_of_its_own(model, window):
    tokenizer = tiny_tokenizer()
    options = [line_repairs(place.code, place.line) for place in PLACES]
    found = fixes._try(model, tokenizer, PLACES, options, window)
    assert len(options[0]) > 10 and options[3] == {} and found[3] == []
    assert {COSTS[rank] for some in options for rank in some.values()} == {0, 1, 3}
    for place, some, tried in zip(PLACES, options, found, strict=True):
        was = plainly(model, tokenizer, place, place.code.split("\n")[place.line - 1], window)
        assert sorted(some) == sorted(fix.line for fix in tried)
        assert [fix.gain for fix in tried] == sorted((fix.gain for fix in tried), reverse=True)
        for fix in tried:
            assert fix.gain == pytest.approx(
                plainly(model, tokenizer, place, fix.line, window) - was - COSTS[some[fix.line]], abs=4e-3
            )


def test_the_likeliest_edit_is_found_where_all_are_kept_and_does_not_depend_on_company(model, monkeypatch):
    monkeypatch.setattr(fixes, "KEPT", MOST_EDITS)
    monkeypatch.setattr(fixes, "LEAST_ALONE", -math.inf)
    tokenizer = tiny_tokenizer()
    together = find_fixes(model, tokenizer, PLACES)
    assert together[3] is None
    for place, fix in zip(PLACES[:3], together, strict=False):
        options = line_repairs(place.code, place.line)
        ((best, *_),) = fixes._try(model, tokenizer, [place], [options], WINDOW)
        assert fix.line == best.line.strip() and fix.gain == pytest.approx(best.gain, abs=1e-3)
        (alone,) = find_fixes(model, tokenizer, [place])
        assert alone.line == fix.line and alone.gain == pytest.approx(fix.gain, abs=1e-3)
    assert find_fixes(model, tokenizer, []) == []


def test_what_may_be_in_the_place_of_a_line_is_one_line_of_code_that_parses():
    drawn = random.Random(0).sample(stdlib_tasks(SIZE), 12)
    for task in drawn:
        lines = task.answer.split("\n")
        for number in range(1, len(lines) + 1):
            found = line_repairs(task.answer, number)
            assert len(found) == len(set(found)) <= MOST_EDITS
            for text in found:
                assert "\n" not in text and text.strip() and text != lines[number - 1]
                ast.parse("\n".join([*lines[: number - 1], text, *lines[number:]]))
    assert line_repairs("", 1) == line_repairs("x = (\n", 1) == {}


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("x = [" + ", ".join(map(str, range(500))) + "]", 1),
        ("x = f" + ".f(1)" * 400, 1),
        ("def f(a):\r    return a\r", 1),
        ("def f(n):\n\treturn n  # é\n\x0c\n", 2),
        ("", 1),
    ],
    ids=["long", "deep", "carriage returns", "tab and form feed", "empty"],
)
def test_odd_code_gets_few_edits_or_none(model, code, line):
    """A line of 500 numbers took a tree of 600,000 tokens, and a deep one ended in a RecursionError."""
    tokenizer, place = tiny_tokenizer(), Place("", code, line)
    options = line_repairs(code, line, fixes._affordable(tokenizer, place))
    assert len(options) <= MOST_EDITS
    if options:
        tree = fixes._tree([fixes._lay_out(tokenizer, place, list(options), 0, None)])
        longest = Encoder(tokenizer).count(code)
        assert len(tree) <= 3 * max(fixes.MOST_TOKENS, longest), "the line as it is, and one edit where it is so long"
    find_fixes(model, tokenizer, [place] if len(code) < 1000 else [])


def test_edits_of_a_long_line_are_of_all_of_it():
    code = "x = [" + ", ".join(map(str, range(500))) + "]"
    some = line_repairs(code, 1, 20)
    places = [next(i for i, (a, b) in enumerate(zip(code, text, strict=False)) if a != b) for text in some]
    assert 10 <= len(some) <= 20 and min(places) < len(code) / 4 and max(places) > 3 * len(code) / 4


def test_neither_indentation_alone_nor_a_second_space_is_an_edit():
    code = "for x in xs:\n    y = x * 2\n    out[x] = y\n    if not y:\n        return not y"
    assert "out[x] = y" not in [text.strip() for text in line_repairs(code, 3)]
    assert "    if y:" in line_repairs(code, 4) and "        return y" in line_repairs(code, 5)


def test_a_slice_may_go_backwards_and_a_power_be_a_root():
    code = "def f(a, b):\n    c = a[:-1]\n    return (a ** 2 + b[1:]) ** 2"
    assert "    c = a[::-1]" in line_repairs(code, 2)
    assert "    return (a ** 2 + b[1:]) ** 0.5" in line_repairs(code, 3)
    assert not any("1::" in text for text in line_repairs(code, 3))


def test_no_edit_makes_code_repeat_itself():
    code = "def f(a, b):\n    if a or b < a - b:\n        return g(a, b) - b\n    return f(a, a)"
    for line, repeated in ((1, "def f(a, a):"), (2, "if a or b < a - a:"), (2, "if a or b < b - b:"), (3, "g(b, b)")):
        assert repeated not in " ".join(line_repairs(code, line))
    assert "    return f(a, b)" in line_repairs(code, 4) and "    return f(a, a + 1)" in line_repairs(code, 4)


def test_a_proposal_leaves_the_comment_of_its_line_alone():
    """It was there twice in what an editor would have put in the line's place."""
    code = "def f(n):\n    total = 0  # the sum\n    if n < 3:  # few\n        total = n\n    return total\n"
    source = source_of(code)
    for line, fix, new in (
        (2, "total = 1  # the sum", "    total = 1  # the sum"),
        (3, "if n <= 3:  # few", "    if n <= 3:  # few"),
    ):
        text = propose_line(code, line, fix).text
        assert "#" not in text and propose(text, source, line, line) == new
        assert propose(f"Should be `{fix}`.", source, line, line) == new


@pytest.mark.parametrize("kind", ["trees", "logits"])
def test_a_model_that_cannot_be_scored_so_is_asked_in_words(model, monkeypatch, kind):
    def refuse(model):
        raise UserError("gpt9 models change their logits")

    if kind == "trees":
        monkeypatch.setattr(fixes, "tree_problem", lambda backbone: "it has no attention")
    else:
        monkeypatch.setattr(fixes, "logit_transform", refuse)
    assert find_fixes(model, tiny_tokenizer(), PLACES) == [None] * len(PLACES)


def test_more_than_half_of_mutations_within_a_line_can_be_undone():
    rng, undone, seen = random.Random(1), 0, 0
    for task in rng.sample(stdlib_tasks(SIZE), 60):
        made = tamper(task, 1, rng)
        if made is None:
            continue
        before, after = task.answer.split("\n"), made.answer.split("\n")
        changed = [n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b]
        if len(before) != len(after) or len(changed) != 1:
            continue
        seen += 1
        undone += before[changed[0]] in line_repairs(made.answer, changed[0] + 1)
    assert seen >= 20 and undone >= 0.55 * seen


@pytest.mark.parametrize("line", range(1, 7))
def test_a_proposal_is_a_comment_on_its_line_that_can_be_written_and_read(line):
    comment = propose_line(CODE, line, "return total + 1")
    assert comment.highlight == CODE.split("\n")[line - 1].strip() and comment.line == line
    assert CODE[comment.span.start : comment.span.end] == comment.highlight
    assert parse_critique(format_critique(Critique(comments=(comment,))), CODE).comments == (comment,)


def test_what_cannot_be_written_is_not_proposed():
    assert propose_line("x = 1", 1, "x = '`'") is None


def test_an_adapter_is_off_while_edits_are_tried(model):
    from peft import LoraConfig

    tokenizer, adapted = tiny_tokenizer(), copy.deepcopy(model)
    adapted.add_adapter(LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    for one, other in zip(find_fixes(adapted, tokenizer, PLACES), find_fixes(model, tokenizer, PLACES), strict=True):
        assert (one is None) == (other is None)
        assert one is None or (one.line == other.line and one.gain == pytest.approx(other.gain, abs=1e-4))


def test_evidence_is_bounded_and_rises_with_what_is_gained():
    gains = [-100.0, LEAST_COUNTED, 0.0, 3.0, MOST_COUNTED, 100.0]
    added = [evidence(Fix("x", gain)) for gain in gains]
    assert added == sorted(added) and evidence(None) == 0.0
    assert added[0] == WEIGHT * LEAST_COUNTED and added[-1] == WEIGHT * MOST_COUNTED
    assert all(math.isfinite(each) for each in added)


def test_code_without_a_question_is_read_after_something(model):
    """As a pointer does: a model's first token has states unlike all others."""
    laid = fixes._lay_out(tiny_tokenizer(), Place("", CODE, 1), ["def g():"], 3, None)
    assert laid is not None and laid.before and len(laid.after) == 3


def test_edits_of_a_piece_of_code_are_read_once_where_they_are_alike():
    tokenizer = tiny_tokenizer()
    places = [Place("", CODE, line) for line in (2, 4)]
    rows = [fixes._lay_out(tokenizer, place, line_repairs(CODE, place.line), 0, None) for place in places]
    together, apart = fixes._tree(rows), [fixes._tree([each]) for each in rows]
    assert len(together) < sum(map(len, apart))
    assert all(len(tree) < sum(map(len, each.lines)) for tree, each in zip(apart, rows, strict=True))


def test_at_the_end_of_a_models_context_as_much_follows_every_edit_or_none_is_tried():
    """A longer line was some tokens too many, and stopped the review; a shorter one would gain by what follows it."""
    tokenizer = tiny_tokenizer()
    place, other = Place("", CODE, 4), Place("", CODE, 2)
    some = line_repairs(CODE, 4)
    laid = fixes._lay_out(tokenizer, place, some, WINDOW, None)
    longest = len(laid.before) + max(map(len, laid.lines))
    for room in (3, 0, -1, -longest + 2):
        model = gpt2(vocab=len(tokenizer), positions=longest + room)
        cut = fixes._lay_out(tokenizer, place, some, WINDOW, longest + room)
        assert (cut is None) == (room < 0) and (cut is None or cut == laid._replace(after=laid.after[:room]))
        near, early = find_fixes(model, tokenizer, [place, other])
        assert (near is None) == (room < 0) and (early is not None) == (room >= -1)
        if near is not None:
            assert near.gain == pytest.approx(find_fixes(model, tokenizer, [place])[0].gain, abs=1e-3)


def test_an_edit_that_loses_too_much_by_its_line_is_not_read_with_what_follows(model, monkeypatch):
    tokenizer, place, windows = tiny_tokenizer(), PLACES[0], []
    lay_out = fixes._lay_out
    monkeypatch.setattr(fixes, "_lay_out", lambda *given: windows.append((given[3], len(given[2]))) or lay_out(*given))
    monkeypatch.setattr(fixes, "LEAST_ALONE", math.inf)
    (fix,) = find_fixes(model, tokenizer, [place])
    assert [window for window, _ in windows] == [0]
    ((best, *_),) = fixes._try(model, tokenizer, [place], [line_repairs(place.code, place.line)], 0)
    assert (fix.line, fix.gain) == (best.line.strip(), pytest.approx(best.gain, abs=1e-3))
    windows.clear()
    monkeypatch.setattr(fixes, "LEAST_ALONE", -math.inf)
    find_fixes(model, tokenizer, [place])
    assert windows[1] == (WINDOW, fixes.KEPT)


def test_a_long_chain_is_not_written_out_at_every_link(monkeypatch):
    """Each was compared with the other side: a quarter of a minute for a line of 400 names."""
    code = "def f(a, b):\n    if a > b:\n        return a\n    return " + " | ".join(f"x{i}" for i in range(400))
    dump, written = ast.dump, []
    monkeypatch.setattr(ast, "dump", lambda part: written.append(dump(part)) or written[-1])
    assert len(line_repairs(code, 2)) > 10
    assert sum(map(len, written)) < 1_000_000
