"""Write a page of the Python reference for every room of the package, and put source code into pages.

A line `{{ source momus.search.fsbs.choose }}` becomes that function as it stands in the source.
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

_SOURCE_LINE = re.compile(r"^\{\{ source (?P<name>[\w.]+) \}\}$", re.MULTILINE)


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
        text = "\n\n".join([f"# momus.{name}", *(f"::: {module}" for module in modules)])
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace every line that names a piece of source by that piece."""
    return _SOURCE_LINE.sub(lambda match: _block(match["name"], page), markdown)


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
    path, text = _found(name, page)
    return f'``` python title="{path.relative_to(ROOT)}"\n{text}\n```'


def _found(name: str, page: Page) -> tuple[Path, str]:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        path = SOURCE.joinpath(*parts[:cut]).with_suffix(".py")
        if path.is_file():
            code = path.read_text(encoding="utf-8")
            node = _node(ast.parse(code), parts[cut:])
            if node is not None:
                first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
                lines = code.splitlines()[first - 1 : node.end_lineno]
                return path, textwrap.dedent("\n".join(lines))
    raise PluginError(f"{page.file.src_uri}: there is no {name} in the source")


def _node(tree: ast.AST, names: list[str]) -> ast.stmt | None:
    for node in getattr(tree, "body", []):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == names[0]:
            return node if len(names) == 1 else _node(node, names[1:])
    return None
