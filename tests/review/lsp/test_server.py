"""`momus lsp` in a process of its own, spoken to by a client: saves, cancelling, actions, columns, settings."""

import asyncio
import json
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types
from pygls.lsp.client import LanguageClient
from pygls.workspace import PositionCodec

from momus.errors import UserError
from momus.review.findings import Finding
from momus.review.lsp.diagnostics import actions_for, diagnostic_of, range_of
from momus.review.lsp.settings import Settings, read_settings
from support.chat_server import chat_server

CODE = "def mean(values):\n    total = sum(values)  # 🙂\n    return total / len(values)\n"


def _say(question, count):
    if "len(values)" not in question:
        return '{"comments": []}'
    comment = {"line": 3, "quote": "return total / len(values)", "severity": "error"}
    comment["problem"] = "Should be `return total / max(1, len(values))`: fails for an empty list."
    return json.dumps({"comments": [comment]})


class _Client(LanguageClient):
    def __init__(self):
        super().__init__("test", "1")
        self.published, self.messages, self.logged, self.progress = (asyncio.Queue() for _ in range(4))
        self.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(lambda params: self.published.put_nowait(params))
        self.feature(types.WINDOW_SHOW_MESSAGE)(lambda params: self.messages.put_nowait(params))
        self.feature(types.WINDOW_LOG_MESSAGE)(lambda params: self.logged.put_nowait(params))
        self.feature(types.PROGRESS)(lambda params: self.progress.put_nowait(params))
        self.feature(types.WINDOW_WORK_DONE_PROGRESS_CREATE)(lambda params: None)

    def open(self, path, text):
        item = types.TextDocumentItem(path.as_uri(), "python", 1, text)
        self.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def save(self, path):
        self.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(path.as_uri())))

    def edit(self, path, text, version):
        change = types.TextDocumentContentChangeWholeDocument(text)
        document = types.VersionedTextDocumentIdentifier(version, path.as_uri())
        self.text_document_did_change(types.DidChangeTextDocumentParams(document, [change]))

    async def diagnostics(self):
        return await asyncio.wait_for(self.published.get(), 60)

    async def actions(self, path, line):
        place = types.Range(types.Position(line, 0), types.Position(line, 0))
        return await self.text_document_code_action_async(
            types.CodeActionParams(
                types.TextDocumentIdentifier(path.as_uri()), place, types.CodeActionContext(diagnostics=[])
            )
        )


@asynccontextmanager
async def _client(folder, *options, capabilities=None):
    client = _Client()
    await client.start_io(sys.executable, "-m", "momus", "lsp", *options)
    await client.initialize_async(
        types.InitializeParams(capabilities or types.ClientCapabilities(), root_uri=folder.as_uri(), process_id=None)
    )
    client.initialized(types.InitializedParams())
    try:
        yield client
    finally:
        await client.shutdown_async(None)
        client.exit(None)
        await client.stop()


def _path(tmp_path, text=CODE, name="code.py"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_saved_file_gets_diagnostics_and_actions(tmp_path):
    async def run(url):
        path = _path(tmp_path)
        async with _client(tmp_path, "--url", url, "--model", "m") as client:
            client.open(path, CODE)
            client.save(path)
            published = await client.diagnostics()
            (found,) = published.diagnostics
            assert (published.uri, published.version) == (path.as_uri(), 1)
            assert (found.range.start, found.range.end) == (types.Position(2, 4), types.Position(2, 30))
            assert (found.severity, found.source) == (types.DiagnosticSeverity.Error, "momus")
            assert found.message.endswith("fails for an empty list.") and found.code
            replace, dismiss = await client.actions(path, 2)
            (edit,) = replace.edit.changes[path.as_uri()]
            assert edit.new_text == "    return total / max(1, len(values))"
            (edit,) = dismiss.edit.changes[path.as_uri()]
            assert (edit.new_text, edit.range.start.line) == ("    # momus: ignore[not a problem]\n", 2)
            assert not await client.actions(path, 0)
            client.edit(path, CODE.replace("    return", f"{edit.new_text}    return"), 2)
            client.save(path)
            assert not (await client.diagnostics()).diagnostics
            client.edit(path, CODE, 3)
            client.save(path)
            assert len((await client.diagnostics()).diagnostics) == 1
            client.edit(path, CODE.replace("len(values)", "len(xs)"), 4)
            assert not await client.actions(path, 2)
            client.text_document_did_close(
                types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(path.as_uri()))
            )
            assert not (await client.diagnostics()).diagnostics

    with chat_server(_say, "def ") as server:
        asyncio.run(run(server.url))


