"""No regular expression of the package takes longer than in proportion to a text, whatever the text says."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.patterns import Use, slow_text, uses

from momus.lm.chats.reading import json_values
from momus.match.extract import _is_heading

_ROOT = Path(__file__).parents[1]
_LIMIT = 120
"""Seconds of processor time after which the child is killed; it takes about 25."""


def test_every_pattern_is_linear_in_the_text() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.patterns"],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT / "src"), str(_ROOT)])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (_LIMIT, _LIMIT)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"it does not end, or fails:\n{done.stderr[-2_000:]}"
    assert not done.stdout, f"not linear:\n{done.stdout}"


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"^\s*(?:#+\s*.+|\**[^.!?:]{1,60}\**:?\s*)$", "match"),
        (r"\[.*?\]", "sub"),
        (r"([^\W_]+(?:-[^\W_]+)*)-$", "search"),
    ],
)
def test_a_pattern_that_is_not_linear_is_seen(pattern: str, method: str) -> None:
    assert slow_text(Use("here", re.compile(pattern), method))


def test_patterns_of_all_kinds_are_looked_at() -> None:
    patterns = [str(use.pattern.pattern) for use in uses()]
    assert len(patterns) > 120
    assert any("word" in pattern for pattern in patterns)  # one that running code completes
    assert any("가" in pattern for pattern in patterns)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2,], "b": ",]",}', {"a": [1, 2], "b": ",]"}),
        ('a 5" nail {"a": [1,\n],}', {"a": [1]}),
        ('\\" {"a\\"": 1,\n }', {'a"': 1}),
    ],
)
def test_trailing_commas_go_and_strings_stay(text: str, value: object) -> None:
    assert list(json_values(text)) == [value]


@pytest.mark.parametrize(
    ("block", "heading"),
    [
        ("# Strengths: many. And more", True),
        ("**Weaknesses:**", False),
        ("**Weaknesses**:", True),
        ("Weaknesses", True),
        ("It is unclear.", False),
        ("w" * 61, False),
        ("*" * 70 + "w" * 60 + "*" * 70 + ":", True),
        ("***", True),
        (":", False),
        ("Two\nlines", False),
    ],
)
def test_headings_of_a_review(block: str, heading: bool) -> None:
    assert _is_heading(block) is heading
    old = re.compile(r"^\s*(?:#+\s*.+|\**[^.!?:]{1,60}\**:?\s*)$")  # what it has to agree with, and takes cubic time
    assert heading == (bool(old.match(block)) and "\n" not in block)
