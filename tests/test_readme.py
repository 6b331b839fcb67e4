"""What the README and CONTRIBUTING say of where things are is so."""

import ast
import re
from pathlib import Path

import pytest

import momus
from support.docs import ROOT
from test_architecture import FLOORS

HOUSE = Path(momus.__file__).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table whose head begins with a word."""
    table = re.search(rf"^\| {heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


LOOK_FOR = {cells[0]: cells[1] for cells in rows("look for")}
HOLDS = {
    "PPO-ptx's gradient": ("_add_ptx_gradient", "ptx_coefficient"),
    "equation 1, the reward model's loss": ("ranking_loss", "-F.logsigmoid(scores[better] - scores[worse]).mean()"),
    "FSBS, and its argmax": ("choose_best", "max(result.candidates"),
    "RAIN, and its backpropagation": ("backpropagate", "path_from_root()"),
    "where a new mutation goes": ("mutation", "KINDS[kind]"),
    "where a new critic goes": ("Critic", "def write("),
}
"""What a reader looks for, the function or class that is named, and what of it stands in there."""


def definitions(path: Path) -> dict[str, str]:
    """Return the source of every function and class of a file, by name."""
    source = path.read_text(encoding="utf-8")
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.FunctionDef, ast.ClassDef)))
    return {node.name: ast.get_source_segment(source, node) or "" for node in nodes}


@pytest.mark.parametrize("look_for", HOLDS)
def test_what_is_looked_for_stands_where_the_readme_says(look_for: str) -> None:
    place = LOOK_FOR[look_for]
    name, text = HOLDS[look_for]
    assert f"`{name}`" in place or f"`@{name}`" in place
    files = [HOUSE / file for file in re.findall(r"`([\w/]+\.py)`", place)]
    assert any(text in definitions(file).get(name, "") for file in files)


@pytest.mark.parametrize("place", LOOK_FOR.values())
def test_every_name_of_the_table_exists(place: str) -> None:
    paths = [HOUSE / path for path in re.findall(r"`([\w/]+(?:\.py|/))`", place)]
    assert paths and all(path.exists() for path in paths)
    known = {name for path in paths if path.suffix for name in definitions(path)}
    assert set(re.findall(r"`@?([A-Za-z_]+)`", place)) <= known


def test_every_room_is_in_the_readme_and_in_contributing() -> None:
    rooms = {path.stem for path in HOUSE.iterdir() if path.stem in FLOORS} - {"errors", "terminal", "__main__"}
    shown = set(re.findall(r"`(\w+)(?:/|\.py)`", " ".join(cells[0] for cells in rows("room"))))
    listed = re.findall(r"(\w+)(?:/|\.py)", "".join(re.findall(r"^    (.*)\n", CONTRIBUTING, re.MULTILINE)))
    assert rooms <= shown <= set(FLOORS)
    assert rooms <= set(listed) and listed == [room for room in FLOORS if room in listed]


def test_the_first_screen_of_the_readme_has_both_commands() -> None:
    first = README.splitlines()[:24]
    assert any(line.startswith("make demo") for line in first) and any(line.startswith("make test") for line in first)
    assert len(README.splitlines()) <= 85


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", README))))
def test_a_link_of_the_readme_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()
