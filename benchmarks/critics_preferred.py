r"""Which critic do blind contractors prefer, as critics comment and at one comment each?

    momus data tampers --split test --limit 60 --clean 0 --out inserted.jsonl
    python benchmarks/critics_preferred.py inserted.jsonl --critic small=small:FOLDER --critic 1.5B=prompted:FOLDER \
        --out preferred.jsonl

The first critic is compared with every other, with one that is always silent, and with one that quotes a line of the
bug and says nothing about it. A critic is "small:FOLDER" (what `momus review --critic small --model FOLDER` is)
or "prompted:FOLDER" (a model that is only asked).

Simulated contractors, who know the bugs and are as noisy as people were (`momus.raters`), see two critiques of an
answer at a time and rate both; preferred is the one of the higher overall rating, ties half. Each answer has a bug.
As critics comment: at the dial's usual setting, nothing said included. At one comment each: a prompted model is made to
comment once, of others it is the comment on the likeliest line.

Critiques are kept in --out, by the critic as it was named, and the command goes on where it was stopped. Intervals:
95 %, answers resampled.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pointed_words import lines_with_bugs
from rich.console import Console
from rich.table import Table

from momus.critics.constrained import CommentPlace, JsonComments
from momus.critics.critic import Critic, usual_setting
from momus.critics.pointed import PointedCritic, find_shipped_pointer
from momus.critics.prompted import PromptedConfig, PromptedCritic
from momus.critics.small import ADAPTER
from momus.critics.vacuous import drop_vacuous
from momus.critique import Comment, Critique, Span, format_critique, parse_critique
from momus.errors import UserError
from momus.files import Ledger
from momus.lm.chats.local import LocalChat
from momus.lm.chats.protocol import Answer, Question
from momus.raters.contractor import calibrate_noise, compare_critiques, panel
from momus.records import Comparison, Tamper, Task, read_jsonl
from momus.search.fixes import SETTINGS
from momus.stats.bootstrap import Interval, mean_interval
from momus.tamper.truth import judge

SILENT, EMPTY = "always silent", "a line of the bug, empty words"
WAYS = ("as they comment", "one comment each")
MOST_TOKENS = 200
AT_ONCE = 8
"""Answers that are criticised before they are written down."""
CONTRACTORS = 5


class SingleComment(JsonComments):
    """A constraint: one comment, on a line of the model's choice."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, forced=True)

    def _open(self, place: CommentPlace) -> Sequence[int]:
        return () if place.used else super()._open(place)


