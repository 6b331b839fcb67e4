"""Bugs found at equal false comments: a random line, ruff, trained critics and models that are prompted.

    python benchmarks/critics_found.py --out FOLDER [--critic NAME=MODEL …] [--n 100] [--data ../shared/data] [--table]

Three sets of pairs, each a piece of code without the bug and the same with it: functions of the standard library's
held-out modules and MBPP's reference answers, one bug inserted (`momus.tamper`), and programs that people got wrong and
mended (ConDefects). "random line" and "ruff" are always there; MODEL is a folder, "tiny" for momus-tiny, or
"pointer:FOLDER" for what the pointer of the model in FOLDER looks at, "edits:FOLDER" with what small edits gain.

Every critic gives every line a score; a line is commented on where its score is over a threshold, and the threshold is
what is turned until the false comments per clean piece are equal.
  prompted   the probability that the review's first comment is on that line, read off the model's next tokens in the
             JSON that `momus review` asks for: P(a comment) * P(its line). Nothing is sampled.
  pointer    the probability that the fault is in that line; with edits, of the four lines on which they are tried.
  trained    the share of the critic's 16 critiques that comment on the line.
  ruff       1 for a finding.
"first line right" is of the likeliest line; "but for the number" takes out a model's liking for numbers (small ones say
line 1 of anything): the mean log-probability that the number has on the other pieces is subtracted.
"by itself" is what it says without a dial: a prompted model's likeliest answer, a trained or a pointed critic at its
default.

Looks are kept in FOLDER as they are made: run it again, with more critics or a larger --n, and it goes on; another
pointer or version needs another folder. --table only prints what is there. Intervals: 95 %, pairs resampled 2000 times,
the threshold of each critic that of all pairs.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pointed_words import Mute
from rich.console import Console
from rich.table import Table

from momus.critics.critic import CONFIDENCE, usual_setting
from momus.critics.open import is_prompted, open_critic
from momus.critics.pointed import LEAST_GAIN, LINES, TRIED, PointedCritic, find_pointer
from momus.critics.prompted import write_prompt
from momus.critics.vacuous import drop_vacuous
from momus.critique import Critique, lines_of
from momus.data.functions import Size
from momus.data.stdlib import stdlib_tasks
from momus.evaluate.critics.baselines import ruff
from momus.lm.chat import ChatFormat
from momus.lm.chats.local import LocalChat
from momus.lm.local.load import choose_precision, load_local_engine
from momus.lm.local.shared_prefix import logits_after
from momus.records import Message, Tamper, Task
from momus.search.result import SearchResult
from momus.tamper.insert import tamper

SETS = ("stdlib", "mbpp", "condefects")
MOST_LINES, MOST_CHARS = 25, 1200
AT_ONCE = 8
"""Pieces that are looked at before they are written down."""
GAINS = {"pointer": math.inf, "edits": LEAST_GAIN}
"""Nats that an edit must gain to be proposed, by the kind of a pointed critic; with infinity none are tried."""
FALSE = (0.2, 1.0)
"""False comments per clean piece at which critics are compared."""


@dataclass(frozen=True)
class Look:
    """One critic's scores of one piece: of its lines, from 1, and whether it comments by itself on the best of them."""

    pair: str
    has_bug: bool
    bug: tuple[int, ...]
    scores: dict[int, float]
    by_itself: tuple[int, ...]


def pairs_of(name: str, data: Path, n: int) -> Iterator[tuple[Task, Tamper]]:
    """Yield pieces without a bug and the same with one, as many as asked for."""
    rng, made = random.Random(f"critics found {name}"), 0
    tasks = list(_tasks(name, data))
    rng.shuffle(tasks)
    for task, given in tasks:
        bugged = given or tamper(task, 1, rng)
        if bugged is not None and len(bugged.bugs) == 1 and made < n:
            made += 1
            yield task, bugged


def _tasks(name: str, data: Path) -> Iterator[tuple[Task, Tamper | None]]:
    if name == "stdlib":
        size = Size(max_chars=MOST_CHARS, max_lines=MOST_LINES)
        yield from ((task, None) for task in stdlib_tasks(size) if task.split == "test")
    elif name == "mbpp":
        for row in map(json.loads, (data / "mbpp" / "mbpp.jsonl").read_text().splitlines()):
            code = row["code"].replace("\r\n", "\n").replace("\t", "    ").strip()
            if 11 <= row["task_id"] <= 510 and len(code) <= MOST_CHARS and 3 <= code.count("\n") < MOST_LINES:
                yield Task(id=f"mbpp {row['task_id']}", question=row["text"], answer=code, split="test"), None
    else:
        seen = set()
        for row in map(json.loads, (data / "condefects" / "python_dev.jsonl").read_text().splitlines()):
            faulty, fixed = row["faulty"], row["fixed"]
            short = len(faulty) <= MOST_CHARS and faulty.count("\n") < MOST_LINES
            if short and row["task"] not in seen:
                seen.add(row["task"])
                task = Task(id=f"{row['task']} {row['submission']}", question="", answer=fixed, split="test")
                yield task, _natural(task, faulty, row["fault_line"])


