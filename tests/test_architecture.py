"""The house rules of CONTRIBUTING.md, read off the source."""

import ast
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import momus

ROOT = Path(momus.__file__).parent
# Ground floor first. A room imports only rooms before it, so no two rooms import each other.
FLOORS = [
    "errors", "terminal", "files", "normalise", "critique", "records", "stats", "data", "sandbox", "lm", "tamper",
    "match", "search", "runtime", "train", "critics", "tiny", "raters", "documents", "evaluate", "review", "label",
    "report", "demo", "cli", "__main__",
]  # fmt: skip
FLOOR_OF = {room: level for level, room in enumerate(FLOORS)}
MAX_LINES = 400
MAX_FILES = 20
HEAVY = {
    "torch",
    "transformers",
    "tokenizers",
    "matplotlib",
    "libcst",
    "scipy",
    "numpy",
    "pydantic",
    "jinja2",
}


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def _imports(path: Path) -> set[str]:
    """Return the modules a file imports anywhere: at its top, in functions and under TYPE_CHECKING."""
    name = _module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in FILES else base)
    return found


@cache
def _all_imports() -> dict[str, set[str]]:
    """Return what each module imports."""
    return {name: _imports(path) for name, path in FILES.items()}


@cache
def _inner() -> dict[str, set[str]]:
    """Return what each module imports of the package."""
    return {
        name: {other for other in found if other.split(".")[0] == "momus"} for name, found in _all_imports().items()
    }


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_room_is_on_the_map():
    assert {_room(name) for name in FILES} - {""} <= set(FLOOR_OF)


def test_imports_name_modules_that_exist():
    missing = {(name, other) for name, found in _inner().items() for other in found if other not in FILES}
    assert not missing


def test_no_circle_of_imports():
    # static_order raises CycleError, which names the circle. The front door imports nothing before it is used.
    list(TopologicalSorter({name: found - {name, "momus"} for name, found in _inner().items()}).static_order())


def test_a_room_imports_only_rooms_above_it():
    upward = [
        (name, other)
        for name in FILES
        if _room(name)
        for other in _inner()[name] - {"momus"}
        if _room(other) != _room(name) and FLOOR_OF[_room(other)] >= FLOOR_OF[_room(name)]
    ]
    assert not upward


def test_stats_is_pure():
    allowed = {"numpy", "scipy", "momus", *sys.stdlib_module_names}
    for name in FILES:
        if _room(name) == "stats":
            assert {found.split(".")[0] for found in _all_imports()[name]} <= allowed, name
            assert {_room(other) for other in _inner()[name]} <= {"stats", "errors", ""}, name


def test_raters_know_nothing_of_the_models_they_judge():
    assert all(_room(other) != "lm" for name in FILES if _room(name) == "raters" for other in _inner()[name])


def test_files_are_short():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in FILES.items()}
    assert not {name: count for name, count in lines.items() if count > MAX_LINES}


def test_no_room_is_crowded():
    folders = Counter(path.parent for path in FILES.values())
    assert not {folder: count for folder, count in folders.items() if count > MAX_FILES}


def test_nothing_is_unpickled():
    roots = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert not {name for name in FILES if {module.split(".")[0] for module in _all_imports()[name]} & roots}
    loads = [
        f"{name}:{node.lineno}"
        for name, path in FILES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "load"
        and isinstance(node.value, ast.Name) and node.value.id in ("torch", "np", "numpy")
    ]  # fmt: skip
    assert not loads


def test_the_command_line_starts_light():
    code = "import sys, momus.cli; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & (HEAVY | {"tyro", "rich"})


