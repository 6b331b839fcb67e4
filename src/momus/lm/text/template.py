"""Chat templates are programs of strangers: what one may ask for, and where it runs.

A template that plainly ends, soon and with a text not much longer than the conversation (`ends_soon`), is rendered by
the tokenizer. Any other (macros, ranges, filters that make texts longer, values built from themselves) may loop for
ever or fill the memory, so `render_child.py` renders it, in a process of its own with little time and memory.
"""

from __future__ import annotations

import atexit
import json
import re
import selectors
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from functools import lru_cache
from threading import Lock
from typing import Any

from jinja2 import Environment, TemplateError, nodes
from jinja2.ext import loopcontrols

from momus.errors import UserError

PINNED_DATE = date(2026, 1, 1)
"""The day that templates which ask for one read, so that the same data give the same tokens tomorrow."""

SECONDS = 20
"""By the clock, for one conversation in the child process."""
_BEGINS = 120
"""Until the process has begun: it imports transformers."""

_GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")  # a tag of transformers

_NESTED, _NESTED_APART = 4, 2
"""Loops in each other that a plain template may have: messages, their tool calls, arguments, parts; and how many of
them may be over something that is no part of what the loop around them is over: the tools, for every message."""

_PLAIN_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.NSRef, nodes.Const, nodes.If, nodes.For,
    nodes.Assign, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Compare, nodes.Operand, nodes.Not, nodes.And,
    nodes.Or, nodes.Test, nodes.Filter, nodes.Call, nodes.Concat, nodes.Add, nodes.Sub, nodes.Mod, nodes.CondExpr,
    nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Keyword, nodes.Continue, nodes.Break, nodes.Neg,
    nodes.ExprStmt,
)  # fmt: skip
_PLAIN_FILTERS = frozenset({
    "trim", "tojson", "length", "count", "default", "d", "upper", "lower", "string", "int", "first", "last", "list",
    "items", "join", "selectattr", "rejectattr", "map", "safe", "capitalize", "dictsort", "unique", "reverse",
})  # fmt: skip
_PLAIN_CALLS = frozenset({"raise_exception", "strftime_now", "namespace"})
_PLAIN_METHODS = frozenset({
    "strip", "lstrip", "rstrip", "split", "rsplit", "startswith", "endswith", "items", "keys", "values", "get",
    "upper", "lower", "title", "find", "index",
})  # fmt: skip


def pinned(template: str) -> tuple[str, bool]:
    """Return a template in which `strftime_now` returns `PINNED_DATE`, and whether it asks for a date at all.

    Raises:
        UserError: It draws at random, or builds the form of a date: other tokens the next time.
    """
    tree = _parsed(template)
    if tree is None:
        return template, False  # laying a conversation out says what is wrong
    if any(node.name == "random" for node in tree.find_all(nodes.Filter)) or any(
        node.name == "lipsum" for node in tree.find_all(nodes.Name)
    ):
        raise UserError("the chat template draws at random: take that out of it, or give another with --chat-template")
    clocks = [
        call
        for call in tree.find_all(nodes.Call)
        if isinstance(call.node, nodes.Name) and call.node.name == "strftime_now"
    ]
    forms = [call.args[0].value for call in clocks if call.args and isinstance(call.args[0], nodes.Const)]
    called = {id(call.node) for call in clocks}
    passed_on = any(  # under another name
        node.name == "strftime_now" and id(node) not in called for node in tree.find_all(nodes.Name)
    )
    if passed_on or len(forms) < len(clocks) or not all(isinstance(form, str) for form in forms):
        raise UserError(
            "the chat template reads the clock: write the date into it, or give another with --chat-template"
        )
    dates = json.dumps({form: PINNED_DATE.strftime(form) for form in forms})
    macro = "{% macro strftime_now(form) +%}{{ " + dates + "[form] }}{% endmacro +%}" if clocks else ""
    # Not find_undeclared_variables: that computes constants, and "a" * 10**9 is one.
    dated = any(node.name == "date_string" and node.ctx == "load" for node in tree.find_all(nodes.Name))
    return macro + template, bool(clocks) or dated