def _natural(task: Task, faulty: str, line: int) -> Tamper:
    """Return a program that somebody got wrong, the line that was changed its bug."""
    from momus.records import Bug

    lines = faulty.split("\n")
    start = sum(len(one) + 1 for one in lines[: line - 1])
    span = (start, start + len(lines[line - 1]))
    bug = Bug(kind="natural", spans=(span,), description="The line was changed.", original="", replacement="")
    return Tamper(task=task, answer=faulty, bugs=(bug,))


Scored = tuple[dict[int, float], tuple[int, ...]]
Score = Callable[[Sequence[Task]], list[Scored]]
"""Returns the scores of each piece's lines, and the lines commented on by itself."""


def random_lines() -> Score:
    """Score lines by chance, and comment on one."""

    def score(task: Task) -> Scored:
        rng = random.Random(task.answer)
        scores = {number: rng.random() for number in numbers_of(task.answer)}
        return scores, (max(scores, key=lambda number: scores[number]),)

    return lambda tasks: [score(task) for task in tasks]


def ruff_findings() -> Score:
    """Score lines that ruff has a finding on."""

    def score(tasks: Sequence[Task]) -> list[Scored]:
        scored = []
        for task, critique in zip(tasks, ruff([Tamper(task=t, answer=t.answer, bugs=()) for t in tasks]), strict=True):
            found = _commented(critique, task.answer)
            scored.append(({n: float(n in found) for n in numbers_of(task.answer)}, tuple(sorted(found))))
        return scored

    return score


def _commented(critique: Critique, answer: str) -> set[int]:
    """Return the numbers of the lines that are commented on; a quote that begins above its line ends with it."""
    return {lines_of(c.span, answer)[-1] + 1 for c in critique.anchored if c.span is not None}


def trained(model: str) -> Score:
    """Score lines by the share of a trained critic's critiques that comment on them."""
    critic = open_critic(None if model == "tiny" else model, kind="trained", device="cpu")

    def score(task: Task, result: SearchResult) -> Scored:
        written = drop_vacuous(result, task.answer)
        votes = dict.fromkeys(numbers_of(task.answer), 0.0)
        for candidate in written.candidates:
            for line in _commented(candidate.critique, task.answer) & votes.keys():
                votes[line] += 1 / len(written.candidates)
        chosen = critic.dial.choose(written, task.answer, CONFIDENCE)
        return votes, tuple(sorted(_commented(chosen, task.answer)))

    return lambda tasks: [score(*pair) for pair in zip(tasks, critic.write(tasks), strict=True)]


