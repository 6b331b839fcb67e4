"""Critics that need no model: a random line, silence, and ruff."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from momus.critique import Comment, Critique, Span, quotable
from momus.errors import UserError
from momus.files import scratch_directory
from momus.records import Tamper
from momus.tamper.truth import judge

RUFF_RULES = "E,F,B,PL,SIM,RET,UP,C4,A,ERA"
# An answer is cut out of its module, so its imports are missing by construction (F821); the length of lines
# and the use of plain numbers are matters of configuration.
RUFF_IGNORED = "F821,E501,PLR2004"

_DEFINITIONS = ("def ", "async def ", "class ", "@")


def random_line(tampers: Sequence[Tamper], seed: int = 0) -> list[Critique]:
    """Return one comment on a random line of every answer; no comment where there is no line to choose."""
    rng = np.random.default_rng(seed)
    critiques = []
    for tamper in tampers:
        comments = line_comments(tamper.answer)
        chosen = (comments[int(rng.integers(len(comments)))],) if comments else ()
        critiques.append(Critique(comments=chosen))
    return critiques


def chance_rate(tamper: Tamper) -> float:
    """Return the share of a tamper's bugs that a random line is expected to catch, exactly.

    It is the mean over all lines `random_line` chooses from; NaN for an answer without bugs.
    """
    if not tamper.bugs:
        return float("nan")
    comments = line_comments(tamper.answer)
    located = [judge(Critique(comments=(comment,)), tamper).located for comment in comments]
    return sum(located) / (len(comments) * len(tamper.bugs)) if comments else 0.0


def line_comments(answer: str) -> list[Comment]:
    """Return a comment without content on every line that is neither blank nor a definition or decorator.

    Where a line's text occurs earlier in the answer its highlight grows upwards until it is unambiguous.
    """
    comments = []
    position = 0
    for line in answer.split("\n"):
        if line.strip() and not line.lstrip().startswith(_DEFINITIONS):
            comments.append(_quoting(answer, position, line, "This line looks wrong."))
        position += len(line) + 1
    return comments


def ruff(tampers: Sequence[Tamper]) -> list[Critique]:
    """Return ruff's findings on every answer as critiques, from one run of the program.

    Each finding quotes its first line and says "`CODE`: message". Answers are dedented first, so that methods
    parse; an answer that still does not parse gets no comments.

    Raises:
        UserError: ruff is not installed, or fails.
    """
    if not tampers:
        return []
    program = _find_ruff()
    names = [f"answer_{i:06d}.py" for i in range(len(tampers))]
    texts = [textwrap.dedent(tamper.answer) + "\n" for tamper in tampers]
    with scratch_directory(dict(zip(names, texts, strict=True))) as folder:
        options = ["--isolated", "--no-cache", "--exit-zero", "--quiet", "--target-version", "py311"]
        rules = ["--select", RUFF_RULES, "--ignore", RUFF_IGNORED, "--output-format", "json"]
        command = [program, "check", *options, *rules, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        raise UserError(f"ruff failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    findings_of: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for finding in json.loads(done.stdout):
        findings_of[Path(finding["filename"]).name].append(finding)
    return [
        Critique(comments=_comments(findings_of[name], tamper.answer))
        for name, tamper in zip(names, tampers, strict=True)
    ]


def _comments(findings: list[dict[str, Any]], answer: str) -> tuple[Comment, ...]:
    lines = answer.split("\n")
    starts = np.cumsum([0, *(len(line) + 1 for line in lines)]).tolist()
    comments: dict[tuple[int, str], Comment] = {}
    for finding in sorted(findings, key=lambda f: (f["location"]["row"], str(f["code"]))):
        row, code = finding["location"]["row"] - 1, finding["code"]
        if not code or code in ("E999", "invalid-syntax") or row >= len(lines) or not lines[row].strip():
            continue
        text = f"`{code}`: {' '.join(finding['message'].split())}"
        comments.setdefault((row, code), _quoting(answer, starts[row], lines[row], text))
    return tuple(comments.values())


def _quoting(answer: str, position: int, line: str, text: str) -> Comment:
    span = quotable(Span(position, position + len(line)), answer)
    return Comment(highlight=answer[span.start : span.end], text=text, span=span)


def _find_ruff() -> str:
    beside = Path(sys.prefix, "bin", "ruff")
    program = str(beside) if beside.is_file() else shutil.which("ruff")
    if program is None:
        raise UserError("the ruff baseline needs ruff, which is not installed: pip install ruff")
    return program
