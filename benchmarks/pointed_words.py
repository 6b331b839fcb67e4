"""What a pointed critic says of the line it looks at first: is the line right, is the fix named, would it be shown?

    momus data tampers --split test --limit 64 --clean 0 --out test.jsonl
    python benchmarks/pointed_words.py test.jsonl --model FOLDER --out said.jsonl [--adapter FOLDER]
    python benchmarks/pointed_words.py --natural python_dev.jsonl --most 80 --model FOLDER --out said.jsonl --only edits

FOLDER is a model with a pointer, such as Qwen2.5-Coder-0.5B-Instruct. With --adapter its words are those of the adapter
over it. With --only words no edits are tried on the model: the line is the pointer's, and the words are the model's.
With --only edits the model is asked nothing, and where no edit is proposed the comment says "?"; with --flat all lines
are as likely for the pointer, and edits are tried on every one: what is found by a model that never saw a bug. With
--natural the bugs are people's (JSON Lines with `faulty`, `fixed` and `fault_line`, as ConDefects has them), in
programs of at most 1,500 characters.

The right code is read, too, and nothing asked about it: a false alarm is what would be shown of it, at the dial's usual
setting.

A comment names the fix where the code that it proposes ("Should be `…`") is, as Python reads it, the code that stood
there before the bug: the expression, or the line. Comments are kept in --out, and the same command goes on where it was
stopped. Intervals: 95 %, functions resampled.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from catch_rate import natural

from momus.critics.critic import usual_setting
from momus.critics.pointed import LEAST_GAIN, PointedCritic, find_pointer
from momus.critics.prompted import PromptedConfig
from momus.critique import lines_of
from momus.errors import UserError
from momus.lm.chats.local import LocalChat
from momus.lm.chats.protocol import Answer, Question
from momus.lm.pointers.line_states import LineStates
from momus.records import Tamper, Task, read_jsonl
from momus.stats.bootstrap import mean_interval

PROPOSED = re.compile(r"\b(?:should|must) be:?\s+(`{1,8}+)([^`\n]+)\1(?!`)", re.IGNORECASE)
HEADS = ("if ", "elif ", "while ", "return ")
AT_ONCE = 8
LONGEST = 1500
EVERY = 1000
"""More lines than a piece of code has."""


def lines_with_bugs(tamper: Tamper) -> set[int]:
    """Return the lines, from 0, that hold bugs."""
    return {line for bug in tamper.bugs for span in bug.spans for line in lines_of(span, tamper.answer)}


def names_the_fix(text: str, tamper: Tamper) -> bool:
    """Return whether the code that a comment proposes is what stood there before the bug."""
    proposed = PROPOSED.search(text)
    return proposed is not None and _read(proposed[2]) in {_read(code) for code in _before(tamper) if code.strip()}


def _before(tamper: Tamper) -> list[str]:
    """Return what the bugs replaced: expressions, whole lines, and what such a line tests or returns."""
    after = set(tamper.answer.split("\n"))
    lines = [line.strip() for line in tamper.task.answer.split("\n") if line not in after]
    parts = [line.removeprefix(head) for line in lines for head in HEADS if line.startswith(head)]
    return [*(bug.original for bug in tamper.bugs), *lines, *parts]


def _read(code: str) -> str:
    """Return code as Python reads it, where it does; else its words."""
    text = code.strip().rstrip(":").strip()
    for mode in ("eval", "exec"):
        try:
            return ast.dump(ast.parse(text, mode=mode))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return " ".join(text.split())


def main() -> None:
    """Ask, keep what was said, and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("tampers", type=Path, nargs="?", help="answers with one bug each")
    options.add_argument("--natural", type=Path, help="programs that people got wrong, in place of these")
    options.add_argument("--most", type=int, default=100, help="of these programs, so many (100)")
    options.add_argument("--only", choices=("words", "edits"), help="try no edits, or ask nothing")
    options.add_argument("--flat", action="store_true", help="with --only edits: go without the pointer")
    options.add_argument("--model", required=True, help="folder of a model with a pointer")
    options.add_argument("--pointer", help="its pointer, where none lies beside it or ships")
    options.add_argument("--adapter", type=Path, help="folder of an adapter over it")
    options.add_argument("--out", type=Path, required=True, help="file of what was said")
    chosen = options.parse_args()
    if (chosen.tampers is None) == (chosen.natural is None):
        options.error("name answers with bugs, or --natural FILE")
    if chosen.flat and chosen.only != "edits":
        options.error("--flat goes with --only edits")
    if chosen.natural:
        drawn = natural(chosen.natural, lambda code: len(code) <= LONGEST)
        tampers = random.Random(0).sample(drawn, min(chosen.most, len(drawn)))
    else:
        tampers = [tamper for tamper in read_jsonl(chosen.tampers, Tamper) if tamper.bugs]
    pointer = find_pointer(chosen.model, chosen.pointer)
    if pointer is None:
        raise SystemExit(f"{chosen.model} has no pointer: momus train pointer makes one")
    model = LocalChat(chosen.model, adapter=chosen.adapter)
    asked, mute = (
        # The likeliest line, however unlikely: here the words are measured, and not the dial.
        PointedCritic(
            model,
            pointer,
            chat,
            config=PromptedConfig(max_tokens=160),
            lines=EVERY if chosen.flat else 1,
            least=0,
            least_gain=math.inf if chosen.only == "words" else LEAST_GAIN,
        )
        for chat in (model, Mute(model))
    )
    if chosen.flat:
        mute._pointer.line_log_odds = even  # type: ignore[method-assign]
    identity = [asked.identity(), chosen.only, *["flat"] * chosen.flat]
    who = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    rows = [json.loads(line) for line in chosen.out.read_text().splitlines()] if chosen.out.exists() else []
    if any(row.get("critic") != who for row in rows):
        options.error(f"--out {chosen.out} holds what another critic said: name another file")
    with chosen.out.open("a", encoding="utf-8") as out:
        for start in range(len(rows), len(tampers), AT_ONCE):
            part = tampers[start : start + AT_ONCE]
            said = _said(
                mute if chosen.only == "edits" else asked,
                [tamper.task.model_copy(update={"answer": tamper.answer}) for tamper in part],
            )
            falsely = _said(mute, [tamper.task for tamper in part])
            for tamper, comment, alarm in zip(part, said, falsely, strict=True):
                rows.append({
                    "critic": who,
                    "id": tamper.task.id,
                    "said": comment.text,
                    "probability": comment.probability,
                    "right": (right := comment.line in {line + 1 for line in lines_with_bugs(tamper)}),
                    "fix": right and names_the_fix(comment.text, tamper),
                    "said of right code": alarm.text,
                    "probability there": alarm.probability,
                })  # fmt: skip
                out.write(json.dumps(rows[-1]) + "\n")
            out.flush()
    shown = usual_setting(asked.dial)
    found = [row["probability"] >= shown for row in rows]
    for name, values in (
        ("the line is right", [row["right"] for row in rows]),
        ("and the fix is named", [row["fix"] for row in rows]),
        ("shown", found),
        ("… on the right line", [row["right"] and one for row, one in zip(rows, found, strict=True)]),
        ("… and names the fix", [row["fix"] and one for row, one in zip(rows, found, strict=True)]),
        ("shown of right code", [row["probability there"] >= shown for row in rows]),
    ):
        share = mean_interval(values)
        print(f"{name:22}{share.value:6.1%} ({share.low:.1%} to {share.high:.1%}) of {len(rows)}")


