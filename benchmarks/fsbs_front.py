"""The front of Force Sampling Beam Search with a model that chats: bugs found against false comments.

    python benchmarks/fsbs_front.py tampers.jsonl --model CRITIC --reward RM --out FILE [--limit 60] [--pointer FILE]
    python benchmarks/fsbs_front.py tampers.jsonl --model CRITIC --score --out FILE

CRITIC is a model that chats, or an adapter over one, whose pointer draws the lines where it has one; RM a reward model
trained from it. With --score the search goes by what `--score pointer` says of the comments instead: what the pointer
and edits say of their lines, and what is gained by what they propose. Of every answer with one bug (and of the same
without) are searched

- fsbs:       the paper's 28 candidates;
- best of 28: as many samples, none of them forced to quote anything.

In both "no problems found" competes too. A bug is found where a comment stands on its line, and its fix is named where
the code that a comment there proposes is what stood there before. False are all comments on right code, and those
elsewhere on wrong code: what is compared is a piece's mean number of them, wrong and right. The length modifier is what
is turned, to where most bugs are found with at most so many false comments. Candidates are kept in FILE, and the
command goes on where it was stopped. Intervals: 95 %, pieces resampled, the modifier chosen anew in each sample.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from pointed_words import lines_with_bugs, names_the_fix
from rich.console import Console
from rich.table import Table

from momus.critics.pointed import find_pointer
from momus.critics.prompted import PromptedConfig
from momus.critics.scores.pointed import PointedScore
from momus.critics.scores.search import as_reward
from momus.critics.trained import ChatWriter
from momus.critique import Critique, lines_of
from momus.errors import UserError
from momus.files import Ledger
from momus.lm.chats.local import LocalChat
from momus.lm.local.engine import LocalEngine
from momus.records import Tamper, Task, read_jsonl
from momus.search.best_of_n import best_of_n
from momus.search.fsbs import FSBSConfig, find_ties, force_sampling_beam_search, take_midpoints
from momus.search.result import Candidate, EncodedTask, RewardFunction, RewardSource, SearchResult
from momus.search.reward import identify_reward, load_reward_function

FALSE = (0.25, 0.5, 1.0, 2.0)
"""False comments per piece at which searches are compared."""
WAYS = ("fsbs", "best of 28")
MOST_TOKENS = 200
AT_ONCE = 8
"""Pieces that are searched together: a bug's and the same without are neighbours."""
RESAMPLES = 2000

Floats = npt.NDArray[np.float64]
Row = Sequence[float]
"""Of a candidate its score, its comments, whether one is on the bug, whether one names its fix, and the false ones."""


class Front(NamedTuple):
    """What a way of searching finds at every modifier: [modifiers], and [modifiers, pieces] each."""

    modifiers: Floats
    found: Floats
    fixed: Floats
    false: Floats


def rows_of(result: SearchResult, piece: Tamper) -> list[list[float]]:
    """Return what counts of every candidate."""
    bugs, rows = lines_with_bugs(piece), []
    for candidate in result.candidates:
        comments = candidate.critique.comments
        on_bug = [c for c in comments if c.span and bugs & {*lines_of(c.span, piece.answer)}]
        fixed = any(names_the_fix(comment.text, piece) for comment in on_bug)
        rows.append([candidate.score, len(comments), bool(on_bug), fixed, len(comments) - len(on_bug)])
    return rows


class Searcher(NamedTuple):
    """What is searched with.

    Attributes:
        engine: The critic.
        writer: How it reads and writes.
        reward: What the search goes by: a reward model, or a score of comments.
        identity: What identifies them.
    """

    engine: LocalEngine
    writer: ChatWriter
    reward: RewardFunction | PointedScore
    identity: dict[str, Any]

    def of(self, tasks: Sequence[Task], encoded: Sequence[EncodedTask]) -> RewardFunction:
        """Return the reward of critiques of these tasks."""
        if isinstance(self.reward, PointedScore):
            return as_reward(self.reward, self.engine, tasks, encoded, self.writer.form)
        return self.reward


