"""Does code look tampered? A classifier on its tokens, for inserted bugs and for natural ones (CriticGPT, 7.7).

    python benchmarks/discriminator.py [--natural FILE] [--functions 1200] [--seed 0]

It learns from functions of the standard library and the same functions with one bug put in: sequences of one to three
tokens, names and literals that are rare replaced by their kind, in a logistic regression on the difference of the two.
It is asked about functions of modules that it did not learn from, and, with --natural, about pairs of faulty and fixed
programs (JSON Lines with `faulty` and `fixed`, as ConDefects has them), and the fixed ones with a bug put in; nothing
is learnt from these. Printed are the shares of pairs in which the faulty one looks more tampered than the right one,
half by chance, with 95% intervals; the sequences that give most away; and how bugs of the two origins differ.
"""

from __future__ import annotations

import argparse
import difflib
import io
import json
import keyword
import random
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from momus.data.functions import Size
from momus.data.stdlib import functions_of_file, modules, split_of
from momus.errors import UserError
from momus.stats.bootstrap import SHARE, mean_interval
from momus.tamper.insert import tamper_file

Pair = tuple[str, str]
"""Code with a bug, and without."""

COMMON = 200
FEWEST = 8
STRENGTH = 1.0


def tokens_of(code: str) -> list[str]:
    """Return code's tokens; of what stands in a line that cannot be read, none."""
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
    found: list[str] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type not in skipped:
                kind = tokenize.tok_name[token.type]
                found.append(token.string if token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER) else kind)
    except (tokenize.TokenError, SyntaxError):
        pass
    return found


class Discriminator:
    """Scores code: higher looks more tampered."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        counts = Counter(token for pair in pairs for token in set(tokens_of(pair[1])))
        self.common = {token for token, _ in counts.most_common(COMMON)} | set(keyword.kwlist)
        seen: Counter[str] = Counter()
        for pair in pairs:
            before, after = (Counter(self._sequences(code)) for code in pair)
            seen.update((before - after).keys() | (after - before).keys())
        self.columns = {name: i for i, name in enumerate(sorted(n for n, count in seen.items() if count >= FEWEST))}
        rows = np.stack([self._row(bad) - self._row(good) for bad, good in pairs])
        self.weights = _fit(rows)

    def score(self, code: str) -> float:
        """Return how tampered code looks."""
        return float(self._row(code) @ self.weights)

    def gives_away(self, most: int) -> list[tuple[str, float]]:
        """Return the sequences that speak most for tampering, and how much."""
        order = np.argsort(-self.weights)[:most]
        names = list(self.columns)
        return [(names[i], float(self.weights[i])) for i in order]

    def _row(self, code: str) -> npt.NDArray[np.float64]:
        row = np.zeros(len(self.columns))
        for name in self._sequences(code):
            if (i := self.columns.get(name)) is not None:
                row[i] += 1
        return row

    def _sequences(self, code: str) -> Iterable[str]:
        plain = [self._plain(token) for token in tokens_of(code)]
        for size in (1, 2, 3):
            yield from (" ".join(plain[i : i + size]) for i in range(len(plain) - size + 1))

    def _plain(self, token: str) -> str:
        if token in self.common:
            return token
        return "name" if token.isidentifier() else "number" if token[:1].isdigit() else token


def _fit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return weights by which the first of each pair scores higher: logistic regression with a quadratic penalty."""

    def loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        margins = rows @ weights
        slope = -1 / (1 + np.exp(margins))
        value = np.logaddexp(0, -margins).sum() + STRENGTH / 2 * weights @ weights
        return float(value), rows.T @ slope + STRENGTH * weights

    return np.asarray(minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B").x)


def functions_of(split: str, rng: random.Random) -> Iterator[str]:
    """Yield functions of the standard library's modules of one split, module by module."""
    files = [path for module, path in modules() if split_of(module) == split]
    rng.shuffle(files)
    for path in files:
        functions = list(functions_of_file(path, Size(4, 40, 1600)))
        yield from (each.answer for each in rng.sample(functions, min(len(functions), 12)))


def tampered(codes: Iterable[str], most: int, rng: random.Random) -> list[Pair]:
    """Put one bug into each of some codes, as `momus tamper` does."""
    pairs: list[Pair] = []
    for code in codes:
        try:
            made = tamper_file(code, 1, rng)
        except UserError:
            continue
        if made is not None:
            pairs.append((made[0], code))
        if len(pairs) == most:
            break
    return pairs


def measured(judge: Discriminator, pairs: Sequence[Pair]) -> str:
    """Return the share of pairs in which the faulty one looks more tampered, a tie counting half."""
    scores = [(judge.score(bad), judge.score(good)) for bad, good in pairs]
    marks = np.array([1.0 if bad > good else 0.5 if bad == good else 0.0 for bad, good in scores])
    return f"{mean_interval(marks, bounds=SHARE)} of {len(pairs)}"


def change_of(pair: Pair) -> str:
    """Return in words how a bug differs from the right code."""
    bad, good = map(tokens_of, pair)
    steps = [s for s in difflib.SequenceMatcher(None, good, bad, False).get_opcodes() if s[0] != "equal"]
    if len(steps) != 1:
        return "in several places"
    kind, first, last, start, stop = steps[0]
    if last - first > 3 or stop - start > 3:
        return f"{kind}: more than three tokens"
    was, now = " ".join(map(_class_of, good[first:last])), " ".join(map(_class_of, bad[start:stop]))
    return f"{was or 'nothing'} -> {now or 'nothing'}"


def _class_of(token: str) -> str:
    if keyword.iskeyword(token):
        return token
    return "name" if token.isidentifier() else "number" if token[:1].isdigit() else token


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--natural", type=Path, help="JSON Lines with faulty and fixed programs")
    options.add_argument("--functions", type=int, default=1200, help="functions to learn from (1200)")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    rng = random.Random(chosen.seed)
    learnt = tampered(functions_of("train", rng), chosen.functions, rng)
    unseen = tampered(functions_of("test", rng), chosen.functions // 3, rng)
    judge = Discriminator(learnt)
    print(f"{len(learnt)} pairs to learn from, {len(judge.columns)} sequences")
    print(f"inserted, unseen modules of the standard library: {measured(judge, unseen)}")
    if chosen.natural:
        rows = [json.loads(line) for line in chosen.natural.read_text(encoding="utf-8").splitlines()]
        natural = [(row["faulty"], row["fixed"]) for row in rows]
        inserted = tampered((good for _, good in natural), len(natural), rng)
        print(f"inserted, contest programs: {measured(judge, inserted)}")
        print(f"natural, contest programs:  {measured(judge, natural)}")
        kinds = {name: Counter(map(change_of, pairs)) for name, pairs in (("in", inserted), ("na", natural))}
        print("changes (right -> faulty): share of inserted, of natural")
        for change, _ in (kinds["in"] + kinds["na"]).most_common(24):
            shares = (kinds[name][change] / sum(kinds[name].values()) for name in ("in", "na"))
            print(f"    {change:44} {next(shares):6.1%} {next(shares):6.1%}")
    print("sequences that speak most for tampering:")
    for name, weight in judge.gives_away(24):
        print(f"    {weight:5.2f}  {name}")


if __name__ == "__main__":
    main()
