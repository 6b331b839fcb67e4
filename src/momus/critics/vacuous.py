"""Comments that say nothing: without words, "no problem here", or a proposal of what already stands there.

They are dropped before a dial chooses, for every critic, and a review counts those that it would have shown.
"""

from __future__ import annotations

import re
from dataclasses import replace

from momus.critique import MISSING_CODE, PROPOSED_LINE, SHOULD_BE, Comment, lines_of
from momus.search.result import SearchResult
from momus.tamper.truth import code_tokens

_NO_PROBLEM = re.compile(
    r"(there (is|are) )?(no|nothing)( (obvious|apparent|real))?"
    r"( (problems?|issues?|bugs?|errors?|comments?|changes?))?"
    r"( (is |are )?(found|here|needed|wrong|required|to report))*"
    r"|(this |the )?(line |code )?(is |looks )?(fine|good|ok|okay|correct)|n/?a|none",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w")
_PROPOSED = re.compile(rf"{SHOULD_BE}(.+?)\1(?!`)", re.IGNORECASE | re.DOTALL)

_ATOM = re.compile(r"-?[\w.]+")
"""A name or a number: the line may have it in one place, and the proposal be about another."""

_OPEN = {"(", "[", "{", ",", "=", ":", ":=", "return", "yield", "raise", "assert", "if", "elif", "while", "in", "await"}
_CLOSE = {")", "]", "}", ",", ":"}
"""Tokens between which an expression is not part of a larger one."""


def is_vacuous(comment: Comment, answer: str) -> bool:
    """Return whether a comment says nothing that could be acted on.

    A proposal ("Should be `x + 1`") is of what already stands there where its code is all of a quoted line, or an
    expression in it that is no part of a larger one; and "Missing `x = 1` before this" where that is the line before.
    """
    text = comment.text.strip()
    if not _WORD.search(text) or _NO_PROBLEM.fullmatch(text.rstrip(".! ")):
        return True
    if comment.span is None:
        return False
    lines = answer.split("\n")
    numbers = lines_of(comment.span, answer)
    if missing := MISSING_CODE.match(text):
        step = -1 if missing[3].lower() == "before" else 1
        return _neighbour(lines, numbers[0 if step < 0 else -1], step) == code_tokens(missing[2])
    if any(_is_all_of(found[2].strip(), lines[n]) for found in PROPOSED_LINE.finditer(text) for n in numbers):
        return True
    proposed = _PROPOSED.match(text)
    return proposed is not None and any(_stands_in(proposed[2].strip(), lines[number]) for number in numbers)


def drop_vacuous(written: SearchResult, answer: str) -> SearchResult:
    """Return what a critic wrote about an answer without its vacuous comments."""
    return replace(
        written,
        candidates=tuple(
            candidate.keep(lambda comment, _: not is_vacuous(comment, answer)) for candidate in written.candidates
        ),
    )


def _stands_in(code: str, line: str) -> bool:
    """Return whether code is all of a line, or an expression in it: not one name, and not part of a larger one."""
    if not _may_stand_in(code, line):
        return False
    if _is_all_of(code, line):
        return True
    wanted, tokens = code_tokens(code), code_tokens(line)
    size = len(wanted)
    return not _ATOM.fullmatch(code) and any(
        tokens[start : start + size] == wanted
        and (start == 0 or tokens[start - 1] in _OPEN)
        and (start + size == len(tokens) or tokens[start + size] in _CLOSE)
        for start in range(len(tokens) - size + 1)
    )


def _is_all_of(code: str, line: str) -> bool:
    """Return whether code is a line, but for what it ends with."""
    wanted = code_tokens(code)
    return _may_stand_in(code, line) and code_tokens(line) in (wanted, (*wanted, ":"), (*wanted, ";"))


def _may_stand_in(code: str, line: str) -> bool:
    """Return whether the tokens of code and line say all: they do not tell strings by their spaces."""
    return code in line or not ("'" in code or '"' in code)


def _neighbour(lines: list[str], number: int, step: int) -> tuple[str, ...]:
    """Return the tokens of the nearest line before (-1) or after (1) a line that is not blank."""
    number += step
    while 0 <= number < len(lines) and not lines[number].strip():
        number += step
    return code_tokens(lines[number]) if 0 <= number < len(lines) else ()