def open_searcher(options: argparse.Namespace) -> Searcher:
    """Open the critic and what the search goes by."""
    config, model = PromptedConfig(max_tokens=MOST_TOKENS), LocalChat(options.model)
    engine = cast(LocalEngine, model.loaded.engine)
    pointer = find_pointer(options.model, options.pointer)
    writer = ChatWriter(engine, pointer, config)
    reward: RewardFunction | PointedScore | None
    goes_by: Any
    if options.score:
        if pointer is None:
            raise UserError(f"--score: {options.model} has no pointer")
        reward = PointedScore(model, pointer)
        goes_by = dict(reward.identity())
    else:
        source = RewardSource(options.reward)
        writer.check_reward(source)
        reward = load_reward_function(source, engine, engine.model.device, engine.model.dtype)
        assert reward is not None
        goes_by = identify_reward(source, reward)
    identity = {"model": dict(model.identity()), "reward": goes_by, "settings": dict(writer.identity())}
    return Searcher(engine, writer, reward, identity)


def searched(searcher: Searcher, tasks: Sequence[Task]) -> dict[str, list[SearchResult]]:
    """Search pieces in both ways."""
    engine, writer = searcher.engine, searcher.writer
    encoded = writer.add_line_odds(tasks, [writer.encode(task) for task in tasks])
    reward = searcher.of(tasks, encoded)
    key: Any = [0] * len(tasks)
    config = FSBSConfig(max_tokens=MOST_TOKENS)
    forced = force_sampling_beam_search(engine, reward, encoded, config, key=key, form=writer.form)
    drawn = best_of_n(
        engine,
        reward,
        encoded,
        config.candidates,
        key=[1] * len(tasks),
        max_tokens=MOST_TOKENS,
        form=writer.form,
    )
    nothing = (*engine.encode(writer.form.nothing, bos=False), writer.end)
    scores = reward([task.prompt for task in encoded], [[nothing]] * len(encoded))
    silent = [Candidate(writer.form.nothing, nothing, float(score), Critique()) for (score,) in scores]
    return {
        way: [SearchResult((none, *each.candidates)) for none, each in zip(silent, results, strict=True)]
        for way, results in zip(WAYS, (forced, drawn), strict=True)
    }


def front_of(wrong: Sequence[Sequence[Row]], right: Sequence[Sequence[Row]]) -> Front:
    """Return what is found at every modifier between two at which a choice changes, 400 of them at most."""
    every = np.array(take_midpoints({tie for rows in (*wrong, *right) for tie in _ties(rows)}))
    modifiers = every[np.unique(np.linspace(0, len(every) - 1, 400).astype(int))]
    on_wrong, on_right = (
        np.array([[max(rows, key=lambda row: row[0] + modifier * row[1]) for rows in some] for modifier in modifiers])
        for some in (wrong, right)
    )
    return Front(modifiers, on_wrong[..., 2], on_wrong[..., 3], (on_wrong[..., 4] + on_right[..., 4]) / 2)


def _ties(rows: Sequence[Row]) -> list[float]:
    candidates = [SimpleNamespace(score=row[0], highlights=int(row[1])) for row in rows]
    return find_ties(cast(SearchResult, SimpleNamespace(candidates=candidates)))


def at(front: Front, most: float | None, sample: npt.NDArray[np.int64]) -> tuple[float, float, float, float]:
    """Return bugs found, fixes named, false comments and the modifier, where most is found with so few false ones.

    With `most` None the modifier is that nearest to 0.
    """
    found, false = front.found[:, sample].mean(1), front.false[:, sample].mean(1)
    if most is None:
        best = int(np.abs(front.modifiers).argmin())
    else:
        allowed = false <= most if (false <= most).any() else false == false.min()
        best = int(np.where(allowed, found, -1).argmax())
    return float(found[best]), float(front.fixed[best, sample].mean()), float(false[best]), float(front.modifiers[best])


