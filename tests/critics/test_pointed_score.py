"""`--score pointer`: what a pointer and likely code say of comments, in reviews and in searches."""

import json
import math
from pathlib import Path

import pytest
from test_pointed import CODE, TASK, base, pointer  # noqa: F401

from momus.cli import main
from momus.critics.open import open_critic
from momus.critics.pointed import find_pointer
from momus.critics.refine import Refinement
from momus.critics.scores.open import ScoreSource, open_score
from momus.critics.scores.pointed import GAIN, LINE, UNKNOWN, PointedScore
from momus.critics.scores.protocol import log_odds, sigmoid
from momus.critics.scores.search import score_critiques
from momus.critics.scores.share import gather
from momus.critique import Comment, Critique, Span
from momus.errors import UserError
from momus.lm.chats.local import LocalChat
from momus.lm.chats.protocol import ChatAround
from momus.records import Task
from momus.search.fixes import Place
from momus.search.lines import LEAST_COUNTED, MOST_COUNTED, weigh_lines
from momus.search.proposals import Proposal, weigh_proposals

OTHER = TASK.model_copy(update={"answer": "def g(n):\n    while n > 1:\n        n -= 2\n    return n"})
WORDS = ["Should be `total -= x`.", "Missing `total = 1` before this.", "It is wrong.", "Should be `return n`."]


def comment(code: str, line: int, text: str) -> Comment:
    lines = code.split("\n")
    start = sum(len(each) + 1 for each in lines[: line - 1]) + len(lines[line - 1]) - len(lines[line - 1].lstrip())
    span = Span(start, start + len(lines[line - 1].strip()))
    return Comment(highlight=code[span.start : span.end], text=text, span=span, line=line)


def opinion(task: Task, places):
    return gather([Critique(comments=tuple(comment(task.answer, *place) for place in places))], task.answer)


@pytest.fixture
def score(base: Path, pointer: Path):  # noqa: F811
    return PointedScore(LocalChat(str(base), "cpu", "fp32"), pointer)


def test_a_comment_counts_its_line_and_what_it_proposes(score):
    places = [(2, WORDS[3]), (4, WORDS[2]), (5, WORDS[0]), (6, WORDS[1])]
    asked = opinion(TASK, places)
    (scored,) = score.score([TASK], [asked])
    engine = score._chat.loaded.engine
    odds = score._pointer.line_log_odds(score._reader.read([(TASK.question, CODE)]))
    moved = [[each + score._pointer.shift for each in odds[0]]]
    (weighed,) = weigh_lines(engine.model, engine.tokenizer, [TASK], moved, log_odds(0.05))
    gains = weigh_proposals(
        engine.model, engine.tokenizer, [Proposal(Place(TASK.question, CODE, line), text) for line, text in places]
    )
    assert [gain is None for gain in gains] == [False, True, False, False]
    for value, (line, _), gain in zip(scored.values, places, gains, strict=True):
        counted = UNKNOWN if gain is None else min(max(gain, LEAST_COUNTED), MOST_COUNTED)
        likely = sigmoid(weighed.log_odds[line - 1])
        assert log_odds(value) == pytest.approx(LINE * (likely - 0.5) + GAIN * counted, abs=1e-4)


def test_scores_do_not_depend_on_company_or_on_what_was_asked_before(score, base, pointer):  # noqa: F811
    tasks = [TASK, OTHER, TASK]
    asked = [opinion(TASK, [(5, WORDS[0])]), opinion(OTHER, [(2, WORDS[2]), (3, "Should be `n -= 1`.")])]
    asked.append(opinion(TASK, [(5, "Should be `total *= x`."), (6, WORDS[1])]))
    together = score.score(tasks, asked)
    for task, one, scored in zip(tasks, asked, together, strict=True):
        for other in (score, PointedScore(LocalChat(str(base), "cpu", "fp32"), pointer)):
            (alone,) = other.score([task], [one])
            assert alone.values == pytest.approx(scored.values, abs=1e-4)
    assert score.score([TASK], [opinion(TASK, [])])[0].values == ()


def test_what_cannot_be_read_says_why_and_the_others_are_scored(score):
    long = TASK.model_copy(update={"answer": "\n".join(["x = 1"] * 40_000)})
    first, second = score.score([long, TASK], [opinion(long, [(1, "Odd.")]), opinion(TASK, [(2, "Odd.")])])
    assert first.problem and not first.values and len(second.values) == 1 and math.isfinite(second.values[0])


