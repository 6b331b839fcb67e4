"""Candidates are screened by InstructGPT's four criteria: who gets what, what is counted, who is admitted."""

import json

import pytest

from momus.cli import main
from momus.errors import UserError
from momus.label.exporting import export
from momus.label.importing import read_items
from momus.label.kinds import check
from momus.label.owner import actions, screening
from momus.label.people import People
from momus.label.rules import NewItem, RefusedError
from momus.label.schema import migrate, open_database
from momus.label.verify import verify
from momus.label.views import arrange
from support.label_items import ITEMS
from support.screening_items import RANKING, SCREENING


def do(store, person, kind, content):
    lease = store.claim(person, kind, arrange)
    if lease is None:
        return None
    store.submit(lease.token, person, lease.token, content(lease), 5.0, check)
    return lease


def screen(store, person, right=4, ranks=(1, 2, 3), groups=("religion",)):
    """Do the whole screening: `right` flags right, answers ranked so (in the item's order), these groups."""
    answered = 0

    def survey(lease):
        nonlocal answered
        if lease.gold is None:
            return {"values": {"groups": list(groups)}}
        expected = lease.gold["values"]["sensitive"]
        answered += 1
        return {"values": {"sensitive": expected if answered <= right else {"yes": "no", "no": "yes"}[expected]}}

    def ranking(lease):
        order = lease.arrangement["order"]
        return {"cards": [{"overall": 4}] * len(order), "ranks": [ranks[i] for i in order]}

    contents = {"survey": survey, "ranking": ranking, "demonstration": lambda lease: {"answer": f"by {person}"}}
    for kind, content in contents.items():
        while do(store, person, kind, content):
            pass


@pytest.fixture
def screened(store):
    store.add_items(SCREENING, "screening", "o")
    store.add_items([NewItem("demonstration", ITEMS["demonstration"], want=9)], "b", "o")
    return store


def of(database, person):
    return next(one for one in screening.candidates(database) if one.person == person)


def grade_all(database, person, *scores, by="o"):
    for answer, score in zip(screening.answers_of(database, person)["demonstrations"], scores, strict=True):
        screening.grade(database, answer["submission"], score, by)


def test_candidates_do_the_screening_and_nothing_else_and_others_none_of_it(screened, labeler, database):
    candidate, worker = labeler("c", "candidate"), labeler("w")
    assert {queue.kind: queue.open for queue in screened.queues(candidate)} == {
        "demonstration": 2, "ranking": 1, "survey": 5
    }  # fmt: skip
    assert {queue.kind: queue.open for queue in screened.queues(worker)} == {"demonstration": 1}
    assert screened.claim(candidate, "demonstration", arrange).purpose == "screening"
    assert screened.claim(worker, "demonstration", arrange).purpose == "real"
    assert screened.claim(worker, "survey", arrange) is None
    screen(screened, candidate)
    assert [queue.open for queue in screened.queues(candidate)] == [0, 0, 0]
    assert all(screened.claim(candidate, kind, arrange) is None for kind in ("demonstration", "ranking", "survey"))
    assert verify(database)[0] == []


def test_scores_by_the_four_criteria_beside_the_papers_cut_offs(screened, labeler, database):
    good, bad = labeler("g", "candidate"), labeler("b", "candidate")
    screen(screened, good, right=3, groups=("religion", "gender"))
    screen(screened, bad, right=2, ranks=(2, 1, 3), groups=())
    assert of(database, good).passed is None
    grade_all(database, good, 7, 5)
    grade_all(database, bad, 5, 6)
    scores = of(database, good).scores
    assert {name: (score.value, score.done, score.of, score.passed) for name, score in scores.items()} == {
        "flags": (0.75, 4, 4, True), "rankings": (1.0, 1, 1, True), "demonstrations": (6.0, 2, 2, True),
        "groups": (2.0, 1, 1, True),
    }  # fmt: skip
    assert of(database, good).passed and of(database, good).groups == ("religion", "gender")
    scores = of(database, bad).scores
    assert [scores[name].passed for name in screening.CRITERIA] == [False, False, False, True]
    assert scores["rankings"].value == pytest.approx(2 / 3) and not of(database, bad).passed
    assert screening.covered(screening.candidates(database)) == {"religion": 1, "gender": 1}


def test_a_half_done_screening_says_what_is_missing(screened, labeler, database):
    person = labeler("c", "candidate")
    assert [of(database, person).scores[name].value for name in screening.CRITERIA] == [None] * 4
    do(screened, person, "demonstration", lambda lease: {"answer": "a"})
    do(screened, person, "survey", lambda lease: {"values": {"sensitive": "no"}})
    scores = of(database, person).scores
    assert (scores["demonstrations"].value, scores["demonstrations"].done, scores["demonstrations"].of) == (None, 0, 2)
    assert (scores["flags"].value, scores["flags"].done, scores["flags"].passed) == (1.0, 1, None)
    grade_all(database, person, 3)
    assert of(database, person).scores["demonstrations"].value == 3.0
    assert of(database, person).scores["demonstrations"].passed is None


