"""The cache of answers: equal questions, equal answers; several processes, kills, a size, and files that are none."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from momus.errors import UserError
from momus.lm.chats.cache import AnswerCache, CachedChat, default_path
from momus.lm.chats.protocol import Answer, Question, Usage
from momus.records import Message

WRITER = """
import sys
from pathlib import Path
from momus.lm.chats.cache import AnswerCache
from momus.lm.chats.protocol import Answer
cache, name = AnswerCache(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for i in range(int(sys.argv[3])):
    cache.put({f"shared-{i}": Answer(name), f"{name}-{i}": Answer(name * 200)})
"""


class Counting:
    """A chat that answers otherwise every time, with the problem it is told to have."""

    name = "counting"

    def __init__(self, model: str = "m", problem: str = "") -> None:
        self.model, self.problem, self.asked = model, problem, list[Question]()

    def identity(self) -> Mapping[str, str]:
        return {"model": self.model}

    def count(self, messages: Sequence[Message]) -> int:
        return 1

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        self.asked += questions
        first = len(self.asked) - len(questions)
        return [
            Answer(f"answer {first + i}", self.problem, usage=Usage(5, 7, 1), fingerprint="f")
            for i, _ in enumerate(questions)
        ]


def one(text: str = "x", **settings: object) -> Question:
    return Question.of(text, 9, **settings)


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    model = Counting()
    chat = CachedChat(model, AnswerCache(tmp_path / "a" / "answers.sqlite"))
    first = chat.answer([one("x"), one("y"), one("x")])
    assert [answer.text for answer in first] == ["answer 0", "answer 1", "answer 0"] and len(model.asked) == 2
    assert first[0].usage.calls == 1 and chat.hits == 0
    again = CachedChat(Counting(), AnswerCache(tmp_path / "a" / "answers.sqlite"))
    second = again.answer([one("y"), one("x")])
    assert [answer.text for answer in second] == ["answer 1", "answer 0"] and again.hits == 2
    assert second[0].usage == Usage() and second[0].fingerprint == "f"


def test_other_models_prompts_and_settings_are_asked(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    CachedChat(Counting(), cache, "1").answer([one()])
    for name, version, question in (
        ("other", "1", one()), ("m", "2", one()), ("m", "1", one(key=(1,))), ("m", "1", one(temperature=0.5)),
    ):  # fmt: skip
        model = Counting(name)
        CachedChat(model, cache, version).answer([question])
        assert model.asked == [question]


def test_what_has_a_problem_is_asked_again(tmp_path: Path) -> None:
    cache, model = AnswerCache(tmp_path / "answers.sqlite"), Counting(problem="busy")
    for _ in range(2):
        CachedChat(model, cache).answer([one()])
    assert len(model.asked) == 2 and cache.size() == 0


def test_what_was_answered_before_a_failure_is_kept(tmp_path: Path) -> None:
    class Failing(Counting):
        def answer(self, questions: Sequence[Question]) -> list[Answer]:
            if len(self.asked) >= 64:
                raise UserError("gone")
            return super().answer(questions)

    cache, questions = AnswerCache(tmp_path / "answers.sqlite"), [one(str(i)) for i in range(100)]
    with pytest.raises(UserError, match="gone"):
        CachedChat(Failing(), cache).answer(questions)
    model = Counting()
    CachedChat(model, cache).answer(questions)
    assert len(model.asked) == 36


def test_the_file_keeps_to_its_size(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite", largest=20_000)
    for i in range(100):
        cache.put({f"k{i}": Answer("x" * 500)})
        assert cache.size() <= 20_000
    kept = cache.get([f"k{i}" for i in range(100)])
    assert 20 < len(kept) < 40
    rows = sqlite3.connect(cache.path).execute("SELECT sum(size) FROM answers").fetchone()
    assert rows == (cache.size(),)


def test_several_processes_write_at_once_and_the_first_answer_stands(tmp_path: Path) -> None:
    path, names = tmp_path / "answers.sqlite", ["a", "b", "c"]
    writers = [started(path, name, 60) for name in names]
    for writer in writers:
        release(writer)
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    cache = AnswerCache(path)
    shared = cache.get([f"shared-{i}" for i in range(60)])
    assert len(shared) == 60 and all(answer.text in names for answer in shared.values())
    assert all(len(cache.get([f"{name}-{i}" for i in range(60)])) == 60 for name in names)


def test_kills_leave_whole_answers(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    for number in range(5):
        writer = started(path, f"w{number}", 10**6)
        release(writer)
        time.sleep(0.05 + 0.07 * number)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    cache = AnswerCache(path)
    connection = sqlite3.connect(path)
    keys = [key for (key,) in connection.execute("SELECT key FROM answers")]
    assert keys and len(cache.get(keys)) == len(keys)
    assert connection.execute("SELECT sum(size) FROM answers").fetchone() == (cache.size(),)
    cache.put({"after": Answer("x")})
    assert cache.get(["after"])["after"].text == "x"


def test_after_a_fork_each_process_has_its_own_connection(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    cache.put({"before": Answer("x")})
    child = os.fork()
    if child == 0:
        cache.put({"child": Answer("y")})
        os._exit(0 if cache.get(["before"]) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert cache.get(["child"])["child"].text == "y"


def test_files_that_are_no_caches_are_one_line(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"no database" * 1000)
    newer = tmp_path / "newer"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 7")
    folder = tmp_path / "folder"
    folder.mkdir()
    strange = AnswerCache(tmp_path / "strange")
    strange.put({"k": Answer("x")})
    with sqlite3.connect(strange.path) as connection:
        connection.execute("UPDATE answers SET answer = ?", [json.dumps({"txt": 1})])
    for use, message in (
        (lambda: AnswerCache(damaged), "cannot be read or written"),
        (lambda: AnswerCache(newer), "another version"),
        (lambda: AnswerCache(folder), "cannot be kept there: Is a directory"),
        (lambda: AnswerCache(damaged / "below"), "cannot be kept there"),
        (lambda: strange.get(["k"]), "holds what is no answer"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_where_it_lies_and_who_may_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOMUS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "momus" / "answers.sqlite"
    AnswerCache(default_path())
    assert stat.S_IMODE(default_path().stat().st_mode) == 0o600
    monkeypatch.setenv("MOMUS_CACHE", str(tmp_path / "mine"))
    assert default_path() == tmp_path / "mine"


def started(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    return writer


def release(writer: subprocess.Popen[str]) -> None:
    assert writer.stdin is not None
    writer.stdin.write("\n")
    writer.stdin.flush()
