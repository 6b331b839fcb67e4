"""Win rates, scales and agreement from records, as written and as read from files."""

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.cli import main
from momus.errors import UserError
from momus.evaluate.instruct.feedback import of_kind, ranking_of, records_of
from momus.evaluate.instruct.metadata import FORM, METADATA, OVERALL
from momus.evaluate.instruct.preferences import elo_of, games_of, labeler_agreement, preference_rows, scales
from momus.records import Comparison, Judgement, Ranking, Rating, Tamper, Task, write_jsonl

SYSTEMS = ("base", "sft", "ppo", "ppo-ptx")


@st.composite
def rankings(draw, labelers=("ann", "bo", "cy")):
    size = draw(st.integers(2, 4))
    authors = draw(st.permutations(SYSTEMS))[:size]
    return Ranking(
        prompt=f"prompt {draw(st.integers(0, 3))}",
        candidates=tuple("x" * draw(st.integers(1, 30)) for _ in authors),
        ranks=tuple(draw(st.integers(1, 3)) for _ in authors),
        authors=tuple(authors),
        labeler=draw(st.sampled_from(labelers)),
    )


@given(st.lists(rankings(), min_size=1, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_preference_rows_count_games_in_any_order(result, random):
    games, unnamed = games_of(result)
    assert unnamed == 0
    rows = {row.system: row for row in preference_rows(games, replicates=30)}
    for system in rows:
        points = [
            0.5 if item.ranks[i] == item.ranks[j] else float(item.ranks[i] < item.ranks[j])
            for item in result for i, name in enumerate(item.authors) if name == system
            for j in range(len(item.authors)) if j != i
        ]  # fmt: skip
        assert rows[system].won.games == len(points)
        assert rows[system].won.rate.value == pytest.approx(np.mean(points))
    # Every game has one point to share.
    assert sum(row.won.rate.value * row.won.games for row in rows.values()) == pytest.approx(len(games))
    mixed = []
    for item in random.sample(result, len(result)):
        order = random.sample(range(len(item.ranks)), len(item.ranks))
        turned = {name: tuple(getattr(item, name)[i] for i in order) for name in ("ranks", "authors", "candidates")}
        mixed.append(item.model_copy(update=turned))
    again = {row.system: row for row in preference_rows(games_of(mixed)[0], equal_length=True, replicates=30)}
    for system, row in rows.items():
        assert again[system].won.rate.value == pytest.approx(row.won.rate.value)


def test_preference_rows_against_a_baseline():
    result = [
        Ranking(prompt=f"p{i}", candidates=("a", "b", "c"), ranks=(1, 2, 2), authors=("ppo", "sft", "base"))
        for i in range(5)
    ]
    games, _ = games_of(result)
    rows = {row.system: row.won for row in preference_rows(games, baseline="sft", equal_length=True)}
    assert set(rows) == {"ppo", "base"}
    assert (rows["ppo"].rate.value, rows["base"].rate.value, rows["base"].ties.value) == (1, 0.5, 1)
    assert elo_of(games, baseline="sft", replicates=20).of("sft") == 0
    with pytest.raises(UserError, match="no such system: there are base, ppo, sft"):
        preference_rows(games, baseline="gpt")
    with pytest.raises(UserError, match="nothing to compare"):
        preference_rows([])


def test_rankings_without_authors_are_counted_not_guessed():
    unnamed = Ranking(prompt="p", candidates=("a", "b"), ranks=(1, 2))
    half = unnamed.model_copy(update={"authors": ("sft", "")})
    same = unnamed.model_copy(update={"authors": ("sft", "sft")})
    assert games_of([unnamed, half, same]) == ([], 2)


@given(st.lists(rankings(), max_size=10))
@settings(max_examples=40)
def test_agreement_is_over_every_two_labelers_of_the_same_two_answers(result):
    interval, pairs, labelers = labeler_agreement(result, replicates=20)
    answers = {}
    for item in result:
        for i, j in combinations(range(len(item.ranks)), 2):
            (one, a), (other, b) = sorted([(item.authors[i], item.ranks[i]), (item.authors[j], item.ranks[j])])
            answers.setdefault((item.prompt, one, other), {}).setdefault(item.labeler, np.sign(a - b))
    agreed = [(x * y + 1) / 2 for each in answers.values() for x, y in combinations(each.values(), 2)]
    assert (pairs, labelers) == (len(agreed), len({item.labeler for item in result}))
    # Of ties alone nothing is said.
    determined = {0.0, 1.0} & set(agreed)
    assert interval.value == pytest.approx(np.mean(agreed)) if determined else np.isnan(interval.value)


def test_the_form_has_a_likert_scale_and_eleven_questions():
    assert len(METADATA) == 11 and len(FORM) == 12 and OVERALL.name in FORM
    assert all(scale.question and scale.better in ("high", "low", "") for scale in FORM.values())


def _judgement(author, prompt, **values):
    return Judgement(prompt=prompt, answer="a", values=values, author=author, labeler="ann")


def test_scales_are_means_over_answers_the_question_applies_to():
    result = [
        _judgement("sft", "p0", overall=7, satisfies_constraint=1),
        _judgement("sft", "p1", overall=4),
        _judgement("sft", "p1", overall=1, satisfies_constraint=0),
        _judgement("ppo", "p0", overall=6, clarity=0.3),
    ]
    rows = {row.scale: row for row in scales(result)}
    assert list(rows) == ["overall", "satisfies_constraint", "clarity"]
    assert rows["overall"].means["sft"].value == 4 and rows["overall"].judged == {"sft": 3, "ppo": 1}
    assert rows["satisfies_constraint"].means["sft"].value == 0.5
    assert "ppo" not in rows["satisfies_constraint"].means


@pytest.mark.parametrize(("name", "value"), [("overall", 0), ("overall", 8), ("violent", 0.5), ("opinion", 7)])
def test_scales_refuse_values_the_form_does_not_have(name, value):
    with pytest.raises(UserError, match=f"{name} is {value:g}: must be"):
        scales([_judgement("sft", "p", **{name: value})])


def test_a_comparison_of_critiques_is_a_ranking_by_its_overall_rating(tmp_path, capsys):
    rating = Rating(cbi=(4,), comprehensive=4, nitpick=4, fake_problem=4, concise=4, overall=2)
    ratings = (rating, rating.model_copy(update={"overall": 6}), rating)
    tamper = Tamper(task=Task(id="t", question="q", answer="a"), answer="b")
    comparison = Comparison(
        tamper=tamper, critiques=("x", "y", "z"), sources=("SFT", "RL", "FSBS"), labeler="ann", simulated=True,
        ratings=ratings,
    )  # fmt: skip
    result = ranking_of(comparison)
    assert result.ranks == (2, 1, 2) and result.authors == ("SFT", "RL", "FSBS")
    write_jsonl(tmp_path / "c.jsonl", [comparison])
    assert main(["evaluate", "preferences", str(tmp_path / "c.jsonl")]) == 0
    assert "1 of 1 rankings are by simulated contractors" in capsys.readouterr().out


def test_preferences_command_prints_the_functions_numbers(tmp_path, capsys):
    path = tmp_path / "mixed.jsonl"
    result = [
        Ranking(prompt=f"p{i}", candidates=("aa", "b"), ranks=(1, 2 - (i == 0)), authors=("[b]ppo", "sft"), labeler=who)
        for i in range(6) for who in ("ann", "bo")
    ]  # fmt: skip
    write_jsonl(path, [*result, _judgement("sft", "p", overall=3, violent=0)])
    out = tmp_path / "numbers.json"
    assert main(["evaluate", "preferences", str(path), "--baseline", "sft", "--equal-length", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "[b]ppo" in printed and "91.7 (" in printed and "violent %" in printed
    numbers = json.loads(out.read_text())
    rate = preference_rows(games_of(of_kind(records_of([str(path)]), Ranking))[0], baseline="sft")[0].won.rate
    assert numbers["preferences"][0]["won"]["rate"]["low"] == rate.low
    assert numbers["agreement"]["value"] == pytest.approx((5 + 0.5) / 6)


def test_mistakes_are_one_line(tmp_path, capsys):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"schema_version": 1, "prompt": "hello"}\n')
    assert main(["evaluate", "preferences", str(path)]) == 2
    assert "neither rankings nor judgements" in capsys.readouterr().err
    path.write_text('{"schema_version": 1, "prompt": "p", "candidates": ["a"], "ranks": [1]}\n')
    assert main(["evaluate", "preferences", str(path)]) == 2
    assert "prompts.jsonl:1: candidates" in capsys.readouterr().err


def test_a_system_compared_with_itself_only_is_said_to_have_no_win_rate(tmp_path, capsys):
    path = tmp_path / "self.jsonl"
    write_jsonl(path, [Ranking(prompt="p", candidates=("x", "y"), ranks=(1, 2), authors=("a", "a"))])
    assert main(["evaluate", "preferences", str(path)]) == 0
    said = "".join(capsys.readouterr())
    assert "No ranking compares two systems: no win rates" in said and "In brackets" not in said
