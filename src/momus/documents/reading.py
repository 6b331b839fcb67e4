"""Reading a document of any known format, in a process of its own with little memory and time.

Documents come from strangers. Parsers of PDF and of packed XML have crashed, filled memory and run for ever on the
wrong file, so a child process does all the parsing; the system stops it at its limits, and whatever becomes of it, the
caller gets a document or one clear line. Where the system does not bound memory (macOS), a note with the text says it.
The child needs half a second to start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from momus.documents.document import Document
from momus.documents.limits import MB, Limits
from momus.errors import UserError

SUFFIXES = (".pdf", ".docx", ".hwpx", ".md", ".markdown", ".txt")

_PATIENCE = 4
"""Seconds by the clock for each of processor time: machines are busy."""


def read_document(path: Path, limits: Limits | None = None) -> Document:
    """Read a PDF, DOCX, HWPX, Markdown or text file.

    Args:
        path: The file.
        limits: What the child process that reads it may use; by default as `Limits` says.

    Returns:
        Its title, sections, paragraphs and captions, and notes that say what was left out.

    Raises:
        UserError: It is missing, of another format, broken, encrypted, without text, or needs more than the limits.
    """
    check_file(path, limits or Limits())
    answer = _child({"do": "read"}, path, limits or Limits())
    return Document.model_validate(answer["document"])


def draw(path: Path, folder: Path, most: int, limits: Limits | None = None) -> int:
    """Write pictures of the first pages of a PDF into a folder, as `1.jpg` and so on; returns how many.

    Raises:
        UserError: As `read_document`.
    """
    answer = _child({"do": "draw", "folder": str(folder), "most": most}, path, limits or Limits())
    return int(answer["drawn"])


def check_file(path: Path, limits: Limits) -> None:
    """Refuse a file that need not be opened to be refused.

    Raises:
        UserError: It is missing, no regular file, empty or too large.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.is_file():
        raise UserError(f"{path}: not a regular file: name one document")
    size = path.stat().st_size
    if not size:
        raise UserError(f"{path}: the file is empty")
    if size > limits.file_bytes:
        raise UserError(f"{path}: {size / MB:,.0f} MB: the limit is {limits.file_bytes // MB} MB")


def _child(job: Mapping[str, Any], path: Path, limits: Limits) -> dict[str, Any]:
    request = json.dumps({**job, "path": str(path), "limits": asdict(limits)})
    try:
        done = subprocess.run(
            # -P: the folder it is called in may be a stranger's, and hold a json.py
            [sys.executable, "-P", "-m", "momus.documents.child"],
            input=request.encode(),
            capture_output=True,
            timeout=_PATIENCE * limits.seconds,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{path}: not read after {_PATIENCE * limits.seconds} s: broken, or made to keep readers busy"
        ) from error
    if done.returncode == 0:
        answer: dict[str, Any] = json.loads(done.stdout)
        if "missing" in answer:
            raise ModuleNotFoundError(f"No module named {answer['missing']!r}", name=answer["missing"])
        if "error" in answer:
            raise UserError(answer["error"])
        return answer
    if done.returncode == -signal.SIGKILL:
        raise UserError(f"{path}: the system ended the reader: no memory was left, or the file keeps readers busy")
    if done.returncode == -signal.SIGXCPU:
        raise UserError(f"{path}: not read after {limits.seconds} s of work: broken, or made to keep readers busy")
    memory = f"{limits.memory_bytes // MB:,} MB"
    raise UserError(f"{path}: broken, or made to break readers: the reader crashed, or needed more than {memory}")
