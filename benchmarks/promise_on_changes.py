"""Is a promise about changes kept on changes that it was not measured on? Consecutive releases of packages, as commits.

    pip download --no-deps -d releases/click click==8.1.0   # and others, as wheels, a directory for each package
    python benchmarks/promise_on_changes.py --releases releases/* [--model FOLDER] [--changes 200] [--splits 200]

Functions that a release changed, taken to be right, every second one with a bug on a line that was changed
(`momus.review.changes.history`); comments on changed lines alone count. The critic reads each of them once: momus-tiny,
or with --model the model's pointer, which comments on every line with the probability that the fault is there, without
words. Then, 200 times over, the changes are split at random: on one half the dial is calibrated and at most so many
false comments per clean change are asked for, and on the other half the false comments at the promised setting are
counted. How often that may go beyond what was promised says `promise.py`.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from common import Goal, Report, parser
from critics_found import AT_ONCE
from promise import ASKED, EXPECTED, Outcome, StoredCritic, cells
from review_identity import history

from momus.critics.critic import Critic
from momus.critics.open import open_critic
from momus.critics.pointed import find_pointer
from momus.critics.scores.critic import ScoreDial
from momus.critics.scores.protocol import sigmoid
from momus.critique import Comment, Critique, Span
from momus.errors import UserError
from momus.evaluate.critics.calibration import calibrate
from momus.evaluate.critics.changes import ChangedAnswer, on_lines
from momus.lm.local.load import choose_precision, load_local_engine
from momus.lm.pointers.line_pointer import LinePointer
from momus.lm.pointers.line_states import LineReader
from momus.records import Task
from momus.review.answers import task_to_read
from momus.review.changes.history import changes_of_commits
from momus.search.result import Candidate, SearchResult
from momus.tamper.truth import judge


class PointerAlone:
    """Comments on every line of code with the probability that the fault is in it, as a model's pointer has it."""

    dial = ScoreDial()

    def __init__(self, model: str) -> None:
        pointer = find_pointer(model, None)
        if pointer is None:
            raise SystemExit(f"{model} has no pointer: momus train pointer makes one")
        engine = load_local_engine(model, "cpu", choose_precision(model, "cpu"))
        self._pointer = LinePointer.load(pointer)
        self._reader = LineReader(engine.model, engine.tokenizer, self._pointer.shape.reads)

    def fits(self, task: Task) -> bool:
        """Return whether the code can be read."""
        return not self._reader.problem(task.question, task.answer)

    def write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        """Return a comment on each line, with its score."""
        read = self._reader.read([(task.question, task.answer) for task in tasks])
        pairs = zip(tasks, self._pointer.line_log_odds(read), strict=True)
        return [self._said(task.answer, odds) for task, odds in pairs]

    def _said(self, answer: str, odds: Sequence[float]) -> SearchResult:
        comments, start = {}, 0
        for line, value in zip(answer.split("\n"), odds, strict=True):
            if line.strip():
                at = start + len(line) - len(line.lstrip())
                quote = line.strip()
                comments[Comment(highlight=quote, text="Look here.", span=Span(at, at + len(quote)))] = sigmoid(value)
            start += len(line) + 1
        critique = Critique(comments=tuple(comments))
        return SearchResult((Candidate("", (), 0.0, critique, scores=tuple(comments.values())),))

    def identity(self) -> Mapping[str, Any]:
        """Return the kind."""
        return {"kind": "pointer alone"}


def remember(critic: Critic, changes: Sequence[ChangedAnswer]) -> StoredCritic:
    """Ask a critic about every change once; returns what says it again."""
    said: dict[str, SearchResult] = {}
    for start in range(0, len(changes), AT_ONCE):
        tasks = [task_to_read(change.after) for change in changes[start : start + AT_ONCE]]
        said |= zip([task.id for task in tasks], critic.write(tasks), strict=True)
    return StoredCritic(said, critic.dial)


def count_false(critic: StoredCritic, change: ChangedAnswer, setting: float) -> int:
    """Return the false comments on a clean change's lines at a setting."""
    (written,) = critic.write([task_to_read(change.after)])
    answer = change.after.answer
    return judge(on_lines(critic.dial.choose(written, answer, setting), answer, change.changed), change.after).fakes


def main() -> None:
    """Gather the changes, have the critic read them, split, and print."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--releases", type=Path, nargs="+", required=True, help="a folder of wheels for each package")
    options.add_argument("--model", help="a model with a pointer")
    options.add_argument("--changes", type=int, default=200, help="changed functions (200)")
    options.add_argument("--splits", type=int, default=200, help="splits (200)")
    options.add_argument("--replicates", type=int, default=2000, help="bootstrap resamples of a calibration (2000)")
    report = Report(chosen := options.parse_args())
    name, critic = (
        ("the pointer alone", PointerAlone(chosen.model)) if chosen.model else ("momus-tiny", open_critic(None))
    )
    changes = gather(chosen.releases, chosen.changes, critic)
    clean = sum(not change.after.bugs for change in changes)
    print(f"{len(changes)} changes of {len(chosen.releases)} packages, {clean} of them clean", flush=True)
    splits = 10 if chosen.quick else chosen.splits
    outcomes = split_often(remember(critic, changes), changes, splits, chosen.replicates)
    report.case(name, {}, outcomes=outcomes, changes=len(changes))
    heads = ("critic", "promises", "beyond it", "asked for, mean", "counted, mean", "most that was counted")
    report.table(
        f"{chosen.splits} splits, promised on one half and counted on the other", heads, [(name, *cells(outcomes))]
    )
    error = 2 * (EXPECTED * (1 - EXPECTED) / max(len(outcomes), 1)) ** 0.5
    share = sum(counted > limit for limit, counted in outcomes) / max(len(outcomes), 1)
    report.finish([Goal("share of promises beyond the limit", share, EXPECTED + error, at_least=False)])


def gather(releases: Sequence[Path], most: int, critic: Critic) -> list[ChangedAnswer]:
    """Return changed functions that the critic can read, as many of each package as there are of the others."""
    made: list[ChangedAnswer] = []
    for number, folder in enumerate(releases):
        wanted = (most - len(made)) // (len(releases) - number)
        with tempfile.TemporaryDirectory() as temporary:
            first, *_ = history(folder, Path(temporary))
            made += changes_of_commits(Path(temporary), f"{first}..HEAD", (), critic.fits, wanted, 0)[0]
    return made


def split_often(critic: StoredCritic, changes: Sequence[ChangedAnswer], splits: int, replicates: int) -> list[Outcome]:
    """Split the changes; returns what came of every split that a promise was made in."""
    outcomes = []
    for split in range(splits):
        shuffled = random.Random(split).sample(changes, len(changes))
        first, second = shuffled[: len(changes) // 2], shuffled[len(changes) // 2 :]
        limit = ASKED[split % len(ASKED)]
        known, lines = [change.after for change in first], [change.changed for change in first]
        try:
            measured = calibrate(critic, known, "releases", inserted=True, changed=lines, replicates=replicates)
            point = measured.promise(limit)
        except UserError:
            continue
        clean = [change for change in second if not change.after.bugs]
        outcomes.append((limit, mean(count_false(critic, change, point.setting) for change in clean)))
    return outcomes


if __name__ == "__main__":
    main()
