"""Run directories that hold something else: refused in one line, and left as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from momus.critics.dataset import critique_dataset
from momus.critics.run import TaskCritiques
from momus.critics.shard import CritiqueConfig
from momus.errors import UserError
from momus.files import DirectoryLock
from momus.records import Prompt, Task, write_jsonl
from momus.search.rain.dataset import RainAnswer, run


def rain(out: Path) -> None:
    def answer(index: int, own: Prompt | Task) -> RainAnswer:
        return RainAnswer(index=index, prompt="why?", answer="so")

    run([Prompt(prompt="why?")], out, {"seed": 0}, answer, lambda done, total: None)


def critique(out: Path) -> None:
    tasks = out.with_name("tasks.jsonl")
    write_jsonl(tasks, [Task(id="f", question="", answer="x = 1\n")])
    critique_dataset(
        tasks,
        out,
        CritiqueConfig(),
        runner=lambda config, shards: ((own, [TaskCritiques(index=0, id="f")]) for own in shards),
    )


COMMANDS = {"rain": (rain, critique, "answers.jsonl"), "critique": (critique, rain, "critiques.jsonl")}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refused(command: Callable[[Path], None], out: Path, words: str) -> None:
    before = contents(out)
    with pytest.raises(UserError, match=words) as caught:
        command(out)
    assert str(out) in str(caught.value) and "--out" in str(caught.value) and "\n" not in str(caught.value)
    assert contents(out) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_another_commands_run_is_refused_and_ones_own_goes_on(name: str, tmp_path: Path) -> None:
    own, other, _ = COMMANDS[name]
    out = tmp_path / "out"
    other(out)
    refused(own, out, f"is not a run of momus {name}")
    own(tmp_path / "own")
    before = contents(tmp_path / "own")
    own(tmp_path / "own")
    assert contents(tmp_path / "own") == before


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("damaged", [b"", b"[1]", b"{}", b'{"config": 3, "prompts": 3}', b"{", b"\xff", b"null"])
def test_a_damaged_configuration_is_told_in_one_line(name: str, damaged: bytes, tmp_path: Path) -> None:
    own, _, _ = COMMANDS[name]
    own(tmp_path / "out")
    (tmp_path / "out" / "config.json").write_bytes(damaged)
    refused(own, tmp_path / "out", "damaged")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_result_that_no_run_is_known_to_have_written_is_neither_replaced_nor_taken_for_ones_own(
    name: str, tmp_path: Path
) -> None:
    own, _, result = COMMANDS[name]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / result).write_text('{"mine": 1}\n')
    refused(own, tmp_path / "out", f"{result} is there")


@pytest.mark.parametrize("name", COMMANDS)
def test_of_two_commands_in_one_directory_one_works_and_the_other_is_refused(name: str, tmp_path: Path) -> None:
    command, _, _ = COMMANDS[name]
    out = tmp_path / "out"
    command(out)
    with DirectoryLock(out):
        refused(command, out, "another command is at work in")
    command(out)


@pytest.mark.parametrize("half", [b"", b"\n", b'{"index": 0', b"{}\n"])
def test_a_part_that_is_empty_or_cut_short_is_done_again(half: bytes, tmp_path: Path) -> None:
    for command, part, result in (
        (rain, "searches/000000.jsonl", "answers.jsonl"),
        (critique, "shards/0-1.jsonl", "critiques.jsonl"),
    ):
        out = tmp_path / result
        command(out)
        whole = contents(out)
        [part] = [name for name in whole if name.startswith(part.split("/")[0])]
        for damaged in ([part], [result], [part, result]):
            for name in damaged:
                (out / name).write_bytes(half)
            command(out)
            assert contents(out)[result] == whole[result]
