"""A change of 20,000 lines: what is looked at, held and given to the critic grows with its lines, and no faster."""

import pytest

from momus.critics.critic import AgreementDial
from momus.critique import Critique
from momus.review.files import source_of
from momus.review.reviewer import TOGETHER, Target, review_targets
from momus.search.result import Candidate, SearchResult
from support.reviewing import MarkingCritic

FITS = 3_000
LINES = 20_000


def functions(lines):
    return "".join(f"def f{n}(x):\n    y = x + {n}\n    return y\n\n\n" for n in range(lines // 5))


def one_function(lines):
    return "def f(x):\n" + "".join(f"    x = x + {n}\n" for n in range(lines - 2)) + "    return x\n"


def script(lines):
    return "".join(f"x{n} = {n} + 1\n" for n in range(lines))


class Counting:
    """A critic that finds nothing and counts what it is asked."""

    dial = AgreementDial()

    def __init__(self):
        self.looked_at = 0
        self.batches = []

    def fits(self, task):
        self.looked_at += len(task.answer)
        return len(task.answer) <= FITS

    def write(self, tasks):
        self.batches.append([task.answer for task in tasks])
        return [SearchResult((Candidate("No problems found.", (), 0.0, Critique(comments=())),)) for _ in tasks]

    def identity(self):
        return {"kind": "counting"}


def review(shape, lines, files=1):
    """Review a change that adds so many lines in so many files; returns what was counted, and the reviews."""
    critic = Counting()
    codes = [shape(lines // files) for _ in range(files)]
    targets = [
        Target(source_of(code, f"m{n}.py"), f"m{n}.py", frozenset(range(1, code.count("\n") + 1)))
        for n, code in enumerate(codes)
    ]
    return critic, targets, list(review_targets(targets, critic, 0.5, by_risk=True))


@pytest.mark.parametrize("shape", [functions, one_function, script])
def test_no_more_is_looked_at_than_a_few_times_the_change(shape):
    small, large = (review(shape, lines)[0] for lines in (LINES // 8, LINES))
    assert large.looked_at <= 12 * small.looked_at, "eight times the lines"
    assert large.looked_at <= 16 * len(shape(LINES))


@pytest.mark.parametrize(("shape", "files"), [(functions, 50), (functions, 1), (one_function, 1), (script, 1)])
def test_every_line_is_accounted_for_and_the_critic_gets_few_at_a_time(shape, files):
    critic, targets, reviews = review(shape, LINES, files)
    assert max(map(len, critic.batches)) <= TOGETHER
    asked = [answer for batch in critic.batches for answer in batch]
    assert all(len(answer) <= FITS for answer in asked)
    assert sum(map(len, asked)) <= sum(len(target.source.text) for target in targets), "nothing twice"
    for target, done in zip(targets, sorted(reviews, key=lambda each: targets_order(targets, each)), strict=True):
        ranges = [*done.coverage.read, *(part.lines for part in done.coverage.unread)]
        covered = [number for first, last in ranges for number in range(first, last + 1)]
        assert sorted(covered) == sorted(target.changed)


def targets_order(targets, done):
    return [target.name for target in targets].index(done.name)


def test_the_riskiest_is_read_first_wherever_it_is():
    codes = [
        functions(2_000),
        functions(2_000) + "def g(x):\n    if x > 1 and x < 9 or not x:\n        return 1\n    return 2\n",
    ]
    targets = [
        Target(source_of(code, f"m{n}.py"), f"m{n}.py", frozenset(range(1, code.count("\n") + 1)))
        for n, code in enumerate(codes)
    ]
    critic = Counting()
    list(review_targets(targets, critic, 0.5, by_risk=True))
    assert critic.batches[0][0].startswith("def g(x)")


@pytest.mark.parametrize("by_risk", [False, True])
def test_what_is_found_is_told_part_by_part_and_is_what_the_review_has(by_risk):
    critic, told, done = MarkingCritic("x"), [], []
    code = (
        "\n\n".join(f"def f{n}(x):\n    y = x + {n}\n    return y\n" for n in range(40))
        + "\n\ndef f0(x):\n    return x\n"
    )
    changed = frozenset(range(1, code.count("\n") + 1)) - {1, 2}
    targets = [Target(source_of(code, f"m{n}.py"), f"m{n}.py", changed) for n in range(2)]
    reviews = review_targets(targets, critic, 0.5, by_risk=by_risk, tell=lambda part: told.append((part, len(done))))
    done += reviews
    assert len(told) > 5 and told[0][0].units == 1 and told[0][1] == 0
    for review in done:
        parts = [part for part, _ in told if part.name == review.name]
        assert sum(part.units for part in parts) == review.units
        assert {f for part in parts for f in part.findings} == set(review.findings)
        assert {f for part in parts for f in part.outside} == set(review.outside) and review.outside
