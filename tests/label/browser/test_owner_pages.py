"""The owner's pages in Chromium: by keyboard alone, by mouse alone, in both languages, on a laptop and a tablet."""

import pytest

from momus.label.owner import actions
from momus.label.rules import NewItem
from support.label_browser import check_width, check_with_axe, shot, start, tab_to


def give(bench, name, count=2, kind="demonstration"):
    """Have a labeler submit some answers; return the pseudonym."""
    people, store = bench.people, bench.store
    person = people.person(people.join(people.invite("labeler", "o"), name, "en")).id
    store.add_items([NewItem(kind, {"prompt": f"{name} {i}"}, want=1) for i in range(count)], f"of {name}", "o")
    bench.database.write(lambda t: t.run("UPDATE item SET state = 'paused' WHERE batch = 'b'"))
    for _ in range(count):
        lease = store.claim(person, kind, lambda *_: {})
        store.submit(lease.token, person, lease.token, {"answer": "Because."}, 60.0, lambda *given: given[-1])
    actions.set_batch_paused(bench.database, "b", False, "o")
    return person


def press(page, selector):
    """Go to a link or a form's button by Tab and press Enter."""
    page.evaluate("document.activeElement.blur()")
    tab_to(page, selector)
    with page.expect_navigation():
        page.keyboard.press("Enter")


@pytest.mark.parametrize("hand", ["keyboard", "mouse"])
def test_a_project_is_paused_and_goes_on(bench, sign_in, hand):
    owner, labeler = sign_in("owner"), sign_in()
    act = (lambda selector: press(owner, selector)) if hand == "keyboard" else owner.click
    act("nav a[href='/project']")
    owner.wait_for_selector("text=Tasks are handed out.")
    act("button.primary[value=paused]")
    owner.wait_for_selector("text=The project is paused.")
    labeler.goto(bench.origin)
    assert "This project is paused" in labeler.inner_text("[role=status]")
    assert labeler.locator("button[name=kind]").count() == 0 and labeler.locator("text=Done. Thank you.").count() == 0
    shot(labeler, "paused-home")
    act("button.primary[value=active]")
    owner.wait_for_selector("text=The project goes on.")
    labeler.goto(bench.origin)
    start(labeler, "edit")
    act("td button[aria-label^='Pause: b, Improve']")
    owner.wait_for_selector("text=The batch is paused.")
    labeler.goto(bench.origin)
    assert labeler.locator("button[value=edit]").inner_text() == "Go on"
    act("td button[aria-label^='Resume: b, Improve']")
    owner.wait_for_selector("text=The batch goes on.")


@pytest.mark.parametrize("hand", ["keyboard", "mouse"])
def test_a_labeler_is_signed_out_and_work_is_done_again(bench, sign_in, hand):
    person = give(bench, "Lee")
    owner = sign_in("owner")
    act = (lambda selector: press(owner, selector)) if hand == "keyboard" else owner.click
    act("nav a[href='/people']")
    act("button[aria-label='New link: Lee']")
    owner.wait_for_selector(".link")
    shot(owner, "people-link")
    act("button[aria-label='Sign out: Lee']")
    owner.wait_for_selector("text=Signed out everywhere")
    assert owner.locator("text=Links that nobody has used yet").count() == 0
    act("button.primary")
    act("button[aria-label^='Revoke: somebody new']")
    owner.wait_for_selector("text=That link no longer works.")
    act("a[aria-label='Work: Lee']")
    owner.wait_for_selector("text=Have work done again")
    if hand == "keyboard":
        tab_to(owner, "input[name=by_whom]")
        owner.keyboard.press("Space")
        tab_to(owner, "textarea")
        owner.keyboard.type("Copied.")
        press(owner, "form button.primary")
    else:
        owner.check("input[value=others]")
        owner.fill("textarea", "Copied.")
        owner.click("form button.primary")
    owner.wait_for_selector("text=2 judgements no longer count")
    assert owner.locator("text=Nothing of this labeler counts").count() == 1
    assert actions.work_of(bench.database, person) == []


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (820, 1180)])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_page_of_the_owner_can_be_read(bench, sign_in, language, width, height):
    person = give(bench, "Kim Minji")
    actions.set_batch_paused(bench.database, "b", True, "o", "edit")
    bench.people.invite("labeler", "o", person)
    page = sign_in("owner", language, width, height)
    for address in ("/project", "/people", f"/people/{person}", "/status"):
        page.goto(bench.origin + address)
        name = "labeler" if address.startswith("/people/") else address[1:]
        shot(page, f"{name}-{language}-{width}")
        check_with_axe(page, address)
        check_width(page, address)
