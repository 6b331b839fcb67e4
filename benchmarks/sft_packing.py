"""Does supervised fine-tuning train as many tokens a second as TRL's SFTTrainer with packing?

    python benchmarks/sft_packing.py [--model FOLDER] [--repeats 3] [--threads 2] [--json FILE] [--quick]

Random texts of skewed lengths, no two of which begin alike, through a random Llama of 4 layers and width 256 in
float32, or with --model the one in that folder (`sft_contenders.py` says what is the same and what is off). Every
contender is a fresh process, and they take turns:

* momus:       `fine_tune`, texts end to end as token trees;
* trl-packed:  packing=True by its default strategy, best-fit decreasing: whole texts in a row, none cut, no padding;
* trl-padded:  the same texts as padded batches.

Reported are, of the second epoch: the tokens of the texts per second (medians over repeats), the same by processor time
(which other load disturbs less), the share of what was computed that is padding, and the peak resident memory of the
process (VmHWM of Linux), libraries included. Both pack, so no more than parity is claimed.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from common import Goal, Report, parser, ratio
from sft_contenders import Settings, packed_rows

CASES = {f"lengths of spread {spread}": Settings(spread=spread) for spread in (0.4, 0.8, 1.2)}
REAL = {"lengths of spread 0.8": Settings(texts=48, vocabulary=32_000)}
"""What a model from a folder learns; its vocabulary may have more tokens."""
SMALL: dict[str, Any] = {"texts": 12, "longest": 40, "length": 64, "width": 32, "layers": 2}


def run(contender: str, settings: Settings) -> dict[str, Any]:
    """Run one contender in a fresh process."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("sft_contenders.py")), contender]
    environment = {**os.environ, "OMP_NUM_THREADS": str(settings.threads)}
    done = subprocess.run(
        [*command, json.dumps(asdict(settings))], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise SystemExit(f"{contender} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(name: str, settings: Settings, contenders: list[str], report: Report) -> dict[str, list[dict[str, Any]]]:
    """Let the contenders take turns at one case."""
    found: dict[str, list[dict[str, Any]]] = {contender: [] for contender in contenders}
    for _ in range(report.options.repeats):
        for contender in contenders:
            found[contender].append(run(contender, settings))
    kept = ("cpu_seconds", "tokens", "real_tokens", "steps", "losses", "peak_kib", "before_kib")
    rest = {contender: [{key: own[key] for key in kept} for own in runs] for contender, runs in found.items()}
    report.case(name, {contender: [own["seconds"] for own in runs] for contender, runs in found.items()}, runs=rest)
    return found


def main() -> None:
    """Measure every case, print the table, check the goals."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--model", help="folder of a Llama, in place of the small random one")
    chosen = options.parse_args()
    report = Report(chosen)
    contenders = ["momus", *(["trl-packed", "trl-padded"] if find_spec("trl") else [])]
    cases = {
        name: replace(own, threads=chosen.threads, model=chosen.model or "")
        for name, own in (REAL if chosen.model else CASES).items()
    }
    if chosen.quick:
        cases = {name: replace(own, **SMALL) for name, own in list(cases.items())[:1]}
    rows, goals = [], list[Goal]()
    for name, settings in cases.items():
        told = replace(settings, steps=math.ceil(packed_rows(settings) / settings.passes))
        with report.console.status(name):
            found = measure(name, told, contenders, report)
        times = {
            kind: {c: [own[kind] for own in runs] for c, runs in found.items()} for kind in ("seconds", "cpu_seconds")
        }
        peaks = {contender: median(own["peak_kib"] for own in runs) / 1024 for contender, runs in found.items()}
        for contender, runs in found.items():
            own = runs[0]
            rows.append(
                (
                    name if contender == "momus" else "",
                    contender,
                    f"{own['real_tokens'] / median(times['seconds'][contender]):.0f}",
                    f"{ratio(times['seconds'][contender], times['seconds']['momus']):.2f}x",
                    f"{ratio(times['cpu_seconds'][contender], times['cpu_seconds']['momus']):.2f}x",
                    f"{1 - own['real_tokens'] / own['tokens']:.1%}",
                    f"{own['steps']:.0f}",
                    f"{peaks[contender]:.0f}",
                )
            )
        if "trl-packed" in found:
            faster = ratio(times["seconds"]["trl-packed"], times["seconds"]["momus"])
            goals += [
                Goal(f"tokens per second, momus / TRL packed: {name}", faster, 1.0),
                Goal(
                    f"peak memory, momus / TRL packed: {name}",
                    peaks["momus"] / peaks["trl-packed"],
                    1.0,
                    at_least=False,
                ),
            ]
    columns = ("", "", "tokens/s", "time / momus", "CPU time / momus", "padding", "steps", "peak MiB")
    report.table("The second epoch of supervised fine-tuning (medians)", columns, rows)
    report.finish(goals)


if __name__ == "__main__":
    main()
