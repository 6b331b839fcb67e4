"""Decisions about comments: dismissed, accepted, expired; what is new, still there and fixed."""

import json

import pytest

from momus.cli import main
from momus.critique import Critique
from momus.records import Judgement, read_jsonl
from momus.review.decisions import Decision, read_decisions, read_ignores, write_decisions
from support.reviewing import CODE

BAD = CODE.replace("+ 1", "- 1  # BAD")


def review(capsys, *options):
    """Run a review and return its document, and the findings by their lines."""
    capsys.readouterr()
    main(["review", "--json", *options])
    document = json.loads(capsys.readouterr().out)
    return document, {f["line"]: f for file in document["files"] for f in file["findings"]}


def test_a_dismissed_comment_is_not_shown_again_until_its_code_changes(repository, critic, capsys):
    repository.write(m_py=BAD)
    assert main(["review", "m.py", "--check"]) == 1
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("m.py:2")]
    assert main(["review", "dismiss", line.split()[-1][:8], "--because", "it is meant"]) == 0
    assert "dismissed: m.py, f: Look at this." in capsys.readouterr().err
    assert main(["review", "m.py", "--check"]) == 0
    out = capsys.readouterr().out
    assert "1 dismissed: it is meant (1)" in out and "No problems found in 2 functions in 1 file." in out
    repository.write(m_py="import os\n\n\n" + BAD.replace("    y", "        y").replace("    return", "        return"))
    assert main(["review", "m.py", "--check"]) == 0  # moved and indented anew
    repository.write(m_py=BAD.replace("x - 1", "x - 2"))
    document, findings = review(capsys, "m.py")
    assert findings[2]["status"] == "new" and document["outcome"] == "findings"
    assert document["manifest"]["notes"] == ["1 decision expired, for the code has changed: m.py (f)"]


def test_new_still_there_and_fixed(repository, critic, capsys):
    repository.write(m_py=BAD)
    assert review(capsys, "m.py")[1][2]["status"] == "new"
    repository.write(m_py="x = 1  # BAD\n" + BAD)
    _, findings = review(capsys, "m.py")
    assert {line: finding["status"] for line, finding in findings.items()} == {1: "new", 3: "open"}
    repository.write(m_py=CODE)
    document, findings = review(capsys, "m.py")
    assert findings == {} and sorted(fixed["function"] for fixed in document["fixed"]) == ["", "f"]
    assert review(capsys, "m.py")[0]["fixed"] == []


def test_what_a_change_does_not_touch_stays_open_and_a_renamed_file_keeps_its_findings(repository, critic, capsys):
    repository.commit("Bad", m_py=BAD)
    review(capsys, "m.py")
    repository.write(m_py=BAD.replace("    return x", "    return x  # BAD"))
    document, findings = review(capsys, "--diff", "HEAD")
    assert findings[7]["status"] == "new" and document["fixed"] == []
    repository.git("mv", "m.py", "n.py")
    repository.git("add", "-A")
    _, findings = review(capsys, "--diff", "HEAD")
    assert findings[7]["status"] == "open"
    _, findings = review(capsys, "n.py")
    assert {line: finding["status"] for line, finding in findings.items()} == {2: "open", 7: "open"}


def test_an_earlier_review_can_be_a_file(repository, critic, capsys, tmp_path, monkeypatch):
    repository.write(m_py=BAD)
    main(["review", "m.py", "--json"])
    earlier = tmp_path / "earlier.json"
    earlier.write_text(capsys.readouterr().out)
    monkeypatch.setenv("MOMUS_CACHE", str(tmp_path / "elsewhere" / "cache.sqlite"))
    _, findings = review(capsys, "m.py", "--previous", str(earlier))
    assert findings[2]["status"] == "open"
    assert main(["review", "accept", findings[2]["id"], "--review", str(earlier), "--by", "kim"]) == 0
    _, findings = review(capsys, "m.py", "--check")
    assert findings[2]["status"] == "accepted"
    earlier.write_text('{"files": []}')
    assert main(["review", "m.py", "--previous", str(earlier)]) == 2


def test_another_critic_starts_anew(repository, critic, capsys, monkeypatch):
    repository.write(m_py=BAD)
    review(capsys, "m.py")
    critic.words = ("BAD", "g")
    assert review(capsys, "m.py")[1][2]["status"] == "new"