def test_help_is_immediate_and_names_every_command():
    from momus.cli import COMMANDS

    # Processor time, the best of three: how busy the machine is does not count.
    spent = []
    for _ in range(3):
        before = os.times()
        command = [sys.executable, "-m", "momus", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        after = os.times()
        spent.append(after.children_user - before.children_user + after.children_system - before.children_system)
    assert all(f"  {command} " in done.stdout for command in COMMANDS)
    assert done.stderr == ""
    assert min(spent) < 0.3


# What fills a folder that `atomic_directory` yields through a library's own writer.
FILLS_A_FOLDER = {
    "momus.lm.models", "momus.lm.pointers.pointer", "momus.lm.pointers.reward", "momus.runtime.adapters",
    "momus.runtime.runs", "momus.search.reward_export", "momus.tiny.pretrain",
}  # fmt: skip
ALLOWED_WRITES = {
    ("momus.cli", "open"),  # the null device, in place of a closed stream
    ("momus.cli", "O_WRONLY"),
    ("momus.lm.chats.cache", "mkdir"),  # databases, which SQLite writes durably itself
    ("momus.lm.chats.cache", "touch"),
    ("momus.sandbox.inside.escapes", "mkdir"),  # inside the cage, into its scratch folder
    ("momus.sandbox.inside.escapes", "open"),
    ("momus.sandbox.inside.escapes", "symlink_to"),
    ("momus.sandbox.inside.escapes", "write_bytes"),
    ("momus.sandbox.inside.escapes", "write_text"),
    ("momus.sandbox.inside.compare", "O_RDWR"),  # the null device
    ("momus.sandbox.inside.run_tests", "O_RDWR"),  # the null device
    ("momus.sandbox.inside.run_tests", "fdopen"),  # a pipe
    ("momus.label.sqlite", "mkdir"),
    ("momus.label.schema", "move"),
    ("momus.runtime.runs", "rename"),  # a damaged checkpoint, put aside
}
LIBRARY_WRITERS = {"save_file", "save_pretrained"}
WRITERS = {
    "write_text", "write_bytes", "touch", "rename", "symlink_to", "hardlink_to", "truncate", "mkfifo", "mkdir",
    "makedirs", "copyfile", "copyfileobj", "copytree", "copy2", "move", "mkstemp", "mkdtemp", "NamedTemporaryFile",
    "TemporaryFile", "TemporaryDirectory", "savez", "savez_compressed", "savetxt", "tofile", "to_csv",
    "to_parquet", "write_parquet", "write_csv", "write_table", "extractall",
}  # fmt: skip
WRITING_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"}
OPENERS = {"open", "fdopen", "ZipFile", "TarFile", "GzipFile"}


def _writes(source: str) -> set[str]:
    """Return what in a module's source writes files, as the names of flags and calls."""
    nodes = list(ast.walk(ast.parse(source)))
    ours = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "momus.files"
        for alias in node.names
    }
    written = {node.attr for node in nodes if isinstance(node, ast.Attribute) and node.attr in WRITING_FLAGS}
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        name = ast.unparse(call.func).rpartition(".")[2]
        path_replace = name == "replace" and isinstance(call.func, ast.Attribute) and len(call.args) == 1
        arguments = [*call.args, *(option.value for option in call.keywords if option.arg == "mode")]
        modes = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
        computed = any(isinstance(argument, ast.IfExp) for argument in arguments)
        opened = name in OPENERS and (computed or any(set("wax+") & set(str(mode)[:3]) for mode in modes))
        saves = ast.unparse(call.func) in ("torch.save", "np.save", "json.dump", "yaml.dump")
        if name in (WRITERS | LIBRARY_WRITERS) - ours or (path_replace and not call.keywords) or opened or saves:
            written.add(name)
    return written


@pytest.mark.parametrize(
    "line",
    [
        'open(name, "w")', 'path.open(mode="ab")', 'path.write_text("x")', "partial.replace(path)", "json.dump(x, f)",
        "os.open(name, os.O_CREAT | os.O_RDWR)", 'path.open("r" if old else "w")', "tempfile.mkstemp()",
        "model.save_pretrained(folder)", "shutil.move(a, b)", 'zipfile.ZipFile(path, "w")',
    ],
)  # fmt: skip
def test_a_line_that_writes_a_file_is_found(line):
    assert _writes(line)


@pytest.mark.parametrize("line", ['open(name, "rb")', "path.open()", 'text.replace("a", "b")', "replace(x, a=1)"])
def test_a_line_that_writes_none_is_not(line):
    assert not _writes(line)


def test_only_files_opens_a_file_to_write_it():
    writers = {
        (name, call)
        for name, path in FILES.items()
        if _room(name) != "files"
        for call in _writes(path.read_text(encoding="utf-8"))
    }
    library = {(name, call) for name, call in writers if call in LIBRARY_WRITERS}
    assert {name for name, _ in library} == FILLS_A_FOLDER
    assert writers - library == ALLOWED_WRITES
