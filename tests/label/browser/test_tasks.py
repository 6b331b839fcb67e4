"""The pages in Chromium, as people use them: `make test-browser`.

Every kind of task is done once with the keyboard alone and once with the mouse alone (but for the letters of texts),
while requests are dropped, doubled and delayed. Nothing may be asked of another server or be written to the console,
and axe may find nothing serious.
"""

import time

import pytest

from momus.label.kinds import KINDS
from momus.label.rules import NewItem
from momus.label.running import open_runner
from support.label_browser import check_width, check_with_axe, shot, start, tab_to
from support.label_items import ITEMS, TASK

CHOSEN = sorted(set(KINDS) - {"review"})


def choose(page, value):
    """Choose in a group of radios by keyboard."""
    page.keyboard.press(str(value))


def write(page, selector, text):
    tab_to(page, selector)
    page.keyboard.type(text)
    page.keyboard.press("Tab")


def lines_by_keyboard(page, line):
    tab_to(page, ".code button")
    page.keyboard.press("Home")
    for _ in range(line - 1):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # the button that adds an entry has the focus now


def bug_by_keyboard(page):
    lines_by_keyboard(page, 4)
    page.keyboard.type("Subtracts.")


def wait_for_answer(page):
    for _ in range(100):
        if any("Monday" in area.input_value() for area in page.locator("#work .field textarea").all()):
            return
        page.wait_for_timeout(50)
    raise AssertionError("the model's answer never came")


KEYS = {}
MOUSE = {}


def keys(kind):
    return lambda function: KEYS.setdefault(kind, function)


def mouse(kind):
    return lambda function: MOUSE.setdefault(kind, function)


@keys("demonstration")
def _(page):
    write(page, "textarea", "Because.")


@mouse("demonstration")
def _(page):
    page.locator(".field textarea").first.click()
    page.keyboard.type("Because.")


@keys("prompt")
def _(page):
    write(page, "textarea", "Convert.")
    tab_to(page, "fieldset button")
    page.keyboard.press("Enter")
    page.keyboard.type("1 kg")
    page.keyboard.press("Tab")
    page.keyboard.type("1000 g")


@mouse("prompt")
def _(page):
    page.locator(".field textarea").first.fill("Convert.")
    page.click("text=Add an example")
    page.locator(".entry textarea").nth(0).fill("1 kg")
    page.locator(".entry textarea").nth(1).fill("1000 g")


@keys("ranking")
def _(page):
    for value in (7, 2, 7, 1):
        page.keyboard.press("j")
        choose(page, value)
    tab_to(page, ".ladder input")
    for place in (1, 2, 1, 4):
        choose(page, place)
        page.keyboard.press("Tab")
    assert "A = C" in page.inner_text(".order")


@mouse("ranking")
def _(page):
    for index, value in enumerate((7, 2, 7, 1)):
        page.locator(".card").nth(index).locator(".segments input").nth(value - 1).click()
    page.locator(".flags input").first.click()
    for index, place in enumerate((1, 2, 1, 4)):
        page.locator(".ladder .segments").nth(index).locator("input").nth(place - 1).click()
    page.click("text=Undo")
    page.locator(".ladder .segments").nth(3).locator("input").nth(3).click()


@keys("edit")
def _(page):
    tab_to(page, ".cm-content:not([aria-readonly])")
    page.keyboard.press("Control+a")
    page.keyboard.type("c-a-t")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")


@mouse("edit")
def _(page):
    page.locator(".cm-content").nth(1).click()
    page.keyboard.type("!")


@keys("break")
def _(page):
    write(page, "textarea", "What day was 31 February?")
    page.keyboard.press("Enter")
    wait_for_answer(page)
    tab_to(page, ".field:last-of-type textarea")
    page.keyboard.type("There is none.")


@mouse("break")
def _(page):
    page.locator(".field textarea").nth(0).fill("What day was 31 February?")
    page.click("button:text('Ask the model')")
    wait_for_answer(page)
    page.locator(".field textarea").nth(2).fill("There is none.")


@keys("tamper")
def _(page):
    tab_to(page, ".cm-content:not([aria-readonly])")
    page.keyboard.press("Control+End")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("End")
    page.keyboard.press("Backspace")
    page.keyboard.type("a")
    page.keyboard.press("Escape")
    tab_to(page, "fieldset:not(:has(.merge)) button")
    page.keyboard.press("Enter")
    page.keyboard.type("Adds a twice.")


