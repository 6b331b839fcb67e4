"""Comments that say nothing are recognised, and no others."""

import heapq
import queue
import random
import shelve
from pathlib import Path

import pytest

from momus.critics.vacuous import drop_vacuous, is_vacuous
from momus.critique import Comment, Critique, Span, anchor, focus
from momus.data.functions import Size
from momus.data.stdlib import functions_of_file
from momus.records import Task
from momus.search.result import Candidate, SearchResult
from momus.tamper.insert import tamper_tasks

ANSWER = """def mean(values, default=None):
    total = sum(values)
    if not values:
        return default
    x, y = 1, -1
    sep = ', '
    return total / len(values)"""


def on(quote, text):
    return Comment(highlight=quote, text=text, span=anchor(quote, ANSWER))


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("total = sum(values)", "-"),
        ("total = sum(values)", "…"),
        ("total = sum(values)", "No problems found."),
        ("total = sum(values)", "There are no issues here."),
        ("total = sum(values)", "Looks good!"),
        ("return total / len(values)", "Should be `total / len(values)`: `values` is the wrong variable."),
        ("return total / len(values)", "Should be `return total/len(values)`."),
        ("if not values:", "Must be `not values`: the condition is inverted."),
        ("if not values:", "Should be `if not values`."),
        ("total = sum(values)", "This adds to the sum, which is wrong. It should be `total = sum(values)`."),
        ("if not values:", "Missing `total = sum(values)` before this: it is never set."),
    ],
)
def test_what_says_nothing_is_vacuous(quote, text):
    assert is_vacuous(on(quote, text), ANSWER)


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("if not values:", "Should be `values`: the condition is inverted."),
        ("x, y = 1, -1", "Should be `-1`: the sign is lost."),
        ("sep = ', '", "Should be `','`: the string is wrong."),
        ("return total / len(values)", "Should be `len(values)`: it must not be divided."),
        ("return total / len(values)", "No check for an empty list: this divides by zero."),
        ("if not values:", "Missing `total = 0` before this: it is never set."),
        ("total = sum(values)", "This adds to the sum, which is wrong. It should be `total = max(values)`."),
        ("total = sum(values)", "Nothing is returned."),
    ],
)
def test_what_can_be_acted_on_is_not(quote, text):
    assert not is_vacuous(on(quote, text), ANSWER)


def test_no_description_of_an_inserted_bug_is_vacuous():
    functions = [f for m in (queue, heapq, shelve) for f in functions_of_file(Path(m.__file__), Size())]
    tasks = [Task(id=f.name, question=f.question, answer=f.answer) for f in functions] * 4
    tampers = list(tamper_tasks(tasks, (0.0, 1.0), random.Random(0)))
    comments = [(c, t.answer) for t in tampers for c in focus(t.gold_critique(), t.answer).comments]
    assert len(comments) > 100
    assert [comment for comment, answer in comments if is_vacuous(comment, answer)] == []


def test_dropping_leaves_scores_and_other_comments_as_they_are():
    empty, useful = on("total = sum(values)", "-"), on("if not values:", "Should be `values`.")
    result = SearchResult((Candidate("a", (1,), 0.5, Critique(comments=(empty, useful))),))
    (candidate,) = drop_vacuous(result, ANSWER).candidates
    assert (candidate.text, candidate.score, candidate.critique.comments) == ("a", 0.5, (useful,))


def test_a_comment_whose_quote_is_nowhere_is_judged_by_its_words_alone():
    assert not is_vacuous(Comment(highlight="gone", text="Should be `gone`."), ANSWER)
    assert is_vacuous(Comment(highlight="gone", text="-", span=Span(0, 3)), ANSWER)