def test_grades_are_the_last_of_each_owner_and_their_mean(screened, labeler, database):
    person = labeler("c", "candidate")
    screen(screened, person)
    grade_all(database, person, 1, 1)
    grade_all(database, person, 6, 6)
    grade_all(database, person, 7, 7, by="p")
    assert of(database, person).scores["demonstrations"].value == 6.5
    assert database.read(lambda t: t.value("SELECT count(*) AS n FROM grade")) == 6
    for statement in ("UPDATE grade SET score = 7", "DELETE FROM grade"):
        with pytest.raises(Exception, match="never changed"):
            database.write(lambda t, statement=statement: t.run(statement))
    for score in (0, 8):
        with pytest.raises(UserError, match="from 1 to 7"):
            screening.grade(database, "x", score, "o")
    with pytest.raises(RefusedError, match="no such demonstration"):
        screening.grade(database, "x", 4, "o")


def test_owners_set_the_cut_offs(screened, labeler, database):
    person = labeler("c", "candidate")
    screen(screened, person, right=3)
    assert screening.cutoffs(database) == screening.Cutoffs()
    screening.set_cutoffs(database, {"flags": 0.8, "rankings": 0.5, "demonstrations": 4, "groups": 2}, "o")
    grade_all(database, person, 4, 4)
    assert [of(database, person).scores[name].passed for name in screening.CRITERIA] == [False, True, True, False]
    for wrong in ({"flags": 2}, {"flags": "much"}, {"demonstrations": 8}, {"groups": -1}, {"flags": float("nan")}):
        with pytest.raises(UserError, match="cut-offs"):
            screening.set_cutoffs(database, wrong, "o")
    assert screening.cutoffs(database).flags == 0.8


def test_the_owner_admits_and_turns_down(screened, people, labeler, database):
    admitted, other = labeler("a", "candidate"), labeler("b", "candidate")
    screen(screened, admitted)
    held = screened.claim(other, "ranking", arrange)
    screening.decide(database, admitted, True, "o")
    assert of(database, admitted).state == "admitted"
    assert screened.claim(admitted, "demonstration", arrange).purpose == "real"
    screening.decide(database, other, False, "o")
    assert of(database, other).state == "declined" and screening.covered([of(database, other)]) == {}
    with pytest.raises(RefusedError, match="paused"):
        screened.claim(other, "ranking", arrange)
    assert held
    screening.decide(database, other, True, "o")
    assert screened.claim(other, "demonstration", arrange).purpose == "real"
    for person in (admitted, "L0"):
        with pytest.raises(UserError, match="no candidate"):
            screening.decide(database, person, False, "o")
    logged = [row["action"] for row in database.read(lambda t: t.rows("SELECT action FROM audit ORDER BY number"))]
    assert [action for action in logged if action in ("admit", "turn down")] == ["admit", "turn down", "admit"]
    assert verify(database)[0] == []


def test_a_screening_is_no_data(screened, labeler, database, tmp_path):
    person = labeler("c", "candidate")
    screen(screened, person)
    assert sum(export(database, tmp_path / "out").values()) == 0
    assert actions.work_of(database, person) == []
    assert [batch.purpose for batch in actions.batches(database)] == ["screening"] * 3 + ["real"]


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("ranking", RANKING, "gold: an object"),
        ("ranking", {**RANKING, "gold": {"ranks": [1, 2]}}, "3 places"),
        ("survey", {**ITEMS["survey"], "gold": {"values": {"other": "x"}}}, "expected answers"),
        ("edit", ITEMS["edit"], "screened by survey, ranking, demonstration"),
    ],
)
def test_what_candidates_cannot_be_screened_by_is_named_in_one_line(tmp_path, kind, row, message):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=message):
        read_items(str(path), kind, 1, "screening")


def test_the_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("survey", "ranking", "demonstration"):
        rows = [
            {**item.payload, **({"gold": item.gold} if item.gold else {})} for item in SCREENING if item.kind == name
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert main(["label", "import", f"{name}.jsonl", "--kind", name, "--purpose", "screening"]) == 0
    assert main(["label", "invite", "--candidate"]) == 0
    token = capsys.readouterr().out.strip().rpartition("/")[2]
    database = open_database("label.db")
    migrate(database)
    people = People(database)
    assert people.person(people.join(token, "kim", "en")).role == "candidate"
    database.close()
    assert main(["label", "screening"]) == 0
    assert "0/4" in capsys.readouterr().out
    assert main(["label", "screening", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["cutoffs"]["demonstrations"] == 6 and shown["candidates"][0]["scores"]["groups"]["of"] == 1
