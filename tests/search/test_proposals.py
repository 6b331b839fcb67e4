"""What a comment proposes: where it may stand, and what is gained by it."""

import ast
import contextlib
import random

import pytest
from test_fixes import CODE, PLACES, SIZE, plainly

from momus.critique import lines_of
from momus.data.stdlib import stdlib_tasks
from momus.lm.text.encode import Encoder
from momus.search import fixes
from momus.search.fixes import WINDOW, Place, measure_gains
from momus.search.proposals import MOST_PLACES, Proposal, proposed_lines, weigh_proposals
from momus.tamper.insert import tamper
from momus.tamper.natural.edits import parse
from support.tiny import llama, tiny_tokenizer


@pytest.fixture(scope="module")
def model():
    model = llama(vocab=len(tiny_tokenizer()))
    model.config.max_position_embeddings = 4096
    return model.eval()


@pytest.mark.parametrize(
    ("line", "text", "one", "count"),
    [
        (4, "Should be `if xs[i] > n`: it is inverted.", "        if xs[i] > n:", 1),
        (4, "Should be `xs[i] <= n`: one is left out.", "        if xs[i] <= n:", None),
        (5, "It must be `-=`.", None, 0),
        (5, "This should be replaced by `total -= xs[i]`.", "            total -= xs[i]", None),
        (3, "should be `len(xs)`", "    for i in len(xs):", None),
        (6, "Missing `total /= n` before this.", "    total /= n\n    return total", 1),
        (3, "Missing `i += 1` after this.", "    for i in range(n):\n        i += 1", 1),
        (2, "Missing `if n:` before this.", "    if n:\n        total = 0", 1),
        (2, "Missing `if n:` after this.", None, 0),
        (6, "Should be `return total`.", None, 0),
        (2, "Should be `return n`.", "    return n", 1),
        (6, "It should be `print(total)`.", "    return print(total)", None),
        (6, "Should be `return (`.", None, 0),
        (6, "Returns the wrong thing.", None, 0),
        (1, "Should be `xs`.", None, 0),
        (6, "Should be `n`.", "    return n", 1),
        (6, "Missing `n += 1\nn -= 2` before this.", "    n += 1\n    n -= 2\n    return total", 1),
    ],
)
def test_what_may_stand_there_once_a_comment_is_followed(line, text, one, count):
    found = proposed_lines(CODE, line, text)
    assert one in found if one else not found
    assert count is None or len(found) == count


def test_what_stands_after_a_line_stays():
    """What is left out would count in a proposal's favour: a comment, a carriage return, a colon."""
    code = "for a in b:  # each\n\tif a:  # so\n\t\tc = f(a, k=1)  # ü\r\n"
    assert proposed_lines(code, 2, "Should be `b`.")[0] == "\tif b:  # so"
    assert proposed_lines(code, 1, "Missing `c = 1` after this.") == []
    found = proposed_lines(code, 3, "Should be `c = a`.")
    assert found == ["\t\tc = a  # ü\r"]
    assert proposed_lines(code, 3, "Should be `k=2`.") == ["\t\tk=2  # ü\r", "\t\tc = f(a, k=2)  # ü\r"]
    assert not proposed_lines(code, 3, "Should be `c = f(a, k=1)`.")
    assert proposed_lines(code, 3, "Missing `if c:` before this.") == ["\t\tif c:\n\t\t\tc = f(a, k=1)  # ü\r"]


def test_long_lines_and_files_take_no_longer_than_others(model, monkeypatch):
    """A list of 1,000 numbers was parsed a thousand times, with all of its file, and read in one tree."""
    parsed = []
    monkeypatch.setattr("momus.tamper.natural.repairs.parse", lambda text: parsed.append(len(text)) or parse(text))
    code = "def f():\n    return 1\n\n\n" * 50 + "x = [" + ", ".join(map(str, range(1000))) + "]\n"
    line = code.count("\n")
    assert len(proposed_lines(code, line, "Should be `7`.")) == MOST_PLACES
    assert sum(parsed) < 40 * len(code)
    sizes = []
    monkeypatch.setattr(fixes, "branch_logprobs", lambda model, trees: sizes.extend(map(len, trees)) or [])
    tokenizer, places = tiny_tokenizer(), [Place("", code, line)] * 2
    options = [proposed_lines(code, line, f"Should be `{n}`.") for n in (7, 8)]
    with contextlib.suppress(ValueError):
        measure_gains(model, tokenizer, places, options)
    longest = Encoder(tokenizer).count(code)
    assert sizes and max(sizes) <= longest + 2 * max(fixes.MOST_TOKENS, longest)


def test_what_gold_critiques_propose_is_the_code_as_it_was():
    """Of those that can be followed: not of what was cut short, or of several lines."""
    right = tried = 0
    for seed, task in enumerate(random.Random(7).sample(stdlib_tasks(SIZE), 80)):
        made = tamper(task, 1, random.Random(seed))
        if made is None or not made.bugs or not made.bugs[0].description.startswith("Should be `"):
            continue
        (bug,) = made.bugs
        line, lines = lines_of(bug.spans[0], made.answer)[0], made.answer.split("\n")
        found = proposed_lines(made.answer, line + 1, bug.description)
        assert len(found) <= MOST_PLACES
        wholes = [ast.parse("\n".join([*lines[:line], text, *lines[line + 1 :]])) for text in found]
        tried += 1
        right += ast.dump(ast.parse(task.answer)) in map(ast.dump, wholes)
    assert right >= 0.85 * tried > 25


def test_a_proposal_gains_what_it_gains_in_a_row_of_its_own_and_the_most_counts(model):
    tokenizer = tiny_tokenizer()
    texts = ["Should be `xs[i] > n`.", "Missing `n += 1` before this.", "Odd.", "Should be `let y = 1;`."]
    proposals = [Proposal(place, text) for place in PLACES[:4] for text in texts]
    gains = weigh_proposals(model, tokenizer, proposals)
    assert sum(gain is not None for gain in gains) >= 5
    for (place, text), gain in zip(proposals, gains, strict=True):
        found = proposed_lines(place.code, place.line, text)
        if not found:
            assert gain is None
            continue
        was = plainly(model, tokenizer, place, place.code.split("\n")[place.line - 1], WINDOW)
        assert gain == pytest.approx(
            max(plainly(model, tokenizer, place, new, WINDOW) for new in found) - was, abs=4e-3
        )
    alone = [weigh_proposals(model, tokenizer, [proposal])[0] for proposal in proposals]
    assert all(a == b or a == pytest.approx(b, abs=1e-3) for a, b in zip(alone, gains, strict=True))


def test_a_model_that_takes_no_trees_weighs_nothing(model, monkeypatch):
    monkeypatch.setattr(fixes, "tree_problem", lambda backbone: "it has no attention")
    place = Place("", CODE, 6)
    assert measure_gains(model, tiny_tokenizer(), [place], [["    return n"]]) == [[]]
    assert weigh_proposals(model, tiny_tokenizer(), [Proposal(place, "Should be `n`.")]) == [None]


ODD = ["", "x = (\n", "let x = 1;", "a = 1\rb = 2\né = 'üü'\n", "a\x00b", "é = 'ü'", "def f(a):\r    return a\r"]


@pytest.mark.parametrize("code", ODD)
def test_odd_code_is_no_matter(model, code):
    for text in ("Should be `x`.", "Missing `x` before this.", "Should be `é`", "should be ``` a`b ```"):
        for line in range(1, code.count("\n") + 2):
            weigh_proposals(model, tiny_tokenizer(), [Proposal(Place("", code, line), text)])
