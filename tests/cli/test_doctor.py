"""`momus doctor`: everything it prints is so, and a server that is not there is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import momus.lm.chats.messages  # its server is made of the one that a test replaces
import momus.lm.remote.server
from momus.cli import main
from momus.lm.remote.probe import CAPABILITIES, USES
from momus.sandbox import Attempt, NoCageError
from support.openai_server import OpenAIServer
from support.tiny import tiny_engine


def _no_cage() -> None:
    raise NoCageError("bubblewrap is not installed: apt install bubblewrap")


def test_the_machine_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shipped_weights"] == "ok"
    assert {"python", "torch", "devices", "memory"} <= found["machine"].keys()
    assert found["extras"]["remote"].keys() == {"httpx2", "tokenizers", "transformers"}
    assert found["extras"]["train"]["torch"] == found["machine"]["torch"]
    assert "server" not in found
    assert found["cage"]["holds"] == (not found["cage"]["why"]) == (len(found["cage"]["attempts"]) >= 20)


@pytest.mark.parametrize(
    ("cage", "words"),
    [
        (lambda: (Attempt("tcp", "connect over TCP", ""), Attempt("clock", "set the clock", "it was set")), "not run"),
        (_no_cage, "apt install bubblewrap"),
    ],
)
def test_the_cage_is_described(
    cage: Callable[[], Any], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("momus.cli.doctor._shipped", lambda: "ok")
    monkeypatch.setattr("momus.sandbox.check_cage", cage)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert words in " ".join(shown.split())
    assert ("escaped: it was set" in shown) == (words == "not run")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_server_is_described(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = OpenAIServer(tiny_engine(spread=0.1), echo=False)
    monkeypatch.setattr("momus.cli.doctor._shipped", lambda: "ok")
    monkeypatch.setattr("momus.sandbox.check_cage", lambda: (Attempt("tcp", "connect over TCP", ""),))
    monkeypatch.setattr(momus.lm.remote.server, "Server", lambda url, model, **_: server.server(model))
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["doctor", "--url", "http://momus.test/v1", *(["--json"] if as_json else [])]) == 0
    shown = capsys.readouterr().out
    if not as_json:
        assert all(title in shown and purpose in shown for title, purpose, _ in CAPABILITIES.values())
        assert "lacks log-probabilities of given text" in shown and "momus[remote]" in shown
        return
    found: dict[str, Any] = json.loads(shown)["server"]
    assert found["model"] == "tiny" and found["token_prompts"] is True and found["echo"] is False
    assert found["missing"] == {
        use: [CAPABILITIES["echo"].title] if "echo" in needs else [] for use, needs in USES.items()
    }
    assert found["latency"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "http://127.0.0.1:9/v1"], "cannot reach http://127.0.0.1:9/v1"),
        (["--url", "localhost"], "not a server's URL"),
        (["--model", "m"], "give its --url too"),
    ],
)
def test_a_server_that_cannot_be_reached_is_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("momus.cli.doctor._shipped", lambda: "ok")
    monkeypatch.setattr("momus.sandbox.check_cage", lambda: ())
    assert main(["doctor", *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1 and shown.out == ""


def test_every_use_needs_capabilities_that_exist() -> None:
    assert {need for needs in USES.values() for need in needs} <= CAPABILITIES.keys()