MANY = "\n\n".join(f"def f{i}(values):\n    return {i} / sum(values)\n" for i in range(40))


def _slowly(asked):
    """Return a model that takes its time for each of many functions, and keeps what it was asked."""

    def say(question, count):
        asked.append(question)
        time.sleep(0.1)
        return _say(question, count)

    return say


def test_a_newer_save_ends_the_review_of_the_older_one(tmp_path):
    asked = []

    async def run(url):
        path = _path(tmp_path, MANY)
        async with _client(tmp_path, "--url", url, "--model", "m") as client:
            client.open(path, MANY)
            client.save(path)
            while not asked:
                await asyncio.sleep(0.02)
            client.edit(path, CODE, 2)
            client.save(path)
            published = await client.diagnostics()
            assert published.version == 2 and len(published.diagnostics) == 1
            assert client.published.empty() and len(asked) < 30

    with chat_server(_slowly(asked), "def ") as server:
        asyncio.run(run(server.url))


def test_what_cannot_be_reviewed_is_logged_and_the_server_lives_on(tmp_path):
    async def run(url):
        path = _path(tmp_path)
        async with _client(tmp_path, "--url", url, "--model", "m") as client:
            for name, text, words in [
                ("a.py", "def f(:\n", "a.py:1: syntax error"),
                ("b.py", "\n", "b.py: the file is"),
            ]:
                broken = _path(tmp_path, text, name)
                client.open(broken, text)
                client.save(broken)
                assert not (await client.diagnostics()).diagnostics
                assert words in (await asyncio.wait_for(client.logged.get(), 60)).message
            client.open(path, CODE)
            client.save(path)
            assert len((await client.diagnostics()).diagnostics) == 1
            assert client.messages.empty()

    with chat_server(_say, "def ") as server:
        asyncio.run(run(server.url))


def test_what_goes_wrong_with_the_critic_is_shown_once(tmp_path):
    async def run():
        path = _path(tmp_path)
        async with _client(tmp_path, "--model", str(tmp_path / "none")) as client:
            client.open(path, CODE)
            for _ in range(2):
                client.save(path)
                assert not (await client.diagnostics()).diagnostics
            assert "none" in (await asyncio.wait_for(client.messages.get(), 60)).message
            assert client.messages.empty()

    asyncio.run(run())


@pytest.mark.parametrize("on_disk", [b"", b"def f(:", b"\xff", None])
def test_what_was_saved_is_reviewed_whatever_the_disk_holds_by_then(tmp_path, on_disk):
    """An editor may be writing the file again, or in another encoding."""
    code = f"# coding: latin-1\n\x0c\n{CODE}".replace("\n", "\r\n")

    async def run(url):
        path = tmp_path / "code.py"
        if on_disk is not None:
            path.write_bytes(on_disk)
        async with _client(tmp_path, "--url", url, "--model", "m") as client:
            client.open(path, code)
            client.save(path)
            (found,) = (await client.diagnostics()).diagnostics
            assert found.range.start.line == 4
            replace, _ = await client.actions(path, 4)
            assert replace.title.startswith("Replace by: return total / max(")

    with chat_server(_say, "def ") as server:
        asyncio.run(run(server.url))


def test_a_review_is_shown_and_can_be_cancelled(tmp_path):
    asked = []

    async def run(url):
        path = _path(tmp_path, MANY)
        capabilities = types.ClientCapabilities(window=types.WindowClientCapabilities(work_done_progress=True))
        async with _client(tmp_path, "--url", url, "--model", "m", capabilities=capabilities) as client:
            client.open(path, MANY)
            client.save(path)
            begun = await asyncio.wait_for(client.progress.get(), 60)
            assert begun.value["title"] == "Momus reviews code.py" and begun.value["cancellable"]
            while not asked:
                await asyncio.sleep(0.02)
            client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(begun.token))
            ended = await asyncio.wait_for(client.progress.get(), 60)
            assert (ended.token, ended.value["kind"]) == (begun.token, "end")
            assert client.published.empty() and len(asked) < 30
            client.edit(path, CODE, 2)
            client.save(path)
            assert len((await client.diagnostics()).diagnostics) == 1
            kinds = [(await asyncio.wait_for(client.progress.get(), 60)).value["kind"] for _ in range(2)]
            assert kinds == ["begin", "end"]

    with chat_server(_slowly(asked), "def ") as server:
        asyncio.run(run(server.url))


