"""`import momus`: few names, loaded when they are used, known to type checkers, documented."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import momus
from momus.errors import UserError

NAMES = [name for name in momus.__all__ if name != "__version__"]
CALLED = [name for name in NAMES if name.islower()]


def test_importing_momus_loads_nothing_more():
    code = "import sys; before = set(sys.modules); import momus; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "momus" in loaded
    assert not {name for name in loaded if name.startswith("momus.")}
    assert {name.partition(".")[0] for name in loaded} <= {*sys.stdlib_module_names, "momus"}


def test_type_checkers_see_the_names_that_are_loaded():
    tree = ast.parse(Path(momus.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    shown = [(node.module, alias.name, alias.asname) for node in block.body for alias in node.names]
    assert all(name == exported for _, name, exported in shown)
    assert [(module, name) for module, name, _ in shown] == [
        (module, name) for module, names in momus._MODULES.items() for name in names
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_front_door_is_the_one_of_its_module(name):
    module = sys.modules[momus._MODULE_OF[name]] if getattr(momus, name) is not None else None
    assert getattr(momus, name) is getattr(module, name)
    assert name in dir(momus)


def test_no_name_of_the_front_door_is_that_of_a_room():
    """Importing a module of the room would put the room in its place."""
    root = Path(momus.__file__).parent
    assert not {path.stem for path in root.iterdir()} & set(NAMES)


def test_there_are_few_names():
    assert len(NAMES) <= 50


@pytest.mark.parametrize("name", CALLED)
def test_functions_of_the_front_door_are_documented(name):
    function = getattr(momus, name)
    text = inspect.getdoc(function) or ""
    parameters = inspect.signature(function).parameters
    assert text
    assert len(parameters) < 2 or all(f"{name}: " in text for name in parameters), text


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'momus' has no attribute 'reveiw_code'"):
        momus.reveiw_code  # noqa: B018


def test_code_is_reviewed_as_a_string_or_in_a_file(tmp_path):
    code = "def mean(numbers):\r\n    return sum(numbers) / (len(numbers) + 1)\r\n"
    file = tmp_path / "code.py"
    file.write_bytes(code.encode())
    critic = momus.open_critic()
    review = momus.review_code(code, critic, setting=0.1)
    assert review.findings == momus.review_code(file, critic, setting=0.1).findings
    assert review.findings and all(finding.quote in code for finding in review.findings)
    assert momus.review_code(code, critic, setting=0.1, max_comments=1).findings == review.findings[:1]


@pytest.mark.parametrize("code", ["", "def f(:", "x = '\ud800'", "\0"])
def test_code_that_cannot_be_reviewed_is_refused(code):
    with pytest.raises(UserError, match=r"code\.py"):
        momus.review_code(code, None)


def test_code_is_tampered_with_by_seed():
    code = "def mean(numbers):\n    return sum(numbers) / len(numbers)\n"
    tampered = momus.tamper_code(code, seed=1)
    assert tampered.task.answer == code != tampered.answer
    assert len(tampered.bugs) == 1
    assert tampered == momus.tamper_code(code, seed=1)
    assert len({momus.tamper_code(code, seed=seed).answer for seed in range(8)}) > 1
    with pytest.raises(UserError, match="no room for 99 bugs"):
        momus.tamper_code(code, bugs=99)
