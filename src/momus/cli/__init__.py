"""The command line: `momus COMMAND …`, one thin module per command.

Data goes to stdout, progress and errors to stderr. Exit codes: 0 done, 1 findings (`review --check`), 2 bad
input or a missing extra, 130 interrupted. Only the module of the command that runs is imported, so help is
immediate.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from typing import Any

from momus import __version__
from momus.errors import Notice, UserError

COMMANDS = {
    "demo": "Run the whole loop on the standard library's functions and write a report.",
    "critique": "Write critiques for a whole data set, on one machine or on Ray.",
    "review": "Review source files with the trained critic, or with any model.",
    "chat": "Talk to a model in the terminal, or to two beside each other.",
    "lsp": "Review files in an editor when they are saved: a language server.",
    "calibrate": "Measure what a critic's dial promises: false alarms against bugs caught.",
    "audit": "Have a critic flag answers held to be flawless; judge blind whether it is right.",
    "tamper": "Put bugs into copies of Python files, each with a reviewer's explanation.",
    "train": "Train models by InstructGPT's steps: demonstrations, rankings, PPO.",
    "evaluate": "Measure instruction models and reward models: preferences, public tasks, alignment tax.",
    "rain": "Answer prompts with a frozen model that searches and judges itself.",
    "judge": "Measure a model as a judge of answers, before it judges itself.",
    "extract": "Find the key points of reviews, each with the words it stands on.",
    "match": "Name the points of two lists that say the same; measure a matcher against people.",
    "overlap": "Measure how far a model's feedback agrees with people's.",
    "document": "Show what is read of a PDF, DOCX, HWPX, Markdown or text file.",
    "feedback": "Give structured feedback on a document, each point with a quote; approve drafts.",
    "label": "Collect judgements of people in a browser; export them for training and evaluation.",
    "data": "Inspect and convert demonstrations, rankings and judgements of other projects.",
    "pretrain": "Train the small critic that ships with Momus, from nothing.",
    "export": "Write a model as a GGUF file, for llama.cpp, Ollama and LM Studio.",
    "doctor": "Say what this machine, and a model server, can do.",
}

_EXTRAS = {
    "data": {"markdown_it", "phonenumbers", "pyarrow"},
    "documents": {"PIL", "defusedxml", "pypdfium2"},
    "evaluate": {"datasets", "lm_eval"},
    "label": {"multipart", "nh3", "psycopg", "python_multipart", "starlette", "uvicorn"},
    "remote": {"httpx2"},
    "review": {"jedi", "lsprotocol", "pygls", "tree_sitter"},
    "train": {"gguf", "jinja2", "matplotlib", "pygments", "safetensors", "tokenizers", "torch", "transformers"},
}

_BAD_INPUT = 2
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every expected failure is one line on stderr."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A path or a quote that the terminal's encoding cannot show must not end a review.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    code, show_warning = 0, warnings.showwarning
    warnings.showwarning = partial(_show_warning, show_warning)
    try:
        code = parse(list(sys.argv[1:] if arguments is None else arguments))()
        sys.stdout.flush()
        return code
    except UserError as error:
        return _fail(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", _INTERRUPTED)
    except BrokenPipeError:  # the reader has gone (`momus … | head`): nothing to say
        return code
    except SystemExit as error:
        if is_broken_pipe(error):
            return code
        raise
    except ModuleNotFoundError as error:
        return _fail(f"error: {_missing(error)}", _BAD_INPUT)
    except OSError as error:
        return _fail(f"error: {_in_words(error)}", _BAD_INPUT)
    finally:
        warnings.showwarning = show_warning
        _leave_stdout_flushed()


def parse(arguments: Sequence[str]) -> Callable[[], int]:
    """Read a command line and return what runs it; nothing has been read, loaded or written yet.

    Raises:
        UserError: There is no such command, or options do not go together.
        SystemExit: Help was asked for (0), or an option is unknown or unreadable (2).
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        return partial(_print, _help(), 0 if arguments else _BAD_INPUT)
    name, *rest = arguments
    if name == "--version":
        return partial(_print, f"momus {__version__}", 0)
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(COMMANDS)}"
        raise UserError(f"no command {name!r}: {hint}")
    module = importlib.import_module(f"momus.cli.{name}")

    import tyro

    # Where the first word (`match calibrate`) or a preset (`train --preset tiny`) decides, the command is made for it.
    command = module.command_for(rest) if hasattr(module, "command_for") else module.command
    words = [name] if command is getattr(module, "command", command) else [name, rest[0]]

    @wraps(command)
    def parsed(*values: Any, **named: Any) -> Callable[[], int]:
        return partial(command, *values, **named)

    run: Callable[[], int] = tyro.cli(
        parsed,
        args=rest,
        prog=" ".join(["momus", *words]),
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff),
    )
    return run


def is_broken_pipe(error: BaseException) -> bool:
    """Whether an error says that the reader of stdout has gone: rich turns that into an exit with 1."""
    return isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError)


def _print(text: str, code: int) -> int:
    print(text)
    return code


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        "usage: momus [--help] [--version] COMMAND …\n\n"
        "Align language models with feedback, and measure how good that feedback is.\n\n"
        f"commands:\n{commands}\n\n"
        "momus COMMAND --help says what a command takes."
    )


def _missing(error: ModuleNotFoundError) -> str:
    package = (error.name or "").split(".")[0]
    for extra, packages in _EXTRAS.items():
        if package in packages:
            return f"this command needs {package}: pip install 'momus[{extra}]'"
    raise error


def _in_words(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full: free some space and run the same command again"
    if error.strerror is None:
        raise error
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def _fail(message: str, code: int) -> int:
    from momus.terminal import visible_line

    with suppress(BrokenPipeError):
        print("momus:", visible_line(" ".join(message.split())), file=sys.stderr, flush=True)
    return code


def _show_warning(otherwise: Callable[..., None], message: Warning | str, *where: Any) -> None:
    """Print what a user should know as a line of ours; other warnings as Python does."""
    if isinstance(message, Notice):
        _fail(f"note: {message}", 0)
    else:
        otherwise(message, *where)


def _open_closed_streams() -> None:
    """Point standard streams that were closed (`>&-`) at nothing, so that no file opened later takes their place."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115 (stays)
            try:
                os.fstat(descriptor)
            except OSError:
                os.dup2(stream.fileno(), descriptor)
            setattr(sys, name, stream)


def _leave_stdout_flushed() -> None:
    """Flush stdout, or silence it: what cannot be written now must not fail again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        silence_stdout()


def silence_stdout() -> None:
    """Point stdout at nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