class OnceChat:
    """A chat that is made to comment once.

    Args:
        chat: The model.
    """

    def __init__(self, chat: LocalChat) -> None:
        self._chat = chat
        self.identity, self.count = chat.identity, chat.count

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Ask, with another constraint."""
        forced = [
            replace(question, constraint=partial(SingleComment, *question.constraint.args))  # type: ignore[union-attr]
            for question in questions
        ]
        return self._chat.answer(forced)


def open_both(spec: str) -> dict[str, Critic]:
    """Return a critic as it comments, and as it comments once."""
    kind, _, folder = spec.rpartition(":")
    config = PromptedConfig(max_tokens=MOST_TOKENS)
    if kind == "prompted":
        chat = LocalChat(folder)
        return dict(zip(WAYS, (PromptedCritic(chat, config), PromptedCritic(OnceChat(chat), config)), strict=True))
    if kind == "small":
        model = LocalChat(folder, adapter=ADAPTER)
        pointer = find_shipped_pointer(folder, model.tokenizer)
        if pointer is None:
            raise UserError(f"{folder} is not the base of the small critic")
        pair = (PointedCritic(model, pointer, None, config, **more) for more in ({}, {"lines": 1, "least": 0.0}))
        return dict(zip(WAYS, pair, strict=True))
    raise UserError(f"{spec}: a critic is small:FOLDER or prompted:FOLDER")


def critiques(critic: Critic, tasks: Sequence[Task], once: bool) -> list[str]:
    """Return what a critic shows of answers; once: its likeliest comment alone, whatever the dial says."""
    shown = []
    for task, result in zip(tasks, critic.write(tasks), strict=True):
        setting = 0.0 if once else usual_setting(critic.dial)
        comments = critic.dial.choose(drop_vacuous(result, task.answer), task.answer, setting).comments
        shown.append(format_critique(Critique(comments=comments[:1] if once else comments)))
    return shown


def empty_words(tamper: Tamper) -> str:
    """Return a critique that quotes the first line of the bug and says nothing about it."""
    line = min(lines_with_bugs(tamper))
    lines = tamper.answer.split("\n")
    start = sum(len(text) + 1 for text in lines[:line])
    text = lines[line].strip()
    at = start + lines[line].index(text)
    comment = Comment(
        highlight=text, text="There may be a problem on this line.", span=Span(at, at + len(text)), line=line + 1
    )
    return format_critique(Critique(comments=(comment,)))


def preferences(
    tampers: Sequence[Tamper], first: Sequence[str], others: Mapping[str, Sequence[str]], seed: int = 0
) -> tuple[dict[str, Interval], float]:
    """Return how often the first critic is preferred to each other, and how often two contractors agree."""
    made: dict[str, Callable[[float], list[list[Comparison]]]] = {
        name: partial(_compared, tampers, first, critics, seed) for name, critics in others.items()
    }
    noise = calibrate_noise([few[0] for compared in made.values() for few in compared(1.0)], seed=seed)
    shares = {
        name: mean_interval(
            [float(np.mean([_preferred(c) for c in few])) for few in compared(noise.noise)], bounds=(0, 1)
        )
        for name, compared in made.items()
    }
    return shares, noise.agreement


def _compared(
    tampers: Sequence[Tamper], first: Sequence[str], other: Sequence[str], seed: int, noise: float
) -> list[list[Comparison]]:
    raters = panel(CONTRACTORS, noise, seed=seed)
    rng = np.random.default_rng([seed, 23])
    return [
        [compare_critiques(tamper, pair, ("first", "other"), rater, rng) for rater in raters]
        for tamper, *pair in zip(tampers, first, other, strict=True)
    ]


def _preferred(comparison: Comparison) -> float:
    """Return 1 where the first critic's critique has the higher overall rating, 0 where the other's has."""
    overall = {source: rating.overall for source, rating in zip(comparison.sources, comparison.ratings, strict=True)}
    return float(0.5 + 0.5 * np.sign(overall["first"] - overall["other"]))


def main() -> None:
    """Criticise, keep what was written, have it rated, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tampers", type=Path, help="answers with bugs; those without any are left out")
    parser.add_argument("--critic", action="append", required=True, help="NAME=SPEC; the first is compared")
    parser.add_argument("--limit", type=int, default=60, help="answers (60)")
    parser.add_argument("--out", type=Path, required=True, help="file of what was written")
    options = parser.parse_args()
    if not all("=" in text for text in options.critic):
        parser.error("--critic NAME=SPEC, such as small=small:FOLDER")
    specs = dict(text.split("=", 1) for text in options.critic)
    tampers = [tamper for tamper in read_jsonl(options.tampers, Tamper) if tamper.bugs][: options.limit]
    digest = hashlib.sha256(options.tampers.read_bytes()).hexdigest()
    settings = {"benchmark": "critics_preferred", "tampers": digest, "tokens": MOST_TOKENS, "edits": list(SETTINGS)}
    with Ledger(options.out, settings) as ledger:
        for spec in specs.values():
            _criticise(spec, tampers, ledger)
        for way in WAYS:
            written = {
                name: [ledger[f"{spec} {way} {number}"] for number in range(len(tampers))]
                for name, spec in specs.items()
            }
            Console(width=110).print(_table(way, tampers, written))


def _criticise(spec: str, tampers: Sequence[Tamper], ledger: Ledger) -> None:
    """Have a critic write what is not in the ledger yet."""
    both: dict[str, Critic] = {}
    for way in WAYS:
        waiting = [number for number in range(len(tampers)) if f"{spec} {way} {number}" not in ledger]
        for start in range(0, len(waiting), AT_ONCE):
            both = both or open_both(spec)
            part = waiting[start : start + AT_ONCE]
            tasks = [tampers[number].task.model_copy(update={"answer": tampers[number].answer}) for number in part]
            texts = critiques(both[way], tasks, way == WAYS[1])
            ledger.add({f"{spec} {way} {number}": text for number, text in zip(part, texts, strict=True)})
            print(f"{spec}, {way}: {start + len(part)} of {len(waiting)}", flush=True)


def _table(way: str, tampers: Sequence[Tamper], critics: Mapping[str, Sequence[str]]) -> Table:
    """Return what is preferred, and what every critic's critiques are worth."""
    first, *others = critics
    rows = {
        **critics,
        SILENT: [format_critique(Critique())] * len(tampers),
        EMPTY: [empty_words(tamper) for tamper in tampers],
    }
    compared = {name: rows[name] for name in (*others, SILENT, EMPTY)}
    shares, agreement = preferences(tampers, rows[first], compared)
    table = Table(title=f"{way}: {len(tampers)} answers with a bug; two contractors agree on {agreement:.0%}")
    for column in ("critic", "comments", "on the bug", "fix named", f"{first} is preferred to it"):
        table.add_column(column)
    for name, texts in rows.items():
        truths = [
            judge(parse_critique(text, tamper.answer), tamper) for text, tamper in zip(texts, tampers, strict=True)
        ]
        comments = np.mean([len(truth.labels) for truth in truths])
        located, named = (
            _percent(mean_interval(found, bounds=(0, 1)))
            for found in ([truth.located > 0 for truth in truths], [truth.named > 0 for truth in truths])
        )
        table.add_row(name, f"{comments:.2f}", located, named, _percent(shares[name]) if name in shares else "–")
    return table


def _percent(share: Interval) -> str:
    return f"{share.value:.0%} ({share.low:.0%} to {share.high:.0%})"


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from error
