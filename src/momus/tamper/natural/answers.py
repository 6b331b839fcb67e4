"""Asking a model for answers to problems, and reading the code out of what it writes."""

from __future__ import annotations

import re

from momus.lm.chats.protocol import Question
from momus.tamper.natural.problems import Problem

_FENCE = re.compile(r"```[^\n`]*\n(.*?)(?:\n```|\Z)", re.DOTALL)

_ASK = """{text}

The code must pass this test, and others like it:
```python
{test}
```
Answer with one block of Python code and nothing else: no tests, no explanation."""


def question(problem: Problem, sample: int, temperature: float, seed: int) -> Question:
    """Return the question for one answer; the first test alone is shown, so that the others can find something."""
    text = _ASK.format(text=problem.text, test=problem.tests[0])
    return Question.of(text, max_tokens=384, temperature=temperature, key=(seed, sample))


def code_of(text: str) -> str:
    """Return the code of an answer: its first fenced block, or all of it where there is none."""
    block = _FENCE.search(text)
    return (block[1] if block else text).strip("\n").replace("\r\n", "\n").rstrip() + "\n"
