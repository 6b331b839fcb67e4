import numpy as np
import pytest

from momus.critique import Comment, Critique, Span, anchor
from momus.errors import UserError
from momus.evaluate.critics import baselines
from momus.evaluate.critics.baselines import chance_rate, line_comments, random_line, ruff
from momus.evaluate.critics.measure import draw_comparisons, elo, measure, preference
from momus.raters.contractor import panel
from momus.records import Bug, Tamper, Task
from momus.tamper.truth import judge

BODY = [
    "def total(items):",
    "    sum_ = 0",
    "    for item in items:",
    "        if item == None:",
    "            continue",
    "        sum_ += item",
    "    return sum_",
]
ANSWER = "\n".join(BODY)


def make(number, *faulty):
    bugs = []
    for text in faulty:
        start = ANSWER.index(text)
        bugs.append(
            Bug(
                kind="k",
                spans=(Span(start, start + len(text)),),
                description="Should be `fixed`.",
                original="fixed",
                replacement=text,
            )
        )
    return Tamper(task=Task(id=f"t{number}", question="", answer="x"), answer=ANSWER, bugs=tuple(bugs))


def on(*quotes, text="Should be `fixed`."):
    comments = [Comment(highlight=q, text=text, span=anchor(q, ANSWER)) for q in quotes]
    return Critique(comments=tuple(comments))


TAMPERS = [make(0, "sum_ = 0"), make(0, "sum_ += item", "return sum_"), make(1), make(2, "continue")]
GOOD = [on("sum_ = 0"), on("sum_ += item"), Critique(), on("continue", "sum_ = 0")]
BAD = [on("nowhere"), on("continue", text="Odd."), on("sum_ = 0"), on("continue", text="Odd.")]


def test_critic_rows_equal_a_count_by_hand():
    good, bad = measure({"good": GOOD, "bad": BAD}, TAMPERS, replicates=100)
    assert (good.source, good.answers, good.bugs, good.clean) == ("good", 4, 4, 1)
    assert good.catch.value == 3 / 4 and good.named.value == 3 / 4
    assert good.fakes.value == 1 / 4 and good.clean_false.value == 0
    assert good.comments.value == 1 and good.verbatim.value == 1
    assert bad.catch.value == 1 / 4 and bad.named.value == 0
    assert bad.fakes.value == 3 / 4 and bad.clean_false.value == 1
    assert bad.verbatim.value == 3 / 4
    assert good.catch.low <= good.catch.value <= good.catch.high


