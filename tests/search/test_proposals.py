"""What a comment proposes: where it may stand, and what is gained by it."""

import ast
import random

import pytest
from test_fixes import CODE, PLACES, SIZE, plainly

from momus.critique import lines_of
from momus.data.stdlib import stdlib_tasks
from momus.search import fixes
from momus.search.fixes import WINDOW, Place, gains_of
from momus.search.proposals import MOST_PLACES, Proposal, proposed_lines, weigh_proposals
from momus.tamper.insert import tamper
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
        (6, "Should be `return (`.", None, 0),
        (6, "Returns the wrong thing.", None, 0),
        (1, "Should be `xs`.", None, 0),
    ],
)
def test_what_may_stand_there_once_a_comment_is_followed(line, text, one, count):
    found = proposed_lines(CODE, line, text)
    assert one in found if one else not found
    assert count is None or len(found) == count


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
    assert gains_of(model, tiny_tokenizer(), [place], [["    return n"]]) == [[]]
    assert weigh_proposals(model, tiny_tokenizer(), [Proposal(place, "Should be `n`.")]) == [None]


@pytest.mark.parametrize("code", ["", "x = (\n", "let x = 1;", "def f(a):\r    return a\r", "a\x00b", "é = 'ü'"])
def test_odd_code_is_no_matter(model, code):
    for text in ("Should be `x`.", "Missing `x` before this.", "Should be `é`", "should be ``` a`b ```"):
        weigh_proposals(model, tiny_tokenizer(), [Proposal(Place("", code, 1), text)])