def test_a_pointer_that_is_named_serves_the_score_too(base, pointer, monkeypatch):  # noqa: F811
    monkeypatch.setattr("momus.critics.pointed.SHIPPED_POINTERS", pointer.parent / "none")
    critic = open_critic(base, pointer=str(pointer), refined=Refinement(ScoreSource("pointer")))
    assert critic.identity()["score"]["kind"] == "pointer"


def test_a_search_tells_proposals_for_one_line_apart(score):
    """Merged, as reviews that mean the same are, "Should be `n`" and "Should be `m`" would be worth the same."""
    texts = ["Should be `total += x`.", "Should be `total -= x`: the sign is wrong.", "Should be `total = x`: it adds."]
    critiques = [Critique(comments=(comment(CODE, 5, text),)) for text in (*texts, "Odd.")]
    (worth,) = score_critiques(score, [TASK], [critiques])
    alone = [score_critiques(score, [TASK], [[critique]])[0][0] for critique in critiques]
    assert worth == pytest.approx(alone, abs=1e-3) and worth[0] == log_odds(0) and len(set(worth)) == 4


def test_whose_pointer_it_is(base, pointer, monkeypatch):  # noqa: F811
    monkeypatch.setattr("momus.critics.pointed.SHIPPED_POINTERS", pointer.parent)
    assert find_pointer(str(base), None) == pointer
    for source, chat in (
        (ScoreSource("pointer"), LocalChat(str(base))),
        (ScoreSource("pointer"), ChatAround(ChatAround(LocalChat(str(base))))),
        (ScoreSource("pointer", str(base)), None),
    ):
        assert open_score(source, chat).identity()["kind"] == "pointer"
    monkeypatch.setattr("momus.critics.pointed.SHIPPED_POINTERS", pointer.parent / "none")
    with pytest.raises(UserError, match="has no pointer: momus train pointer"):
        open_score(ScoreSource("pointer", str(base)))
    with pytest.raises(UserError, match="--score-model"):
        open_score(ScoreSource("pointer"))
    with pytest.raises(UserError, match="a server does not give them"):
        ScoreSource("pointer", "m", "http://localhost:1")


def test_reviews_and_searches_go_by_it(base, pointer, monkeypatch, tmp_path, capsys):  # noqa: F811
    """The shipped critic writes, and a model with a pointer says what its comments are worth."""
    monkeypatch.setattr("momus.critics.pointed.SHIPPED_POINTERS", pointer.parent)
    (tmp_path / "one.py").write_text(CODE + "\n")
    by_pointer = ["--score", "pointer", "--score-model", str(base)]
    assert main(["review", str(tmp_path / "one.py"), "--confidence", "0", "--json", *by_pointer]) == 0
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert file["findings"] and all(0 < found["confidence"] < 1 for found in file["findings"])
    (tmp_path / "tasks.jsonl").write_text(TASK.model_dump_json() + "\n")
    written = []
    for name in ("a", "b"):
        out = ["--out", str(tmp_path / name), "--method", "fsbs", "--n", "2", "--max-tokens", "40"]
        assert main(["critique", str(tmp_path / "tasks.jsonl"), *out, *by_pointer]) == 0
        written.append((tmp_path / name / "critiques.jsonl").read_text())
    assert written[0] == written[1] and json.loads(written[0])["critiques"][0]["score"] is not None


def test_a_dial_is_measured_with_it(base, pointer, monkeypatch, tmp_path, capsys):  # noqa: F811
    """Calibration and review stand for the same critic."""
    monkeypatch.setattr("momus.critics.pointed.SHIPPED_POINTERS", pointer.parent)
    functions = [
        CODE.replace("def f(", f"def f{number}(").replace("xs", "xyz"[: 1 + number % 3]) for number in range(6)
    ]
    (tmp_path / "some.py").write_text("\n\n\n".join(functions) + "\n")
    by_pointer = ["--score", "pointer", "--score-model", str(base)]
    out = tmp_path / "dial.json"
    assert main(["calibrate", str(tmp_path / "some.py"), "--answers", "6", "--out", str(out), *by_pointer]) == 0
    measured = json.loads(out.read_text())
    assert measured["critic"]["score"]["kind"] == "pointer" and measured["points"]
    review = ["review", str(tmp_path / "some.py"), "--false-alarms", "5", "--calibration", str(out), *by_pointer]
    assert main(review) in (0, 1), capsys.readouterr().err
