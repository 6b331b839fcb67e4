"""Feedback and the dashboard's figures in Chromium: printed, on a laptop and a tablet, in both languages, with axe."""

import pytest

from momus.label.owner.figures import Figures
from momus.report.labeling import draw_labeling
from support.label_browser import check_width, check_with_axe, shot, start
from support.label_work import fill


@pytest.mark.parametrize(("language", "width"), [("en", 820), ("ko", 1280)])
def test_feedback_is_approved_and_printed_with_links_both_ways(bench, sign_in, language, width):
    page = sign_in("labeler", language, width=width)
    start(page, "feedback")
    page.fill(".points textarea >> nth=0", "You never say why you ask.")
    check_with_axe(page, "feedback")
    page.click("input[value=approved]")
    page.click(".bar button.primary")
    page.click("a[href^='/feedback/']")
    page.wait_for_selector(".sheet")
    page.click(".given .pin")
    assert page.locator(".document mark:target").count() == 1
    page.click(".document mark .pin")
    assert page.locator("blockquote:target").count() == 1
    check_with_axe(page, "print")
    check_width(page, "print")
    shot(page, f"print-{language}")
    page.emulate_media(media="print")
    assert not page.is_visible("header") and not page.is_visible("#print") and page.is_visible("blockquote")
    page.emulate_media(media="screen")
    with page.expect_download() as download:
        page.click("a[href$='/docx']")
    assert download.value.suggested_filename == "report.docx"


def test_a_quote_that_is_not_in_the_document_is_not_submitted(bench, sign_in):
    page = sign_in()
    start(page, "feedback")
    quote, unknown = page.locator(".points").nth(1).locator("textarea").last, page.locator(".points .problem:visible")
    quote.fill("two cups of milk")
    assert unknown.all_inner_texts() == ["These words are not in the document."]
    page.click("input[value=approved]")
    page.click("text=Submit")
    assert page.evaluate("document.activeElement.value") == "two cups of milk"
    quote.fill("After two   HOURS the water")
    assert unknown.count() == 0
    page.click("text=Submit")
    page.wait_for_selector("text=Submitted. Thank you.")


@pytest.mark.parametrize(("language", "width"), [("en", 820), ("ko", 1280)])
def test_the_dashboard_has_its_figures(bench, sign_in, language, width):
    people = bench.people
    fill(bench.store, lambda name: people.person(people.join(people.invite("labeler", "o"), name, "en")).id)
    bench.app.state.figures = Figures(bench.database, draw_labeling)
    page = sign_in("owner", language, width=width)
    page.goto(bench.origin + "/status")
    page.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert page.locator("img.figure").count() == 5
    check_width(page, "status")
    check_with_axe(page, "status")
    shot(page, f"status-figures-{language}")