@mouse("tamper")
def _(page):
    page.locator(".cm-content").nth(1).locator(".cm-line").nth(3).click()
    page.keyboard.type("a")
    page.click("text=Add a bug")
    page.locator(".entry textarea").fill("Adds the wrong thing.")
    page.click("button:text('Ask the critic')")
    page.wait_for_selector("text=of 3 tries")


@keys("found")
def _(page):
    bug_by_keyboard(page)


@mouse("found")
def _(page):
    page.locator(".code button").nth(3).click()
    page.locator(".code button").nth(3).click()
    page.click("text=Add a bug")
    page.locator(".entry textarea").fill("Subtracts.")


@keys("critique")
def _(page):
    lines_by_keyboard(page, 4)
    page.keyboard.type("Subtracts.")


@mouse("critique")
def _(page):
    page.locator(".code button").nth(1).click()
    page.locator(".code button").nth(2).click()
    page.click("text=Add a comment on these lines")
    page.keyboard.type("b may be None, too.")


@keys("comparison")
def _(page):
    tab_to(page, ".matrix input")
    for _ in range(24):
        choose(page, 5)
        page.keyboard.press("Tab")


@mouse("comparison")
def _(page):
    page.locator(".critique .quote").first.hover()
    assert page.locator(".code li.lit").count() >= 1
    for cell in range(24):
        page.locator(".matrix .segments").nth(cell).locator("input").nth(4).click()


@keys("survey")
def _(page):
    tab_to(page, ".segments input")
    choose(page, 6)
    tab_to(page, "[role=radiogroup]:not(.segments) input")
    page.keyboard.press("Space")
    write(page, "textarea", "Ablations.")


@mouse("survey")
def _(page):
    page.locator(".segments input").nth(5).click()
    page.click("text=reader")
    page.locator(".field textarea").fill("Ablations.")


@keys("feedback")
def _(page):
    tab_to(page, ".points textarea")
    page.keyboard.press("Control+a")
    page.keyboard.type("You never fail to ask a good question.")
    assert page.locator(".points .lookat").first.inner_text() == "Words to look at: fail, never"
    tab_to(page, ".points .pin:not([disabled])")
    page.keyboard.press("Enter")  # to the quote in the document, and back to its point
    assert page.evaluate("document.activeElement.closest('.document mark').dataset.points") == "2"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.value") == "You never say how often you measured."
    tab_to(page, "[role=radiogroup]:not(.segments) input")
    page.keyboard.press("Space")


@mouse("feedback")
def _(page):
    page.locator(".points .entry").nth(4).locator("text=Delete").click()
    page.locator(".points").nth(4).locator("text=Add a point").click()
    page.keyboard.type("Measure three times.")
    page.locator(".points").nth(2).locator("text=Add a point").click()
    page.keyboard.type("Salt gets in between: how?")
    page.locator(".document p.paragraph").nth(1).click(click_count=3)
    page.locator(".points").nth(2).locator("text=Quote the selected words").nth(1).click()
    assert page.locator(".document mark").count() == 2
    page.locator(".document .pin").nth(1).click()
    assert page.evaluate("document.activeElement.value") == "Salt gets in between: how?"
    page.click("text=Approve: it may be passed on")


def submitted(bench):
    return bench.database.read(lambda t: t.value("SELECT count(*) AS n FROM submission"))


@pytest.mark.parametrize("kind", CHOSEN)
def test_by_keyboard_alone(bench, sign_in, kind):
    page = sign_in()
    tab_to(page, f"button[value={kind}]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#work .bar")
    KEYS[kind](page)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=Submitted. Thank you.")
    assert page.evaluate("document.activeElement.textContent") == "Next task"
    assert submitted(bench) == 1


@pytest.mark.parametrize("kind", CHOSEN)
def test_by_mouse_alone_with_a_bad_network(bench, sign_in, kind):
    page = sign_in()
    start(page, kind)
    seen = []

    def bad(route):
        seen.append(route.request)
        if len(seen) == 1:  # it reaches the server, but the answer is lost
            route.fetch()
            route.abort()
        elif len(seen) == 2:
            route.abort()
        else:  # twice at once, and late
            route.fetch()
            time.sleep(0.3)
            route.continue_()

    page.route("**/submission", bad)
    MOUSE[kind](page)
    shot(page, f"{kind}-filled")
    page.click("text=Submit")
    page.wait_for_selector("text=Submitted. Thank you.", timeout=20000)
    assert submitted(bench) == 1 and len(seen) == 3


