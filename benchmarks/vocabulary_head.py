"""How long do log-probabilities over a large vocabulary take, all logits at once and as Momus has them?

    python benchmarks/vocabulary_head.py [--tokens 2048] [--repeats 5] [--json FILE]

The heads of a 0.5B model (896 x 151,936) and of a 135M one (576 x 49,152), random weights in bfloat16, which stay as
they are (an adapter is what learns); gradients go to the states. *At once* is `cross_entropy` of all logits, as
trainers have it; *rows* are 16 million logits at a time, forward and again backward, as Momus had it before;
*columns* are Momus's. Medians of alternate runs.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from common import Goal, Report, alternate, parser, timed
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from momus.lm.vocabulary_head import predict_tokens

HEADS = {"0.5B, 151,936 tokens": (151936, 896), "135M, 49,152 tokens": (49152, 576)}
CELLS = 2**24

Score = Callable[[torch.nn.Linear, Tensor, Tensor], Tensor]
"""From a head, states and tokens to log-probabilities."""


def at_once(head: torch.nn.Linear, states: Tensor, tokens: Tensor) -> Tensor:
    """Hold all logits."""
    return -F.cross_entropy(head(states).float(), tokens, reduction="none")


def by_rows(head: torch.nn.Linear, states: Tensor, tokens: Tensor) -> Tensor:
    """Hold the logits of some tokens at a time, and compute them again in the backward pass."""
    rows = max(1, CELLS // len(head.weight))
    pieces = zip(torch.split(states, rows), torch.split(tokens, rows), strict=True)
    return torch.cat([checkpoint(at_once, head, *piece, use_reentrant=False) for piece in pieces])


def by_columns(head: torch.nn.Linear, states: Tensor, tokens: Tensor) -> Tensor:
    """Hold the logits of some of the vocabulary at a time, likewise."""
    return predict_tokens(head, states, tokens).logprobs


CONTENDERS: dict[str, Score] = {"at once": at_once, "rows": by_rows, "columns": by_columns}


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__, repeats=5)
    options.add_argument("--tokens", type=int, default=2048)
    report = Report(chosen := options.parse_args())
    table, worst = [], 1e9
    for name, (vocabulary, size) in HEADS.items():
        torch.manual_seed(0)
        head = torch.nn.Linear(size, vocabulary, bias=False, dtype=torch.bfloat16).requires_grad_(False)
        given = torch.randn(64 if chosen.quick else chosen.tokens, size, dtype=torch.bfloat16)
        tokens = torch.randint(vocabulary, (len(given),))

        def step(
            score: Score, head: torch.nn.Linear = head, given: Tensor = given, tokens: Tensor = tokens
        ) -> tuple[Tensor, Tensor]:
            states = given.clone().requires_grad_()
            logprobs = score(head, states, tokens)
            (gradient,) = torch.autograd.grad(logprobs.sum(), states)
            return logprobs.detach(), gradient

        expected = step(at_once)  # the warm-up, too
        for score in (by_rows, by_columns):
            for one, other in zip(step(score), expected, strict=True):
                off = ((one.float() - other.float()).norm() / other.float().norm()).item()
                assert off < 2e-2, f"{score.__name__}: {off:.1e} off"
        seconds = alternate(
            {key: lambda s=score: timed(lambda: step(s)) for key, score in CONTENDERS.items()}, chosen.repeats
        )
        times = {key: median(values) for key, values in seconds.items()}
        report.case(name, seconds, tokens=len(given))
        worst = min(worst, times["at once"] / times["columns"])
        cells = [f"{times[key]:.2f}" for key in CONTENDERS]
        table.append(
            (name, *cells, f"{times['at once'] / times['columns']:.2f}", f"{times['rows'] / times['columns']:.2f}")
        )
    report.table(
        f"seconds for {chosen.tokens:,} tokens", ("head", *CONTENDERS, "at once / columns", "rows / columns"), table
    )
    report.finish([Goal("all at once / columns, time, least", worst, 1.0)])


if __name__ == "__main__":
    main()
