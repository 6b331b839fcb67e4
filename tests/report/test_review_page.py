"""The page of a review: comments under their lines, hostile code and texts escaped, keys, screens of two widths."""

import os
import re
import shutil
from pathlib import Path

import pytest

from momus.report.review import SCRIPT, render_review, write_review
from momus.review.files import read_source
from momus.review.findings import Coverage, FileReview, Finding, Lines, Unread, Why
from momus.review.languages.grammars import is_installed
from momus.review.result import FileLines, Manifest, Review

AXE = Path(__file__).parents[1] / "support" / "axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
LINES = 60


def _review(tmp_path, text="Fails: see `len(values)`."):
    code = "".join(f"def f{i}(values):\n    return {i} / len(values)  # <b>é🙂</b>\n\n\n" for i in range(LINES // 4))
    path = tmp_path / "code.py"
    path.write_text(code)
    findings = (
        Finding(2, 2, "f0", "    return 0 / len(values)", text, "error", replacement="    return <b>0</b>"),
        Finding(30, 30, "f7", "    return 7 / len(values)", "Odd.", "note"),
        Finding(34, 34, "f8", "    return 8 / len(values)", "Was dismissed.", status="dismissed"),
    )
    outside = (Finding(58, 58, "f14", "    return 14 / len(values)", "Not on a changed line.", "warning"),)
    coverage = Coverage((Lines(1, 40),), (Unread(Lines(41, 44), Why.TOO_LONG), Unread(Lines(45, 45), Why.BLANK)))
    file = FileReview(path, findings, 15, outside=outside, coverage=coverage)
    manifest = Manifest(promise="At most 0.2 <i>", head="abc", files=(FileLines("code.py", coverage),), notes=("<u>n",))
    return Review((file,), (), manifest), {path: read_source(path)}


def test_comments_stand_under_their_lines_with_what_is_around(tmp_path):
    page = render_review(*_review(tmp_path))
    assert page.count('class="remark') == 3 and "Was dismissed." not in page
    assert "<code>len(values)</code>" in page and "3 comments on 1 file" in page
    rows = re.findall(r'<td class="number">(\d+)</td>', page)
    assert rows == [str(n) for n in (*range(1, 9), *range(24, 37), *range(52, 61))]
    assert "15 lines without comments" in page
    before, after = page.split('id="c1"')
    assert before.rindex('<td class="number">2</td>') > before.rindex('<td class="number">1</td>')
    assert after.index('<td class="number">3</td>') > 0
    assert "not on a changed line" in page and "41-44: too long for the critic" in page and ": blank" not in page


@pytest.mark.parametrize(
    "hostile", ["</pre><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\u202egnp\x1b[31m"]
)
def test_hostile_code_and_texts_are_escaped(tmp_path, hostile):
    path = tmp_path / "code.py"
    path.write_text(f"x = 1  # {hostile}\n")
    finding = Finding(1, 1, hostile, f"x = 1  # {hostile}", hostile, "error", replacement=hostile)
    manifest = Manifest(promise=hostile, notes=(hostile,), cost=hostile, head=hostile)
    page = render_review(Review((FileReview(path, (finding,), 1),), (), manifest), {path: read_source(path)})
    assert page.count("<script") == 1 and "<img" not in page
    assert "\x1b" not in page and "\u202e" not in page


def test_the_page_loads_nothing_and_runs_one_script(tmp_path):
    page = render_review(*_review(tmp_path))
    assert "default-src 'none'" in page and SCRIPT in page
    assert not re.search(r'(src|href)="(?!#|data:,)', page)


def test_a_review_without_comments(tmp_path):
    path = tmp_path / "code.py"
    path.write_text("x = 1\n")
    write_review(Review((FileReview(path, (), 1),)), {path: read_source(path)}, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "0 comments on 1 file" in page and "No problems found, and all of it was read." in page


@pytest.mark.skipif(not is_installed(), reason="the grammars are not installed")
def test_other_languages_are_coloured_too(tmp_path):
    path = tmp_path / "a.go"
    path.write_text("package a\n\nfunc F() int {\n\treturn 1\n}\n")
    review = Review((FileReview(path, (Finding(4, 4, "F", "\treturn 1", "No."),), 1),))
    assert '<span class="tk">return</span>' in render_review(review, {path: read_source(path, other_languages=True)})


@pytest.mark.skipif(not os.environ.get("MOMUS_TEST_BROWSER"), reason="MOMUS_TEST_BROWSER is not set")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1366, 360])
def test_it_is_read_with_the_keyboard_and_is_accessible(tmp_path, width, scheme):
    from playwright.sync_api import sync_playwright

    page_path = tmp_path / "review.html"
    write_review(*_review(tmp_path), page_path)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True
        ).new_page()
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(page_path.as_uri())
        for key, name in (("n", "c1"), ("n", "c2"), ("p", "c1"), ("p", "c3"), ("g", "list")):
            page.keyboard.press(key)
            assert page.evaluate("document.activeElement.id") == name
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.add_script_tag(path=AXE)
        found = page.evaluate("axe.run()")["violations"]
        assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found] == []
        if folder := os.environ.get("MOMUS_SCREENSHOTS"):
            page.keyboard.press("n")
            page.screenshot(path=Path(folder) / f"review-{width}-{scheme}.png")
        assert problems == []
        browser.close()
