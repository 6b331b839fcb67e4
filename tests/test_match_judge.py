"""The matcher as a judge of whether a critique includes a bug."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.critique import Comment, Critique, Span, anchor
from momus.evaluate.cbi import calibrated_judge, judge_agreement, labelled_bugs
from momus.records import Bug, Tamper, Task
from momus.stats.agreement import cohen_kappa
from momus.stats.detection import kappa_interval

LINES = ["total = 0", "for item in items:", "if item is None:", "count += item.weight", "return total / count"]
ANSWER = "\n".join(LINES)


def tamper(number: int, *lines: str) -> Tamper:
    bugs = []
    for line in lines:
        start = ANSWER.index(line)
        span = Span(start, start + len(line))
        bugs.append(Bug(kind="k", spans=(span,), description=f"Should be `{line}_`.", original="", replacement=line))
    return Tamper(task=Task(id=f"t{number}", question="", answer=""), answer=ANSWER, bugs=tuple(bugs))


def critique(*lines: str) -> Critique:
    return Critique(
        comments=tuple(Comment(highlight=q, text=f"Should be `{q}_`.", span=anchor(q, ANSWER)) for q in lines)
    )


def test_the_judge_agrees_with_the_truth_where_it_can_be_seen():
    tampers = [tamper(i, LINES[i % 5], LINES[(i + 2) % 5]) for i in range(6)] + [tamper(6)]
    good = [critique(LINES[i % 5], LINES[(i + 1) % 5]) for i in range(6)] + [critique(LINES[0])]
    bad = [critique(LINES[(i + 3) % 5]) for i in range(6)] + [Critique()]
    known = [labelled_bugs(c, t) for c, t in zip(good, tampers, strict=True) if t.bugs]
    judge = calibrated_judge(known)
    found = judge_agreement({"good": good, "bad": bad}, tampers, judge)
    assert found.bugs == 24 and found.truth.value == 6 / 24 and found.failed == 0
    assert found.agreement.value == 1 and found.kappa.value == 1
    assert calibrated_judge(known[:1]) is None


def test_an_uninformed_judge_has_no_kappa_to_speak_of():
    tampers = [tamper(i, LINES[0]) for i in range(4)]
    judge = calibrated_judge([labelled_bugs(critique(*LINES), own) for own in tampers])
    silent = judge_agreement({"quiet": [Critique()] * 4}, tampers, judge)
    assert silent.agreement.value == 1 and np.isnan(silent.kappa.value)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), min_size=1, max_size=20))
def test_kappa_is_cohens(items):
    first, second, groups = zip(*items, strict=True)
    found = kappa_interval(first, second, groups, replicates=30)
    assert found.value == pytest.approx(cohen_kappa(first, second), nan_ok=True)
    assert np.isnan(found.value) or found.low <= found.high
