"""`momus critique --score` and `--second-opinion`: how far each comment of a data set can be believed."""

import json

import pytest
import torch

from momus.cli import main
from momus.critics.run import TaskCritiques
from momus.critics.scores.protocol import log_odds
from momus.critics.scores.share import gather
from momus.critics.vacuous import is_vacuous
from momus.critique import Critique
from momus.lm.local.load import load_local_engine
from momus.lm.models import RewardModel
from momus.lm.tiny import TINY
from momus.records import Task, read_jsonl, write_jsonl
from support.chat_server import chat_server

COUNT = 9
WRONG = "Takes the largest."
SAMPLES = ["--score", "samples"]
TRAINED = ["--max-tokens", "60"]
"""The shipped critic, a little shorter than usual."""


def code(number):
    return f"def f{number}(values):\n    total = sum(values)\n    return total / len(values)\n"


def say(question, count):
    if "Answer with one letter" in question:
        return "B" if (WRONG in question) == ("A: It is right." in question) else "A"
    if "Argue against this one" in question or "Defend it" in question:
        return "It is so."
    comments = [
        {"line": 3, "quote": "return total / len(values)", "severity": "error", "problem": "Fails for an empty list."},
        {"line": 2, "quote": "total = sum(values)", "severity": "error", "problem": WRONG},
    ]
    return json.dumps({"comments": comments[: 1 + count % 2] if "def f3" in question else comments})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A reward model of the shipped critic's tokens, and tasks."""
    folder = tmp_path_factory.mktemp("files")
    engine = load_local_engine(TINY, "cpu")
    torch.manual_seed(0)
    RewardModel.from_causal_lm(engine.model).save(folder / "reward", tokenizer=engine.tokenizer)
    tasks = [Task(id=f"t{i}", question="Return the mean.", answer=code(i)) for i in range(COUNT)]
    write_jsonl(folder / "tasks.jsonl", tasks)
    return folder


@pytest.fixture
def critique(files, tmp_path):
    """Write critiques with some options into a fresh directory, and read them."""

    def run(name, *options):
        assert main(["critique", str(files / "tasks.jsonl"), "--out", str(tmp_path / name), *map(str, options)]) == 0
        return list(read_jsonl(tmp_path / name / "critiques.jsonl", TaskCritiques))

    return run


def test_a_prompted_critics_comments_have_the_scores_that_a_review_goes_by(files, critique, tmp_path, capsys):
    with chat_server(say, "def ") as server:
        rows = critique("run", "--url", server.url, "--score", "answers")
        for row in rows:
            (written,) = row.critiques
            scores = dict(zip([c.text for c in written.critique.comments], written.scores, strict=True))
            assert all(score == (text != WRONG) for text, score in scores.items())
        (tmp_path / "one.py").write_text(code(0))
        capsys.readouterr()
        for setting, texts in ((0.5, {"Fails for an empty list."}), (0, {"Fails for an empty list.", WRONG})):
            review = ["review", str(tmp_path / "one.py"), "--url", server.url, "--score", "answers", "--json"]
            assert main([*review, "--confidence", str(setting)]) == 0
            (file,) = json.loads(capsys.readouterr().out)["files"]
            (written,) = rows[0].critiques
            kept = {
                c.text for c, s in zip(written.critique.comments, written.scores, strict=True) if s >= max(setting, 0)
            }
            assert {finding["text"] for finding in file["findings"]} == kept == texts


def test_the_share_of_samples_is_of_what_the_same_samples_say(critique):
    """By brute force: the critiques of the same run without a score, gathered."""
    plain, scored = critique("plain", *TRAINED, "--n", "6"), critique("scored", *TRAINED, "--n", "6", *SAMPLES)
    shares = []
    for row, one, i in zip(plain, scored, range(COUNT), strict=True):
        said = [
            Critique(comments=tuple(c for c in written.critique.comments if not is_vacuous(c, code(i))))
            for written in row.critiques
        ]
        opinion = gather(said, code(i))
        (written,) = one.critiques
        pairs = zip(written.critique.comments, written.scores, strict=True)
        found = {c: share for c, share in pairs if c.span and not is_vacuous(c, code(i))}
        expected = [count / 6 for count in opinion.counts]
        assert found == dict(zip(opinion.comments, expected, strict=True)) and written.score is None
        shares += expected
    assert len(set(shares)) > 1


