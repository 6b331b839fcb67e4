"""Is what a dial promises kept on code that it was not measured on? 200 splits of a real model's stored looks.

    python benchmarks/promise.py --model FOLDER [--answers 80] [--kept FILE] [--splits 200] [--json FILE]

The model reviews held-out functions of the standard library, half of them with inserted bugs, eight times each; the
dial is the share of the reviews that must agree on a line. Then the answers are split at random 200 times: on one half
the dial is calibrated, a limit of false comments per clean function is asked for, and on the other half the false
comments at the promised setting are counted. That count varies as much as the measurement did: of a promise that holds
for the rate in 97.5 of 100 cases, it goes beyond the limit in up to P(Z > 1.96 / sqrt(2)) = 8 of 100. FILE keeps the
answers, so that the run can be interrupted.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from common import Goal, Report, parser

from momus.critics.prompted import PromptedConfig, PromptedCritic
from momus.critics.refine import RememberingCritic
from momus.errors import UserError
from momus.evaluate.critics.calibration import calibrate
from momus.lm.chats.cache import AnswerCache, CachedChat
from momus.lm.chats.open import open_chat
from momus.records import Tamper
from momus.review.answers import answers as gather
from momus.review.answers import task_to_read
from momus.tamper.truth import judge

ASKED = (0.2, 0.3, 0.5, 0.8, 1.2)
EXPECTED = 0.083
AT_ONCE = 8


def main() -> None:
    """Look, split, and print."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--model", required=True, help="folder of a model that chats")
    options.add_argument("--answers", type=int, default=80, help="functions (80)")
    options.add_argument("--kept", type=Path, default=Path("promise.sqlite"), help="where answers are kept")
    options.add_argument("--samples", type=int, default=8, help="reviews of each function (8)")
    options.add_argument("--tokens", type=int, default=200, help="longest review (200)")
    options.add_argument("--seconds", type=float, default=float("inf"), help="begin no function after so long")
    options.add_argument("--splits", type=int, default=200, help="splits (200)")
    report = Report(chosen := options.parse_args())
    torch.set_num_threads(chosen.threads)
    chat = CachedChat(open_chat(chosen.model), AnswerCache(chosen.kept))
    config = PromptedConfig(samples=chosen.samples, max_tokens=chosen.tokens)
    critic = RememberingCritic(PromptedCritic(chat, config))
    known, data, _ = gather([], None, critic, 8 if chosen.quick else chosen.answers, 0)
    began, done = perf_counter(), 0
    for start in range(0, len(known), AT_ONCE):
        if perf_counter() - began > chosen.seconds:
            break
        critic.write([task_to_read(tamper) for tamper in known[start : start + AT_ONCE]])
        done = min(start + AT_ONCE, len(known))
        print(f"{done} of {len(known)}", flush=True)
    known = known[:done]
    outcomes = split_often(critic, known, data, chosen.splits)
    rows = [
        (
            f"{asked:g}",
            str(len(of_limit)),
            str(sum(over for _, over in of_limit)),
            f"{mean(m for m, _ in of_limit):.2f}",
        )
        for asked in ASKED
        if (of_limit := [(counted, counted > asked) for limit, counted in outcomes if limit == asked])
    ]
    clean = sum(not tamper.bugs for tamper in known)
    report.table(
        f"{Path(chosen.model).name}: {len(known)} functions, {clean} clean, {chosen.splits} splits",
        ("false comments asked for at most", "promises", "beyond it", "mean counted"),
        rows,
    )
    over = sum(counted > limit for limit, counted in outcomes)
    report.case("splits", {}, outcomes=outcomes, clean=clean, answers=len(known))
    error = 2 * (EXPECTED * (1 - EXPECTED) / max(len(outcomes), 1)) ** 0.5
    share = over / max(len(outcomes), 1)
    report.finish(
        [Goal("share of promises beyond the limit on the other half", share, EXPECTED + error, at_least=False)]
    )


def split_often(critic: Any, known: Sequence[Tamper], data: str, splits: int) -> list[tuple[float, float]]:
    """Return of every split that a promise was made in the limit asked for and what was counted on the other half."""
    outcomes = []
    for split in range(splits):
        shuffled = random.Random(split).sample(known, len(known))
        first, second = shuffled[: len(known) // 2], shuffled[len(known) // 2 :]
        limit = ASKED[split % len(ASKED)]
        try:
            point = calibrate(critic, first, data, inserted=True).promise(limit)
        except UserError:
            continue
        clean = [tamper for tamper in second if not tamper.bugs]
        written = critic.write(list(map(task_to_read, clean)))
        chosen = [critic.dial.choose(w, t.answer, point.setting) for w, t in zip(written, clean, strict=True)]
        shown = [c.model_copy(update={"comments": c.anchored}) for c in chosen]
        outcomes.append((limit, mean(judge(c, t).fakes for c, t in zip(shown, clean, strict=True))))
    return outcomes


def mean(values: Any) -> float:
    """Return the mean of numbers, 0 of none."""
    known = list(values)
    return sum(known) / len(known) if known else 0.0


if __name__ == "__main__":
    main()