def test_answers_of_one_task_are_resampled_together():
    tampers = [make(i // 10, "continue") for i in range(40)]
    critiques = [on("continue") if i // 10 % 2 else Critique() for i in range(40)]
    (row,) = measure({"c": critiques}, tampers, replicates=2000)
    # Four tasks, all or nothing: resampling single answers would give 0.35 to 0.65.
    assert row.catch.low == 0 and row.catch.high == 1


def test_critic_rates_without_anything_to_count_are_nan():
    (row,) = measure({"quiet": [Critique()]}, [make(0)], replicates=10)
    assert np.isnan(row.catch.value) and np.isnan(row.verbatim.value)
    with pytest.raises(UserError, match="no answers"):
        measure({}, [])
    with pytest.raises(UserError, match="1 critiques for 2"):
        measure({"c": [Critique()]}, TAMPERS[:2])


def many(count=80):
    tampers = [make(i, "continue") if i % 4 else make(i) for i in range(count)]
    gold = [tamper.gold_critique() for tamper in tampers]
    located = [on("continue", text="Odd.") for _ in tampers]
    fake = [on("sum_ = 0", text="Odd.") for _ in tampers]
    critics = {"gold": gold, "located": located, "quiet": [Critique()] * len(tampers), "fake": fake}
    return tampers, {**critics, "random": random_line(tampers)}


def test_elo_and_preference_follow_merit():
    tampers, critics = many()
    made = draw_comparisons(critics, tampers, panel(5, 1.5), per_answer=2)
    assert len(made) == 2 * len(tampers)
    assert all(c.simulated and len(set(c.sources)) == 4 for c in made)
    result = elo(made, list(critics), anchor="random", replicates=100)
    assert result.of("random") == 0
    assert result.of("gold") > result.of("located") > result.of("fake")
    assert result.low[0] < result.rating[0] < result.high[0]
    pair = {name: critics[name] for name in ("gold", "fake")}
    versus = draw_comparisons(pair, tampers, panel(5, 1.5), per_answer=1)
    wins = preference(versus, "gold", "fake", replicates=200)
    assert wins.low > 0.6
    assert preference(versus, "fake", "gold").value == pytest.approx(1 - wins.value)
    assert np.isnan(preference(versus, "gold", "other").value)


def test_comparisons_are_seeded_and_fair():
    tampers, critics = many(200)
    made = draw_comparisons(critics, tampers, panel(5, 1.0), per_answer=2, seed=3)
    assert made == draw_comparisons(critics, tampers, panel(5, 1.0), per_answer=2, seed=3)
    assert made != draw_comparisons(critics, tampers, panel(5, 1.0), per_answer=2, seed=4)
    # 400 comparisons of 4 critics out of 5: each occurs in 320, standard deviation 8.
    for name in critics:
        assert abs(sum(name in c.sources for c in made) - 320) < 35
    assert all(a.labeler != b.labeler for a, b in zip(made[::2], made[1::2], strict=True))


def test_authors_never_rate_their_own_critiques():
    tampers, critics = many(40)
    made = draw_comparisons(critics, tampers, panel(2, 1.0), authors={"gold": "contractor-1"})
    with_gold = [c for c in made if "gold" in c.sources]
    assert with_gold and all(c.labeler == "contractor-2" for c in with_gold)
    with pytest.raises(UserError):
        draw_comparisons(critics, tampers, panel(1, 1.0), authors={"gold": "contractor-1"})
    with pytest.raises(UserError, match="two"):
        draw_comparisons({"gold": critics["gold"]}, tampers, panel(1, 1.0))


def test_random_line_catches_as_often_as_chance_says():
    tamper = TAMPERS[1]
    assert chance_rate(tamper) == pytest.approx(1 / 6)
    assert np.isnan(chance_rate(TAMPERS[2]))
    critiques = random_line([tamper] * 600)
    rate = np.mean([judge(c, tamper).located / 2 for c in critiques])
    # Each critique hits one of two bugs with probability 1/3: standard error of the mean 0.0096.
    assert rate == pytest.approx(1 / 6, abs=0.04)
    assert random_line([tamper] * 5) == random_line([tamper] * 5)


def test_random_lines_are_verbatim_and_no_definitions():
    answer = "@wrap\ndef f():\n    return 1\n\n    return 1"
    tamper = Tamper(task=Task(id="t", question="", answer=""), answer=answer)
    comments = line_comments(answer)
    assert [c.highlight for c in comments] == ["return 1", "return 1\n\n    return 1"]
    assert all(c.span == anchor(c.highlight, answer) for c in comments)
    empty = tamper.model_copy(update={"answer": "def f(): ..."})
    assert random_line([empty]) == [Critique()]


def test_ruff_finds_and_quotes():
    method = "    def f(self, l):\n        return l == None"
    nested = Tamper(task=Task(id="m", question="", answer=""), answer=method)
    broken = nested.model_copy(update={"answer": "def f(:\n    x ="})
    critiques = ruff([TAMPERS[0], nested, broken, make(1, "item == None")])
    texts = [[c.text for c in critique.comments] for critique in critiques]
    assert any(text.startswith("`E711`: ") for text in texts[0])
    assert any(text.startswith("`E741`: ") for text in texts[1])
    assert texts[2] == []
    for critique, answer in zip(critiques[:2], (ANSWER, method), strict=True):
        assert all(c.span == anchor(c.highlight, answer) for c in critique.comments)
        assert not any("F821" in c.text for c in critique.comments)
    assert judge(critiques[0], TAMPERS[0]).fakes == 0
    assert judge(critiques[3], make(1, "item == None")).located == 1
    assert ruff([]) == []


def test_without_ruff_the_error_names_it(monkeypatch, tmp_path):
    monkeypatch.setattr(baselines.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(baselines.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="pip install ruff"):
        ruff(TAMPERS)
    fake = tmp_path / "bin" / "ruff"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho broken >&2\nexit 2\n")
    fake.chmod(0o755)
    with pytest.raises(UserError, match="ruff failed: broken"):
        ruff(TAMPERS)
