"""Hold the pages to what is there: files, tests and Python names exist, and the site loads nothing from elsewhere.

Each finding is a warning, which a strict build does not survive.
"""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
WRITTEN = ("docs/", "src/", "tests/", "benchmarks/", "examples/")

_log = logging.getLogger("mkdocs.hooks.checks")
_CODE = re.compile(r"`([^`\n]+)`")
_PYTHON = re.compile(r"^``` ?python\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"^[\w./-]+/[\w.-]+\.(py|sh|md|toml)$")
_TEST = re.compile(r"^test_\w+$")
_LOADS = (
    re.compile(r"<(?:script|img|iframe|source|audio|video|embed)\b[^>]*?\bsrc\s*=\s*[\"']?((?:https?:)?//[^\"'\s>]+)"),
    re.compile(r"<link\b(?![^>]*\brel=[\"']?canonical)[^>]*?\bhref\s*=\s*[\"']?((?:https?:)?//[^\"'\s>]+)"),
    re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)"),
)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    """Warn of files, tests and Python names that a page uses and that are not there."""
    if page.file.generated_by:
        return
    for name in _CODE.findall(re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE)):
        if _FILE.match(name) and name.startswith(WRITTEN) and not (ROOT / name).exists():
            _log.warning("%s names %s, which is not there", page.file.src_uri, name)
        elif _TEST.match(name) and name not in _tests():
            _log.warning("%s names the test %s, which is not there", page.file.src_uri, name)
    for module, name in (pair for code in _PYTHON.findall(markdown) for pair in _imports(code)):
        if name not in _names(module):
            _log.warning("%s imports %s from %s, which has none", page.file.src_uri, name, module)


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


def _imports(code: str) -> Iterator[tuple[str, str]]:
    """Yield module and name of everything that a block of Python imports from momus."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("momus"):
            yield from ((str(node.module), alias.name) for alias in node.names)


@cache
def _names(module: str) -> frozenset[str]:
    """Return the names that a module of the package holds, imported ones included; none where there is no module."""
    path = ROOT.joinpath("src", *module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names: set[str] = {child.stem for child in path.parent.iterdir()} if path.name == "__init__.py" else set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return frozenset(names)