@pytest.mark.parametrize("score", [SAMPLES, ["--score", "reward"], []])
def test_the_size_of_a_shard_changes_nothing(files, tmp_path, score):
    options = [*TRAINED, "--n", "3", *score]
    options += ["--reward", files / "reward"] if "reward" in score else []
    written = []
    for shard in (8, 32):
        out = tmp_path / str(shard)
        command = ["critique", files / "tasks.jsonl", "--out", out, "--shard", shard, *options]
        assert main(list(map(str, command))) == 0
        written.append((out / "critiques.jsonl").read_bytes())
    assert written[0] == written[1]
    rows = list(read_jsonl(out / "critiques.jsonl", TaskCritiques))
    for critiques in (row.critiques for row in rows if row.critiques):
        assert len(critiques) == (1 if score else 3)
        assert all(bool(one.scores) == bool(score and one.critique.comments) for one in critiques)
        assert all(len(one.scores) in (0, len(one.critique.comments)) for one in critiques)


@pytest.mark.parametrize("method", ["fsbs", "best-of-n"])
def test_a_search_goes_by_the_sum_of_log_odds_and_needs_no_reward_model(files, critique, method):
    options = [*TRAINED, "--method", method, "--n", "2", "--score", "answers"]
    with chat_server(lambda question, count: "A", "def ") as server:  # as likely right as wrong, and so worth nothing
        rows = critique(method, *options, "--score-url", server.url)
        assert server.asked
    for row, number in zip(rows, range(COUNT), strict=True):
        (written,) = row.critiques
        assert not written.scores
        nothing = [c for c in written.critique.comments if c.span is None or is_vacuous(c, code(number))]
        assert written.score == pytest.approx(len(nothing) * log_odds(0))


def test_a_second_opinion_drops_and_counts_what_falls(files, critique, capsys):
    with chat_server(say, "def ") as server:
        rows = critique("run", "--url", server.url, "--second-opinion-url", server.url)
        assert "comments fell and are left out" in capsys.readouterr().err
        assert {c.text for row in rows for w in row.critiques for c in w.critique.comments} == {
            "Fails for an empty list."
        }
        trained = [*TRAINED, "--second-opinion-url", server.url]
        assert len(critique("trained", *trained)) == COUNT


def test_another_score_is_another_run(files, critique, tmp_path, capsys):
    options = [*TRAINED, "--n", "2"]
    critique("run", *options, "--score", "samples")
    again = ["critique", files / "tasks.jsonl", "--out", tmp_path / "run", *options]
    assert main(list(map(str, again))) == 2
    assert "was started with other settings (refined" in capsys.readouterr().err


def test_a_budget_that_the_scores_spend_ends_the_run_and_what_is_done_stays(files, tmp_path, capsys):
    options = [*TRAINED, "--n", "2", "--score", "answers", "--shard", "8"]
    with chat_server(say, "def ") as server:
        command = ["critique", files / "tasks.jsonl", "--out", tmp_path / "run", *options, "--score-url", server.url]
        command = list(map(str, command))
        assert main([*command, "--budget-tokens", "200"]) == 2
        assert "the budget of tokens is spent" in capsys.readouterr().err
        assert main(command) == 0
    assert "tokens read and" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--score", "samples"], "--n 8"),
        (["--score", "samples", "--url", "http://127.0.0.1:9/v1"], "--n 8"),
        (["--score", "probability"], "--score-model"),
        (["--score", "reward"], "needs a reward model"),
        (["--score-model", "m"], "of no use without --score"),
        (["--score", "samples", "--n", "4", "--ray"], "leave out --ray"),
        (["--score", "samples", "--n", "4", "--reward", "."], "one of both"),
        (["--score", "samples", "--n", "4", "--budget-tokens", "9"], "for a model that chats"),
    ],
)
def test_what_does_not_go_together_is_one_line(files, tmp_path, capsys, options, words):
    assert main(["critique", str(files / "tasks.jsonl"), "--out", str(tmp_path / "run"), *options]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error and "\n" not in error and not (tmp_path / "run" / "critiques.jsonl").exists()