def prompted(model: str) -> Score:
    """Score lines by the probability that a prompted model's first comment is on them."""
    engine = load_local_engine(model, "cpu", choose_precision(model, "cpu"))
    chat = ChatFormat(engine.tokenizer)
    pieces = [piece or b"" for piece in engine.vocabulary.pieces]
    nothing = [token for token, piece in enumerate(pieces) if piece.lstrip().startswith(b"[]")]
    of_digit = {piece.decode(): token for token, piece in enumerate(pieces) if len(piece) == 1 and piece.isdigit()}
    comma = engine.encode(",", bos=False)[0]

    def after(prefixes: Sequence[Sequence[int]]) -> list[np.ndarray]:
        with engine.inference():
            logits = logits_after(engine, [tuple(prefix) for prefix in prefixes]).float()
        return [row.softmax(-1).numpy() for row in logits]

    def score(task: Task) -> Scored:
        prompt = list(chat.prompt((Message(role="user", content=write_prompt(task)),)))
        (beginning,) = after([[*prompt, *engine.encode('{"comments":', bos=False)]])
        silent = float(beginning[nothing].sum())
        opened = [*prompt, *engine.encode('{"comments": [{"line": ', bos=False)]
        rows = after([opened, *([*opened, of_digit[str(digit)]] for digit in range(1, 10))])  # of at most two digits
        likely = {}
        for number in numbers_of(task.answer):
            first, last = (number, comma) if number < 10 else (number // 10, of_digit[str(number % 10)])
            likely[number] = float(rows[0][of_digit[str(first)]] * rows[first][last])
        total = sum(likely.values()) or 1.0
        scores = {number: (1 - silent) * value / total for number, value in likely.items()}
        best = max(scores, key=lambda number: scores[number])
        return scores, () if silent > 0.5 else (best,)

    return lambda tasks: [score(task) for task in tasks]


def pointed(model: str, least_gain: float) -> Score:
    """Score lines by the probability that the fault is in them, as the model's pointer has it, and edits if any."""
    pointer = find_pointer(model, None)
    if pointer is None:
        raise SystemExit(f"{model} has no pointer: momus train pointer makes one")
    chat = LocalChat(model, "cpu")
    # As many lines as a review tries edits on; the pointer alone, as many as there are.
    lines = MOST_CHARS if least_gain == math.inf else TRIED
    critic = PointedCritic(chat, pointer, Mute(chat), lines=lines, least=0, least_gain=least_gain)

    def score(task: Task, written: SearchResult) -> Scored:
        (candidate,) = written.candidates
        scores = dict.fromkeys(numbers_of(task.answer), 0.0)
        for comment, value in zip(candidate.critique.comments, candidate.scores or (), strict=True):
            (number,) = _commented(Critique(comments=(comment,)), task.answer)
            scores[number] = max(scores[number], value)
        likeliest = sorted(scores, key=lambda number: -scores[number])[:LINES]
        return scores, tuple(number for number in likeliest if scores[number] >= usual_setting(critic.dial))

    return lambda tasks: [score(*pair) for pair in zip(tasks, critic.write(tasks), strict=True)]


def numbers_of(answer: str) -> list[int]:
    """Return the numbers, from 1, of the lines that are not blank."""
    return [number for number, line in enumerate(answer.split("\n"), 1) if line.strip()]


def look_at(score: Score, pairs: Sequence[tuple[Task, Tamper]], file: Path) -> None:
    """Have one critic score every piece, those aside that are in the file already."""
    done = {(look.pair, look.has_bug) for look in read_looks(file)}
    waiting = [
        (task.model_copy(update={"answer": bugged.answer}) if has_bug else task, bugged if has_bug else None)
        for task, bugged in pairs
        for has_bug in (False, True)
        if (task.id, has_bug) not in done
    ]
    with file.open("a", encoding="utf-8") as out:
        for start in range(0, len(waiting), AT_ONCE):
            part = waiting[start : start + AT_ONCE]
            for (task, tampered), (scores, said) in zip(part, score([task for task, _ in part]), strict=True):
                spans = tampered.bugs[0].spans if tampered else ()
                bug = tuple(sorted({i + 1 for span in spans for i in _lines(span, task.answer)}))
                out.write(json.dumps(asdict(Look(task.id, tampered is not None, bug, scores, said))) + "\n")
            out.flush()


def _lines(span: tuple[int, int], answer: str) -> range:
    first = answer.count("\n", 0, span[0])
    return range(first, first + answer.count("\n", span[0], max(span[0], span[1] - 1)) + 1)


def read_looks(file: Path) -> list[Look]:
    """Read what was kept; a line that was cut off by a kill is left out."""
    looks = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        scores = {int(number): value for number, value in row.pop("scores").items()}
        looks.append(Look(row["pair"], row["has_bug"], tuple(row["bug"]), scores, tuple(row["by_itself"])))
    return looks


def summarise(looks: Sequence[Look], replicates: int = 2000) -> tuple[int, dict[str, tuple[float, float, float]]]:
    """Return the pairs, and each measure with its interval."""
    clean = {look.pair: look for look in looks if not look.has_bug}
    bugged = {look.pair: look for look in looks if look.has_bug}
    names = [name for name in clean if name in bugged]
    found: dict[str, list[float]] = {}
    best = [max(bugged[n].scores.values()) for n in names]
    ties = [[k for k, v in bugged[n].scores.items() if v == b] for n, b in zip(names, best, strict=True)]
    found["first line"] = [len(set(t) & set(bugged[n].bug)) / len(t) for n, t in zip(names, ties, strict=True)]
    unbiased = _unbiased(looks)
    found["but for the number"] = [float(unbiased[n] in bugged[n].bug) for n in names]
    found["chance"] = [len(bugged[n].bug) / len(bugged[n].scores) for n in names]
    for most in FALSE:
        threshold = _threshold([v for n in names for v in clean[n].scores.values()], most * len(names))
        found[f"found at {most}"] = [
            float(any(bugged[n].scores.get(line, -1) > threshold for line in bugged[n].bug)) for n in names
        ]
    found["found by itself"] = [float(bool(set(bugged[n].by_itself) & set(bugged[n].bug))) for n in names]
    found["false by itself"] = [float(len(clean[n].by_itself)) for n in names]
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(names), size=(replicates, len(names)))
    return len(names), {
        key: (float(np.mean(v)), *map(float, np.quantile(np.array(v)[drawn].mean(1), (0.025, 0.975))))
        for key, v in found.items()
    }


