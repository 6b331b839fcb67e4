"""The quickstart and the page on Python run as they stand: their own text, on small files and the embedded model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from momus.cli import main
from momus.lm.tiny import TINY
from support.chat_server import chat_server
from support.docs import ROOT, blocks, command_lines
from support.feedback import PAPER, answer
from support.papers import column, pdf
from support.samples import MEAN

QUESTIONS = [f"What is {number} + {number}?" for number in range(8)]
REVIEWS = [
    ("a", "r1", "person", "- The baseline is not described.\n- Forty documents are few.\n"),
    ("a", "r2", "person", "- Nobody says what the baseline is.\n- The title is long.\n"),
    ("a", "m", "model", "- The baseline is missing.\n"),
    ("b", "r1", "person", "- The figures cannot be read.\n"),
    ("b", "m", "model", "- The figures are too small to read.\n- The effect is small.\n"),
]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the files that the pages speak of, for both of them; it is the current one."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "src").mkdir()
    (folder / "src" / "mine.py").write_text(MEAN + "\n\ndef last(items):\n    return items[-1] if items else None\n")
    pairs = [(question, str(2 * number), str(2 * number + 1)) for number, question in enumerate(QUESTIONS)]
    write_lines(folder / "demonstrations.jsonl", [{"prompt": q, "completion": good} for q, good, _ in pairs])
    write_lines(folder / "rankings.jsonl", [{"prompt": q, "chosen": good, "rejected": bad} for q, good, bad in pairs])
    write_lines(folder / "prompts.jsonl", [{"prompt": question} for question in QUESTIONS])
    battles = [
        {
            "model_a": "ppo", "model_b": "sft", "winner": "tie" if number % 3 == 2 else "model_a", "judge": "p",
            "conversation_a": [{"role": "user", "content": q}, {"role": "assistant", "content": good}],
            "conversation_b": [{"role": "user", "content": q}, {"role": "assistant", "content": bad}],
            "question_id": str(number), "turn": 1,
        }
        for number, (q, good, bad) in enumerate(pairs)
    ]  # fmt: skip
    write_lines(folder / "battles.jsonl", battles)
    (folder / "text.txt").write_text("Numbers are added one by one.")
    (folder / "paper.md").write_text(PAPER)
    pdf(folder / "paper.pdf", [column([*PAPER.replace("#", "").splitlines()], 72, 700)])
    reviews = [dict(zip(("document", "reviewer", "kind", "text"), review, strict=True)) for review in REVIEWS]
    write_lines(folder / "reviews.jsonl", reviews)
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server with a model that gives feedback."""
    with chat_server(lambda *_: answer("paper"), "A small study") as server:
        yield server.url


def test_the_quickstart_runs_as_it_stands(folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"BASE": str(TINY), "MODEL": str(TINY), "NAME": "m", "http://localhost:8000/v1": url}
    lines = [line for block in blocks(ROOT / "docs" / "quickstart.md") for line in command_lines(block)]
    assert len(lines) > 15
    for line in lines:
        if line.words == ("--help",):
            continue
        code = main([given.get(word, word) for word in line.words])
        shown = capsys.readouterr()
        # Two functions are too few to promise much: that is said in one line, as the page says.
        refused = "--calibration" in line.words and "the least this critic can promise is" in shown.err
        assert code == (2 if refused else 0), f"{line.place}\n{shown.err}"


def test_the_python_page_runs_as_it_stands(folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It begins where the quickstart does: with data, and no model but the one that ships."""
    page = ROOT / "docs" / "python.md"
    found = [block for block in blocks(page) if block.info == "python"]
    assert len(found) == 6
    (folder / "python").mkdir()
    for name in ("demonstrations.jsonl", "rankings.jsonl", "prompts.jsonl", "text.txt", "paper.md"):
        (folder / "python" / name).symlink_to(folder / name)
    os.chdir(folder / "python")
    try:
        for block in found:
            code = block.text.replace("http://localhost:8000/v1", url).replace("NAME", "m")
            lines = [line for line in code.splitlines() if line.strip() and not line.startswith(("import", "from"))]
            assert len(lines) <= 12, f"{block.place}: a user's first lines are about ten"
            exec(compile("\n" * block.line + code, str(page), "exec"), {})
            assert capsys.readouterr().out
    finally:
        os.chdir(folder)
