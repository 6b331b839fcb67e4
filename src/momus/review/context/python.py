"""Context of Python functions: looked up by jedi in a process of its own, which is ended when it takes too long."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from momus.errors import UserError
from momus.files import scratch_directory
from momus.review.context.snippets import Snippet, cut_snippet
from momus.review.files import Source
from momus.review.units import Unit

SECONDS = 60
"""Processor time, and time by the clock, for all of a review's functions together."""

MEMORY = 2 << 30
"""Bytes of address space."""


def look_up_python(root: Path, functions: Sequence[tuple[Source, Unit]]) -> list[tuple[Snippet, ...]]:
    """Return for each function what it calls, who calls it and which tests name it, as far as it was found in time.

    Args:
        root: Of the repository, resolved; nothing outside it is quoted.
        functions: Of Python files.

    Raises:
        UserError: jedi is not installed.
    """
    from importlib.util import find_spec

    if find_spec("jedi") is None:
        raise UserError("context is looked up with jedi: pip install 'momus[review]'")
    request = {
        "root": str(root),
        "seconds": SECONDS,
        "memory": MEMORY,
        "functions": [
            {
                "path": str(source.path.resolve()),
                "text": source.text,
                "first": unit.lines[0],
                "last": unit.lines[-1],
            }
            for source, unit in functions
        ],
    }
    snippets: list[tuple[Snippet, ...]] = [()] * len(functions)
    with scratch_directory() as cache:
        answers = _ask(json.dumps({**request, "cache": str(cache)}))
    for line in answers.splitlines():
        answer = json.loads(line)
        snippets[answer["function"]] = tuple(s for place in answer["found"] if (s := _snippet(root, place)))
    return snippets


def _ask(request: str) -> str:
    """Run the child; what it had answered when its time was over counts."""
    child = Path(__file__).with_name("jedi_child.py")
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(child)],
            input=request.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
        output = done.stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
    complete, _, _ = output.decode("utf-8", "replace").rpartition("\n")
    return complete


def _snippet(root: Path, place: dict[str, Any]) -> Snippet | None:
    path = Path(place["path"])
    try:
        relative = path.resolve().relative_to(root)
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError):
        return None
    text = cut_snippet(lines, place["first"], place["last"])
    return Snippet(place["kind"], relative.as_posix(), place["first"], place["name"], text) if text.strip() else None