def table(fronts: dict[str, Front]) -> Table:
    """Return both ways side by side."""
    count = fronts["fsbs"].found.shape[1]
    samples = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
    shown = Table(title=f"{count} pieces with a bug and the same without; %, 95 % intervals")
    for column in ("false comments", "search", "bugs found", "fixes named", "false", "modifier"):
        shown.add_column(column)
    for most in (*FALSE, None):
        name = "modifier 0" if most is None else f"at most {most:g}"
        drawn = {way: np.array([at(fronts[way], most, sample) for sample in samples]) for way in WAYS}
        for way in WAYS:
            found, fixed, false, modifier = at(fronts[way], most, np.arange(count))
            values = [_interval(value, drawn[way][:, i]) for i, value in enumerate((found, fixed))]
            shown.add_row(name, way, *values, f"{false:.2f}", f"{modifier:+.2f}")
            name = ""
        less = at(fronts[WAYS[0]], most, np.arange(count))[0] - at(fronts[WAYS[1]], most, np.arange(count))[0]
        difference = _interval(less, drawn[WAYS[0]][:, 0] - drawn[WAYS[1]][:, 0])
        shown.add_row("", "difference", difference, "", "", "", end_section=True)
    return shown


def _interval(value: float, drawn: Floats) -> str:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{100 * value:.0f} ({100 * low:.0f} to {100 * high:.0f})"


def main() -> None:
    """Search, keep what was found, and print both fronts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tampers", type=Path, help="answers with bugs; those without any are left out")
    parser.add_argument("--model", required=True, help="the critic")
    goes_by = parser.add_mutually_exclusive_group(required=True)
    goes_by.add_argument("--reward", type=Path, help="the reward model that the search goes by")
    goes_by.add_argument("--score", action="store_true", help="go by --score pointer")
    parser.add_argument("--pointer", help="its pointer, where none lies beside it or ships; none for none")
    parser.add_argument("--out", type=Path, required=True, help="file of what was found")
    parser.add_argument("--limit", type=int, default=60, help="answers (60)")
    options = parser.parse_args()
    searcher = open_searcher(options)
    wrong = [tamper for tamper in read_jsonl(options.tampers, Tamper) if len(tamper.bugs) == 1]
    digest = hashlib.sha256(options.tampers.read_bytes()).hexdigest()
    settings: dict[str, Any] = {"benchmark": "fsbs_front", "critic": searcher.identity, "tampers": digest}
    kept: dict[str, list[dict[str, list[Row]]]] = {"wrong": [], "right": []}
    with Ledger(options.out, settings) as ledger:
        pieces: list[tuple[str, Tamper, Task]] = []
        for number, tamper in enumerate(wrong[: options.limit]):
            both = {"wrong": tamper, "right": Tamper(task=tamper.task, answer=tamper.task.answer, bugs=())}
            tasks = {kind: piece.task.model_copy(update={"answer": piece.answer}) for kind, piece in both.items()}
            if all(map(searcher.writer.fits, tasks.values())):
                pieces += [(f"{number} {kind}", piece, tasks[kind]) for kind, piece in both.items()]
        waiting = [piece for piece in pieces if piece[0] not in ledger]
        for start in range(0, len(waiting), AT_ONCE):
            part = waiting[start : start + AT_ONCE]
            results = searched(searcher, [task for _, _, task in part])
            ledger.add({
                key: {way: rows_of(results[way][i], piece) for way in WAYS} for i, (key, piece, _) in enumerate(part)
            })  # fmt: skip
            print(f"{len(ledger)} of {len(pieces)} pieces", flush=True)
        for key, _, _ in pieces:
            kept[key.split()[1]].append(ledger[key])
    fronts = {way: front_of(*([each[way] for each in kept[kind]] for kind in ("wrong", "right"))) for way in WAYS}
    for way in WAYS:
        some = np.mean([any(row[2] for row in each[way]) for each in kept["wrong"]])
        print(f"{way}: some candidate finds the bug in {some:.0%}")
    Console(width=110).print(table(fronts))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from error
