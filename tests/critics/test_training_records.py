"""Known bugs and ratings as what chat models are trained on: the prompt that is asked, the answer that is read."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.cli import main
from momus.critics.constrained import JsonComments
from momus.critics.prompted import write_prompt
from momus.critics.reading import read_comments, write_comments
from momus.critics.training_records import demonstrations_of, rankings_of, records_of
from momus.critique import Critique, lines_of
from momus.errors import UserError
from momus.lm.constraint import Vocabulary
from momus.records import Comparison, Demonstration, Ranking, Rating, Tamper, Task, read_jsonl
from momus.tamper.insert import tamper

FUNCTIONS = (
    'def first(names, key="x"):\n    for name in names:\n        if name == key and len(name) > 1:\n'
    '            return name + "\\n"\n    return None',
    "def mean(values, low=0):\n    total = 0\n    for value in values[1:]:\n        if value >= low:\n"
    "            total += value\n    return total / len(values)",
)
BYTES = Vocabulary([None, *(bytes([byte]) for byte in range(256))])


def tampered(which: int, seed: int, bugs: int) -> Tamper | None:
    return tamper(Task(id=f"t{which}", question="", answer=FUNCTIONS[which]), bugs, random.Random(seed))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1), st.integers(0, 10**6), st.integers(0, 3))
def test_a_demonstration_is_read_as_the_gold_critique_and_may_be_written_under_the_constraint(
    which: int, seed: int, bugs: int
) -> None:
    made = tampered(which, seed, bugs)
    if made is None:
        return
    (demonstration,) = demonstrations_of([made])
    assert demonstration.prompt == write_prompt(made.task.model_copy(update={"answer": made.answer}))
    assert isinstance(demonstration.answer, str)
    read, gold = read_comments(demonstration.answer, made.answer), made.gold_critique()
    assert read is not None and [c.text for c in read.comments] == [" ".join(c.text.split()) for c in gold.comments]
    for comment, expected in zip(read.anchored, gold.anchored, strict=True):
        assert comment.span and expected.span
        assert lines_of(comment.span, made.answer)[0] == lines_of(expected.span, made.answer)[0]
    lines = [lines_of(c.span, made.answer)[0] for c in read.anchored if c.span]
    if len(set(lines)) == len(lines):  # a line is quoted once at most
        rule = JsonComments(made.answer, BYTES, frozenset({0}))
        state = rule.start()
        for byte in demonstration.answer.encode():
            state = rule.advance(state, byte + 1)
        assert 0 in rule.allowed(state)


def test_words_with_quotes_and_backslashes_may_be_written_under_the_constraint() -> None:
    answer = 'x = "a"\ny = 2'
    comment = {"line": 1, "quote": 'x = "a"', "severity": "error", "problem": 'Not "a" but \\d'}
    text = json.dumps({"comments": [comment]})
    rule = JsonComments(answer, BYTES, frozenset({0}))
    state = rule.start()
    for byte in text.encode():
        assert byte + 1 in rule.allowed(state)
        state = rule.advance(state, byte + 1)
    critique = read_comments(text, answer)
    assert critique is not None and critique.comments[0].text == 'Not "a" but \\d'


def test_nothing_to_say_is_demonstrated_too() -> None:
    assert write_comments(Critique(), "x = 1") == '{"comments": []}'


def compared(ratings: list[int]) -> Comparison:
    made = tampered(0, 1, 1)
    assert made is not None
    rest = {"cbi": (4,), "comprehensive": 4, "nitpick": 4, "fake_problem": 4, "concise": 4}
    return Comparison(
        tamper=made,
        critiques=("No problems found.", "```\n    return None\n```\nReturn the name.", "```\nnowhere\n```\nWrong."),
        sources=("a", "b", "c"),
        labeler="w1",
        simulated=True,
        ratings=tuple(Rating(overall=value, **rest) for value in ratings),
    )


def test_a_comparison_is_a_ranking_by_the_overall_rating_with_its_ties() -> None:
    (ranking,) = rankings_of([compared([3, 6, 3])])
    assert ranking.ranks == (2, 1, 2) and ranking.authors == ("a", "b", "c") and ranking.scores == (3.0, 6.0, 3.0)
    assert json.loads(str(ranking.candidates[0]))["comments"] == []
    assert json.loads(str(ranking.candidates[1]))["comments"][0]["line"] == 5
    assert ranking.candidates[2] == '{"comments": []}'  # its quote stands nowhere


def test_other_records_are_refused() -> None:
    with pytest.raises(UserError, match="a record is a Task"):
        list(records_of([Task(id="t", question="", answer="x")]))


def test_from_files_to_what_is_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Functions, answers with known bugs, critiques, simulated comparisons, demonstrations and rankings."""
    (tmp_path / "code.py").write_text("\n\n\n".join(FUNCTIONS) + "\n", encoding="utf-8")
    tampers = tmp_path / "tampers.jsonl"
    assert (
        main(
            [
                "data",
                "tampers",
                str(tmp_path / "code.py"),
                "--out",
                str(tampers),
                "--per-function",
                "4",
                "--clean",
                "0.5",
            ]
        )
        == 0
    )
    made = list(read_jsonl(tampers, Tamper))
    assert len(made) == 8 and {bool(t.bugs) for t in made} == {True, False}
    written = [
        {"schema_version": 1, "index": i, "id": t.task.id, "skipped": "", "critiques": [
            {"text": text, "critique": Critique().model_dump(mode="json"), "score": None, "tokens": 1}
            for text in ("No problems found.", "```\nreturn None\n```\nNo.", "```\ntotal = 0\n```\nWhy?", "Well.")
        ]} for i, t in enumerate(made)
    ]  # fmt: skip
    critiques = tmp_path / "critiques.jsonl"
    critiques.write_text("".join(json.dumps(row) + "\n" for row in written), encoding="utf-8")
    comparisons, demos, rankings = (str(tmp_path / name) for name in ("c.jsonl", "d.jsonl", "r.jsonl"))
    rate = ["data", "rate", str(tampers), "--critiques", str(critiques), "--out", comparisons]
    assert main([*rate, "--contractors", "3"]) == 0
    assert "two contractors agree on" in capsys.readouterr().err
    compared = list(read_jsonl(Path(comparisons), Comparison))
    assert all(c.simulated for c in compared) and len(compared) == sum(2 if t.bugs else 3 for t in made)
    assert main(["data", "critiques", str(tampers), "--out", demos]) == 0
    assert main(["data", "critiques", comparisons, "--out", rankings]) == 0
    assert len(list(read_jsonl(Path(demos), Demonstration))) == 8
    assert len(list(read_jsonl(Path(rankings), Ranking))) == len(compared)
    assert main(["data", "critiques", demos, "--out", str(tmp_path / "x")]) == 2
    assert "give answers with known bugs, or comparisons" in capsys.readouterr().err
    critiques.write_text("".join(json.dumps({**row, "critiques": []}) + "\n" for row in written), encoding="utf-8")
    assert main(rate) == 2 and "--n 4" in capsys.readouterr().err
