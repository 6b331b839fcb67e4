"""The front of Force Sampling Beam Search with a model that chats: bugs found against false comments.

    python benchmarks/fsbs_front.py tampers.jsonl --model CRITIC --reward RM --out FILE [--limit 60] [--pointer FILE]

CRITIC is a model that chats, or an adapter over one, whose pointer draws the lines where it has one; RM a reward model
trained from it. Of every answer with one bug (and of the same without) are searched

- fsbs:       the paper's 28 candidates;
- best of 28: as many samples, none of them forced to quote anything.

In both "no problems found" competes too. A bug is found where a comment stands on its line, and its fix is named where
the code that a comment there proposes is what stood there before. False are all comments on right code, and those
elsewhere on wrong code; their mean over the two is what the critics are compared at. The length modifier is what is
turned. Candidates are kept in FILE, and the command goes on where it was stopped. Intervals: 95 %, pieces resampled.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pointed_words import names_the_fix
from rich.console import Console
from rich.table import Table

from momus.critics.open import open_critic
from momus.critics.trained import CHAT_SEARCH, SearchCritic
from momus.critique import lines_of
from momus.errors import UserError
from momus.files import Ledger
from momus.records import Tamper, Task, read_jsonl
from momus.search.best_of_n import best_of_n
from momus.search.fsbs import find_ties, take_midpoints
from momus.search.result import RewardSource, SearchResult
from momus.stats.bootstrap import mean_interval
from momus.tamper.truth import lines_with_bugs

FALSE = (0.25, 0.5, 1.0, 2.0)
"""False comments per piece at which searches are compared."""
WAYS = ("fsbs", "best of 28")


class Candidates:
    """What a search found of one piece: of every candidate its score, comments, hits, fixes and false comments."""

    def __init__(self, rows: Sequence[Sequence[float]]) -> None:
        self.rows = rows

    def best(self, modifier: float) -> Sequence[float]:
        """Return the candidate with the best score, every comment adding `modifier` to it."""
        return max(self.rows, key=lambda row: row[0] + modifier * row[1])


def rows_of(result: SearchResult, piece: Tamper) -> list[list[float]]:
    """Return what counts of every candidate."""
    bugs, rows = lines_with_bugs(piece), []
    for candidate in result.candidates:
        comments = candidate.critique.comments
        on_bug = [c for c in comments if c.span and bugs & {*lines_of(c.span, piece.answer)}]
        fixed = any(names_the_fix(comment.text, piece) for comment in on_bug) if piece.bugs else False
        rows.append([candidate.score, len(comments), bool(on_bug), fixed, len(comments) - len(on_bug)])
    return rows


def searched(critic: SearchCritic, task: Task) -> dict[str, SearchResult]:
    """Search one piece in both ways."""
    (found,) = critic.write([task])
    writer, silent = critic.writer, found.candidates[0]
    encoded = writer.add_line_odds([task], [writer.encode(task)])
    (drawn,) = best_of_n(
        critic.engine,
        critic.reward,
        encoded,
        CHAT_SEARCH.fsbs.candidates,
        key=[1],
        max_tokens=CHAT_SEARCH.fsbs.max_tokens,
        form=writer.form,
    )
    return {"fsbs": found, "best of 28": SearchResult((silent, *drawn.candidates))}


def main() -> None:
    """Search, keep what was found, and print both fronts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tampers", type=Path, help="answers with bugs; those without any are left out")
    parser.add_argument("--model", required=True, help="the critic")
    parser.add_argument("--reward", type=Path, required=True, help="the reward model")
    parser.add_argument("--pointer", help="its pointer, where none lies beside it or ships; none for none")
    parser.add_argument("--out", type=Path, required=True, help="file of what was found")
    parser.add_argument("--limit", type=int, default=60, help="answers (60)")
    options = parser.parse_args()
    critic = open_critic(options.model, RewardSource(options.reward), pointer=options.pointer)
    if not isinstance(critic, SearchCritic):
        parser.error("--model is no model that is searched with")
    wrong = [tamper for tamper in read_jsonl(options.tampers, Tamper) if len(tamper.bugs) == 1][: options.limit]
    found: dict[str, dict[str, list[Candidates]]] = {way: {"wrong": [], "right": []} for way in WAYS}
    with Ledger(options.out, {"benchmark": "fsbs_front", "critic": dict(critic.identity())}) as ledger:
        for number, tamper in enumerate(wrong, 1):
            right = Tamper(task=tamper.task, answer=tamper.task.answer, bugs=())
            for kind, piece in (("wrong", tamper), ("right", right)):
                key = f"{tamper.task.id} {kind}"
                if key not in ledger:
                    task = piece.task.model_copy(update={"answer": piece.answer})
                    results = searched(critic, task)
                    ledger.add({key: {way: rows_of(result, piece) for way, result in results.items()}})
                for way in WAYS:
                    found[way][kind].append(Candidates(ledger[key][way]))
            print(f"{number} of {len(wrong)}", flush=True)
    Console(width=110).print(table(found))


