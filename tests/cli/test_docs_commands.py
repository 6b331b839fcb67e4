"""Every `momus` command line of the documentation and the examples is one that the parser takes."""

from __future__ import annotations

from itertools import chain

import pytest

from momus.cli import parse
from support.docs import PAGES, ROOT, Block, CommandLine, blocks, command_lines, inline_code

SCRIPTS = [
    Block(path, 1, "bash", path.read_text(encoding="utf-8")) for path in sorted((ROOT / "examples").glob("*.sh"))
]
CODE = [*chain.from_iterable((*blocks(page), *inline_code(page)) for page in PAGES), *SCRIPTS]
LINES = [line for block in CODE for line in command_lines(block)]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.place)
def test_command_line_in_docs_parses(line: CommandLine, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        parse(line.words)
    except SystemExit as stop:
        shown = capsys.readouterr()
        # Where words were left out, what is missing may be among them; what is there must be known all the same.
        assert stop.code == 0 or (line.elided and "Missing" in shown.err), shown.err
        assert "Unrecognized" not in shown.err


def test_command_lines_are_found() -> None:
    assert len(LINES) > 40
    assert {line.words[0] for line in LINES} >= {"review", "train", "rain", "overlap", "feedback", "demo"}


@pytest.mark.parametrize(
    ("text", "words", "elided"),
    [
        ("momus review src/ --json   # it's for machines", "review src/ --json", False),
        ("$ momus train ppo … --rollouts URL | tee log", "train ppo --rollouts URL", True),
        ("momus train rlhf --rankings … --prompts P", "train rlhf --rankings … --prompts P", False),
        ("common=(--json)\nmomus rain \\\n  \"${common[@]}\" --prompt 'a b'", "rain --json --prompt a b", False),
        ("accelerate launch --num_processes 8 -m momus train sft …", "train sft", True),
        ('make demo DEMO_ARGS="--preset smoke"', "demo --preset smoke", False),
    ],
)  # fmt: skip
def test_command_lines_are_read_as_a_shell_would(text: str, words: str, elided: bool) -> None:
    (line,) = command_lines(Block(ROOT / "README.md", 1, "", text))
    assert (" ".join(line.words), line.elided) == (words, elided)


def test_an_unknown_flag_in_docs_is_an_error() -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["review", "x.py", "--jsn"])