def test_decisions_are_judgements_of_what_was_shown(repository, critic, capsys, tmp_path):
    repository.write(m_py=BAD)
    _, findings = review(capsys, "m.py")
    assert main(["review", "dismiss", findings[2]["id"], "--because", "meant", "--by", "kim"]) == 0
    (decision,) = read_decisions(repository.root / "momus-baseline.jsonl")
    assert (decision.confidence, decision.setting, decision.critic) == (1.0, 0.5, "marking")
    out = tmp_path / "judgements.jsonl"
    assert main(["review", "export", "--out", str(out)]) == 0
    (judgement,) = read_jsonl(out, Judgement)
    assert judgement.values == {"accepted": 0.0} and judgement.labeler == "kim"
    assert "y = x - 1  # BAD" in judgement.prompt and judgement.answer.endswith("Look at this.")
    assert judgement.origin.id == findings[2]["id"] and judgement.origin.place == "m.py"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dismiss", "0000000000", "--because", "x"], "no comment that was shown here has this id"),
        (["dismiss", "", "--because", "x"], "no comment"),
        (["dismiss", "abcd", "--because", " "], "say why"),
        (["export", "--out", "x.jsonl"], "there are no decisions"),
        (["accept", "abcd", "--review", "gone.json"], "No such file"),
    ],
)
def test_what_cannot_be_decided_is_one_line(repository, capsys, words, message):
    assert main(["review", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_comment_whose_code_changed_cannot_be_decided_about(repository, critic, capsys):
    repository.write(m_py=BAD)
    _, findings = review(capsys, "m.py")
    repository.write(m_py=CODE)
    assert main(["review", "dismiss", findings[2]["id"], "--because", "x"]) == 2
    assert "its code has changed" in capsys.readouterr().err


IGNORED = (
    "def f(x):\n    y = x  # BAD  # momus: ignore[it is meant]\n    # momus: ignore[so is this]\n    return y  # BAD\n"
)


def test_a_comment_in_the_code_dismisses_with_its_reason_and_not_in_a_strangers_change(repository, critic, capsys):
    repository.write(m_py=IGNORED)
    _, findings = review(capsys, "m.py")
    told = {line: (finding["status"], finding["because"]) for line, finding in findings.items()}
    assert told == {2: ("dismissed", "it is meant"), 4: ("dismissed", "so is this")}
    main(["review", "m.py", "--format", "sarif"])
    results = json.loads(capsys.readouterr().out)["runs"][0]["results"]
    assert [[s["kind"] for s in result["suppressions"]] for result in results] == [["inSource"]] * 2
    _, findings = review(capsys, "m.py", "--untrusted")
    assert {finding["status"] for finding in findings.values()} == {"new"}
    write_decisions(repository.root / "momus-baseline.jsonl", [])
    assert read_ignores("x = 1  # momus: ignore\ny = 2  # momus: ignore[]\n") == {}


def test_dismissing_in_the_code_keeps_the_identity(repository, critic, capsys):
    repository.write(m_py=IGNORED)
    _, with_comment = review(capsys, "m.py", "--untrusted")
    repository.write(m_py=IGNORED.replace("  # momus: ignore[it is meant]", ""))
    _, without = review(capsys, "m.py", "--untrusted")
    assert with_comment[2]["id"] == without[2]["id"] and without[2]["status"] == "open"


def _decision(path, code):
    return Decision(path=path, function="f", code=code, decision="dismissed", quote=code, text="x", answer=code)


def test_decisions_of_two_branches_merge(repository):
    baseline = repository.root / "momus-baseline.jsonl"
    write_decisions(baseline, [_decision(f"{name}.py", "x = 1") for name in "adgk"])
    repository.commit("Decisions")
    for branch, name in (("one", "b"), ("two", "h")):
        repository.git("checkout", "-q", "-b", branch, "main")
        write_decisions(baseline, [*read_decisions(baseline), _decision(f"{name}.py", "x = 1")])
        repository.commit(branch)
    repository.git("merge", "-q", "one", "-m", "merge")
    assert [decision.path[0] for decision in read_decisions(baseline)] == ["a", "b", "d", "g", "h", "k"]


def test_the_last_decision_about_a_comment_stands(tmp_path):
    path = tmp_path / "decisions.jsonl"
    write_decisions(path, [_decision("a.py", "x"), _decision("a.py", "x").model_copy(update={"because": "b"})])
    assert [decision.because for decision in read_decisions(path)] == ["b"]


def test_what_was_not_read_or_not_shown_is_not_fixed(repository, critic, capsys):
    repository.write(m_py=BAD.replace("return x", "return x  # BAD"))
    assert sorted(review(capsys, "m.py")[1]) == [2, 7]
    critic.fails_after = 0
    assert review(capsys, "m.py")[0]["fixed"] == []
    critic.fails_after = 10**9
    document, findings = review(capsys, "m.py", "--max-comments", "1")
    assert sorted(findings) == [2] and document["fixed"] == []
    critic.lines = 0
    assert review(capsys, "m.py")[0]["fixed"] == []
    critic.lines = 100
    assert {finding["status"] for finding in review(capsys, "m.py")[1].values()} == {"open"}


def test_of_a_change_what_stands_in_an_unread_part_of_its_function_is_not_fixed(repository, critic, capsys):
    long = "def f(x):\n" + "    x += 1\n" * 30 + "    y = x  # BAD\n    return y\n"
    repository.commit("Long", m_py=long)
    critic.lines = 10
    assert sorted(review(capsys, "m.py")[1]) == [32]
    repository.write(m_py=long.replace("x += 1", "x += 2", 1))
    document, findings = review(capsys, "--diff", "HEAD")
    assert not findings and document["fixed"] == []


def test_what_a_higher_setting_does_not_show_is_not_fixed(repository, critic, capsys, monkeypatch):
    repository.write(m_py=BAD)
    review(capsys, "m.py")
    monkeypatch.setattr("momus.critics.open.open_at_setting", lambda *options, **more: (critic, 1.5, ""))
    critic.dial = NoDial()
    assert review(capsys, "m.py")[0]["fixed"] == []


class NoDial:
    """A dial that chooses nothing."""

    def choose(self, written, answer, setting):
        return Critique()
