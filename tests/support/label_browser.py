"""What tests of the workbench in Chromium share: pictures of screens, axe, and moving by keyboard."""

import os
from pathlib import Path

SHOTS = os.environ.get("MOMUS_SHOTS")
"""A folder for a picture of every screen."""


def shot(page, name):
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


def check_with_axe(page, where):
    """Fail where axe finds something serious."""
    page.evaluate((Path(__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    serious = [
        (v["id"], [node["html"][:150] for node in v["nodes"][:3]])
        for v in found["violations"] if v["impact"] in ("serious", "critical")
    ]  # fmt: skip
    assert not serious, f"{where}: {serious}"


def check_width(page, where):
    """Fail where the page is to be scrolled sideways."""
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{where}: {wide} pixels too wide"


def start(page, kind):
    page.click(f"button[name=kind][value={kind}]")
    page.wait_for_selector("#work .bar")


def tab_to(page, selector, back=False):
    """Press Tab until the focus is on what matches."""
    for _ in range(300):
        if page.evaluate("(s) => document.activeElement.matches(s)", selector):
            return
        page.keyboard.press("Shift+Tab" if back else "Tab")
    raise AssertionError(f"Tab never reaches {selector}")