@pytest.mark.parametrize("language", ["en", "ko"])
def test_axe_finds_nothing_serious_on_any_screen(bench, sign_in, language):
    page = sign_in("owner", language)
    addresses = ["/", "/mine", "/nothing"]
    for kind in CHOSEN:
        page.goto(bench.origin)
        start(page, kind)
        addresses.append(page.url.removeprefix(bench.origin))
    addresses.append(f"/join/{bench.people.invite('labeler', 'o')}")
    for address in addresses:
        page.goto(bench.origin + address) if address != "/nothing" else None
        screen = (
            page.locator("#work").get_attribute("class") if "/work/" in address else address.strip("/")[:6] or "home"
        )
        shot(page, f"{screen}-{language}")
        check_with_axe(page, address)


def test_a_tablet_needs_no_sideways_scrolling(bench, sign_in):
    page = sign_in(width=820, height=1180)
    for kind in CHOSEN:
        page.goto(bench.origin)
        start(page, kind)
        check_width(page, kind)
    shot(page, "tablet")


def test_drafts_survive_an_offline_time_and_a_reload(bench, sign_in):
    page = sign_in()
    start(page, "demonstration")
    page.locator(".field textarea").fill("first")
    page.wait_for_selector(".saved:text('Saved')")
    page.context.set_offline(True)
    page.locator(".field textarea").fill("first, second")
    page.wait_for_selector("text=Offline")
    shot(page, "offline")
    page.context.set_offline(False)
    page.wait_for_selector("text=Saved")
    page.reload()
    assert page.locator(".field textarea").input_value() == "first, second"


def test_what_is_missing_is_named_and_focused(bench, sign_in):
    page = sign_in()
    start(page, "comparison")
    page.click("text=Submit")
    assert "Ratings" in page.inner_text("[role=alert]")
    assert page.evaluate("document.activeElement.closest('.matrix') !== null")
    shot(page, "missing")


def test_no_key_acts_while_somebody_writes(bench, sign_in):
    page = sign_in()
    start(page, "ranking")
    page.locator(".field textarea").click()
    page.keyboard.type("j k 1 2 3 [ ] = u ?")
    assert page.locator(".field textarea").input_value() == "j k 1 2 3 [ ] = u ?"
    assert page.locator("dialog[open]").count() == 0 and page.locator("input:checked").count() == 0
    page.locator(".card").first.focus()
    event = "new KeyboardEvent('keydown', {key: '%s', isComposing: true, bubbles: true})"
    compose = f"document.activeElement.dispatchEvent({event})"
    for key in ("5", "?", "j"):
        page.evaluate(compose % key)
    assert page.locator("dialog[open]").count() == 0 and page.locator("input:checked").count() == 0
    page.keyboard.press("5")
    assert page.locator("input:checked").count() == 1
    page.keyboard.press("?")
    assert page.locator("dialog[open]").count() == 1
    shot(page, "keys")
    page.keyboard.press("Escape")


def test_declining_asks_why(bench, sign_in):
    page = sign_in()
    start(page, "edit")
    page.click("text=Decline …")
    page.locator("dialog textarea").fill("I do not speak it.")
    page.click("dialog button.primary:text('Decline')")
    page.wait_for_url(bench.origin + "/")
    assert page.locator("button[value=edit]").count() == 0


def feedback_of(text):
    """Return a draft in which everything that a document, a model or a person wrote is one text."""
    item = ITEMS["feedback"]
    points = [{"text": f"{text} point", "details": [f"{text} detail"], "quote": ""}]
    sections = [{**section, "points": points} for section in item["feedback"]["sections"]]
    pieces = [{"kind": kind, "text": f"{text} {kind}"} for kind in ("title", "heading", "paragraph")]
    feedback = {**item["feedback"], "document": text, "title": text, "author": text, "sections": sections}
    return {**item, "document": {**item["document"], "name": text, "pieces": pieces}, "feedback": feedback}


