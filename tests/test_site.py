"""The documentation as a site, opened from the disk in Chromium: `make docs`, then `make test-browser`."""

import os
import shutil
from pathlib import Path

import pytest

SITE = Path(__file__).parent.parent / "site"

pytestmark = [
    pytest.mark.skipif("MOMUS_TEST_BROWSER" not in os.environ, reason="make test-browser: needs Debian's chromium"),
    pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="no site: run `make docs`"),
]


@pytest.mark.parametrize("page", ["index.html", "guides/data.html"])
def test_search_finds_pages_and_nothing_leaves_the_disk(page: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    left: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        opened = browser.new_page()
        opened.on("request", lambda request: left.append(request.url) if request.url.startswith("http") else None)
        opened.goto((SITE / page).as_uri())
        opened.keyboard.press("/")
        opened.keyboard.type("false alarms")
        opened.locator(".md-search-result__item").first.wait_for()
        assert "matching documents" in opened.locator(".md-search-result__meta").inner_text()
        browser.close()
    assert left == []
