"""`momus overlap`: how far a model's feedback agrees with people's."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, ChatOptions
from momus.cli.shared.seed import Seed

_NO_MODEL = ChatOptions()

if TYPE_CHECKING:
    from momus.evaluate.documents.aspects import AspectTable
    from momus.evaluate.documents.matched import Matched, ReviewedDocument
    from momus.match.aspects import Tagger
    from momus.match.matcher import Matcher


def command(
    reviews: Positional[Path],
    out: Path,
    by: Literal["lexical", "embedding", "model", "voting", "pairwise"] = "lexical",
    threshold: int = 7,
    within: tuple[str, ...] = (),
    shuffles: int = 1,
    aspects: Literal["lexical", "model"] = "lexical",
    chat: Annotated[ChatOptions, FLAT] = _NO_MODEL,
    calibration: Path | None = None,
    seed: Seed = 0,
) -> int:
    """Measure how far a model's points agree with people's, beside people with each other and with chance.

    Interrupted and started again with the same options, it continues where it was.

    Args:
        reviews: Reviews with points, by people and by models: JSON Lines or a folder of them, or
            MARG's folder (docs/guides/agreement.md).
        out: The folder for the page, its numbers as JSON, and every score.
        by: Shared words (offline), a sentence encoder, a language model, its vote over shuffled readings, or the vote
            and then a look at every pair by itself.
        threshold: Pairs are the same point from this score on, 5 to 10.
        within: Strata, such as venue, within which the shuffled null hands a model's points to another document.
        shuffles: How often it does.
        aspects: How the aspect of each point is decided: by words, or by the model.
        chat: The model to ask.
        calibration: What momus match calibrate measured of this matcher: its threshold scores 7.
        seed: Everything random follows from it.
    """
    from momus.cli.shared.costs import print_cost
    from momus.cli.shared.output import say, show
    from momus.errors import UserError
    from momus.evaluate.documents.matched import documents_of
    from momus.evaluate.documents.overlap import analyse, systems_in
    from momus.match.calibrate import read_match_calibration
    from momus.match.matcher import check_threshold
    from momus.match.open import open_matcher, open_tagger
    from momus.match.reviews import read_reviews
    from momus.report.overlap import OverlapReport, overlap_tables, summarise_overlap, write_overlap

    check_threshold(threshold)
    if shuffles < 0:
        raise UserError(f"--shuffles {shuffles}: must not be negative")
    documents = documents_of(read_reviews(reviews))
    systems = systems_in(documents)
    named = chat.named(seed).used_by(by, aspects)
    tagger = open_tagger(aspects, named)
    matcher = open_matcher(by, named, calibration, _points(documents))
    matched = _matched(documents, matcher, out, within, shuffles, seed)
    report = OverlapReport(
        source=reviews.name,
        documents=len(documents),
        within=within,
        matcher=dict(matcher.identity()),
        likeness=matcher.scale.threshold,
        calibration=read_match_calibration(calibration) if calibration else None,
        systems=tuple(analyse(matched, system, threshold=threshold) for system in systems),
        aspects=_aspects(documents, systems, tagger, out, seed),
    )
    print_cost(named.asking)
    options = {"by": by, "threshold": threshold, "shuffles": shuffles, "seed": seed, "aspects": aspects}
    shown = _command_line(reviews, options, within, chat.model, calibration)
    page = write_overlap(report, out, shown)
    for system, table in zip(report.systems, report.aspects, strict=True):
        show(*overlap_tables(system, table), summarise_overlap(system))
    say(f"The page is {page}")
    return 0


def _points(documents: Sequence[ReviewedDocument]) -> list[str]:
    """Return all points of all documents."""
    sides = (side for document in documents for side in (document.models, document.people))
    return [point for side in sides for points in side.values() for point in points]


def _command_line(
    reviews: Path, options: Mapping[str, object], within: Sequence[str], model: str | None, calibration: Path | None
) -> str:
    """Return the command that makes the page again, for the page itself."""
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    words += ["--within", *within] if within else []
    words += ["--model", model] if model else []
    words += ["--calibration", calibration.name] if calibration else []
    return shlex.join(["momus", "overlap", reviews.name, *words])


def _matched(
    documents: Sequence[ReviewedDocument], matcher: Matcher, out: Path, within: Sequence[str], shuffles: int, seed: int
) -> list[Matched]:
    """Score every pair, or go on with what was begun in OUT with the same settings."""
    from momus.cli.shared.output import bar
    from momus.evaluate.documents.matched import match_documents
    from momus.files import Ledger, digest

    settings = {
        **matcher.identity(), "likeness": matcher.scale.threshold, "within": within, "shuffles": shuffles,
        "null": "by model", "seed": seed,
        "reviews": digest([[document.id, document.models, document.people, document.strata] for document in documents]),
    }  # fmt: skip
    with Ledger(out / "scores.jsonl", settings) as ledger, bar("Documents") as progress:
        return list(
            match_documents(
                documents, matcher, shuffles=shuffles, within=within, seed=seed, ledger=ledger, progress=progress
            )
        )


def _aspects(
    documents: Sequence[ReviewedDocument], systems: Sequence[str], tagger: Tagger, out: Path, seed: int
) -> tuple[AspectTable, ...]:
    """Tag every point, those that a model was asked about kept in OUT."""
    from momus.cli.shared.output import bar
    from momus.evaluate.documents.aspects import KeptTagger, aspect_table
    from momus.files import Ledger

    if tagger.identity()["kind"] == "lexical":  # as fast as reading what was kept
        return tuple(aspect_table(documents, system, tagger) for system in systems)
    with Ledger(out / "aspects.jsonl", {**tagger.identity(), "seed": seed}) as ledger, bar("Points") as progress:
        kept = KeptTagger(tagger, ledger, progress)
        return tuple(aspect_table(documents, system, kept) for system in systems)