def test_the_project_decides_what_is_read_and_which_decisions_count(tmp_path):
    async def run(url):
        settings = tmp_path / "pyproject.toml"
        path = _path(tmp_path)
        async with _client(tmp_path, "--url", url, "--model", "m") as client:
            client.open(path, CODE)
            found = []
            for text in ('exclude = ["code*"]', 'exclude = ["other.py"]', "confidence = 2"):
                settings.write_text(f"[tool.momus]\n{text}\n")
                client.save(path)
                found.append(len((await client.diagnostics()).diagnostics))
            assert found == [0, 1, 1]  # the command has named the critic, and so its setting

    with chat_server(_say, "def ") as server:
        asyncio.run(run(server.url))


def test_the_project_names_the_critic(tmp_path):
    async def run(url):
        (tmp_path / "pyproject.toml").write_text(f'[tool.momus]\nurl = "{url}"\nmodel = "m"\n')
        path = _path(tmp_path)
        async with _client(tmp_path) as client:
            client.open(path, CODE)
            client.save(path)
            assert len((await client.diagnostics()).diagnostics) == 1

    with chat_server(_say, "def ") as server:
        asyncio.run(run(server.url))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('url = "https://elsewhere.example/v1"', "another machine"),
        ("samples = true", "samples: must be int"),
        ('confidence = "high"', "confidence: must be int or float"),
        ("model = ", "pyproject.toml"),
    ],
)
def test_settings_of_a_project_are_checked(tmp_path, text, words):
    (tmp_path / "pyproject.toml").write_text(f"[tool.momus]\n{text}\n")
    with pytest.raises(UserError, match=words):
        read_settings(tmp_path)


def test_settings_of_a_project(tmp_path):
    assert Settings.of_project(read_settings(tmp_path)) == Settings()
    text = '[tool.momus]\nfalse-alarms = 0.2\ncalibration = "c.json"\nexclude = ["docs"]\n'
    (tmp_path / "pyproject.toml").write_text(text)
    project = read_settings(tmp_path)
    assert (Settings.of_project(project), project.exclude) == (
        Settings(false_alarms=0.2, calibration="c.json"),
        ("docs",),
    )


_LINE = st.text(st.characters(exclude_characters="\n\r", exclude_categories=("Cs",)), max_size=20)


@given(st.lists(_LINE, min_size=1, max_size=5), st.data())
def test_columns_are_those_of_utf_16(lines, data):
    first = data.draw(st.integers(1, len(lines)))
    last = data.draw(st.integers(first, len(lines)))
    place = range_of(first, last, lines, PositionCodec())
    start = lines[first - 1].encode("utf-16-le")[: 2 * place.start.character].decode("utf-16-le")
    end = lines[last - 1].encode("utf-16-le")[: 2 * place.end.character].decode("utf-16-le")
    assert lines[first - 1] == start + lines[first - 1].lstrip()
    assert end == lines[last - 1].rstrip()


def test_a_replacement_covers_its_whole_lines():
    lines = ["  x = '🙂🙂'  # é", "y"]
    finding = Finding(1, 1, "f", lines[0], "No.", replacement="  x = 1")
    replace, dismiss = actions_for(finding, lines, lines, "file:///a.py", PositionCodec(), "#")
    (edit,) = replace.edit.changes["file:///a.py"]
    assert (edit.range.start.character, edit.range.end.character) == (0, len(lines[0]) + 2)
    assert dismiss.edit.changes["file:///a.py"][0].new_text == "  # momus: ignore[not a problem]\n"
    assert diagnostic_of(finding, lines, PositionCodec()).range.end.character == len(lines[0]) + 2


def test_the_server_needs_no_torch():
    import subprocess

    program = (
        "import sys, momus.review.lsp.server; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent)


def test_a_project_that_sends_code_elsewhere_is_one_short_line(tmp_path):
    (tmp_path / "pyproject.toml").write_text(f'[tool.momus]\nurl = "http://{"a" * 5000}"\n')
    with pytest.raises(UserError, match="is another machine") as refused:
        read_settings(tmp_path)
    assert len(str(refused.value)) < 500
