"""Giving feedback on one document: a model is asked, or what a person wrote is read; and where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from momus.documents.budget import excerpt
from momus.documents.constrained import JsonFeedback, quotable_passages
from momus.documents.document import Document, Language
from momus.documents.drafts import read_feedback, read_given
from momus.documents.feedback import (
    LANGUAGES,
    Feedback,
    FeedbackSection,
    Repeat,
    Struck,
    checked,
    question,
    read_answer,
)
from momus.documents.reading import SUFFIXES, read_document
from momus.documents.repeats import without_repeats
from momus.documents.rubrics import Rubric, read_rubric
from momus.documents.second_opinion import PointJudge
from momus.documents.store import ENDING
from momus.errors import UserError
from momus.match.ask import AskConfig, JsonAsker
from momus.match.open import NamedModel


class _Written(NamedTuple):
    """What a model wrote, checked."""

    sections: tuple[FeedbackSection, ...]
    scores: dict[str, int]
    struck: tuple[Struck, ...]
    repeats: tuple[Repeat, ...]


def give_feedback(
    document: Document | Path,
    model: NamedModel,
    rubric: str = "paper",
    language: Language | None = None,
    budget: int = 6500,
    answer_tokens: int = 3000,
) -> Feedback:
    """Ask a model for structured feedback (LLM scientific feedback, arXiv 2310.01783); nothing is written to disk.

    Args:
        document: A document, or the path of one: PDF, DOCX, HWPX, Markdown or text.
        model: A language model that follows instructions.
        rubric: paper, iclr, neurips, design, pupil, or the path of a .toml file.
        language: What the feedback is written in; by default the document's.
        budget: Tokens of the question, document included; the paper's is 6,500.
        answer_tokens: Longest answer in tokens.

    Returns:
        Sections of points; a quote that the document does not have is struck.

    Raises:
        UserError: The document, rubric or model cannot be read or used, the document is private and the model
            elsewhere, or the model gives no answer of the asked form.
    """
    form = read_rubric(rubric)
    if form.private and model.url:
        keep_here(form, [model.url])
    asker = model.asker("feedback", AskConfig(max_tokens=answer_tokens))
    text = document if isinstance(document, Document) else read_document(document)
    return by_model(asker, str(model.name), text, form, language or text.language, budget)


def by_model(
    asker: JsonAsker,
    model: str,
    document: Document,
    rubric: Rubric,
    language: Language,
    budget: int,
    judge: PointJudge | None = None,
) -> Feedback:
    """Ask a model for feedback.

    Args:
        asker: The model.
        model: Its name.
        document: The document.
        rubric: What the feedback is made of.
        language: What it is to be written in.
        budget: Tokens of the whole question.
        judge: Gives a second opinion on every point; None for none.

    Raises:
        UserError: The budget is too small, or the model gives no answer of the asked form.
    """
    frame = asker.count("")
    text, share = question(document, rubric, language, lambda text: asker.count(text) - frame, budget - frame)
    form = partial(JsonFeedback, quotable_passages(document, text), rubric, language)
    other: Language = "en" if language == "ko" else "ko"
    why = ""

    def read(value: object) -> _Written | None:
        """Return what is kept of an answer; None where it is no feedback, the reason then in `why`."""
        nonlocal why
        answer = read_answer(value, rubric, language)
        if answer is None:
            if read_answer(value, rubric, other) is not None:
                asked = f"{LANGUAGES[language]} was asked for: try another model, or --language {other}"
                why = f"gave feedback in {LANGUAGES[other]}, and {asked}"
            return None
        given, struck = checked(answer[0], rubric, document, language)
        sections, repeats = without_repeats(given, rubric, document.text)
        needed = [section.points[0] and before.points for section, before in zip(rubric.sections, given, strict=True)]
        if any(need and not section.points for need, section in zip(needed, sections, strict=True)):
            given_back = next(repeat.text for repeat in repeats if not repeat.point)
            what = f"only gives back what it was asked or what the document says, such as {given_back[:80]!r}"
            why = f"gave no feedback: it {what}: try a larger model"
            return None
        return _Written(sections, answer[1], struck, repeats)

    [answer] = asker.ask([text], lambda _, value: read(value), form)
    if answer is None:
        raise UserError(f"{model} {why or _problem_of(asker, text)}")
    sections = answer.sections
    fallen = None
    if judge is not None:
        shown = excerpt(document, lambda text: asker.count(text) - frame, budget - frame).text
        sections, fallen = judge.keep_standing(sections, shown)
    return Feedback(
        **_facts(document, rubric, language), author=model, kind="model", share=share, sections=sections,
        scores=answer.scores, written=sections, struck=answer.struck, repeats=answer.repeats, fallen=fallen,
    )  # fmt: skip


def _problem_of(asker: JsonAsker, text: str) -> str:
    """Return why a question has no answer that could be read."""
    if asker.problem:
        more = ": raise --answer-tokens" if "tokens" in asker.problem or "cut off" in asker.problem else ""
        return f"gave no feedback: {asker.problem}{more}"
    return (
        f"gave no feedback of the asked form, or cannot take {asker.count(text)} tokens and the answer: try another "
        "model, or a smaller --budget"
    )


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
        UserError: There is no such folder, or the name is none.
    """
    folder = document.parent if out is None else out
    if not folder.is_dir():
        raise UserError(f"{'--out ' if out else ''}{folder}: there is no such directory")
    name = f"{document.name}.{'-'.join(by.split())}" if by else document.name
    if "/" in name:
        raise UserError(f"--by {by}: a name without / is needed")
    return folder / f"{name}{ENDING}"


def check_undecided(target: Path) -> None:
    """Refuse to write over feedback that somebody has decided on.

    Raises:
        UserError: There is such feedback.
    """
    if target.exists() and read_feedback(target).decisions:
        raise UserError(f"{target}: somebody has decided on it: move it away, or write elsewhere with --out")


def places_in(folder: Path, out: Path | None) -> dict[Path, Path]:
    """Return the documents of a folder, in any depth, and where feedback on each is kept.

    Hidden files, what an office program keeps beside an open document, what `momus feedback` wrote and links that lead
    out of the folder are left out.

    Raises:
        UserError: There are none, or two of them would be kept in one place.
    """
    places: dict[Path, Path] = {}
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith((".", "~")) for part in path.relative_to(folder).parts)
        is_document = path.suffix.casefold() in SUFFIXES and path.is_file() and ".feedback." not in path.name
        if is_document and not hidden and path.resolve().is_relative_to(folder.resolve()):
            places[path] = place_of(path, None, out)
    if not places:
        raise UserError(f"{folder}: no documents in it ({', '.join(SUFFIXES)})")
    if len(set(places.values())) < len(places):
        raise UserError(f"--out {out}: some documents of {folder} have the same name: leave --out out")
    return places


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
