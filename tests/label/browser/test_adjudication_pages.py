"""Deciding where labelers disagree, in Chromium: by keyboard alone, by mouse alone, both languages, two widths."""

from random import Random

import pytest

from momus.label.kinds import check
from momus.label.owner.adjudication import decision_of
from momus.label.rules import NewItem
from momus.label.views import arrange
from support.label_browser import check_width, check_with_axe, shot, tab_to
from support.label_items import GOOD, ITEMS

RATING = {"comprehensive": 4, "nitpick": 1, "fake_problem": 1, "concise": 4}
OTHER = {
    "ranking": {
        "cards": [{"overall": 2}, {"overall": 6, "flags": {"opinion": True}}, {"overall": 3}, {"overall": 6}],
        "ranks": [4, 1, 3, 1],
        "rationale": "The second one is polite.",
    },
    "comparison": {"ratings": [{**RATING, "cbi": [7 - 2 * i], "overall": 1 + 2 * i} for i in range(4)]},
    "found": {"bugs": [], "nothing": True},
    "critique": {"nothing": True},
    "survey": {"values": {**GOOD["survey"]["values"], "who": "reader", "useful": 1}},
}


@pytest.fixture
def disputed(bench):
    """Two labelers disagree about one item of every kind that can be compared."""
    people, store = bench.people, bench.store
    bench.database.write(lambda t: t.run("UPDATE item SET state = 'done'"))
    for kind in OTHER:
        store.add_items([NewItem(kind, ITEMS[kind], want=2)], "disputed", "o")
    for name, contents in (("Lee", GOOD), ("Park", OTHER)):
        person = people.person(people.join(people.invite("labeler", "o"), name, "en")).id
        store.random = Random(name)
        for kind in OTHER:
            lease = store.claim(person, kind, arrange)
            store.submit(lease.token, person, lease.token, contents[kind], 60.0, check)
    return bench


@pytest.mark.parametrize("hand", ["keyboard", "mouse"])
def test_a_ranking_is_decided(disputed, sign_in, hand):
    page = sign_in("adjudicator")
    number = disputed.database.read(
        lambda t: t.value("SELECT number FROM item WHERE kind = 'ranking' AND batch = 'disputed'")
    )
    by_keyboard = hand == "keyboard"

    def press(selector):
        if by_keyboard:
            tab_to(page, selector)
            page.keyboard.press("Enter")
        else:
            page.click(selector)

    press("nav a[href='/disputes']")
    page.wait_for_selector("text=How disagreement is counted")
    press(f"button[name=item][value='{number}']")
    page.wait_for_selector("#work .judgements")
    assert page.locator(".judgements .differs").count() >= 3
    press("button[aria-label='Start from this: Judgement 2']")
    assert page.locator(".ladder input:checked").count() == 4
    page.keyboard.press("Control+Enter") if by_keyboard else page.click("text=Submit")
    page.wait_for_selector("text=Submitted. Thank you.")
    assert disputed.database.read(lambda t: decision_of(t, number))
    press("text=Next task") if not by_keyboard else page.keyboard.press("Enter")
    page.wait_for_selector("text=Decided by")
    shot(page, "disputes")


def test_a_labeler_sees_no_disagreements(disputed, sign_in):
    page = sign_in()
    assert page.locator("nav a[href='/disputes']").count() == 0


@pytest.mark.parametrize("kind", sorted(OTHER))
def test_every_kind_is_decided_from_a_judgement(disputed, sign_in, kind):
    page = sign_in("adjudicator")
    number = disputed.database.read(
        lambda t: t.value("SELECT number FROM item WHERE kind = ? AND batch = 'disputed'", kind)
    )
    page.goto(f"{disputed.origin}/disputes?least=1")
    page.click(f"button[value='{number}']")
    page.click("button[aria-label='Start from this: Judgement 1']")
    page.click("text=Submit")
    page.wait_for_selector("text=Submitted. Thank you.")


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (820, 1180)])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_pages_of_an_adjudicator_can_be_read(disputed, sign_in, language, width, height):
    page = sign_in("adjudicator", language, width, height)
    page.goto(f"{disputed.origin}/disputes?least=1")
    check_with_axe(page, "disputes")
    check_width(page, "disputes")
    shot(page, f"disputes-{language}-{width}")
    numbers = page.eval_on_selector_all("button[name=item]", "all => all.map((one) => one.value)")
    assert len(numbers) == len(OTHER)
    for number in numbers:
        page.goto(f"{disputed.origin}/disputes?least=1")
        page.click(f"button[value='{number}']")
        page.wait_for_selector("#work .judgements")
        where = page.locator("#work").get_attribute("class")
        shot(page, f"{where.rpartition(' ')[2]}-decide-{language}-{width}")
        check_with_axe(page, where)
        check_width(page, where)
