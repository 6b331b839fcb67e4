"""What the documentation shows to be run: code blocks of Markdown files, and `momus` command lines in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(r"^( *)(```+)([^\n`]*)\n(.*?)^\1\2 *$|((?:^    .*\n)+)", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^[$ ]*(?:accelerate launch .*? -m )?momus (?=\S)|^[$ ]*make demo DEMO_ARGS=")
_ASSIGNED = re.compile(r"""^[$ ]*(\w+)=(?:"([^"]*)"|\(([^)]*)\))""", re.MULTILINE)
_SHELL = {"|", "||", "&&", "&", ";", ">", ">>", "<", "2>&1"}


@dataclass(frozen=True)
class Block:
    """A code block: its page, the line it begins on, what follows the fence, and its text."""

    page: Path
    line: int
    info: str
    text: str

    @property
    def place(self) -> str:
        """Where it stands, for the name of a test."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class CommandLine:
    """A `momus` command: its words without the first, and whether some were left out: with an ellipsis, or in prose."""

    place: str
    words: tuple[str, ...]
    elided: bool


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced and the indented code blocks of a Markdown file."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        indent, _, info, fenced, indented = found.groups()
        body = indented if fenced is None else re.sub(f"^{indent}", "", fenced, flags=re.MULTILINE)
        yield Block(page, text.count("\n", 0, found.start()) + 1, (info or "").strip(), body)


def inline_code(page: Path) -> Iterator[Block]:
    """Yield the code spans of a Markdown file's prose, each with the line it begins on."""
    text = page.read_text(encoding="utf-8")
    prose = _BLOCK.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    for found in re.finditer(r"`([^`]+)`", prose):
        yield Block(page, text.count("\n", 0, found.start()) + 1, "inline", " ".join(found[1].split()))


def command_lines(block: Block) -> Iterator[CommandLine]:
    """Yield the `momus` commands of a block or shell script, the block's own variables filled in."""
    text = block.text.replace("\\\n", " ")
    for name, quoted, array in _ASSIGNED.findall(text):
        text = re.sub(rf'"?\$\{{{name}\[@\]\}}"?|\${name}\b', lambda _, value=quoted or array: value, text)
    for line in text.splitlines():
        found = _COMMAND.match(line)
        if not found:
            continue
        rest = line[found.end() :]
        words = shlex.split(rest, comments=True)
        if "DEMO_ARGS" in found[0]:
            words = ["demo", *shlex.split(words[0])]
        end = next((i for i, word in enumerate(words) if word in _SHELL), len(words))
        kept = [
            word
            for before, word in zip(["", *words], words[:end], strict=False)
            if word not in ("…", "...") or before.startswith("--")
        ]
        yield CommandLine(f"{block.place}: momus {rest}", tuple(kept), len(kept) < end or block.info == "inline")
