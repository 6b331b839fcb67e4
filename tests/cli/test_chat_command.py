"""`momus chat`: questions are typed or come out of a pipe, of two models or one; or a file of prompts is answered."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from momus.cli import main
from momus.lm.tiny import TINY
from support.chat_server import Reply, chat_server
from support.hosted import HostedServer, Said, listening


@pytest.fixture
def server() -> HostedServer:
    return HostedServer("vllm", lambda question, before: f"You said {question}.")


@pytest.fixture
def url(server: HostedServer) -> Iterator[str]:
    with listening(server) as place:
        yield place


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_lines_are_questions_and_the_conversation_is_remembered(url, server, monkeypatch, capsys) -> None:
    typed(monkeypatch, "one\n\n  /two\nthree\\\nfour\n/reset\nfive\n/quit\nsix\n")
    assert main(["chat", "--url", url, "--system", "Be brief.", "--temperature", "0"]) == 0
    assert capsys.readouterr().out == "You said one.\nYou said /two.\nYou said three\nfour.\nYou said five.\n"
    conversations = [[message["content"] for message in body["messages"]] for body in server.bodies if "seed" in body]
    assert conversations[-1] == ["Be brief.", "five"]
    assert conversations[-2][1:] == ["one", "You said one.", "/two", "You said /two.", "three\nfour"]


def test_commands_say_what_they_did(url, server, monkeypatch, capsys) -> None:
    typed(monkeypatch, "/retry\n/nothing\n/help\n/system Rhyme.\none\n/retry\n")
    assert main(["chat", "--url", url]) == 0
    out, err = capsys.readouterr()
    assert out == "You said one.\nYou said one.\n"
    assert "(nothing was asked yet)" in err and "(no command /nothing: " in err and "/reset " in err
    first, second = server.bodies[-2:]
    assert first["messages"] == second["messages"] and first["messages"][0]["content"] == "Rhyme."
    assert first["seed"] != second["seed"]


def test_two_models_answer_one_under_the_other(url, monkeypatch, capsys) -> None:
    with listening(HostedServer("ollama", lambda question, before: "Hm.", model="n")) as other:
        typed(monkeypatch, "one\n")
        assert main(["chat", "--url", url, "--beside", f"n@{other}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[::2]] == ["m", "n"] and lines[1::2] == ["You said one.", "Hm."]
    assert max(map(len, lines)) <= 80


def test_two_models_stand_side_by_side_where_there_is_room(monkeypatch, capsys) -> None:
    from momus.cli.shared import talking

    monkeypatch.setenv("COLUMNS", "120")
    with talking._columns(["one", "t\x1bwo"]) as shows:
        shows[0]("word " * 30)
        shows[1]("evil \x1b[2J text")
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out and "\\x1b[2J text" in out
    assert any("word" in line and "evil" in line for line in out.splitlines())
    assert max(map(len, out.splitlines())) <= 120


def test_what_there_is_to_know_about_an_answer_is_said(url, server, monkeypatch, capsys) -> None:
    replies = iter([Said("word " * 9), Said(None, refusal="No."), Said("\x1b[2J and on")])
    server.say = lambda question, before: next(replies) if question != "Say yes." else "Yes."
    typed(monkeypatch, "one\ntwo\nthree\n\udcff\n")
    assert main(["chat", "--url", url, "--max-tokens", "5"]) == 0
    out, err = capsys.readouterr()
    assert out == "word word word word word\n\n\\x1b[2J and on\n"
    assert "(cut: --max-tokens" in err and "(the model declines: No.)" in err and "not UTF-8" in err


def test_a_model_in_this_process_answers_the_same_again(monkeypatch, capsys) -> None:
    answers = []
    for _ in range(2):
        typed(monkeypatch, "one\ntwo\n")
        assert main(["chat", str(TINY), "--max-tokens", "8", "--precision", "fp32"]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] and answers[0].strip()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "name a model"),
        ("/no/where", "/no/where: there is no such folder"),
        ("a --beside a", "--beside a: is the same model"),
        ("a --prompts b", "--prompts and --out go together"),
        ("a --limit 3", "--limit 3"),
        ("a --temperature -1", "--temperature -1"),
        ("a --temperature nan", "--temperature nan"),
        ("a --top-p 0", "--top-p 0"),
        ("a --max-tokens 0", "--max-tokens 0"),
        ("--url nowhere", "is not a server's URL"),
        ("--url http://127.0.0.1:9/v1", "cannot reach"),
        ("m --url http://127.0.0.1:9/v1 --precision fp32", "--device and --precision"),
        ("a --prompts {empty} --out {out}", "empty.jsonl"),
        ("a --prompts {gone} --out {out}", "gone.jsonl"),
        ("a --prompts {empty} --out {folder}", "it is a directory"),
        ("a --prompts {empty} --out {empty}/x", "nothing can be written in"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(words, message, tmp_path, monkeypatch, capsys) -> None:
    typed(monkeypatch, "")
    (tmp_path / "empty.jsonl").touch()
    names = {"empty": tmp_path / "empty.jsonl", "gone": tmp_path / "gone.jsonl", "out": tmp_path / "out.jsonl"}
    assert main(["chat", *words.format(folder=tmp_path, **names).split()]) == 2
    err = capsys.readouterr().err
    assert message in err.splitlines()[-1] and "Traceback" not in err


def prompts_file(folder: Path) -> Path:
    path = folder / "prompts.jsonl"
    turns = [{"role": "system", "content": "Own."}, {"role": "user", "content": "three"}]
    rows = [{"prompt": "one"}, {"prompt": "two"}, {"prompt": turns}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_answers_to_a_file_are_compared_by_what_the_package_has(url, server, tmp_path, capsys) -> None:
    prompts, out = prompts_file(tmp_path), tmp_path / "answers.jsonl"
    words = ["chat", "m", "--url", url, "--beside", str(TINY), "--prompts", str(prompts), "--out", str(out)]
    words += ["--system", "Be brief.", "--max-tokens", "8", "--precision", "fp32"]
    assert main(words) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["author"] for row in rows[:2]] == [f"m at {url}", str(TINY)] and len(rows) == 6
    assert [message["content"] for message in rows[4]["prompt"]] == ["Own.", "three"]
    assert [message["content"] for message in rows[0]["prompt"]] == ["Be brief.", "one"]
    assert rows[0]["answer"] == "You said one."
    before, asked = out.read_bytes(), len(server.bodies)
    assert main(words) == 0
    assert out.read_bytes() == before and len(server.bodies) == asked  # all is kept
    rankings = tmp_path / "rankings.jsonl"
    capsys.readouterr()
    assert (
        main(["evaluate", "rank", str(out), "--judge", str(TINY), "--out", str(rankings), "--precision", "fp32"]) == 0
    )
    assert len(rankings.read_text().splitlines()) == 3
    assert main([*words[:-2], "--temperature", "0"]) == 2  # begun with another
    assert "temperature" in capsys.readouterr().err


def test_a_model_that_answers_nothing_is_no_success(tmp_path, capsys) -> None:
    prompts, out = prompts_file(tmp_path), tmp_path / "answers.jsonl"
    words = ["--prompts", str(prompts), "--out", str(out), "--max-tokens", "8"]
    with chat_server(lambda question, count: Reply(None, refusal="No."), "") as server:
        assert main(["chat", "m", "--url", server.url, "--beside", str(TINY), *words]) == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert f"answered none of 3 prompts (it is not asked again while {out}.done is there); the first: the model" in last
    assert lines[-1] == f"The answers are {out}" and len(out.read_text().splitlines()) == 3


MOMUS = [sys.executable, "-m", "momus", "chat"]


def test_a_reader_that_has_gone_is_no_error(url) -> None:
    command = f"(yes | {' '.join(MOMUS)} --url {url}; echo code $? >&2) | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout == "You said y.\n" and done.stderr.splitlines() == ["code 0"]


def test_a_person_types_stops_an_answer_and_ends(server, url) -> None:
    def slow(question: str, before: int) -> str:
        time.sleep(30 if question == "slow" else 0)
        return f"You said {question}."

    server.say = slow
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*MOMUS, "--url", url], stdin=child, stdout=child, stderr=child, start_new_session=True, close_fds=True
    )
    os.close(child)
    shown = ""

    def until(text: str) -> None:
        nonlocal shown
        end = time.monotonic() + 60
        while text not in shown and time.monotonic() < end:
            shown += os.read(parent, 4096).decode()
        assert text in shown, shown
        shown = shown.partition(text)[2]

    try:
        until("> ")
        os.write(parent, b"hello\n")
        until("You said hello.")
        until("> ")
        os.write(parent, b"slow\n")
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        until("(stopped)")
        until("> ")
        os.write(parent, b"again\n")
        until("You said again.")
        until("> ")
        os.write(parent, b"\x04")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(parent)
