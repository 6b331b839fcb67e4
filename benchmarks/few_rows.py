"""How long do a model's linear layers take over the few rows of decoding, as PyTorch has them and as Momus does?

    python benchmarks/few_rows.py [--rows 1 2 4 8 16] [--repeats 9] [--json FILE]

Layers of a 0.5B model (hidden size 896, 24 layers, 151,936 tokens), random weights in bfloat16: what an MLP multiplies
with, and the head; results laid out alike. Times are of all layers together, medians of alternate runs.
"""

from __future__ import annotations

from statistics import median

import torch
from common import Goal, Report, alternate, parser, timed

from momus.lm.local.few_rows import multiply_few_rows

SHAPES = {"gate, up": (4864, 896, 48), "down": (896, 4864, 24), "head": (151936, 896, 1)}


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__, repeats=9)
    options.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    report = Report(chosen := options.parse_args())
    table, worst = [], 1e9
    with torch.inference_mode():
        for name, (out, size, count) in SHAPES.items():
            layers = [torch.nn.Linear(size, out, bias=False, dtype=torch.bfloat16) for _ in range(count)]
            for rows in chosen.rows[: 1 if chosen.quick else None]:
                given = torch.randn(rows, size, dtype=torch.bfloat16)

                def plain(layers: list[torch.nn.Linear] = layers, given: torch.Tensor = given) -> None:
                    for layer in layers:
                        layer(given)

                def ours(layers: list[torch.nn.Linear] = layers, given: torch.Tensor = given) -> None:
                    for layer in layers:
                        multiply_few_rows(layer, given)

                ours()
                plain()
                seconds = alternate(
                    {"plain": lambda p=plain: timed(p), "ours": lambda o=ours: timed(o)}, chosen.repeats
                )
                times = {key: median(values) for key, values in seconds.items()}
                worst = min(worst, times["plain"] / times["ours"])
                report.case(f"{name}, {rows} rows", seconds, layers=count)
                ratio = f"{times['plain'] / times['ours']:.2f}"
                table.append((name, str(rows), f"{times['plain'] * 1e3:.1f}", f"{times['ours'] * 1e3:.1f}", ratio))
    report.table("milliseconds", ("layers", "rows", "PyTorch", "Momus", "times as fast"), table)
    report.finish([Goal("PyTorch's time / Momus', least", worst, 1.0)])


if __name__ == "__main__":
    main()
