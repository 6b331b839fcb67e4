"""How much faster is a reward-model step on token trees than on rows, and than TRL's RewardTrainer?

    python benchmarks/reward_step.py [--model FOLDER] [--repeats 3] [--threads 2] [--json FILE] [--quick]

A random Llama of 4 layers and width 256 in float32, on a CPU; with --model the one in that folder, such as
SmolLM2-135M, at the first shape only: its weights, gradients and moments lie in memory four times. For every shape (P
prompt tokens, K answers of R tokens, so many prompts in a step) four contenders take turns in one process:

* rows:   K padded rows per prompt, a bare torch loop;
* tree:   one token tree per prompt (`leaf_scores`), the same loop: tree against rows is the trees' own effect;
* momus:  `train_reward_model`, its own loop, with its metrics;
* TRL:    RewardTrainer, its own loop, on the K * (K - 1) / 2 pairs; gradient checkpointing and bf16, its defaults, are
  off because both slow it down here; of its default micro-batch and all pairs at once the faster is taken; with --model
  the former, for all pairs at once do not fit into 24 GB.

Without TRL installed (benchmarks/requirements.txt) its columns stay empty.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from statistics import median
from typing import Any

import torch
from common import Goal, Report, TokenCounter, agreement, alternate, parser, ratio, timed
from reward_contenders import (
    PlainLoop,
    Shape,
    build_model,
    build_rankings,
    gradients,
    momus_seconds,
    row_scores,
    tree_scores,
    trl_batches,
    trl_seconds,
    trl_trainer,
)

MAIN, EVEN = Shape(192, 64, 9), Shape(64, 64, 4)
SHAPES = (MAIN, EVEN, Shape(64, 192, 4), Shape(256, 16, 4), Shape(16, 128, 2, 4), Shape(16, 16, 2, 8), Shape(16, 16, 2))
QUICK = (Shape(12, 4, 5), Shape(4, 4, 2, 2))
SAMPLE_SECONDS = 0.3  # a sample of a quick step is as many steps as take about this long


def measure(shape: Shape, report: Report) -> dict[str, Any]:
    """Let all contenders take turns at one shape; returns medians in seconds, tokens a step, and differences."""
    options = report.options
    model, rankings = build_model(options.quick, folder=options.model), build_rankings(shape)
    loops = {name: PlainLoop(scores, model, rankings) for name, scores in (("rows", row_scores), ("tree", tree_scores))}
    tokens = {name: TokenCounter(loop.model.backbone).during(loop.step) for name, loop in loops.items()}
    steps = max(1, min(20, round(SAMPLE_SECONDS / timed(loops["rows"].step))))
    turns: dict[str, Callable[[], float]] = {
        "rows": lambda: loops["rows"].seconds(steps),
        "tree": lambda: loops["tree"].seconds(steps),
        "momus": lambda: momus_seconds(model, rankings, steps),
    }
    loss, grads = gradients(row_scores, model, rankings)
    tree_loss, tree_grads = gradients(tree_scores, model, rankings)
    more: dict[str, Any] = {
        "steps_per_repeat": steps,
        "loss_difference": abs(tree_loss - loss) / abs(loss),
        "gradient_difference": agreement(tree_grads, grads),
    }
    if find_spec("trl"):
        batches = trl_batches(shape)[: 1 if options.model else None]
        seconds, tokens["trl"], trl = _with_trl(batches, model, rankings, steps, turns, options.repeats)
        norm = float(torch.stack([grad.norm() for grad in grads]).norm())
        more |= {
            **trl,
            "trl_loss_difference": abs(trl["trl_loss"] - loss) / abs(loss),
            "trl_norm_difference": abs(trl["trl_grad_norm"] - norm) / norm,
        }
    else:
        seconds = alternate(turns, options.repeats)
    more |= {"tokens_per_step": tokens, "rows_over_tree": ratio(seconds["rows"], seconds["tree"])}
    if "trl" in seconds:
        more["trl_over_momus"] = ratio(seconds["trl"], seconds["momus"])
    report.case(str(shape), seconds, **more)
    return {**more, "seconds": {name: median(own) for name, own in seconds.items()}}


def _with_trl(
    batches: Sequence[int], model: Any, rankings: Any, steps: int, turns: dict[str, Callable[[], float]], repeats: int
) -> tuple[dict[str, list[float]], int, dict[str, Any]]:
    """Pick TRL's faster micro-batch, then let it and the others take turns; returns seconds, its tokens, details."""
    alternate(turns, 0)
    with tempfile.TemporaryDirectory() as folder:
        tried = dict[int, float]()
        if len(batches) > 1:
            tried = {own: timed(trl_trainer(model, rankings, 1, own, folder).train) for own in batches}
        batch = min(batches, key=lambda own: tried.get(own, 0.0))
        total = 1 + repeats * steps
        trainer = trl_trainer(model, rankings, total, batch, folder)
        counter = TokenCounter(trainer.model.model)
        seconds: dict[str, list[float]] = {name: [] for name in turns}

        def others() -> None:
            for name, action in turns.items():
                seconds[name].append(action())

        seconds["trl"] = trl_seconds(trainer, repeats, steps, others)
        first = trainer.state.log_history[0]
        details = {
            "trl_pairs_per_batch": batch,
            "trl_batches_tried_s": tried,
            "trl_loss": float(first["loss"]),
            "trl_grad_norm": float(first["grad_norm"]),
        }
        return seconds, counter.tokens // total, details


