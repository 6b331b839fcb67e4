"""Hold the pages to what is there: files and tests that a page names exist, and the site asks no other origin.

Each finding is a warning, which a strict build does not survive.
"""

from __future__ import annotations

import logging
import re
from functools import cache
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
WRITTEN = ("docs/", "src/", "tests/", "benchmarks/", "examples/")

_log = logging.getLogger("mkdocs.hooks.checks")
_CODE = re.compile(r"`([^`\n]+)`")
_FILE = re.compile(r"^[\w./-]+/[\w.-]+\.(py|sh|md|toml)$")
_TEST = re.compile(r"^test_\w+$")
_LOADS = (
    re.compile(r"<(?:script|img|iframe|source|audio|video|embed)\b[^>]*?\bsrc\s*=\s*[\"']?((?:https?:)?//[^\"'\s>]+)"),
    re.compile(r"<link\b(?![^>]*\brel=[\"']?canonical)[^>]*?\bhref\s*=\s*[\"']?((?:https?:)?//[^\"'\s>]+)"),
    re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)"),
)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    """Warn of files and tests that a page names and that are not there."""
    if page.file.generated_by:
        return
    for name in _CODE.findall(re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE)):
        if _FILE.match(name) and name.startswith(WRITTEN) and not (ROOT / name).exists():
            _log.warning("%s names %s, which is not there", page.file.src_uri, name)
        elif _TEST.match(name) and name not in _tests():
            _log.warning("%s names the test %s, which is not there", page.file.src_uri, name)


def on_post_build(config: MkDocsConfig) -> None:
    """Warn of pages and style sheets that load something from another origin, or lack the policy that forbids it."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix not in (".html", ".css"):
            continue
        text = path.read_text(encoding="utf-8")
        for address in {found for pattern in _LOADS for found in pattern.findall(text)}:
            _log.warning("%s loads %s", path.relative_to(config.site_dir), address)
        if path.suffix == ".html" and "Content-Security-Policy" not in text:
            _log.warning("%s has no content security policy", path.relative_to(config.site_dir))


@cache
def _tests() -> frozenset[str]:
    """Return the names of all tests, and of the files that hold them."""
    files = list((ROOT / "tests").rglob("test_*.py"))
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return frozenset(re.findall(r"^\s*def (test_\w+)", code, re.MULTILINE)) | {path.stem for path in files}
