"""`momus doctor`: what this machine, and a model server, can do."""

from __future__ import annotations

import platform
import re
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def command(
    url: str | None = None,
    model: str | None = None,
    chat: bool = False,
    json: bool = False,
) -> int:
    """Say what this machine has, and with --url what a model server can do and what Momus can use it for.

    Where untrusted code can be caged, escapes from the cage are tried, which takes some seconds.

    The server is asked about twenty short questions; an API key is taken from MOMUS_API_KEY.

    Args:
        url: The base URL of an OpenAI-compatible server, such as http://localhost:8000/v1, or of one with Anthropic's
            Messages API.
        model: The model's name there, if it serves several.
        chat: Probe its chat API even where it has text completions.
        json: Print one JSON object instead of tables.
    """
    import json as encoder

    from rich.console import Console

    from momus.errors import UserError

    if url is None and (model is not None or chat):
        raise UserError("--model and --chat are about a server: give its --url too")
    report: dict[str, Any] = {"machine": _machine(), "extras": _extras(), "shipped_weights": _shipped()}
    report["cage"] = _cage()
    if url is not None:
        report["server"] = _server(url, model, chat)
    if json:
        print(encoder.dumps(report, indent=2))
    else:
        _print(report, Console())
    return 0


def _machine() -> dict[str, str]:
    import os

    from momus import __version__

    about = {
        "momus": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        about["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
    try:
        import torch
    except ModuleNotFoundError:
        return about
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return about | {"torch": torch.__version__, "threads": str(torch.get_num_threads()),
                    "devices": ", ".join(["cpu", *gpus])}  # fmt: skip


def _extras() -> dict[str, dict[str, str | None]]:
    """Return, for each extra, its packages and their versions: None for what is not installed."""
    versions: dict[str, dict[str, str | None]] = {}
    for requirement in metadata.requires("momus") or ():
        parts = re.match(r"""([\w.-]++).*extra == ['"]([\w-]+)['"]""", requirement)
        if parts is None or parts[1] == "momus" or parts[2] in ("all", "dev"):
            continue
        try:
            version = metadata.version(parts[1])
        except metadata.PackageNotFoundError:
            version = None
        versions.setdefault(parts[2], {})[parts[1]] = version
    return versions


def _shipped() -> str:
    """Return "ok" if the shipped model loads and writes, else what is wrong."""
    from momus.errors import UserError

    try:
        from momus.lm.local.engine import LocalEngine
        from momus.lm.models import load_causal_lm, load_tokenizer
        from momus.lm.tiny import TINY

        engine = LocalEngine(load_causal_lm(TINY), load_tokenizer(TINY))
        engine.sample([engine.encode("def f(x):\n", bos=True)], key=0, max_tokens=1)
    except ModuleNotFoundError as error:
        return f"not tried: needs {error.name}, pip install 'momus[train]'"
    except UserError as error:
        return str(error)
    return "ok"


def _cage() -> dict[str, Any]:
    """Return whether untrusted code can be run here, and each attempt at escape: "" where the cage held."""
    from momus.sandbox import NoCageError, check_cage

    try:
        attempts = check_cage()
    except NoCageError as error:
        return {"holds": False, "why": str(error), "attempts": {}}
    return {"holds": all(each.held for each in attempts), "why": "", "attempts": {a.tries: a.got for a in attempts}}


def _server(url: str, model: str | None, chat: bool) -> dict[str, Any]:
    from momus.lm.chats.messages import MessagesServer
    from momus.lm.chats.open import api_of, is_no_path
    from momus.lm.chats.probe import probe_messages
    from momus.lm.remote.probe import USES, probe
    from momus.lm.remote.server import RefusedError, Server

    settings: dict[str, Any] = {"timeout": 120, "retries": 1}
    messages = api_of(url) == "messages"
    server = (MessagesServer if messages else Server)(url, model, **settings)
    try:
        can = probe_messages(server) if messages else probe(server, chat)
    except RefusedError as error:
        if messages or not is_no_path(error):
            raise
        server = MessagesServer(url, server.model, **settings)
        can = probe_messages(server)
    return {
        "url": url,
        "model": server.model,
        **asdict(can),
        "missing": {use: can.missing(use) for use in USES},
    }


def _print(report: dict[str, Any], console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("this machine", "")
    for name, value in (*report["machine"].items(), ("shipped weights", report["shipped_weights"])):
        table.add_row(name, escape(value))
    for extra, packages in report["extras"].items():
        missing = [name for name, version in packages.items() if version is None]
        shown = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
        table.add_row(escape(f"momus[{extra}]"), f"missing: {', '.join(missing)}" if missing else shown)
    console.print(table)
    _print_cage(report["cage"], console)
    if "server" in report:
        _print_server(report["server"], console)


def _print_cage(cage: dict[str, Any], console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not cage["attempts"]:
        console.print(escape(f"Untrusted code is not run here: {cage['why']}"))
        return
    held = sum(not got for got in cage["attempts"].values())
    words = "is run in it" if cage["holds"] else "is not run here"
    table = Table(f"the cage: {held} of {len(cage['attempts'])} attempts at escape failed; untrusted code {words}", "")
    for tries, got in cage["attempts"].items():
        table.add_row(tries, f"[red]escaped[/]: {escape(got)}" if got else "[green]held[/]")
    console.print(table)


def _print_server(server: dict[str, Any], console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    from momus.lm.remote.probe import CAPABILITIES

    latency = f"{server['latency'] * 1e3:.0f} ms {'an answer' if server['asked'] == 'messages' else 'a token'}"
    about = f"{server['model']} at {server['url']}, asked for {server['asked']}, {latency}"
    table = Table(escape(about), "", "for")
    for name, (title, purpose, _) in CAPABILITIES.items():
        value = server[name]
        shown = "[red]no[/]" if not value else "[green]yes[/]" if value is True else escape(str(value))
        table.add_row(title, shown, purpose)
    console.print(table)
    uses = Table("use", "possible")
    for use, missing in server["missing"].items():
        uses.add_row(use, f"[red]no[/]: lacks {', '.join(missing)}" if missing else "[green]yes[/]")
    console.print(uses)
