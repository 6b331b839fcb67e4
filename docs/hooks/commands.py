"""Write a page of the reference for every command, from the command's own parser."""

from __future__ import annotations

import argparse
import importlib
import re
import warnings
from collections.abc import Iterator
from typing import Any

import tyro
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from momus.cli import COMMANDS

FOLDER = "reference/cli"
HIDDEN = {
    "feedback": ("approve", "return", "export"),
    "audit": ("judge", "count"),
    "match": ("calibrate",),
    "review": ("dismiss", "export", "post"),
    "tamper": ("--by",),
}
"""First words that choose another command and that no list of subcommands names."""

_DEFAULT = re.compile(r"\s*\((required|default: (.*))\)$", re.DOTALL)
_LITERAL = re.compile(r"(`[^`]*`)|(\*)|(?<![\w-])(--[a-z][\w.-]*)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the entry `Commands` of the navigation with one page per command."""
    for section in config.nav or []:
        for entry in section.get("Reference", []) if isinstance(section, dict) else []:
            if isinstance(entry, dict) and "Commands" in entry:
                entry["Commands"] = [f"{FOLDER}/index.md"]
                entry["Commands"] += [{f"momus {name}": f"{FOLDER}/{name}.md"} for name in COMMANDS]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    rows = [f"| [`momus {name}`]({name}.md) | {summary} |" for name, summary in COMMANDS.items()]
    index = ["# Commands", "Every command prints this with `--help`.", "\n".join(["| command | |", "|---|---|", *rows])]
    pages = {"index": "\n\n".join(index)} | {name: "\n\n".join(_page(name)) for name in COMMANDS}
    for name, text in pages.items():
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=text))
    return files


def _page(name: str) -> Iterator[str]:
    yield f"# momus {name}"
    yield from _described(_parser(name), level=2)
    for word in HIDDEN.get(name, ()):
        yield f"## momus {name} {word}"
        yield from _described(_parser(name, word), level=3)


def _parser(name: str, *words: str) -> argparse.ArgumentParser:
    module = importlib.import_module(f"momus.cli.{name}")
    command = module.command_for(list(words)) if hasattr(module, "command_for") else module.command
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return tyro.extras.get_parser(
            command,
            prog=" ".join(["momus", name, *words]),
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff),
        )


def _described(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    """Yield the description, a table for every group of options, and a section for every subcommand."""
    yield _text(parser.description or "")
    subcommands: dict[str, argparse.ArgumentParser] = {}
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if "-h" not in action.option_strings]
        for action in actions:
            if _is_subcommands(action):
                subcommands |= dict(action.choices or {})
        rows = [_row(action) for action in actions if not _is_subcommands(action) and not _is_command_name(action)]
        if rows:
            if group.title not in ("options", "positional arguments"):
                yield f"**{str(group.title).capitalize()}.** {_text(group.description or '')}"
            yield _table("argument" if group.title == "positional arguments" else "option", rows)
    for subcommand in subcommands.values():
        yield f"{'#' * level} {subcommand.prog}"
        yield from _described(subcommand, level + 1)


def _is_subcommands(action: argparse.Action) -> bool:
    """Whether an action is a choice of subcommands: a mapping to parsers. Their class is one of tyro's."""
    return isinstance(action.choices, dict)


def _is_command_name(action: argparse.Action) -> bool:
    """Whether an action is the word that chose the command, which the heading names."""
    return str(action.help).startswith("This command's name")


def _table(name: str, rows: list[tuple[str, str, str]]) -> str:
    """Return a table; the column of defaults only where there are any."""
    columns = 3 if any(default for _, _, default in rows) else 2
    cells = [(name, "what it is", "default"), ("---",) * 3, *rows]
    return "\n".join(f"| {' | '.join(row[:columns])} |" for row in cells)


def _row(action: argparse.Action) -> tuple[str, str, str]:
    """Return name, description and default of one option or argument."""
    help_text = action.help or ""
    found = _DEFAULT.search(help_text)
    default = "" if found is None else found[2] or found[1]
    default = {"required": "required", "None": "", "False": "", "default: ": ""}.get(default, f"`{default}`")
    if default in ("``", "`''`"):
        default = ""
    named = action.option_strings[-1:] or [action.dest.rpartition(".")[2].replace("_", "-").upper()]
    name = " ".join(filter(None, [*named, _kind(action) if action.option_strings else ""]))
    return f"`{name}`", _text(_DEFAULT.sub("", help_text)).replace("\n\n", "<br>").replace("|", r"\|"), default


def _kind(action: argparse.Action) -> str:
    """Return what follows the option, as a reader writes it: `INT`, `FILE …`, `fp32, bf16`."""
    metavar: Any = action.metavar or ""
    text = " ".join(metavar) if isinstance(metavar, tuple) else str(metavar)
    text = re.sub(r"\{None\}\|", "", text).replace("{None,", "{")
    text = re.sub(r"\[+(\w+) \[\w+ \.\.\.\]+", r"\1 …", text)
    return text.strip("{}").replace(",", ", ").replace("|", " or ")


def _text(text: str) -> str:
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return "\n\n".join(_LITERAL.sub(_marked, paragraph) for paragraph in paragraphs if paragraph)


def _marked(match: re.Match[str]) -> str:
    return match[1] or (r"\*" if match[2] else f"`{match[3]}`")
