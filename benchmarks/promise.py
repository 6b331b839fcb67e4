"""Is what a dial promises kept on code that it was not measured on? 200 splits of each critic's stored looks.

    python benchmarks/promise.py --found FOLDER [--pairs 100] [--splits 200] [--json FILE]

FOLDER is what `critics_found.py --out` keeps: of every critic the scores of all lines of pieces without a bug, and of
the same pieces with one. A critic whose looks are stored comments on every line with that line's score. 200 times over
the pairs of a set, each set in turn, are split at random: on one half the dial is calibrated and at most so many false
comments per clean piece are asked for, and on the other half the false comments at the promised setting are counted.
That count varies as much as the measurement did: of a promise that holds for the rate in 97.5 of 100 cases, it goes
beyond the limit in up to P(Z > 1.96 / sqrt(2)) = 8 of 100. Nothing is asked of any model.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from common import Goal, Report, parser
from critics_found import SETS, Look, read_looks

from momus.critics.critic import Dial
from momus.critics.scores.critic import ScoreDial
from momus.critique import Comment, Critique, Span
from momus.errors import UserError
from momus.evaluate.critics.calibration import calibrate
from momus.records import Bug, Tamper, Task
from momus.review.answers import task_to_read
from momus.search.result import Candidate, SearchResult
from momus.tamper.truth import judge

ASKED = (0.2, 0.3, 0.5, 0.8, 1.2)
EXPECTED = 0.083
LEAST = 20
"""Pairs below which a set is not split."""

Pair = tuple[Tamper, Tamper]
"""A piece without a bug, and the same with one."""
Outcome = tuple[float, float]
"""Of a promise the false comments asked for at most, and those counted on the other half."""


def main() -> None:
    """Split, and print."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--found", type=Path, required=True, help="folder of critics_found.py")
    options.add_argument("--pairs", type=int, default=100, help="of each set the first so many (100)")
    options.add_argument("--splits", type=int, default=200, help="splits of each set (200)")
    report = Report(chosen := options.parse_args())
    splits = 10 if chosen.quick else chosen.splits
    every: dict[str, list[Outcome]] = {}
    for name in sorted({file.name.removesuffix(".jsonl").split(".", 1)[1] for file in chosen.found.glob("*.jsonl")}):
        looks = [read_looks(chosen.found / f"{data}.{name}.jsonl") for data in SETS]
        sets = [pairs for of_set in looks if len(pairs := pairs_of(of_set)[: chosen.pairs]) >= LEAST]
        if sets:
            critic = StoredCritic({piece_id(look): said(look) for of_set in looks for look in of_set}, ScoreDial())
            every[name] = split_often(critic, sets, splits)
            report.case(name, {}, outcomes=every[name], pairs=list(map(len, sets)))
            print(name, *cells(every[name]), flush=True)
    heads = ("critic", "promises", "beyond it", "asked for, mean", "counted, mean", "most that was counted")
    rows = [(name, *cells(outcomes)) for name, outcomes in every.items()]
    report.table(f"{splits} splits, promised on one half and counted on the other", heads, rows)
    made = sum(map(len, every.values()))
    over = sum(counted > limit for outcomes in every.values() for limit, counted in outcomes)
    error = 2 * (EXPECTED * (1 - EXPECTED) / max(made, 1)) ** 0.5
    what = "share of promises beyond the limit on the other half"
    report.finish([Goal(what, over / max(made, 1), EXPECTED + error, at_least=False)])


def cells(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Return of promises how many were made and not kept, and what was asked for and counted."""
    if not outcomes:
        return ("0", "", "", "", "")
    over = sum(counted > limit for limit, counted in outcomes)
    limits, counts = zip(*outcomes, strict=True)
    share = f"{over} ({100 * over / len(outcomes):.1f} %)"
    return (str(len(outcomes)), share, *(f"{value:.2f}" for value in (mean(limits), mean(counts), max(counts))))


class StoredCritic:
    """Says again of tasks, by their names, what was said of them."""

    def __init__(self, said: Mapping[str, SearchResult], dial: Dial) -> None:
        self._said, self.dial = said, dial

    def fits(self, task: Task) -> bool:
        """Return whether it was looked at."""
        return task.id in self._said

    def write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        """Return what was stored."""
        return [self._said[task.id] for task in tasks]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind."""
        return {"kind": "stored"}


def piece_id(look: Look) -> str:
    """Return the name of a piece, with its bug or without."""
    return f"{look.pair}, {'bug' if look.has_bug else 'clean'}"


def said(look: Look) -> SearchResult:
    """Return a comment on each line, with its score."""
    lines = sorted(look.scores)
    comments = tuple(Comment(highlight=str(n), text="Look here.", span=span_of(n)) for n in lines)
    scores = tuple(look.scores[n] for n in lines)
    return SearchResult((Candidate("", (), 0.0, Critique(comments=comments), scores=scores),))


def span_of(line: int) -> Span:
    """Return where a line is in a text whose every line is its own number."""
    start = sum(len(str(number)) + 1 for number in range(1, line))
    return Span(start, start + len(str(line)))


def piece(look: Look) -> Tamper:
    """Return a piece as what a dial is measured on; looks know its lines by their numbers alone."""
    text = "\n".join(map(str, range(1, max((*look.scores, *look.bug)) + 1)))
    spans = tuple(map(span_of, look.bug))
    bugs = (Bug(kind="x", spans=spans, description="Wrong.", original="", replacement=""),) if spans else ()
    return Tamper(task=Task(id=piece_id(look), question="", answer=text), answer=text, bugs=bugs)


def pairs_of(looks: Sequence[Look]) -> list[Pair]:
    """Return the pairs of which both pieces were looked at, in the order of the looks."""
    clean = {look.pair: look for look in looks if not look.has_bug}
    bugged = {look.pair: look for look in looks if look.has_bug}
    return [(piece(look), piece(bugged[name])) for name, look in clean.items() if name in bugged]


def split_often(critic: StoredCritic, sets: Sequence[Sequence[Pair]], splits: int) -> list[Outcome]:
    """Split sets of pairs, each in turn; returns what came of every split that a promise was made in."""
    outcomes = []
    for split in range(splits):
        pairs = sets[split % len(sets)]
        shuffled = random.Random(split).sample(pairs, len(pairs))
        first, second = shuffled[: len(pairs) // 2], shuffled[len(pairs) // 2 :]
        limit = ASKED[split % len(ASKED)]
        known = [tamper for pair in first for tamper in pair]
        try:
            point = calibrate(critic, known, "stored looks", inserted=True).promise(limit)
        except UserError:
            continue
        outcomes.append((limit, mean(count_false(critic, clean, point.setting) for clean, _ in second)))
    return outcomes


def count_false(critic: StoredCritic, clean: Tamper, setting: float) -> int:
    """Return the false comments on a clean piece at a setting."""
    (written,) = critic.write([task_to_read(clean)])
    return judge(critic.dial.choose(written, clean.answer, setting), clean).fakes


if __name__ == "__main__":
    main()