@pytest.mark.parametrize("nasty", [
    "<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "![x](http://127.0.0.1:1/x.png)",
    "[a](javascript:alert(1))", "<svg onload=alert(1)>", "</script><script>alert(1)</script>", "{{7*7}}", "a\u202eb",
    "`</textarea><img src=x onerror=alert(1)>`",
])  # fmt: skip
def test_texts_of_strangers_do_nothing(bench, sign_in, nasty):
    task = {**TASK, "question": nasty, "answer": f"x = 1  # {nasty}\n{nasty}\n"}
    bug = {"kind": "k", "spans": [[0, 5]], "description": nasty, "original": "", "replacement": ""}
    items = [
        NewItem("comparison", {"tamper": {"task": task, "answer": task["answer"], "bugs": [bug]},
                               "critiques": [f"```\n{nasty}\n```\n{nasty}", nasty]}),
        NewItem("critique", {"task": task, "prefill": f"```\n{nasty}\n```\n{nasty}"}),
        NewItem("tamper", {"task": task}), NewItem("demonstration", {"prompt": nasty}),
        NewItem("ranking", {"prompt": nasty, "candidates": [nasty, nasty + " "]}),
        NewItem("survey", {"title": nasty, "text": nasty, "questions": [{"name": "a", "text": nasty}]}),
        NewItem("edit", {"prompt": nasty, "answer": nasty}), NewItem("break", {"about": nasty}),
        NewItem("found", {"task": task, "reason": nasty}), NewItem("prompt", {"about": nasty}),
        NewItem("feedback", feedback_of(nasty)),
    ]  # fmt: skip
    bench.database.write(lambda t: t.run("UPDATE item SET state = 'paused'"))
    bench.store.add_items(items, "x", "o")
    page = sign_in()
    for item in items:
        page.goto(bench.origin)
        start(page, item.kind)
        page.wait_for_timeout(100)
        assert page.locator("#work img, #work script, #work svg").count() == 0
    page.click("text=Approve: it may be passed on")
    page.click("text=Submit")
    page.click("text=See it to print")
    page.wait_for_selector(".sheet")
    assert page.locator("main img, main script, main svg").count() == 0
    # requests elsewhere, dialogs and lines on the console fail the test at its end


def test_what_stands_between_backticks_is_shown_as_code(bench, sign_in):
    bug = {
        "kind": "k",
        "spans": [[0, 5]],
        "description": "`<b>` for `+`: a lone ` stays",
        "original": "",
        "replacement": "",
    }
    tamper = {"task": TASK, "answer": TASK["answer"], "bugs": [bug]}
    bench.database.write(lambda t: t.run("UPDATE item SET state = 'paused'"))
    critiques = [f"```\n{TASK['answer'].splitlines()[0]}\n```\nShould be `a + b`.", "None."]
    bench.store.add_items([NewItem("comparison", {"tamper": tamper, "critiques": critiques})], "x", "o")
    page = sign_in(role="owner")
    assert page.locator(".note code").all_inner_texts() == ["momus label import"]
    start(page, "comparison")
    assert page.locator(".panel-bugs li code").all_inner_texts() == ["<b>", "+"]
    assert "a lone ` stays" in page.locator(".panel-bugs li").inner_text()
    assert page.locator(".comment code").all_inner_texts() == ["a + b"]


def test_an_owner_invites_and_watches(bench, sign_in):
    page = sign_in("owner")
    page.click("text=People")
    page.click("text=Make an invitation link")
    link = page.input_value(".link")
    assert link.startswith(bench.origin + "/join/")
    page.goto(bench.origin)
    start(page, "edit")
    MOUSE["edit"](page)
    page.click("text=Submit")
    page.click("text=All tasks")
    page.click("text=My work")
    page.click("text=Correct")
    page.wait_for_selector("#work .bar")
    assert page.locator(".cm-content").nth(1).inner_text() != ITEMS["edit"]["answer"]
    page.goto(bench.origin + "/status")
    cells = page.locator("tr", has_text="Improve an answer").first.locator("td").all_inner_texts()
    assert [cell.strip() for cell in cells[:3]] == ["1", "3", "1"]


@pytest.mark.parametrize("kind", ["critique", "tamper"])
def test_code_is_run_by_keyboard_and_by_mouse(sign_in, bench, kind):
    if open_runner() is None:
        pytest.skip("no cage here")
    page = sign_in()
    start(page, kind)
    page.focus(".run textarea")
    page.keyboard.type("print(6 * 7)")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".output", has_text="42").wait_for()
    page.fill(".run textarea", "import os; print(os.listdir('/home'))")
    page.click(".run button")
    page.locator(".output", has_text="FileNotFoundError").wait_for()
    assert "(ended with 1)" in page.inner_text(".output")
    shot(page, f"run-{kind}")


def test_there_is_no_run_button_where_the_cage_does_not_hold(sign_in, bench, monkeypatch):
    monkeypatch.setattr(bench.app.state, "runner", None)
    page = sign_in()
    start(page, "critique")
    page.wait_for_selector(".code")
    assert page.locator(".run").count() == 0