def _unbiased(looks: Sequence[Look]) -> dict[str, int]:
    """Return by pair the bugged piece's best line, its number's mean log-score on other pairs' pieces taken out."""
    logs = [_log_scores(look.scores) for look in looks]
    totals: dict[int, list[float]] = {}  # by number: sum and count
    of_pair: dict[tuple[str, int], list[float]] = {}
    for look, scores in zip(looks, logs, strict=True):
        for number, value in scores.items():
            for sums in (totals.setdefault(number, [0.0, 0.0]), of_pair.setdefault((look.pair, number), [0.0, 0.0])):
                sums[0] += value
                sums[1] += 1

    def freed(look: Look, scores: dict[int, float], number: int) -> float:
        total, count = (a - b for a, b in zip(totals[number], of_pair[look.pair, number], strict=True))
        return scores[number] - (total / count if count else scores[number])

    return {
        look.pair: max(scores, key=partial(freed, look, scores))
        for look, scores in zip(looks, logs, strict=True)
        if look.has_bug
    }


def _log_scores(scores: dict[int, float]) -> dict[int, float]:
    """Return the logarithms of a piece's scores, as shares of their sum."""
    total = sum(scores.values()) or 1.0
    return {number: math.log(max(value / total, 1e-12)) for number, value in scores.items()}


def _threshold(scores: Sequence[float], most: float) -> float:
    """Return the lowest threshold that at most so many scores are over."""
    ordered = sorted(scores, reverse=True)
    count = math.floor(most)
    return ordered[count] if count < len(ordered) else -1.0


def print_table(out: Path, critics: Sequence[str]) -> None:
    """Print a table for each set, a row for each critic."""
    console = Console(width=160)
    for name in SETS:
        table = Table(title=f"{name}: bugs found %, pairs of clean and bugged code", title_justify="left")
        for head in (
            "critic",
            "pairs",
            "first line right",
            "but for the number",
            *(f"found at {most:g} false" for most in FALSE),
        ):
            table.add_column(head)
        table.add_column("found by itself")
        table.add_column("false by itself")
        for critic in critics:
            looks = read_looks(out / f"{name}.{critic}.jsonl")
            if not any(look.has_bug for look in looks):
                continue
            count, values = summarise(looks)
            cells = [_percent(values["first line"]), _percent(values["but for the number"])]
            cells += [_percent(values[f"found at {most}"]) for most in FALSE]
            cells += [_percent(values["found by itself"]), "{:.2f} ({:.2f}-{:.2f})".format(*values["false by itself"])]
            table.add_row(critic, str(count), *cells)
            chance = _percent(values["chance"])
        table.caption = f"a random line is the bug's on {chance} %" if table.rows else ""
        console.print(table)


def _percent(interval: tuple[float, float, float]) -> str:
    return "{:.0f} ({:.0f}-{:.0f})".format(*(100 * value for value in interval))


def main() -> None:
    """Look, and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, required=True, help="folder of what was looked at")
    options.add_argument("--critic", action="append", default=[], metavar="NAME=MODEL", help="a model that criticises")
    options.add_argument("--n", type=int, default=100, help="pairs of each set (100)")
    options.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with mbpp and condefects")
    options.add_argument("--table", action="store_true", help="only print what is there")
    chosen = options.parse_args()
    named = dict(critic.split("=", 1) for critic in chosen.critic)
    chosen.out.mkdir(parents=True, exist_ok=True)
    if not chosen.table:
        makers: dict[str, Callable[[], Score]] = {"random line": random_lines, "ruff": ruff_findings}
        for name, model in named.items():
            kind, _, folder = model.partition(":")
            if kind in GAINS:
                makers[name] = partial(pointed, folder, GAINS[kind])
            else:
                makers[name] = partial(prompted if model != "tiny" and is_prompted(model) else trained, model)
        for name, make in makers.items():
            score = make()
            for data in SETS:
                look_at(score, list(pairs_of(data, chosen.data, chosen.n)), chosen.out / f"{data}.{name}.jsonl")
    here = {file.name.split(".", 1)[1].removesuffix(".jsonl") for file in chosen.out.glob("*.jsonl")}
    order = ["random line", "ruff", *named]
    print_table(chosen.out, [name for name in order if name in here] + sorted(here - set(order)))


if __name__ == "__main__":
    main()
