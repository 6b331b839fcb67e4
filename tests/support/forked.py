"""Processes of their own for tests that kill them, started from one that has loaded what they need: in no time."""

import faulthandler
import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([
    "momus.cli.train", "momus.lm.local.engine", "momus.critics.dataset", "momus.train.ppo", "momus.train.reward",
    "momus.train.sft", "transformers.models.gpt2.modeling_gpt2", "transformers.models.llama.modeling_llama",
])  # fmt: skip


def start(target: Callable[..., object], *arguments: object, stderr: Path | None = None) -> ForkServerProcess:
    """Call a function of a module in a new process, whose exit status is what it returns."""
    process = _CONTEXT.Process(target=_call, args=(target, arguments, stderr))
    process.start()
    return process


def finish(process: ForkServerProcess) -> int:
    """Wait for a process; returns its exit status: negative where a signal ended it."""
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _call(target: Callable[..., Any], arguments: tuple[object, ...], stderr: Path | None) -> None:
    if stderr is not None:
        with stderr.open("w") as file:
            os.dup2(file.fileno(), 2)
        faulthandler.enable()  # a crash says where
    sys.exit(target(*arguments))
