"""What a real server may answer: every command that asks a model, over HTTP, with answers that are not as asked for."""

import json

import pytest

from momus.cli import main
from momus.documents.drafts import read_feedback
from momus.match.reviews import read_reviews
from support.chat_server import Reply, chat_server
from support.feedback import PAPER, QUOTE, answer

GOOD = answer("paper")
WRONG_QUOTES = answer("paper", quote="Sixty documents were read by nobody at all.")
BAD = {
    "no JSON": "I read the paper with great interest. It is good.",
    "a refusal in words": "I'm sorry, but I can't help with reviewing this document.",
    "a refusal": Reply(None, refusal="I cannot do that."),
    "nothing": Reply(""),
    "cut off": Reply(GOOD[: len(GOOD) // 2], finish_reason="length"),
    "broken JSON": GOOD.replace('"', "'"),
    "other sections": '{"sections": {"summary": [{"point": "It is fine."}]}}',
    "an array": "[1, 2, 3]",
    "empty sections": '{"sections": {"significance": [], "acceptance": [], "rejection": [], "suggestions": []}}',
}


@pytest.fixture
def paper(tmp_path):
    path = tmp_path / "paper.md"
    path.write_text(PAPER)
    return path


@pytest.mark.parametrize("name", BAD)
def test_feedback_that_is_not_as_asked_for_is_asked_for_again(name, paper, capsys):
    with chat_server(lambda _, asked: BAD[name] if asked == 1 else GOOD, "A small study") as server:
        assert main(["feedback", str(paper), "--model", "m", "--url", server.url]) == 0
    assert len(server.asked) == 2 and server.asked[0] == server.asked[1]
    assert read_feedback(paper.with_name("paper.md.feedback.json")).sections[0].points[0].quote == QUOTE


def test_then_it_is_one_line_and_nothing_is_written(paper, capsys):
    with chat_server(lambda *_: BAD["cut off"], "A small study") as server:
        assert main(["feedback", str(paper), "--model", "m", "--url", server.url]) == 2
    error = capsys.readouterr().err
    assert "the answer was cut off: raise --answer-tokens" in error and error.count("\n") == 1
    assert [path.name for path in paper.parent.iterdir()] == ["paper.md"]


def test_quotes_that_are_nowhere_are_struck_and_counted(paper, capsys):
    with chat_server(lambda *_: WRONG_QUOTES, "A small study") as server:
        assert main(["feedback", str(paper), "--model", "m", "--url", server.url]) == 0
    found = read_feedback(paper.with_name("paper.md.feedback.json"))
    assert len(found.struck) == 4 and not any(point.quote for section in found.sections for point in section.points)
    assert "Quotes struck because the document does not have them: 4" in capsys.readouterr().err
    assert "Sixty documents" not in paper.with_name("paper.md.feedback.md").read_text()


def test_a_server_that_fails_is_one_line(paper, capsys):
    with chat_server(lambda *_: Reply(None, status=403), "A small study") as server:
        assert main(["feedback", str(paper), "--model", "m", "--url", server.url]) == 2
    error = capsys.readouterr().err
    assert "403" in error and "not today" in error and error.count("\n") == 1
    assert main(["feedback", str(paper), "--model", "m", "--url", "http://127.0.0.1:9/v1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_filtered_answer_is_one_line(paper, capsys):
    with chat_server(lambda *_: Reply(None, finish_reason="content_filter"), "A small study") as server:
        assert main(["feedback", str(paper), "--model", "m", "--url", server.url]) == 2
    error = capsys.readouterr().err
    assert "a filter of the server ended the answer" in error and error.count("\n") == 1


def test_a_reasoning_model_s_drafts_are_not_its_answer(paper):
    reply = f"<think>Perhaps {answer('paper', word='A draft.')} or so.</think>\n{GOOD}"
    with chat_server(lambda *_: reply, "A small study") as server:
        assert main(["feedback", str(paper), "--model", "m", "--url", server.url]) == 0
    assert "A draft." not in paper.with_name("paper.md.feedback.md").read_text()


REVIEW = "The proof of lemma two is wrong. There are only two datasets. I like the title."


def _points(question, asked):
    if asked == 1:
        return "Let me think about that."
    points = [
        {"point": "The proof fails.", "quote": "The proof of lemma two is wrong."},
        {"point": "Made up.", "quote": "The authors should feel ashamed."},
        {"point": "No quote at all."},
        "not even an object",
    ]
    return "```json\n" + json.dumps({"points": points}) + "\n```"


def test_extraction_keeps_what_the_review_says(tmp_path, capsys):
    (tmp_path / "p1.R1.txt").write_text(REVIEW)
    out = tmp_path / "points.jsonl"
    with chat_server(_points, "Below is a review") as server:
        command = ["extract", str(tmp_path / "p1.R1.txt"), "--out", str(out), "--by", "model"]
        assert main([*command, "--model", "m", "--url", server.url]) == 0
    (review,) = read_reviews(out)
    assert [point.text for point in review.points] == ["The proof fails."]
    error = capsys.readouterr().err
    assert "2 points rejected" in error and "feel ashamed" in error


def test_extraction_without_any_answer_fails(tmp_path, capsys):
    (tmp_path / "p1.R1.txt").write_text(REVIEW)
    with chat_server(lambda *_: BAD["a refusal"], "Below is a review") as server:
        command = ["extract", str(tmp_path / "p1.R1.txt"), "--out", str(tmp_path / "o.jsonl"), "--by", "model"]
        assert main([*command, "--model", "m", "--url", server.url]) == 2
    assert "gave no answer to any of 1 reviews: the model declines" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["p1.R1.txt"]


PAIRS = '{"pairs": [{"a": 1, "b": 1, "score": "8", "why": "both"}, {"a": 7, "b": 1, "score": 9}, {"a": 1}]}'


@pytest.fixture
def lists(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"The proof is wrong.\nToo few data in {name}.\n")
    return [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]


@pytest.mark.parametrize("by", ["model", "voting", "pairwise"])
def test_matching(by, lists, capsys):
    def say(question, asked):
        if "The first point" in question:
            return '{"related": "high", "why": "one remedy"}'
        return "Sorry?" if asked == 1 else PAIRS

    with chat_server(say, "oint") as server:
        assert main(["match", *lists, "--by", by, "--model", "m", "--url", server.url, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert rows[0]["score"] >= 7 and {"a", "b", "score", "reason", "first", "second"} == set(rows[0])
        server.say = lambda *_: BAD["a refusal in words"]
        assert main(["match", *lists, "--by", by, "--model", "m", "--url", server.url, "--no-cache"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("by", ["lexical", "model", "voting", "pairwise"])
def test_every_backend_is_calibrated_by_one_command(by, tmp_path, capsys):
    rows = [
        {"document": f"d{i}", "first": [f"proof {i} is wrong", "few data"], "second": [f"proof {i} is false", "long"],
         "labels": [[1, 0], [0, 0]]} for i in range(3)
    ]  # fmt: skip
    (tmp_path / "labels.jsonl").write_text("\n".join(json.dumps(row) for row in rows))

    def say(question, asked):
        if "The first point" in question:
            return '{"related": "medium"}'
        a, b = (next(i for i in (1, 2) if f"{side}{i}: proof" in question) for side in "AB")
        return json.dumps({"pairs": [{"a": a, "b": b, "score": 8, "why": "proof"}]})

    out = tmp_path / "calibration.json"
    with chat_server(say, "oint") as server:
        model = [] if by == "lexical" else ["--model", "m", "--url", server.url]
        assert main(["match", "calibrate", str(tmp_path / "labels.jsonl"), "--by", by, "--out", str(out), *model]) == 0
        assert "1.000 [0.292, 1.000]" in capsys.readouterr().out  # of three documents, all alike
        (tmp_path / "one.txt").write_text("proof 1 is wrong\n")
        (tmp_path / "two.txt").write_text("proof 1 is false\nlong\n")
        lists = [str(tmp_path / "one.txt"), str(tmp_path / "two.txt")]
        assert main(["match", *lists, "--by", by, "--calibration", str(out), *model, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["a"], row["b"]) for row in rows] == [(0, 0)] and rows[0]["score"] >= 7


def test_matching_costs_nothing_the_second_time_and_keeps_to_a_budget(lists, capsys):
    with chat_server(lambda *_: PAIRS, "oint") as server:
        command = ["match", *lists, "--by", "model", "--model", "m", "--url", server.url]
        assert main(command) == 0
        first, asked = capsys.readouterr(), len(server.asked)
        assert "tokens read and" in first.err
        assert main(command) == 0
        again = capsys.readouterr()
        assert again.out == first.out and len(server.asked) == asked and "out of the cache" in again.err
        assert main([*command, "--no-cache"]) == 0 and len(server.asked) > asked
        capsys.readouterr()
        assert main([*command, "--no-cache", "--budget-tokens", "5"]) == 2
    assert "the budget of tokens is spent" in capsys.readouterr().err
    assert main(["match", *lists, "--budget-tokens", "5"]) == 2
    assert "for a model that chats" in capsys.readouterr().err


def test_what_is_said_of_a_private_document_is_kept_beside_it_alone(paper, capsys):
    with chat_server(lambda *_: answer("pupil"), "A small study") as server:
        for count in (1, 2):
            assert main(["feedback", str(paper), "--rubric", "pupil", "--model", "m", "--url", server.url]) == 0
            assert len(server.asked) == count
    assert "1 call" in capsys.readouterr().err
