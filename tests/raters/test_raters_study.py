"""The study: every contractor rates every answer, the gold critique too where there are bugs; its author never does."""

import random

import pytest

from momus.errors import UserError
from momus.raters.study import GOLD, SLOTS, rate_samples
from momus.records import Task
from momus.tamper.insert import tamper

CODE = """\
def mean(values, default=None):
    total = 0
    for value in values:
        if value is None:
            continue
        total += value
    if len(values) == 0:
        return default
    return total / len(values)
"""
TAMPERS = [
    tamper(Task(id=str(i), question="Mean.", answer=CODE), bugs, random.Random(i))
    for i, bugs in enumerate((0, 1, 2) * 3)
]
SAMPLES = [
    ["No problems found.", *(f"```\ntotal = 0\n```\nWrong{'!' * (i + j)}" for j in range(SLOTS - 1))]
    for i in range(len(TAMPERS))
]


def test_gold_stands_in_for_the_last_sample_of_a_tampered_answer_and_its_author_never_rates():
    ratings = rate_samples(TAMPERS, SAMPLES, 3, seed=0)
    assert [{c.tamper for c in item} for item in ratings.comparisons] == [{t} for t in TAMPERS]
    everybody = {f"contractor-{i + 1}" for i in range(3)}
    for number, item in enumerate(ratings.comparisons):
        author = {f"contractor-{number % 3 + 1}"} if item[0].tamper.bugs else set()
        assert {c.labeler for c in item} == everybody - author and len(item) == 3 - len(author)
        for comparison in item:
            written = dict(zip(comparison.sources, comparison.critiques, strict=True))
            last = GOLD if comparison.tamper.bugs else f"sample {SLOTS - 1}"
            assert set(written) == {"sample 0", "sample 1", "sample 2", last}
            assert all(written[f"sample {i}"] == SAMPLES[number][i] for i in range(SLOTS - 1))
            assert comparison.simulated
    assert len({c.sources for item in ratings.comparisons for c in item}) > len(TAMPERS)  # slots of their own


def test_an_author_alone_cannot_rate():
    with pytest.raises(UserError, match="at least two contractors"):
        rate_samples(TAMPERS, SAMPLES, 1, seed=0)


def test_rate_samples_depends_on_nothing_but_the_seed():
    assert rate_samples(TAMPERS, SAMPLES, 3, seed=1) == rate_samples(TAMPERS, SAMPLES, 3, seed=1)
    assert rate_samples(TAMPERS, SAMPLES, 3, seed=1) != rate_samples(TAMPERS, SAMPLES, 3, seed=2)
