"""Does packing save at least the time that padding wastes?

    python benchmarks/packing.py [--repeats 5] [--threads 2] [--json FILE] [--quick]

16 prompts with one answer each, their lengths skewed as real ones are (log-normal), through a random Llama of 4 layers
and width 256 in float32: forward and backward of the summed scores, as one padded batch in plain transformers, and as
16 token trees (`leaf_scores`). No two share a token, so all that trees can save is padding. The padding share is
1 - tokens / padded tokens; the time saved is 1 - time packed / time padded.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import numpy as np
from common import Goal, Report, TokenCounter, agreement, alternate, parser, timed
from reward_contenders import VOCABULARY, Scores, build_model, row_scores, tree_scores

from momus.train.reward import PromptRankings

PROMPTS = 16
ANSWER = 0.4  # share of a sequence that is the answer


def build(longest: int, spread: float, seed: int) -> list[PromptRankings]:
    """Return prompts with one answer each; the longest has `longest` tokens, the logarithms vary by `spread`."""
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(sigma=spread, size=PROMPTS)
    found = []
    for length in np.maximum(2, np.rint(lengths * longest / lengths.max()).astype(int)):
        tokens = tuple(rng.integers(3, VOCABULARY, length).tolist())
        cut = max(1, int(length * (1 - ANSWER)))
        found.append(PromptRankings(tokens[:cut], (tokens[cut:],), ()))
    return found


def main() -> None:
    """Measure three degrees of skew, print the table, check the goal."""
    options = parser(__doc__, repeats=5).parse_args()
    report = Report(options)
    model = build_model(options.quick)
    counter = TokenCounter(model.backbone)
    rows, goals = [], []
    for spread in (0.4, 0.8, 1.2):
        data = build(24 if options.quick else 512, spread, seed=0)

        def step(scores: Scores, data: list[PromptRankings] = data) -> None:
            model.zero_grad()
            scores(model, data).sum().backward()  # type: ignore[no-untyped-call]

        def turn(scores: Scores, step: Callable[[Scores], None] = step) -> Callable[[], float]:
            return lambda: timed(lambda: step(scores))

        grads, tokens = {}, {}
        for name, scores in (("padded", row_scores), ("packed", tree_scores)):
            tokens[name] = counter.during(lambda scores=scores, step=step: step(scores))  # type: ignore[misc]
            grads[name] = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        seconds = alternate({"padded": turn(row_scores), "packed": turn(tree_scores)}, options.repeats)
        real = sum(len(own.prompt) + len(own.branches[0]) for own in data)
        share = 1 - real / tokens["padded"]
        saved = 1 - median(seconds["packed"]) / median(seconds["padded"])
        difference = agreement(grads["packed"], grads["padded"])
        report.case(
            f"skew {spread}",
            seconds,
            tokens={"real": real, **tokens},
            padding_share=share,
            time_saved=saved,
            gradient_difference=difference,
        )
        rows.append(
            (
                f"{spread}",
                *(str(count) for count in (real, tokens["padded"], tokens["packed"])),
                *(f"{median(seconds[name]) * 1e3:.1f}" for name in ("padded", "packed")),
                f"{share:.1%}",
                f"{saved:.1%}",
                f"{difference:.1e}",
            )
        )
        goals.append(Goal(f"time saved / padding share at skew {spread}", saved / share, 1.0))
    report.table(
        "One forward and backward pass of 16 prompts",
        ("skew", "tokens", "padded", "packed", "padded ms", "packed ms", "padding", "saved", "gradients differ"),
        rows,
    )
    report.finish(goals)


if __name__ == "__main__":
    main()
