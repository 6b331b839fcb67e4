"""What the embedded model reads: prompts of its own plain format, short because every token costs it.

A critique prompt is the question, the answer in a fence, and nothing more; the critique follows and ends with
the end-of-sequence token. A judge prompt adds one claim and asks whether it is right, to be answered with A
(right) or B (wrong).
"""

from __future__ import annotations

import json
from pathlib import Path

from momus.critique import FENCE
from momus.records import Tamper, Task

OPEN_QUOTE = f"{FENCE}\n"
"""What forces a critique to quote: the start of a highlight."""

RIGHT, WRONG = "A", "B"

CRITIC_MARK = "momus_critic"
"""In a model's config.json: it was trained to continue critique prompts."""
POINTER_FILE = "pointer.safetensors"
"""In a model's folder: the pointer of a critic."""


def is_trained_critic(model: str | Path) -> bool:
    """Return whether a model's folder is marked as that of a critic trained on critique prompts, or has a pointer."""
    folder = Path(model)
    if (folder / POINTER_FILE).is_file():
        return True
    if not (folder / "config.json").is_file():  # a pipe would be waited for
        return False
    try:
        return json.loads((folder / "config.json").read_bytes()).get(CRITIC_MARK) is True
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def critique_prompt(question: str, answer: str) -> str:
    """Return the text that a critique of `answer` continues."""
    head = f"# {question}\n" if question else ""
    return f"{head}{FENCE}python\n{answer}\n{FENCE}\n"


def judge_suffix(quote: str, text: str) -> str:
    """Return what follows a critique prompt to ask whether one comment is right; the answer is `RIGHT` or `WRONG`."""
    return f"Claim:\n{FENCE}\n{quote}\n{FENCE}\n{text}\nRight (A) or wrong (B)?\n"


def prompt_of(task: Task | Tamper) -> str:
    """Return the critique prompt of a task's answer, or of a tamper's tampered answer."""
    if isinstance(task, Tamper):
        return critique_prompt(task.task.question, task.answer)
    return critique_prompt(task.question, task.answer)
