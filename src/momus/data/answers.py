"""Answers out of chat logs as CriticGPT takes them (arXiv 2407.00215): code in Python, without the words around it.

A response counts when at least half of its lines are Python; the answer is then its largest block of Python.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from typing import Literal

from markdown_it import MarkdownIt

from momus.records import Content, Demonstration, Message, Task

_NAMES = {"python", "py", "python3", "py3"}
_MARKDOWN = MarkdownIt("commonmark")


def python_answer(response: str) -> str | None:
    """Return the largest block of Python of a response at least half of whose lines are Python, else None.

    Blank lines and the fences do not count. A block is Python when its fence says so, or says nothing and the block
    parses as statements.
    """
    fences = [token for token in _MARKDOWN.parse(response) if token.type == "fence"]
    # An unclosed fence has one line of its own; its block ends with the response.
    closed = [token for token in fences if token.map and token.map[1] - token.map[0] > token.content.count("\n") + 1]
    blocks = [token.content for token in fences if _is_python(token.info, token.content)]
    if not blocks:
        return None
    counted = _lines(response) - len(fences) - len(closed)
    if 2 * sum(map(_lines, blocks)) < counted:
        return None
    return max(blocks, key=_lines).rstrip()


def code_of(answer: str) -> str | None:
    """Return the Python of an answer: all of it where it is nothing else, or what `python_answer` takes of it."""
    return answer.rstrip() if _is_python("", answer) else python_answer(answer)


def tasks_of(demonstration: Demonstration) -> Iterator[Task]:
    """Yield a task for each turn of a demonstration's answer that is code: the question is the user's turn before it.

    The assistant's turns in the prompt are not taken: where they are anyone's answers they are demonstrations too.
    """
    origin = demonstration.origin
    name = "#".join(part for part in (origin.place, origin.id) if part)
    prompt = _turns(demonstration.prompt, "user")
    question = next((turn.content for turn in reversed(prompt) if turn.role == "user"), "")
    for number, turn in enumerate(_turns(demonstration.answer, "assistant"), 1):
        if turn.role == "user":
            question = turn.content
        answer = python_answer(turn.content) if turn.role == "assistant" else None
        if answer is not None and question.strip():
            yield Task(id=f"{name}#{number}", question=question, answer=answer)


def _turns(content: Content, role: Literal["user", "assistant"]) -> tuple[Message, ...]:
    return (Message(role=role, content=content),) if isinstance(content, str) else content


def _lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def _is_python(info: str, block: str) -> bool:
    language = info.strip().split()[0].lower() if info.strip() else ""
    if language or not block.strip():
        return language in _NAMES and bool(block.strip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            body = ast.parse(block).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call) for node in body)
