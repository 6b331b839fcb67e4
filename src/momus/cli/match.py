"""`momus match`: which points of two lists are the same, and how well a matcher decides it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, ChatOptions
from momus.cli.shared.seed import Seed

_NO_MODEL = ChatOptions()

if TYPE_CHECKING:
    from momus.match.calibrate import MatchCalibration
    from momus.match.matcher import Match

By = Literal["lexical", "embedding", "model", "voting", "pairwise"]


def command(
    first: Positional[Path],
    second: Positional[Path],
    by: By = "lexical",
    threshold: int = 7,
    chat: Annotated[ChatOptions, FLAT] = _NO_MODEL,
    calibration: Path | None = None,
    json: bool = False,
    seed: Seed = 0,
) -> int:
    """Name the points of two lists that say the same, each pair with a score from 5 to 10 and a reason.

    `momus match calibrate LABELS` measures a matcher against people's labels instead.

    Args:
        first: A list of points: a review (JSON Lines), a JSON array of strings, or a text file, one a line.
        second: The other list.
        by: Shared words (offline), a sentence encoder, a language model, its vote over shuffled readings, or the vote
            and then a look at every pair by itself.
        threshold: Show pairs from this score on; 7 is "mainly the same point".
        chat: The model to ask.
        calibration: What momus match calibrate measured of this matcher: its threshold scores 7.
        json: Print a JSON array instead of a table.
        seed: Everything random follows from it.
    """
    import json as encoder

    from momus.cli.shared.costs import print_cost
    from momus.cli.shared.output import show
    from momus.match.matcher import check_threshold, find_matches
    from momus.match.open import open_matcher
    from momus.match.reviews import read_points

    check_threshold(threshold)
    a, b = read_points(first), read_points(second)
    model = chat.named(seed).used_by(by)
    matcher = open_matcher(by, model, calibration, (*a, *b))
    matches = find_matches(matcher, a, b, threshold)
    print_cost(model.asking)
    if json:
        rows = [
            {"a": match.first, "b": match.second, "score": match.score, "reason": match.reason,
             "first": a[match.first], "second": b[match.second]}
            for match in matches
        ]  # fmt: skip
        print(encoder.dumps(rows, ensure_ascii=False, indent=1))
        return 0
    _print(matches, a, b)
    hits = (len({match.first for match in matches}), len({match.second for match in matches}))
    show(f"{hits[0]} of {len(a)} points of {first} and {hits[1]} of {len(b)} of {second} have a match.")
    return 0


def calibrate(
    word: Positional[Literal["calibrate"]],
    labels: Positional[Path],
    by: By = "lexical",
    same_from: float | None = None,
    out: Path | None = None,
    chat: Annotated[ChatOptions, FLAT] = _NO_MODEL,
    seed: Seed = 0,
) -> int:
    """Measure a matcher against people's labels, and find the similarity that is to score 7.

    Args:
        word: This command's name.
        labels: Labelled pairs: JSON Lines, the folder of MARG's alignments, or KLUE-STS's JSON
            (docs/guides/agreement.md).
        by: Shared words (offline), a sentence encoder, a language model, its vote over shuffled readings, or the vote
            and then a look at every pair by itself.
        same_from: The label from which a pair is the same; by default 1, of KLUE-STS 3.
        out: Where the calibration goes, for --calibration.
        chat: The model to ask.
        seed: Everything random follows from it.
    """
    from momus.cli.shared.costs import print_cost
    from momus.cli.shared.output import bar, say
    from momus.errors import UserError
    from momus.files import write_text
    from momus.match.calibrate import calibrate_matcher
    from momus.match.open import open_matcher
    from momus.match.reviews import read_labels

    if out is not None and not out.absolute().parent.is_dir():
        raise UserError(f"--out {out}: there is no directory {out.parent}")
    labelled = read_labels(labels)
    texts = (text for pair in labelled.pairs for side in (pair.first, pair.second) for text in side)
    model = chat.named(seed).used_by(by)
    matcher = open_matcher(by, model, None, texts)
    if same_from is None:
        same_from = labelled.same_from
    with bar("Lists") as progress:
        measured = calibrate_matcher(
            matcher,
            labelled.pairs,
            same_from,
            labels.name,
            progress=progress,
        )
    print_cost(model.asking)
    _print_calibration(measured)
    if out is not None:
        write_text(out, measured.model_dump_json(indent=1) + "\n")
        say(f"The calibration is in {out}")
    return 0


def command_for(arguments: Sequence[str]) -> Callable[..., int]:
    """Return `calibrate` where it is the first word, else the comparison of two lists."""
    return calibrate if arguments[:1] == ["calibrate"] else command


def _print(matches: Sequence[Match], first: Sequence[str], second: Sequence[str]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from momus.cli.shared.output import show

    table = Table("score", "first", "second", "why", show_lines=True)
    for match in matches:
        cells = (first[match.first], second[match.second], match.reason)
        table.add_row(str(match.score), *map(escape, cells))
    if matches:
        show(table)


def _print_calibration(result: MatchCalibration) -> None:
    from rich.markup import escape
    from rich.table import Table

    from momus.cli.shared.output import show

    title = escape(f"{result.matcher['kind']} on {result.data}")
    table = Table("", "", title=title, title_justify="left", show_header=False)
    table.add_row(
        "pairs",
        f"{result.pairs}, {result.same} of them the same (labelled {result.same_from:g} or more)",
    )
    table.add_row("documents", f"{result.documents}" + (f"; {result.failed} lists failed" if result.failed else ""))
    table.add_row(
        "similarity that scores 7",
        f"{result.threshold:.3f} (folds {result.lowest:.3f} to {result.highest:.3f})",
    )
    for name, estimate in (
        ("precision", result.precision),
        ("recall", result.recall),
        ("F1", result.f1),
    ):
        table.add_row(f"{name}, each document left out", str(estimate))
    table.add_row("AUC", f"{result.auc:.3f}")
    table.add_row("average precision", f"{result.average_precision:.3f} (chance {result.same / result.pairs:.3f})")
    if result.pearson and result.spearman:
        table.add_row("Pearson's r with the labels", str(result.pearson))
        table.add_row("Spearman's rho", str(result.spearman))
    show(table)
