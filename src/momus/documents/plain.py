"""Text and Markdown files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from momus.documents.blocks import Block, Blocks, Hint
from momus.documents.limits import Limits
from momus.errors import UserError

_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)(?:---|\.\.\.)\n", re.DOTALL)
_TITLE = re.compile(r"^title:\s*[\"']?(.+?)[\"']?\s*$", re.MULTILINE)
_RULE = re.compile(r"[=\-_*~#]{3,}\s*")
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def decode(path: Path, data: bytes) -> str:
    """Return a file's text: UTF-8, UTF-16 with a byte-order mark, or Korean Windows (CP949); newlines plain.

    Raises:
        UserError: It is none of them.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    for name in (encoding,) if encoding else ("utf-8", "cp949"):
        try:
            text = data.decode(name)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        return text.replace("\r\n", "\n").replace("\r", "\n")
    raise UserError(f"{path}: not text that can be read: save it as UTF-8")


def read_text(path: Path, limits: Limits) -> Blocks:
    """Read plain text: a blank line ends a paragraph, a line under a line of dashes or the like is a heading."""
    text = _text(path, limits)
    blocks: list[Block] = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line.strip() for line in paragraph.splitlines() if line.strip()]
        if len(lines) > 1 and _RULE.fullmatch(lines[1]):
            blocks.append(Block(lines[0], hint="heading", level=1))
            lines = lines[2:]
        lines = [line for line in lines if not _RULE.fullmatch(line)]
        if lines:
            blocks.append(Block(" ".join(lines)))
    return Blocks("text", tuple(blocks))


def read_markdown(path: Path, limits: Limits) -> Blocks:
    """Read Markdown (CommonMark with tables): its headings, paragraphs, list items, code and quotes."""
    from markdown_it import MarkdownIt

    text = _text(path, limits)
    front = _FRONT_MATTER.match(text)
    said = _TITLE.search(front.group(1)) if front else None
    tokens = MarkdownIt("commonmark").enable("table").parse(text[front.end() :] if front else text)
    blocks: list[Block] = [Block(said.group(1), hint="title")] if said else []
    hint: Hint = "paragraph"
    level = item = 0
    for token in tokens:
        if token.type == "heading_open":
            hint, level = "heading", int(token.tag[1])
        elif token.type == "heading_close":
            hint, level = "paragraph", 0
        elif token.type == "list_item_open":
            item = 1
        elif token.type in ("fence", "code_block") and token.content.strip():
            blocks.append(Block(token.content.rstrip(), hint="paragraph"))
        elif token.type == "inline":
            words = _plain(token.children or [])
            if words:
                blocks.append(Block(f"- {words}" if item else words, hint=hint, level=level))
            item = 0
    return Blocks("markdown", _titled(blocks))


def _titled(blocks: list[Block]) -> tuple[Block, ...]:
    """Take a single heading of the first level that comes first for the title; captions are left to their form."""
    tops = [index for index, block in enumerate(blocks) if block.hint == "heading" and block.level == 1]
    if tops == [0] and not any(block.hint == "title" for block in blocks):
        blocks[0] = Block(blocks[0].text, hint="title")
    return tuple(blocks)


def _plain(children: Sequence[object]) -> str:
    """Return inline Markdown as text: what is shown, and what stands for pictures."""
    parts = []
    for child in children:
        kind = getattr(child, "type", "")
        if kind in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif kind in ("text", "code_inline", "image"):
            parts.append(str(getattr(child, "content", "")))
    return " ".join("".join(parts).split())


def _text(path: Path, limits: Limits) -> str:
    text = decode(path, path.read_bytes())
    if len(text) > limits.characters:
        raise UserError(f"{path}: more than {limits.characters:,} characters of text: too long")
    return text
