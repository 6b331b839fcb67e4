"""Write a page of the Python reference for every room of the package, and put source code into pages.

A line `{{ source momus.search.fsbs.choose_best }}` becomes that function or method as it stands in the source, and
`{{ tests tests/search/test_fsbs.py }}` a list of what the tests of a file show, by their names.
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
FOLDER = "reference/python"
HIDDEN = {"cli", "report"}
"""Rooms without a page: they are called by commands alone."""

_LINE = re.compile(r"^\{\{ (?P<what>source|tests) (?P<name>[\w./]+) \}\}$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the entry `Modules` of the navigation with one page per room."""
    for section in config.nav or []:
        for entry in section.get("Reference", []) if isinstance(section, dict) else []:
            if isinstance(entry, dict) and "Modules" in entry:
                entry["Modules"] = [{f"momus.{name}": f"{FOLDER}/{name}.md"} for name in _rooms()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for name, modules in _rooms().items():
        room, *rest = modules
        text = "\n\n".join([f"::: {room}\n    options:\n      heading_level: 1", *(f"::: {module}" for module in rest)])
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace every line that names a piece of source, or a file of tests."""
    made = {"source": _block, "tests": _list}
    return _LINE.sub(lambda match: made[match["what"]](match["name"], page), markdown)


def _rooms() -> dict[str, list[str]]:
    """Return the modules of every room, public ones only, by the room's name."""
    rooms: dict[str, list[str]] = {}
    for path in sorted((SOURCE / "momus").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if len(parts) < 2 or parts[1] in HIDDEN or any(part.startswith("_") for part in parts[:-1]):
            continue
        if parts[-1] == "__init__" and len(parts) > 2:
            parts = parts[:-1]
        if not parts[-1].startswith("_"):
            rooms.setdefault(parts[1], []).append(".".join(parts))
    return {name: sorted(modules) for name, modules in sorted(rooms.items())}


def _block(name: str, page: Page) -> str:
    module, _, last = name.rpartition(".")
    path = SOURCE.joinpath(*module.split(".")).with_suffix(".py")
    found = [node for node in _definitions(path) if node.name == last]
    if len(found) != 1:
        raise PluginError(f"{page.file.src_uri}: {module} has {len(found)} definitions of {last}, not one")
    (node,) = found
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    lines = path.read_text(encoding="utf-8").splitlines()[first - 1 : node.end_lineno]
    code = textwrap.dedent("\n".join(lines))
    return f'``` {{ .python .source title="{path.relative_to(ROOT)}" }}\n{code}\n```'


def _list(name: str, page: Page) -> str:
    names = [node.name for node in _definitions(ROOT / name) if node.name.startswith("test_")]
    if not names:
        raise PluginError(f"{page.file.src_uri}: {name} holds no tests")
    return "\n".join(f"- {_sentence(name)}" for name in names)


def _sentence(name: str) -> str:
    """Return what a test shows, read off its name: `test_07_ties_are_dropped` is "7. Ties are dropped"."""
    number, words = re.fullmatch(r"test_(?:(\d+)_)?(\w+)", name).groups()  # type: ignore[union-attr]
    sentence = words.replace("_", " ").capitalize()
    return f"**{int(number)}.** {sentence}" if number else sentence


def _definitions(path: Path) -> list[ast.FunctionDef | ast.ClassDef]:
    """Return the functions, methods and classes of a file; none where there is no such file."""
    tree = ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