class Mute:
    """A chat that says "?" of the line it is asked about, and asks no model."""

    def __init__(self, model: LocalChat) -> None:
        self.identity, self.count = model.identity, model.count

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Quote each line; see `OneComment`, of which a question's constraint is made."""
        answers = []
        for question in questions:
            code, line = question.constraint.args  # type: ignore[union-attr]
            comment = {"line": line, "quote": code.split("\n")[line - 1].strip(), "severity": "error", "problem": "?"}
            answers.append(Answer(json.dumps({"comments": [comment]})))
        return answers


def even(read: Sequence[LineStates]) -> list[tuple[float, ...]]:
    """Return the same log-odds for every line with code: a pointer's that knows nothing."""
    return [tuple(0.0 if line else -math.inf for line in each.written.tolist()) for each in read]


class Said(NamedTuple):
    """What is said of a piece of code, on which line, from 1, and how likely that line is wrong; nothing: 0, 0."""

    text: str = ""
    line: int = 0
    probability: float = 0.0


def _said(critic: PointedCritic, tasks: list[Task]) -> list[Said]:
    said = []
    for task, written in zip(tasks, critic.write(tasks), strict=True):
        candidate = written.candidates[0] if written.candidates else None
        if candidate is None or not candidate.critique.comments:
            said.append(Said())
            continue
        comment = candidate.critique.comments[0]
        at = lines_of(comment.span, task.answer)[0] + 1 if comment.span else 0
        said.append(Said(comment.text, at, (candidate.scores or (0.0,))[0]))
    return said


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from error