def ends_soon(template: str) -> bool:
    """Return whether a template plainly ends soon, with a text not much longer than the conversation.

    No ranges, macros, repetition or filters that make texts longer; loops nest no deeper than conversations do, and
    no variable is built from itself twice, so that texts grow by what is added and are not doubled.
    """
    tree = _parsed(template)
    if tree is None or not all(isinstance(node, _PLAIN_NODES) for node in _walk(tree)):
        return False
    if any(filter.name not in _PLAIN_FILTERS for filter in tree.find_all(nodes.Filter)):
        return False
    if not all(_is_plain(call) for call in tree.find_all(nodes.Call)):
        return False
    if any(isinstance(mod.left, nodes.Const) for mod in tree.find_all(nodes.Mod)):  # "%999999999d" % 1
        return False
    if not _is_shallow(tree, frozenset(), 0, 0) or any(loop.recursive for loop in tree.find_all(nodes.For)):
        return False
    assigned = {_target(assign.target) for assign in tree.find_all(nodes.Assign)}
    return all(_mentions(assign.node, assigned) <= 1 for assign in tree.find_all(nodes.Assign))


def render(
    template: str, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], ask: bool, variables: Mapping[str, str]
) -> str:
    """Render a template that may not end, in a child process.

    Raises:
        UserError: It does not end in time, or needs too much memory.
        ValueError: The template refuses the conversation; the message says why.
    """
    request = {"template": template, "messages": messages, "tools": tools, "ask": ask, "variables": variables}
    answer = _child.ask(json.dumps(request))
    if "error" in answer:
        raise ValueError(answer["error"])
    return str(answer["text"])


class _Child:
    """The process that renders, begun when it is first needed and again after it was ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        atexit.register(self.end)

    def ask(self, request: str) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            UserError: There is none in time.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    # -P: the folder it is called in may be a stranger's, and hold a json.py
                    [sys.executable, "-P", "-m", "momus.lm.text.render_child"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
                _line(self._process, _BEGINS)
            process = self._process
            assert process.stdin is not None
            line = b""
            with suppress(BrokenPipeError):
                process.stdin.write(request.encode() + b"\n")
                process.stdin.flush()
                line = _line(process, SECONDS)
            if line.endswith(b"\n"):
                answer: dict[str, Any] = json.loads(line)
                return answer
            self.end()
        raise UserError(
            f"the chat template was not done after {SECONDS} s, or filled the memory: mend it, or give another with "
            "--chat-template"
        )

    def end(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
            self._process = None


def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Return the next line of a process's output; nothing where there is none in time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if ready.select(seconds) else b""


_child = _Child()


@lru_cache(maxsize=16)
def _parsed(template: str) -> nodes.Template | None:
    try:
        return Environment(extensions=[loopcontrols]).parse(_GENERATION.sub("", template))
    except (TemplateError, ValueError, RecursionError):  # ValueError: a number of thousands of digits
        return None


def _walk(tree: nodes.Node) -> Iterable[nodes.Node]:
    yield tree
    for child in tree.iter_child_nodes():
        yield from _walk(child)


def _is_plain(call: nodes.Call) -> bool:
    if isinstance(call.node, nodes.Name):
        return call.node.name in _PLAIN_CALLS
    return isinstance(call.node, nodes.Getattr) and call.node.attr in _PLAIN_METHODS


def _is_shallow(tree: nodes.Node, loop_variables: frozenset[str], nested: int, apart: int) -> bool:
    if isinstance(tree, nodes.For):
        nested += 1
        apart += not any(node.name in loop_variables for node in _walk(tree.iter) if isinstance(node, nodes.Name))
        loop_variables |= {node.name for node in _walk(tree.target) if isinstance(node, nodes.Name)}
        if nested > _NESTED or apart > _NESTED_APART:
            return False
    return all(_is_shallow(child, loop_variables, nested, apart) for child in tree.iter_child_nodes())


def _mentions(tree: nodes.Node, assigned: set[str]) -> int:
    """Return how often an expression mentions what is assigned to somewhere; `ns.text` is one mention."""
    if _target(tree) in assigned and isinstance(getattr(tree, "node", None), nodes.Name | None):
        return 1
    return (_target(tree) in assigned) + sum(_mentions(child, assigned) for child in tree.iter_child_nodes())


def _target(target: nodes.Node) -> str:
    """Return the name of what is assigned to: of a namespace's attribute, that of the attribute."""
    if isinstance(target, nodes.NSRef | nodes.Getattr):
        return f".{target.attr}"
    return target.name if isinstance(target, nodes.Name) else ""
