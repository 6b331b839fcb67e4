"""--device and --precision are spelled alike, and there, wherever a command loads a model."""

from __future__ import annotations

import argparse
import importlib
import warnings
from collections.abc import Iterator

import pytest
import tyro

from momus.cli import COMMANDS, main

FIRST_WORDS = {
    "audit": ("judge", "count"),
    "feedback": ("approve", "return", "collect", "export"),
    "match": ("calibrate",),
}
"""Words that choose another command and that no list of subcommands names."""
MODELS = {"model", "reward", "judge", "systems", "grader", "gold"}
"""Arguments that name a model, or a file that does."""
ON_SERVERS_ONLY = {"doctor"}


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command and subcommand with its parser."""
    for name in COMMANDS:
        module = importlib.import_module(f"momus.cli.{name}")
        for words in ((), *((word,) for word in FIRST_WORDS.get(name, ()))):
            command = module.command_for(list(words)) if hasattr(module, "command_for") else module.command
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                parser = tyro.extras.get_parser(command, prog=" ".join([name, *words]))
            yield from leaves(parser)


def leaves(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    choices = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    if not choices:
        yield parser.prog, parser
    for subcommands in choices:
        for name, subparser in subcommands.items():
            for prog, leaf in leaves(subparser):
                yield (prog if name in prog.split() else f"{parser.prog} {name}"), leaf


def arguments(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {action.dest.split(".")[-1].replace("-", "_"): action for action in parser._actions}


ALL = dict(parsers())
TAKE_A_MODEL = sorted(name for name, parser in ALL.items() if MODELS & arguments(parser).keys())


def test_the_commands_that_take_a_model_are_found() -> None:
    expected = {
        "review", "calibrate", "critique", "rain", "train sft", "train rlhf", "evaluate rank", "evaluate sample",
        "evaluate labelers", "evaluate public", "judge compare", "feedback", "match calibrate", "label serve",
    }  # fmt: skip
    assert expected <= set(TAKE_A_MODEL)


@pytest.mark.parametrize("name", [name for name in TAKE_A_MODEL if name not in ON_SERVERS_ONLY])
def test_a_command_that_takes_a_model_has_device_and_precision(name: str) -> None:
    known = arguments(ALL[name])
    assert {"device", "precision"} <= known.keys()
    assert set(known["precision"].choices or ()) - {"None"} == {"fp32", "bf16"}


@pytest.mark.parametrize("name", sorted(ALL.keys() - set(TAKE_A_MODEL)))
def test_a_command_without_a_model_has_neither(name: str) -> None:
    assert not {"device", "precision"} & arguments(ALL[name]).keys()


@pytest.mark.parametrize(
    "command",
    [
        "rain --prompt x --model {tiny}", "judge ask --model {tiny} --asked q --answer a",
        "evaluate public {tiny} --tasks sst --out {out}",
        "evaluate reward {tiny} --data {demos}", "train sft --model {tiny} --data {demos} --out {out}",
    ],
)  # fmt: skip
def test_a_device_that_is_not_there_is_one_line(command: str, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    from momus.lm.tiny import TINY

    demos = tmp_path / "demos.jsonl"
    demos.write_text('{"prompt": "Say a.", "completion": "a"}\n')
    words = command.format(tiny=TINY, out=tmp_path / "out", demos=demos).split()
    assert main([*words, "--device", "cuda:7"]) == 2
    error = capsys.readouterr().err
    assert "momus: error: --device cuda:7: " in error and "Traceback" not in error
