"""The process that looks up Python names with jedi: a request on stdin, an answer a line on stdout, all JSON.

It runs by itself (`python -I`), imports nothing of the code that it reads nor any compiled module but the interpreter's
own, reads no settings of the project, and bounds its memory and processor time.
"""

from __future__ import annotations

import ast
import json
import resource
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SKIPPED = {"__pycache__", "node_modules", "site-packages", "venv", "env", "build", "dist"}
_MAX_FILES = 2_000
_MAX_BYTES = 500_000
_MOST = 12
"""Places of one kind for one function."""


def _bound(seconds: int, memory: int) -> None:
    for kind, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory)):
        hard = resource.getrlimit(kind)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(kind, (limit, limit))
        except (ValueError, OSError):  # macOS does not bound address space
            continue


def _open_jedi(root: Path, cache: str) -> tuple[Any, Any, Any]:
    import jedi
    from jedi.api.environment import InterpreterEnvironment
    from jedi.inference.compiled import access

    load = access.load_module

    def load_builtin(inference_state: Any, dotted_name: str, sys_path: Any) -> Any:
        """Load what is part of the interpreter; no file is ever imported."""
        if dotted_name in sys.builtin_module_names:
            return load(inference_state, dotted_name, sys_path)
        return None

    access.load_module = load_builtin
    jedi.settings.cache_directory = cache
    paths = [str(path) for path in (root, root / "src") if path.is_dir()]
    project = jedi.Project(root, sys_path=[*paths, *sys.path], smart_sys_path=False, load_unsafe_extensions=False)
    return jedi, project, InterpreterEnvironment()


def _files(root: Path) -> Iterator[Path]:
    pending, count = [root], 0
    while pending and count < _MAX_FILES:
        folder = pending.pop()
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue
        for entry in entries:
            if entry.is_symlink() or entry.name.startswith(".") or entry.name in _SKIPPED:
                continue
            if entry.is_dir():
                pending.append(entry)
            elif entry.suffix == ".py" and entry.stat().st_size <= _MAX_BYTES:
                count += 1
                yield entry


class _Module:
    """A file of the repository: its definitions, and the calls in each."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.tree = ast.parse(text)

    def enclosing(self, line: int) -> tuple[str, int, int]:
        """Return the name and lines of the outermost function around a line, or the line alone."""
        for name, node in _functions(self.tree, ""):
            if _first(node) <= line <= (node.end_lineno or node.lineno):
                return name, _first(node), node.end_lineno or node.lineno
        return "", line, line

    def names(self, wanted: str) -> Iterator[tuple[int, int]]:
        """Yield the line and column of each use of a name that is not its definition."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and node.id == wanted:
                yield node.lineno, node.col_offset
            elif isinstance(node, ast.Attribute) and node.attr == wanted and node.end_col_offset is not None:
                yield node.end_lineno or node.lineno, node.end_col_offset - len(wanted.encode())


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, Any]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.stmt):
            yield from _functions(node, prefix)


def _first(node: Any) -> int:
    return int(min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]))


class _Finder:
    def __init__(self, root: Path, cache: str) -> None:
        self._root = root
        self._jedi, self._project, self._environment = _open_jedi(root, cache)
        self._modules: dict[Path, _Module | None] = {}
        self._texts: dict[Path, str] | None = None

    def look_up(self, path: Path, text: str, first: int, last: int) -> list[dict[str, Any]]:
        """Return places to read with lines `first` to `last` of a file."""
        module = _Module(path, text)
        self._modules[path] = module
        script = self._script(path, text)
        found = list(self._definitions(module, script, first, last))
        name, *_ = module.enclosing(first + (last - first) // 2)
        short = name.rpartition(".")[2]
        if short and not (short.startswith("__") and short.endswith("__")):
            found += self._uses(short, path, first, last)
        return found

    def _script(self, path: Path, text: str) -> Any:
        return self._jedi.Script(text, path=path, project=self._project, environment=self._environment)

    def _definitions(self, module: _Module, script: Any, first: int, last: int) -> Iterator[dict[str, Any]]:
        seen: set[tuple[Path, int]] = set()
        lines = module.text.split("\n")
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Name | ast.Attribute) or not first <= node.lineno <= last:
                continue
            name = node.id if isinstance(node, ast.Name) else node.attr
            line = node.end_lineno or node.lineno
            column = len(lines[line - 1].encode()[: node.end_col_offset].decode(errors="ignore")) - 1
            if isinstance(node.ctx, ast.Store) or len(seen) >= _MOST or column < 0:
                continue
            for place in self._goto(script, line, column):
                where = (place.module_path, place.line)
                if where in seen or (place.module_path == module.path and first <= place.line <= last):
                    continue
                if place.type in ("function", "class") or (place.type == "statement" and name.isupper()):
                    seen.add(where)
                    yield self._definition(place)

    def _goto(self, script: Any, line: int, column: int) -> list[Any]:
        try:
            places = script.goto(line, column, follow_imports=True)
        except Exception:
            return []
        return [p for p in places if p.line and p.module_path and p.module_path.is_relative_to(self._root)]

    def _definition(self, place: Any) -> dict[str, Any]:
        start, end = place.get_definition_start_position(), place.get_definition_end_position()
        first, last = (start or (place.line, 0))[0], (end or (place.line, 0))[0]
        return {"kind": "definition", "path": str(place.module_path), "first": first, "last": last, "name": place.name}

    def _uses(self, name: str, path: Path, first: int, last: int) -> Iterator[dict[str, Any]]:
        counts = {"caller": 0, "test": 0}
        seen: set[tuple[Path, int]] = set()
        for other, text in self._all_texts().items():
            if name not in text:
                continue
            module = self._module(other, text)
            kind = (
                "test" if other.name.startswith("test") or "tests" in other.relative_to(self._root).parts else "caller"
            )
            for line, column in module.names(name) if module else ():
                function, start, end = module.enclosing(line) if module else ("", line, line)
                if counts[kind] >= _MOST or (other, start) in seen or (other == path and first <= line <= last):
                    continue
                if not self._leads_to(other, text, line, column, path, first, last):
                    continue
                seen.add((other, start))
                counts[kind] += 1
                if kind == "caller" and end - start > 12:  # the call is what matters, and its surroundings
                    start, end = max(start, line - 4), min(end, line + 4)
                found = {"kind": kind, "path": str(other), "first": start, "last": end}
                yield {**found, "name": function or other.stem}

    def _leads_to(self, other: Path, text: str, line: int, column: int, path: Path, first: int, last: int) -> bool:
        places = self._goto(self._script(other, text), line, column)
        return any(place.module_path == path and first <= place.line <= last for place in places)

    def _module(self, path: Path, text: str) -> _Module | None:
        if path not in self._modules:
            try:
                self._modules[path] = _Module(path, text)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                self._modules[path] = None
        return self._modules[path]

    def _all_texts(self) -> dict[Path, str]:
        if self._texts is None:
            self._texts = {}
            for path in _files(self._root):
                try:
                    self._texts[path] = path.read_text(encoding="utf-8")
                except (OSError, ValueError):
                    continue
        return self._texts


def _run(request: dict[str, Any]) -> None:
    _bound(request["seconds"], request["memory"])
    finder = _Finder(Path(request["root"]), request["cache"])
    for number, asked in enumerate(request["functions"]):
        try:
            found = finder.look_up(Path(asked["path"]), asked["text"], asked["first"], asked["last"])
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            found = []
        print(json.dumps({"function": number, "found": found}), flush=True)


if __name__ == "__main__":
    _run(json.load(sys.stdin))
