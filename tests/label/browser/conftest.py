"""A workbench that is served, and signed-in pages in Chromium: `make test-browser`.

Nothing may be asked of another server or be written to the console.
"""

import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from momus.label.app import make_app
from momus.label.kinds import KINDS
from momus.label.people import People
from momus.label.rules import NewItem
from momus.label.running import open_runner
from momus.label.schema import migrate, open_database
from momus.label.security import Site
from momus.label.store import Store
from momus.label.verify import verify
from support.label_items import ITEMS

CHROMIUM = shutil.which("chromium")
CHOSEN = sorted(set(KINDS) - {"review"})


def pytest_collection_modifyitems(items):
    """Leave these tests out unless they were asked for."""
    reason = "make test-browser: needs Debian's chromium and playwright"
    for item in items:
        if Path(__file__).parent in item.path.parents and "MOMUS_TEST_BROWSER" not in os.environ:
            item.add_marker(pytest.mark.skip(reason=reason))


class Models:
    def answer(self, prompt):
        return "It was a Monday."

    def critiques(self, question, answer, count):
        return ["```\nreturn a - b\n```\nSubtracts.", "No problems found.", "All good."][:count]


@pytest.fixture
def bench(tmp_path):
    import uvicorn

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    database = open_database(str(tmp_path / "label.db"))
    migrate(database)
    site = Site((f"http://127.0.0.1:{port}",))
    store = Store(database)
    store.add_items([NewItem(kind, ITEMS[kind], want=3) for kind in CHOSEN], "b", "o")
    app = make_app(database, store, site, Models(), open_runner())
    config = uvicorn.Config(app, port=port, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    bench = type(
        "Bench",
        (),
        {"app": app, "database": database, "store": store, "people": People(database), "origin": site.origins[0]},
    )
    yield bench
    server.should_exit = True
    thread.join(10)
    assert verify(database)[0] == []
    database.close()


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "chromium is not installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def sign_in(bench, chromium):
    """Make signed-in pages that fail the test for any request elsewhere, dialog, or line on the console."""
    contexts, problems = [], []

    def make(role="labeler", language="en", width=1280, height=900):
        context = chromium.new_context(viewport={"width": width, "height": height}, locale=language)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("request", lambda request: problems.append(request.url) if not request.url.startswith(
            (bench.origin, "data:", "blob:")) else None)  # fmt: skip
        page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") and
                "net::ERR" not in message.text else None)  # fmt: skip
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()) if dialog.type !=
                "beforeunload" else dialog.accept())  # fmt: skip
        page.goto(f"{bench.origin}/join/{bench.people.invite(role, 'o')}")
        page.fill("[name=name]", "Kim")
        page.select_option("[name=language]", language)
        page.click("button.primary")
        page.wait_for_selector("h1")
        return page

    yield make
    for context in contexts:
        context.close()
    assert problems == []