def table(found: dict[str, dict[str, list[Candidates]]]) -> Table:
    """Return both fronts, at equal numbers of false comments and where the modifier is 0."""
    count = len(found["fsbs"]["wrong"])
    shown = Table(title=f"{count} pieces with a bug and the same without; %, 95 % intervals")
    for column in ("search", "false comments per piece", "bugs found", "fixes named", "modifier"):
        shown.add_column(column)
    for way in WAYS:
        points = [(modifier, *measured(found[way], modifier)) for modifier in modifiers(found[way])]
        for wanted in FALSE:
            best = max((point for point in points if point[3] <= wanted), default=None, key=lambda point: sum(point[1]))
            if best:
                shown.add_row(*_row(way, best), end_section=wanted == FALSE[-1])
        shown.add_row(*_row(way, (0.0, *measured(found[way], 0.0))), end_section=True)
    pairs = [[float(any(row[2] for row in each.rows)) for each in found[way]["wrong"]] for way in WAYS]
    print(
        "bugs that any candidate finds:",
        *(f"{way} {_percent(values)}" for way, values in zip(WAYS, pairs, strict=True)),
    )
    return shown


def modifiers(pieces: dict[str, list[Candidates]]) -> list[float]:
    """Return every modifier between two at which a choice changes."""
    ties = set()
    for each in (*pieces["wrong"], *pieces["right"]):
        candidates = [_Length(score, int(comments)) for score, comments, *_ in each.rows]
        ties |= {*find_ties(SearchResult(tuple(candidates)))}  # type: ignore[arg-type]
    every = take_midpoints(ties)
    return every[:: max(1, len(every) // 200)]


class _Length:
    """A candidate as `find_ties` sees it."""

    def __init__(self, score: float, highlights: int) -> None:
        self.score, self.highlights = score, highlights


def measured(pieces: dict[str, list[Candidates]], modifier: float) -> tuple[list[float], list[float], float]:
    """Return of each wrong piece whether its bug is found and its fix named, and the false comments per piece."""
    wrong, right = ([each.best(modifier) for each in pieces[kind]] for kind in ("wrong", "right"))
    false = sum(row[4] for row in (*wrong, *right)) / (len(wrong) + len(right))
    return [float(row[2]) for row in wrong], [float(row[3]) for row in wrong], false


def _row(way: str, point: tuple[float, list[float], list[float], float]) -> list[str]:
    modifier, hits, fixes, false = point
    return [way, f"{false:.2f}", _percent(hits), _percent(fixes), f"{modifier:+.2f}"]


def _percent(values: Sequence[float]) -> str:
    mean = mean_interval(values)
    return f"{100 * mean.value:.0f} ({100 * mean.low:.0f}-{100 * mean.high:.0f})"


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from error
