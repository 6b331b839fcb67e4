"""`momus feedback`: structured feedback on a document, what a person decides on it, and data to train on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, ChatOptions
from momus.cli.shared.seed import Seed

_NO_MODEL = ChatOptions()

if TYPE_CHECKING:
    from momus.documents.document import Language
    from momus.documents.feedback import Feedback
    from momus.documents.rubrics import Rubric
    from momus.documents.second_opinion import PointJudge
    from momus.match.ask import JsonAsker
    from momus.match.open import NamedModel
    from momus.records import Record

_SHOWN = 3


def command(
    document: Positional[Path],
    rubric: str = "paper",
    chat: Annotated[ChatOptions, FLAT] = _NO_MODEL,
    budget: int = 6500,
    answer_tokens: int = 3000,
    given: Path | None = None,
    by: str | None = None,
    language: Literal["document", "en", "ko"] = "document",
    out: Path | None = None,
    grobid: str | None = None,
    send: bool = False,
    second_opinion: str | None = None,
    second_opinion_url: str | None = None,
    seed: Seed = 0,
) -> int:
    """Give feedback on a document, or on every document of a folder; it is written beside each as JSON and a page.

    `momus feedback approve FILE.feedback.json --by NAME` lets a draft be passed on, `momus feedback return …` does not;
    `momus feedback collect FOLDER` brings decisions from the workbench back to the documents;
    `momus feedback export FOLDER --out DATA` makes data to train on of documents with feedback.

    Args:
        document: A PDF, DOCX, HWPX, Markdown or text file; or a folder of them, of which those are left out that have
            feedback already.
        rubric: paper, iclr, neurips, design, pupil, or a .toml file of one's own.
        chat: The model to ask.
        budget: Tokens of the question, document included; the paper's is 6,500. It is spread over the sections.
        answer_tokens: Longest answer.
        given: Feedback that is already written (Markdown with the rubric's sections, or JSON), instead of a model's.
        by: Who wrote what is given.
        language: What the feedback is written in.
        out: The folder it goes to, instead of beside the document.
        grobid: A GROBID server that reads the PDF instead; the file is sent there.
        send: Let the document go to a server elsewhere, though the rubric calls it private.
        second_opinion: A model that argues against every point and, after it was defended, judges it; what falls is
            left out. A folder, a GGUF file, a name on the hub, or its name on --second-opinion-url.
        second_opinion_url: The server that has it.
        seed: Everything random follows from it.
    """
    from momus.cli.shared.costs import print_cost
    from momus.documents.giving import check_undecided, keep_here, place_of
    from momus.documents.rubrics import read_rubric

    form = read_rubric(rubric)
    second = (second_opinion, second_opinion_url)
    _check_given(given, by, document, asked=bool(chat.model or chat.url), opinion=any(second))
    if form.private and not send:
        keep_here(form, [address for address in (chat.url, grobid, second_opinion_url) if address])
    # What a model says of a private document is kept beside it and nowhere else.
    model = (replace(chat, no_cache=True) if form.private else chat).named(seed)
    asker = None if given else _asker(model, answer_tokens)
    judge = _judge(model, *second) if any(second) else None
    giver = _Giver(
        form, asker, given, str(by or chat.model), None if language == "document" else language, grobid, budget, judge
    )
    if document.is_dir():
        try:
            return _give_all(giver, document, out)
        finally:
            if asker is not None:
                print_cost(model.asking)
    target = place_of(document, by, out)
    check_undecided(target)
    feedback, files = giver.give(document, target)
    if asker is not None:
        print_cost(model.asking)
    _report(feedback, form, files, budget)
    return 0


def _check_given(given: Path | None, by: str | None, document: Path, *, asked: bool, opinion: bool) -> None:
    """Refuse options that do not go with feedback that is already written.

    Raises:
        UserError: One does not, or it is not said who wrote it.
    """
    from momus.errors import UserError

    if (given is None) != (by is None):
        raise UserError("--given and --by go together: what is written, and who wrote it")
    if given is None:
        return
    if asked:
        raise UserError("--given and --model exclude each other: either it is written, or a model is asked")
    if document.is_dir():
        raise UserError(f"--given {given}: is on one document; {document} is a folder")
    if opinion:
        raise UserError("--second-opinion is on what a model writes, and --given is written")


@dataclass(frozen=True)
class _Giver:
    """How feedback is given on each document: by a model (`asker`), or as it is `given`; `author` is who wrote it."""

    form: Rubric
    asker: JsonAsker | None
    given: Path | None
    author: str
    language: Language | None
    grobid: str | None
    budget: int
    judge: PointJudge | None = None

    def give(self, document: Path, target: Path) -> tuple[Feedback, list[Path]]:
        """Give feedback on one document and write it."""
        from momus.cli.shared.output import say
        from momus.documents.giving import by_model, by_person
        from momus.documents.readers.grobid import read_with_grobid
        from momus.documents.reading import read_document
        from momus.report.feedback import write_feedback

        text = read_with_grobid(document, self.grobid) if self.grobid else read_document(document)
        language = self.language or text.language
        for note in text.notes:
            say(f"Note: {note}")
        if self.asker is None:
            feedback = by_person(Path(str(self.given)), self.author, text, self.form, language)
        else:
            feedback = by_model(self.asker, self.author, text, self.form, language, self.budget, self.judge)
        return feedback, write_feedback(feedback, self.form, target, text)


def _give_all(giver: _Giver, folder: Path, out: Path | None) -> int:
    """Give feedback on every document of a folder that has none yet; one that fails does not stop the others."""
    from momus.cli.shared.output import say
    from momus.documents.giving import places_in
    from momus.errors import UserError

    places = places_in(folder, out)
    open_places = {document: target for document, target in places.items() if not target.exists()}
    if len(open_places) < len(places):
        say(f"{len(places) - len(open_places)} of {len(places)} documents have feedback already")
    failed = 0
    for number, (document, target) in enumerate(open_places.items(), 1):
        try:
            feedback, files = giver.give(document, target)
        except UserError as error:
            say(f"{number}/{len(open_places)} {error}")
            failed += 1
            continue
        points = sum(len(section.points) for section in feedback.sections)
        struck = f", {len(feedback.struck)} quotes struck" if feedback.struck else ""
        say(f"{number}/{len(open_places)} {files[1]}: {points} points{struck}")
    if failed:
        raise UserError(f"{failed} of {len(open_places)} documents got no feedback; the same command tries them again")
    if giver.form.approval:
        say(f"They are drafts. To decide on them in a browser: momus label import {out or folder} --kind feedback")
    return 0


def decide(
    word: Positional[Literal["approve", "return"]],
    file: Positional[Path],
    by: str,
    note: str = "",
    grade: int | None = None,
    edited: Path | None = None,
    docx: bool = False,
) -> int:
    """Approve feedback so that it may be passed on, or return it.

    Args:
        word: approve, or return.
        file: The feedback: a .feedback.json file.
        by: Who decides.
        note: Why.
        grade: How good it is, 1 to 7: what rankings are made from.
        edited: The Markdown of the draft as it was edited; it replaces what was written.
        docx: Write what was approved as a Word document, too: the text that was read, each point a comment on it.
    """
    from datetime import UTC, datetime

    from momus.cli.shared.output import say
    from momus.documents.drafts import approve, give_back, read_feedback
    from momus.documents.drafts import edited as with_edits
    from momus.documents.reading import read_document
    from momus.documents.rubrics import read_rubric
    from momus.documents.store import document_of, is_beside
    from momus.errors import UserError
    from momus.report.feedback import write_feedback

    feedback = read_feedback(file)
    form = read_rubric(feedback.rubric)
    document = read_document(document_of(file, feedback)) if edited or is_beside(file, feedback) else None
    if document is not None and document.sha256 != feedback.sha256:
        raise UserError(f"{file}: {feedback.document} was changed since: give feedback on it again")
    if edited and document:
        feedback = with_edits(feedback, edited, document, form)
    change = approve if word == "approve" else give_back
    feedback = change(feedback, by, datetime.now(UTC), note, grade)
    files = write_feedback(feedback, form, file, document, docx)
    say(f"{'Approved' if feedback.released else 'Returned'} by {by}: {files[-1] if docx else files[1]}")
    return 0


def collect(
    word: Positional[Literal["collect"]],
    folder: Positional[Path],
    database: str = "label.db",
    docx: bool = False,
) -> int:
    """Bring decisions that were made in the workbench back to the documents, by the names of those who made them.

    Args:
        word: This command's name.
        folder: The folder that was imported with `momus label import FOLDER --kind feedback`.
        database: The workbench's database: a path (SQLite), or postgresql://…
        docx: Write what was approved as Word documents, too: the text that was read, each point a comment on it.
    """
    from momus.cli.shared.output import say
    from momus.errors import UserError
    from momus.label.feedback.deciding import collect as collect_decisions
    from momus.label.serve import open_store
    from momus.report.feedback import write_feedback

    if "://" not in database and not Path(database).exists():
        raise UserError(f"--database {database}: no such file")
    store = open_store(database)
    try:
        found, left = collect_decisions(store, folder)
    finally:
        store.close()
    for line in left:
        say(line)
    for decided in found:
        files = write_feedback(decided.feedback, decided.rubric, decided.path, decided.document, docx)
        print(files[1])
    approved = sum(decided.feedback.released for decided in found)
    say(f"{approved} approved and {len(found) - approved} returned since the last time, written beside the documents")
    return 0


def export(
    word: Positional[Literal["export"]],
    folder: Positional[Path],
    out: Path,
    tokenizer: str | None = None,
    budget: int = 6500,
) -> int:
    """Make demonstrations and rankings for `momus train`, and reviews for `momus overlap`, of documents with feedback.

    Args:
        word: This command's name.
        folder: Documents, and beside them what `momus feedback` wrote and people approved, returned, graded or edited.
        out: The folder for demonstrations.jsonl, rankings.jsonl and reviews.jsonl.
        tokenizer: The model that is to be trained, to count tokens; without it a token is taken for three characters.
        budget: Tokens of a question, document included.
    """
    from functools import lru_cache

    from momus.cli.shared.output import say
    from momus.documents.reading import read_document
    from momus.documents.rubrics import read_rubric
    from momus.documents.store import demonstrations, rankings, read_store, reviews
    from momus.errors import UserError
    from momus.records import write_jsonl

    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file: name a directory")
    store = read_store(folder, read_document, lru_cache(read_rubric))
    count = _counter(tokenizer, budget)
    made: dict[str, Sequence[Record]] = {
        "demonstrations": list(demonstrations(store, count, budget)),
        "rankings": list(rankings(store, count, budget)),
        "reviews": list(reviews(store)),
    }
    for name, records in made.items():
        write_jsonl(out / f"{name}.jsonl", records)
    written = ", ".join(f"{len(records)} {name}" for name, records in made.items())
    say(f"{written} from {len(store)} pieces of feedback are in {out}")
    return 0


def command_for(arguments: Sequence[str]) -> Callable[..., int]:
    """Return what the first word asks for: a decision, the data, or else feedback on a document."""
    first = arguments[0] if arguments else ""
    commands: dict[str, Callable[..., int]] = {
        "approve": decide, "return": decide, "collect": collect, "export": export,
    }  # fmt: skip
    return commands.get(first, command)


def _asker(model: NamedModel, answer_tokens: int) -> JsonAsker:
    from momus.errors import UserError
    from momus.match.ask import AskConfig

    if answer_tokens < 1:
        raise UserError(f"--answer-tokens {answer_tokens}: must be at least 1")
    try:
        return model.asker("feedback", AskConfig(max_tokens=answer_tokens, room=1))
    except UserError as error:
        if model.name is None or "ships with Momus" in str(error):
            raise UserError(f"{error}; or give feedback that is already written: --given FILE --by NAME") from error
        raise


def _judge(model: NamedModel, name: str | None, url: str | None) -> PointJudge:
    """Open the model of a second opinion; the one that writes defends, within the same limits."""
    from momus.documents.second_opinion import PointJudge

    return PointJudge(replace(model, name=name, url=url).chat, model.chat)


def _counter(tokenizer: str | None, budget: int) -> Callable[[str], int]:
    if tokenizer is None:
        return lambda text: -(-len(text) // 3)
    from momus.lm.codec import read_tokenizer
    from momus.lm.text.encode import Encoder

    encoder = Encoder(read_tokenizer(tokenizer))
    return lambda text: encoder.count(text, budget)


def _report(feedback: Feedback, form: Rubric, files: Sequence[Path], budget: int) -> None:
    """Print feedback, and say what to know about it and where it is."""
    from momus.cli.shared.output import say
    from momus.documents.feedback import words_to_see

    _print(feedback)
    if feedback.struck:
        say(f"Quotes struck because the document does not have them: {len(feedback.struck)}, such as")
    for quote in feedback.struck[:_SHOWN]:
        say(f"  {quote.quote!r}" + (", and its point, which needs one" if quote.dropped else ""))
    if feedback.fallen is not None:
        points = len(feedback.fallen) + sum(len(section.points) for section in feedback.sections)
        say(f"Second opinion: {len(feedback.fallen)} of {points} points fell and are left out")
    if repeats := feedback.repeats:
        merged = sum(bool(repeat.point) for repeat in repeats)
        say(f"Points said again, and merged: {merged}; that only give back what was asked or what the document says, "
            f"and are left out: {len(repeats) - merged}; such as")  # fmt: skip
    for text in list(dict.fromkeys(repeat.text for repeat in feedback.repeats))[:_SHOWN]:
        say(f"  {text!r}")
    if feedback.share < 1:
        say(f"{feedback.share:.0%} of the document's words fitted into {budget} tokens, spread over its sections")
    if words := words_to_see(feedback, form):
        say(f"Words to look at before approving: {', '.join(words)}")
    if feedback.released:
        say(f"It is in {files[1]}; beside the document in {files[2]}")
    else:
        say(
            f"It is a draft, not to be passed on before it is approved, in {files[1]}; "
            f"beside the document in {files[2]}"
        )
        say(f"To approve it: momus feedback approve {files[0]} --by NAME")


def _print(feedback: Feedback) -> None:
    from rich.markup import escape
    from rich.table import Table

    from momus.cli.shared.output import show

    for section in feedback.sections:
        table = Table("", "point", "quote", "page", title=escape(section.title), title_justify="left", show_lines=True)
        for number, point in enumerate(section.points, 1):
            times = 1 + sum(repeat.point == point.text for repeat in feedback.repeats)
            said = f"{point.text} (said {times} times)" if times > 1 else point.text
            text = "\n".join((said, *(f"- {detail}" for detail in point.details)))
            table.add_row(str(number), escape(text), escape(point.quote), str(point.page or ""))
        show(table)
