"""Reviews that are kept: nothing is read twice, and nothing is taken for what it is not."""

import ast
import json
import os
import subprocess
import sys

import pytest

from momus.cli import main
from momus.errors import UserError
from momus.lm.chats.cache import AnswerCache, default_path
from momus.review import files
from momus.review.cache import Kept, KeptChecks, KeptCritic, KeptReviews, review_kept
from momus.review.files import read_source, source_of
from momus.review.languages import outline
from momus.review.opened_later import open_later
from momus.review.reviewer import Target, review_targets
from momus.review.units import units
from support.reviewing import CODE, MarkingCritic


def kept():
    return Kept(AnswerCache(default_path()))


def _review(critic, code=CODE, name="m.py", setting=0.5, max_comments=None, **changed):
    target = Target(source_of(code, name), name, **changed)
    return next(review_kept([target], KeptCritic(critic, kept()), setting, max_comments, kept()))


def test_an_unchanged_file_is_not_read_again_and_its_review_is_the_same():
    critic = MarkingCritic("return")
    first = _review(critic)
    assert len(critic.read) == 2 and _review(critic) == first and len(critic.read) == 2
    assert first == next(review_targets([Target(source_of(CODE, "m.py"), "m.py")], critic, 0.5))


def test_of_a_changed_file_only_the_changed_function_is_read():
    critic = MarkingCritic("return")
    _review(critic)
    review = _review(critic, CODE.replace("+ 1", "+ 2"))
    assert len(critic.read) == 3 and "+ 2" in critic.read[2]
    assert [finding.line for finding in review.findings] == [3, 7]


def test_a_function_is_known_in_another_file_and_a_file_at_another_setting():
    critic = MarkingCritic("return")
    _review(critic)
    assert [f.identity.path for f in _review(critic, name="n.py").findings] == ["n.py", "n.py"]
    assert len(_review(critic, max_comments=1).findings) == 1
    assert len(_review(critic, setting=1.0).findings) == 2
    assert len(_review(critic, changed=frozenset({2})).outside) == 1
    assert len(critic.read) == 2


def test_another_critic_reads_again():
    _review(MarkingCritic("return"))
    critic = MarkingCritic("y")
    assert [finding.line for finding in _review(critic).findings] == [2, 3]


def test_what_failed_is_read_again():
    critic = MarkingCritic("return", fails_after=0)
    assert _review(critic).unanswered == 2
    critic.fails_after = 100
    assert len(_review(critic).findings) == 2


def test_reviews_are_kept_whole():
    critic = MarkingCritic("return")
    review = _review(critic, CODE + "\n\ndef long():\n" + "    x = 1\n" * 200)
    files = KeptReviews(kept(), critic.identity(), 0.5, None)
    target = Target(source_of(CODE + "\n\ndef long():\n" + "    x = 1\n" * 200, "m.py"), "m.py")
    assert files.get([target]) == {"m.py": review}


def test_an_unchanged_file_is_not_parsed_again_and_what_does_not_parse_is_refused_each_time(tmp_path, monkeypatch):
    path, parsed, parse = tmp_path / "m.py", [], ast.parse
    monkeypatch.setattr("ast.parse", lambda text, *more, **named: parsed.append(text) or parse(text, *more, **named))
    for text in (CODE, CODE, CODE.replace("+ 1", "+ 2"), CODE):
        path.write_text(text)
        source = read_source(path, check=KeptChecks(kept()).check)
    assert len(parsed) == 2 and len(list(units(source))) == 2 and len(parsed) == 3
    path.write_text("def f(:\n")
    for _ in range(2):
        with pytest.raises(UserError, match=r"m\.py:1: syntax error"):
            read_source(path, check=KeptChecks(kept()).check)
    path.write_text(CODE)
    monkeypatch.setattr("sys.version_info", (9, 9, 9))
    read_source(path, check=KeptChecks(kept()).check)
    assert len(parsed) == 6


def test_a_file_of_another_language_is_outlined_once(tmp_path, monkeypatch):
    path, read = tmp_path / "m.js", []
    path.write_text("function f(x) {\n  return x;\n}\n")
    monkeypatch.setattr(files, "read_outline", lambda *_: read.append(1) or outline.read_outline(*_))
    sources = [read_source(path, other_languages=True, check=KeptChecks(kept()).check) for _ in range(3)]
    assert len(read) == 1 and {source.language for source in sources} == {"JavaScript"}
    assert [unit.name for unit in units(sources[2])] == ["f"] and len(read) == 2


def test_a_trained_critic_is_opened_only_to_read(tmp_path):
    opened, model = [], tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("1")

    def open_now():
        opened.append(1)
        critic = MarkingCritic("return")
        critic.identity = lambda: {"kind": "voting", "model": (model / "weights").read_text()}
        return critic, 0.5, "a promise"

    for _ in range(2):
        critic, setting, promise = open_later(open_now, "options", [model], kept())
        assert (setting, promise, critic.identity()["model"]) == (0.5, "a promise", "1")
    assert len(opened) == 1
    target = Target(source_of(CODE, "m.py"), "m.py")
    for _ in range(2):
        list(review_kept([target], critic, 0.5, None, kept()))
    assert len(opened) == 2
    (model / "weights").write_text("22")
    critic, _, _ = open_later(open_now, "options", [model], kept())
    assert critic.identity()["model"] == "22" and len(opened) == 3


def test_an_unchanged_tree_needs_no_torch(tmp_path, capsys, monkeypatch):
    (tmp_path / "m.py").write_text("def mean(numbers):\n    return sum(numbers) / (len(numbers) + 1)\n")
    monkeypatch.chdir(tmp_path)
    assert main(["review", "m.py", "--json", "--confidence", "0.1"]) == 0
    first = json.loads(capsys.readouterr().out)["files"][0]
    code = (
        "import sys; from momus.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(9 if {'torch', 'transformers', 'numpy', 'httpx2'} & set(sys.modules) else code)"
    )
    command = [sys.executable, "-c", code, "review", "m.py", "--json", "--confidence", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)["files"][0]
    for finding in (*first["findings"], *again["findings"]):
        assert finding.pop("status") in ("new", "open")
    assert first == again and first["findings"]
