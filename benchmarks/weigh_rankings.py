"""What rankings of critiques say that the line and the proposal of a comment are worth: the weights of --score pointer.

    python benchmarks/weigh_rankings.py rankings.jsonl --tampers tampers.jsonl --model FOLDER --out weighed.jsonl

rankings.jsonl holds rankings of critiques of the answers in tampers.jsonl, as models that chat write them (JSON), such
as `momus data rankings` makes of comparisons; FOLDER is a model with a pointer. Of every comment are read how likely
its line is wrong and what is gained by what it proposes (`momus.critics.scores.pointed`). A critique is worth a sum of
these over its comments, and the weights are a logistic regression's on all pairs that a ranking puts in an order, each
ranking counting as one (InstructGPT's equation 1). Accuracy is cross-validated over functions in five parts, in all
pairs and in those of which neither is a gold critique. What was read is kept in --out, and the command goes on where it
was stopped. Intervals: 95 %, functions resampled.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from momus.critics.pointed import find_pointer
from momus.critics.reading import read_comments
from momus.critics.scores.pointed import PointedScore, Weighed
from momus.critique import Critique
from momus.errors import UserError
from momus.files import Ledger
from momus.lm.chats.local import LocalChat
from momus.records import Ranking, Tamper, Task, read_jsonl
from momus.search.lines import counted
from momus.stats.bootstrap import mean_interval

FOLDS = 5
RIDGE = 0.01
SETS = {"comments alone": [0], "and lines": [0, 1], "and proposals": [0, 2, 3], "and both": [0, 1, 2, 3]}
GOLD = "gold"
"""The author of critiques that say what a bug is."""

Floats = npt.NDArray[np.float64]


def features(weighed: Sequence[Weighed]) -> list[float]:
    """Return of a critique its comments, lines likely wrong, nats gained, and comments that propose nothing."""
    gains = [gain for _, gain in weighed if gain is not None]
    return [len(weighed), sum(likely for likely, _ in weighed), sum(map(counted, gains)), len(weighed) - len(gains)]


def pairs_of(ranking: Ranking, with_gold: bool) -> list[tuple[int, int]]:
    """Return the candidates of which the first is ranked better."""
    authors = ranking.authors or [""] * len(ranking.ranks)
    return [
        (better, worse)
        for better, worse in itertools.permutations(range(len(ranking.ranks)), 2)
        if ranking.ranks[better] < ranking.ranks[worse] and (with_gold or GOLD not in (authors[better], authors[worse]))
    ]


def fit(differences: Floats, weights: Floats) -> Floats:
    """Return the weights that explain best which of two is preferred (Newton's method)."""
    found = np.zeros(differences.shape[1])
    for _ in range(30):
        wrong = expit(-differences @ found)
        slope = -(weights * wrong) @ differences + RIDGE * found
        bend = (differences * (weights * wrong * (1 - wrong))[:, None]).T @ differences + RIDGE * np.eye(len(found))
        found = found - np.linalg.solve(bend, slope)
    return found


def main() -> None:
    """Read, keep what was read, and print weights and accuracy."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("rankings", type=Path, help="rankings of critiques")
    options.add_argument("--tampers", type=Path, required=True, help="the answers that they are of")
    options.add_argument("--model", required=True, help="folder of a model with a pointer")
    options.add_argument("--out", type=Path, required=True, help="file of what was read")
    chosen = options.parse_args()
    pointer = find_pointer(chosen.model, None)
    if pointer is None:
        raise UserError(f"{chosen.model} has no pointer: momus train pointer makes one")
    tasks = {
        tamper.task.id: tamper.task.model_copy(update={"answer": tamper.answer})
        for tamper in read_jsonl(chosen.tampers, Tamper)
    }
    of_task: defaultdict[str, list[Ranking]] = defaultdict(list)
    for ranking in read_jsonl(chosen.rankings, Ranking):
        if ranking.origin and ranking.origin.id in tasks:
            of_task[ranking.origin.id].append(ranking)
    if len(of_task) < 2 * FOLDS:
        raise UserError(f"{chosen.rankings}: rankings of {len(of_task)} of these answers, and it takes {2 * FOLDS}")
    score = PointedScore(LocalChat(chosen.model), pointer)
    read: dict[str, dict[str, list[float]]] = {}
    with Ledger(chosen.out, {"benchmark": "weigh_rankings", "score": dict(score.identity())}) as ledger:
        for number, (name, rankings) in enumerate(of_task.items(), 1):
            if name not in ledger:
                texts = dict.fromkeys(str(text) for ranking in rankings for text in ranking.candidates)
                ledger.add({name: {text: features(_weigh(score, tasks[name], text)) for text in texts}})
                print(f"{number} of {len(of_task)}", flush=True)
            read[name] = ledger[name]
    names = sorted(read)
    Random(0).shuffle(names)
    for with_gold in (True, False):
        print("all pairs" if with_gold else "without gold critiques")
        for title, columns in SETS.items():
            _report(title, columns, names, of_task, read, with_gold)


def _weigh(score: PointedScore, task: Task, text: str) -> list[Weighed]:
    critique = read_comments(text, task.answer) or Critique()
    return score.weigh([(task, comment) for comment in critique.anchored])


def _report(
    title: str,
    columns: list[int],
    names: Sequence[str],
    rankings: dict[str, list[Ranking]],
    read: dict[str, dict[str, list[float]]],
    with_gold: bool,
) -> None:
    """Print the weights on all functions, and how many pairs of others they put in order, five times."""
    found: dict[str, tuple[Floats, Floats]] = {}
    for name in names:
        differences, weights = [], []
        for ranking in rankings[name]:
            values = np.array([read[name][str(text)] for text in ranking.candidates])[:, columns]
            pairs = pairs_of(ranking, with_gold)
            differences += [values[better] - values[worse] for better, worse in pairs]
            weights += [1 / len(pairs) for _ in pairs]
        if differences:
            found[name] = np.array(differences), np.array(weights)
    right = []
    for fold in range(FOLDS):
        others = [found[name] for place, name in enumerate(names) if place % FOLDS != fold and name in found]
        learned = fit(*map(np.concatenate, zip(*others, strict=True)))
        for name in names[fold::FOLDS]:
            if name in found:
                worth = found[name][0] @ learned
                right.append(float(np.mean((worth > 0) + (worth == 0) / 2)))
    whole = fit(*map(np.concatenate, zip(*found.values(), strict=True)))
    share = mean_interval(right)
    ends = f"({100 * share.low:.0f} to {100 * share.high:.0f})"
    print(f"  {title:16}{100 * share.value:5.1f} {ends} of {len(right)}   {json.dumps(whole.round(3).tolist())}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from error
