"""Giving feedback on one document: a model is asked, or what a person wrote is read; and where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from momus.documents.document import Document, Language
from momus.documents.drafts import read_feedback, read_given
from momus.documents.feedback import Feedback, checked, question, read_answer
from momus.documents.rubrics import Rubric
from momus.documents.store import ENDING
from momus.errors import UserError
from momus.match.ask import JsonAsker


def by_model(
    asker: JsonAsker, model: str, document: Document, rubric: Rubric, language: Language, budget: int
) -> Feedback:
    """Ask a model for feedback.

    Args:
        asker: The model.
        model: Its name.
        document: The document.
        rubric: What the feedback is made of.
        language: What it is to be written in.
        budget: Tokens of the whole question.

    Raises:
        UserError: The budget is too small, or the model gives no answer of the asked form.
    """
    frame = asker.count("")
    text, share = question(document, rubric, language, lambda own: asker.count(own) - frame, budget - frame)
    [answer] = asker.ask([text], lambda _, value: read_answer(value, rubric, language))
    if answer is None:
        raise UserError(
            f"{model} gave no feedback of the asked form, or cannot take {asker.count(text)} tokens and the answer: "
            "try another model, or a smaller --budget"
        )
    sections, struck = checked(answer[0], rubric, document, language)
    return Feedback(
        **_facts(document, rubric, language), author=model, kind="model", share=share, sections=sections,
        scores=answer[1], written=sections, struck=struck,
    )  # fmt: skip


def by_person(path: Path, name: str, document: Document, rubric: Rubric, language: Language) -> Feedback:
    """Read feedback that somebody has written.

    Raises:
        UserError: It is not what the rubric asks for.
    """
    entries, scores = read_given(path, document, rubric, language)
    sections, struck = checked(entries, rubric, document, language)
    return Feedback(
        **_facts(document, rubric, language), author=name, kind="person", sections=sections, scores=scores,
        written=sections, struck=struck,
    )  # fmt: skip


def place_of(document: Path, by: str | None, out: Path | None) -> Path:
    """Return where feedback on a document is kept as JSON: beside it or in `out`, its author in the name where given.

    Raises:
        UserError: There is no such folder, the name is none, or somebody has decided on what is there.
    """
    folder = document.parent if out is None else out
    if not folder.is_dir():
        raise UserError(f"{'--out ' if out else ''}{folder}: there is no such directory")
    name = f"{document.name}.{'-'.join(by.split())}" if by else document.name
    if "/" in name:
        raise UserError(f"--by {by}: a name without / is needed")
    target = folder / f"{name}{ENDING}"
    if target.exists() and read_feedback(target).decisions:
        raise UserError(f"{target}: somebody has decided on it: move it away, or write elsewhere with --out")
    return target


def keep_here(rubric: Rubric, addresses: Sequence[str]) -> None:
    """Refuse to send a private document to a server that is not on this machine.

    Raises:
        UserError: One of the addresses is another machine's, or what is sent to it goes through a proxy.
    """
    for address in addresses:
        host = urlsplit(address).hostname or ""
        if not _is_here(host):
            raise UserError(
                f"the rubric {rubric.name!r} keeps documents on this machine, and {host or address} is another: run a "
                "server here, or add --send if you may send it"
            )
        if {urlsplit(address).scheme, "all"} & getproxies().keys() and not proxy_bypass(host):
            raise UserError(
                f"the rubric {rubric.name!r} keeps documents on this machine, and a proxy is set for {host}: set "
                f"no_proxy={host}, or add --send if you may send it"
            )


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _facts(document: Document, rubric: Rubric, language: Language) -> dict[str, Any]:
    return {
        "document": document.name, "sha256": document.sha256, "title": document.title, "rubric": rubric.source,
        "language": language, "needs_approval": rubric.approval,
    }  # fmt: skip
