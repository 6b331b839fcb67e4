"""Screening in Chromium: a candidate does it, an owner grades, sets cut-offs and admits; by keyboard and by mouse."""

import pytest

from momus.label.kinds import check
from momus.label.owner import screening
from momus.label.rules import NewItem
from momus.label.views import arrange
from support.label_browser import check_width, check_with_axe, shot, start, tab_to
from support.label_items import ITEMS
from support.screening_items import SCREENING


@pytest.fixture
def screened(bench):
    """Two candidates: one has done everything, one a part of it."""
    bench.store.add_items(SCREENING, "screening", "o")
    bench.candidates = []
    for name, most in (("Lee", 9), ("Park", 3)):
        person = bench.people.person(bench.people.join(bench.people.invite("candidate", "o"), name, "en")).id
        bench.candidates.append(person)
        done = 0
        for kind in ("survey", "ranking", "demonstration"):
            while done < most and (lease := bench.store.claim(person, kind, arrange)):
                content = {"answer": "That sounds hard.\nDo you want to talk about it?"}
                if kind == "survey":
                    content = {"values": lease.gold["values"] if lease.gold else {"groups": ["religion", "gender"]}}
                elif kind == "ranking":
                    order = lease.arrangement["order"]
                    content = {"cards": [{"overall": 4}] * 3, "ranks": [(1, 3, 2)[i] for i in order], "rationale": "x"}
                bench.store.submit(lease.token, person, lease.token, content, 60.0, check)
                done += 1
    return bench


@pytest.mark.parametrize("hand", ["keyboard", "mouse"])
def test_an_owner_grades_sets_the_cut_offs_and_admits(screened, sign_in, hand):
    page, person = sign_in("owner"), screened.candidates[0]
    by_keyboard = hand == "keyboard"

    def press(selector):
        if not by_keyboard:
            page.click(selector)
            return
        page.evaluate("document.activeElement.blur()")
        tab_to(page, selector)
        with page.expect_navigation():
            page.keyboard.press("Enter")

    press("nav a[href='/screening']")
    press(f"a[aria-label='Look and grade: {person}']")
    page.wait_for_selector("text=Save grades")
    for number in range(2):
        radios = page.locator(".grades").nth(number).locator("input")
        if by_keyboard:
            name = radios.first.get_attribute("name")
            tab_to(page, f"input[name='{name}']")
            page.keyboard.press("Space")
            for _ in range(5):
                page.keyboard.press("ArrowRight")
        else:
            radios.nth(5).click()
    press("button.primary")
    page.wait_for_selector("text=2 grades were saved.")
    press("text=All candidates" if not by_keyboard else "main a[href='/screening']")
    row = page.locator("tr", has_text=person)
    assert "6.0" in row.inner_text() and "not reached" in row.inner_text()  # the ranking: 67%
    if by_keyboard:
        tab_to(page, "input[name=rankings]")
        page.keyboard.press("Control+a")
        page.keyboard.type("60")
        with page.expect_navigation():
            page.keyboard.press("Enter")
    else:
        page.fill("input[name=rankings]", "60")
        page.click("button:text('Set')")
    page.wait_for_selector("text=The cut-offs were set.")
    assert "not reached" not in page.locator("tr", has_text=person).inner_text()
    press(f"button[aria-label='Turn down: {screened.candidates[1]}']")
    page.wait_for_selector("text=Turned down")
    press(f"button[aria-label='Admit: {person}']")
    page.wait_for_selector("text=Admitted: a labeler from now on.")
    assert [one.state for one in screening.candidates(screened.database)] == ["admitted", "declined"]


def test_a_candidate_sees_what_it_is_about_and_only_the_screening(screened, sign_in):
    page = sign_in("candidate")
    assert "You are a candidate" in page.inner_text(".note")
    assert sorted(page.eval_on_selector_all("button[name=kind]", "all => all.map((one) => one.value)")) == [
        "demonstration", "ranking", "survey",
    ]  # fmt: skip
    shot(page, "candidate-home")
    start(page, "survey")
    page.click("text=yes")
    page.click("text=Submit")
    page.wait_for_selector("text=Submitted. Thank you.")
    assert page.locator("text=expected").count() == 0


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (820, 1180)])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_pages_of_the_screening_can_be_read(screened, sign_in, language, width, height):
    page, person = sign_in("owner", language, width, height), screened.candidates[0]
    answers = screening.answers_of(screened.database, person)["demonstrations"]
    screening.grade(screened.database, answers[0]["submission"], 6, "o")
    for address in ("/screening", f"/screening/{person}", "/people"):
        page.goto(screened.origin + address)
        assert "Lee" not in page.inner_text("main") or address == "/people"
        name = "candidate" if address.startswith("/screening/") else address[1:]
        shot(page, f"{name}-{language}-{width}")
        check_with_axe(page, address)
        check_width(page, address)


@pytest.mark.parametrize(("language", "width"), [("en", 1366), ("ko", 820)])
def test_a_training_task_says_how_it_was_done(bench, sign_in, language, width):
    gold = {"ranks": [1, 4, 1, 3], "note": "Two of them are primes. A refusal is better than a wrong number."}
    bench.store.add_items([NewItem("ranking", ITEMS["ranking"], 1, "training", gold)], "t", "o")
    page = sign_in("labeler", language, width)
    start(page, "ranking")
    for number in range(4):
        page.locator(".card").nth(number).locator(".segments input").nth(number).click()
        page.locator(".ladder .segments").nth(number).locator("input").nth(number).click()
    page.keyboard.press("Control+Enter")

    page.wait_for_selector(".trained .judgements")
    assert gold["note"] in page.inner_text(".trained")
    shot(page, f"trained-{language}-{width}")
    check_with_axe(page, "trained")
    check_width(page, "trained")
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"


@pytest.mark.parametrize(("language", "width", "hand"), [("en", 1366, "mouse"), ("ko", 820, "keyboard")])
def test_a_warning_comes_first_and_the_item_can_be_declined(bench, sign_in, language, width, hand):
    bench.database.write(lambda t: t.run("UPDATE item SET state = 'done'"))
    for prompt in ("cruel", "worse"):
        bench.store.add_items([NewItem("demonstration", {"prompt": prompt}, warning="Describes cruelty.")], "w", "o")
    page = sign_in("labeler", language, width)
    page.click("button[name=kind]")
    page.wait_for_selector("text=Describes cruelty.")
    assert "cruel\n" not in page.inner_text("main")
    shot(page, f"warning-{language}-{width}")
    check_with_axe(page, "warning")
    check_width(page, "warning")

    def press(selector):
        if hand == "mouse":
            page.click(selector)
        else:
            tab_to(page, selector)
            with page.expect_navigation():
                page.keyboard.press("Enter")

    press("main form button")
    page.wait_for_url(bench.origin + "/")
    page.click("button[name=kind]")
    press("a.button.primary")
    page.wait_for_selector("#work .bar")
    assert "worse" in page.inner_text("#work")
