"""Text and Markdown files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from momus.documents.limits import Limits
from momus.documents.readers.blocks import Block, Blocks, Hint
from momus.documents.readers.html import html_lines
from momus.errors import UserError

if TYPE_CHECKING:
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)(?:---|\.\.\.)\n", re.DOTALL)
_TITLE = re.compile(r"^title:\s*+(.+)", re.MULTILINE)
_BREAK = re.compile(r"</?(br|p|div|li|td|th|tr)\b", re.IGNORECASE)
_RULE = re.compile(r"[=\-_*~#]{3,}\s*")
_KOREAN = re.compile(r"[가-힣ㄱ-ㆎ、-】·‘’“”…―～！-～′″℃㎏-㎦①-⑮※○●□■△▲▽▼◇◆★☆→←↑↓×÷±≠≤≥]")
_WESTERN = re.compile(r"[À-ÖØ-öø-ÿŒœŠšŽžŸ‘’“”„‚‹›«»–—…•·°±²³¹¼½¾×÷§¶©®™€£¥¢ªº¿¡†‡‰ˆ˜´¨¸¬µƒ¦¤¯\xa0\xad]")
_THREE = re.compile(r"[À-ÖØ-öø-ÿŒœŠšŽžŸ]{3}")
_MISREAD = re.compile(r"[a-zß-öø-ÿ][À-ÖØ-ÞŠŽŸ]|[a-z][§ˆ€†‡][a-z]")
"""What is in no Western word, and in many whose text was written on an old Mac."""
_ESCAPES = re.compile(r"\x1b[$(]")
"""How texts in seven bits change their character set (ISO-2022: Japanese, Chinese and Korean mail)."""
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def decode(path: Path, data: bytes) -> str:
    """Return a file's text: UTF-8, UTF-16 with a byte-order mark, Korean or Western Windows; newlines plain.

    CP949 takes the letter after many a Western quotation mark for half of a Korean syllable, so it is believed only
    where the text then looks Korean, and Windows-1252 only where it looks Western.

    Raises:
        UserError: It is none of them.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    tests: dict[str, Callable[[str], bool]] = {"utf-8": lambda _: True, "cp949": _is_korean, "cp1252": _is_western}
    for name, holds in {encoding: lambda _: True}.items() if encoding else tests.items():
        try:
            text = data.decode(name)
        except UnicodeDecodeError:
            continue
        if "\0" in text or _ESCAPES.search(text):
            break
        if holds(text):
            return text.replace("\r\n", "\n").replace("\r", "\n")
    raise UserError(
        f"{path}: not text that can be read for certain (tried UTF-8, Korean CP949, Windows-1252): save it as UTF-8"
    )


def _is_korean(text: str) -> bool:
    """Whether what is beyond ASCII is Korean: common syllables, most of them side by side, and Korean marks."""
    beyond = [(place, character) for place, character in enumerate(text) if character > "\x7f"]
    syllables = sum("가" <= character <= "힣" and _is_common(character) for _, character in beyond)
    known = sum(_KOREAN.match(character) is not None for _, character in beyond)
    beside = sum(
        text[max(0, place - 1) : place] > "\x7f" or text[place + 1 : place + 2] > "\x7f" for place, _ in beyond
    )
    return known >= 0.9 * len(beyond) and 2 * syllables > len(beyond) and 2 * beside > len(beyond)


def _is_common(syllable: str) -> bool:
    """Whether a syllable is one of the 2,350 of KS X 1001, of which Korean texts are made but for a few."""
    try:
        return len(syllable.encode("euc_kr")) == 2
    except UnicodeEncodeError:
        return False


def _is_western(text: str) -> bool:
    """Whether what is beyond ASCII is Western European, and little of the text."""
    beyond = [character for character in text if character > "\x7f"]
    letters = sum(character.isalpha() for character in text if character <= "\x7f")
    return (
        3 * len(beyond) <= letters
        and all(map(_WESTERN.match, beyond))
        and not (_THREE.search(text) or _MISREAD.search(text))
    )


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
    """Read Markdown (CommonMark with tables): headings, paragraphs, list items, code, quotes, and text in HTML."""
    from markdown_it import MarkdownIt

    text = _text(path, limits)
    front = _FRONT_MATTER.match(text)
    titled = _TITLE.search(front.group(1)) if front else None
    tokens = MarkdownIt("commonmark").enable("table").parse(text[front.end() :] if front else text)
    blocks: list[Block] = [Block(_unquoted(titled.group(1).rstrip()), hint="title")] if titled else []
    hint: Hint = "paragraph"
    level = item = 0
    hidden = False
    for token in tokens:
        if token.type == "heading_open":
            hint, level = "heading", int(token.tag[1])
        elif token.type == "heading_close":
            hint, level = "paragraph", 0
        elif token.type == "list_item_open":
            item = 1
        elif token.type in ("fence", "code_block") and token.content.strip():
            blocks.append(Block(token.content.rstrip(), hint="paragraph"))
        elif token.type == "html_block":
            lines, unseen = html_lines(token.content)
            blocks += [Block(line, hint="paragraph") for line in lines]
            hidden |= unseen
        elif token.type == "inline":
            words = _plain(token.children or [])
            if words:
                blocks.append(Block(f"- {words}" if item else words, hint=hint, level=level))
            item = 0
    notes = ("comments, scripts or styles of its HTML were left out",) if hidden else ()
    return Blocks("markdown", _titled(blocks), notes=notes)


def _titled(blocks: list[Block]) -> tuple[Block, ...]:
    """Take a single heading of the first level that comes first for the title; captions are left to their form."""
    tops = [index for index, block in enumerate(blocks) if block.hint == "heading" and block.level == 1]
    if tops == [0] and not any(block.hint == "title" for block in blocks):
        blocks[0] = Block(blocks[0].text, hint="title")
    return tuple(blocks)


def _plain(children: Sequence[Token]) -> str:
    """Return inline Markdown as text: what is shown, and what stands for pictures."""
    parts = []
    for child in children:
        kind = child.type
        if kind in ("softbreak", "hardbreak") or (kind == "html_inline" and _BREAK.match(child.content)):
            parts.append(" ")
        elif kind in ("text", "code_inline", "image"):
            parts.append(child.content)
    return " ".join("".join(parts).split())


def _unquoted(title: str) -> str:
    """Return a title of a header without the quotes around it."""
    title = title[1:] if len(title) > 1 and title[0] in "\"'" else title
    return title[:-1] if len(title) > 1 and title[-1] in "\"'" else title


def _text(path: Path, limits: Limits) -> str:
    text = decode(path, path.read_bytes())
    if len(text) > limits.characters:
        raise UserError(f"{path}: more than {limits.characters:,} characters of text: too long")
    return text