def main() -> None:
    """Measure every shape, print the tables, check the goals."""
    known = parser(__doc__, repeats=3)
    known.add_argument("--model", help="folder of a Llama, in place of the small random one")
    options = known.parse_args()
    report = Report(options)
    shapes = QUICK if options.quick else (MAIN,) if options.model else SHAPES
    found = {}
    for shape in shapes:
        with report.console.status(str(shape)):
            found[shape] = measure(shape, report)
    names = ("trl", "rows", "tree", "momus")
    report.table(
        "Reward step, milliseconds (median)",
        ("shape", *names, "rows / tree", "TRL / momus"),
        [
            (
                str(shape),
                *(f"{own['seconds'][name] * 1e3:.1f}" if name in own["seconds"] else "" for name in names),
                f"{own['rows_over_tree']:.2f}x",
                f"{own['trl_over_momus']:.1f}x" if "trl_over_momus" in own else "",
            )
            for shape, own in found.items()
        ],
    )
    report.table(
        "Tokens computed in a step, padding included; agreement with rows (relative)",
        ("shape", "trl", "rows", "tree", "tree: loss", "tree: gradient", "TRL: loss", "TRL: gradient's norm"),
        [
            (
                str(shape),
                *(str(own["tokens_per_step"].get(name, "")) for name in names[:3]),
                f"{own['loss_difference']:.1e}",
                f"{own['gradient_difference']:.1e}",
                *(f"{own[f'trl_{what}_difference']:.1e}" if "trl_loss" in own else "" for what in ("loss", "norm")),
            )
            for shape, own in found.items()
        ],
    )
    main_shape, even = shapes[0], EVEN if EVEN in found else shapes[0]
    goals = [
        Goal(f"rows / tree at {main_shape}", found[main_shape]["rows_over_tree"], 3.0),
        Goal(f"rows / tree at {even}", found[even]["rows_over_tree"], 1.3),
        Goal("rows / tree, the least of all shapes", min(own["rows_over_tree"] for own in found.values()), 1.0),
        Goal(
            "gradients of tree and rows differ by",
            max(own["gradient_difference"] for own in found.values()),
            1e-4,
            False,
        ),
    ]
    if "trl_over_momus" in found[main_shape]:
        goals.insert(0, Goal(f"TRL / momus at {main_shape}", found[main_shape]["trl_over_momus"], 15.0))
    report.finish(goals)


if __name__ == "__main__":
    main()
