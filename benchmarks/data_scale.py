"""How long do a million prompts take, and how much memory?

    python benchmarks/data_scale.py [--rows 1000000] [--repeats 1] [--json FILE] [--quick]

Synthetic prompts of 20,000 users as JSON Lines, some 320 characters each: words drawn at random, a number in every
fifth, an e-mail address or telephone number in every fiftieth. Each case is the command as a user starts it, in a
process of its own. "CPU" is what it and its workers computed, which other load on the machine hardly changes, as it
does the seconds on the clock. Memory is the peak of the command's own process, and of its largest worker.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

from common import Goal, Report, parser

USERS = 20_000
EVALUATION = 10_000


def write(path: Path, rows: int, seed: int) -> None:
    """Write synthetic prompts."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(5000)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            parts = rng.choices(words, k=rng.randint(20, 80))
            if number % 5 == 0:
                parts.append(str(rng.randint(10, 99_999)))
            if number % 50 == 0:
                parts.append(rng.choice(["someone@example.com", "+1 212 456 7890"]))
            rng.shuffle(parts)
            row = {"prompt": " ".join(parts), "user_id": f"user {rng.randrange(USERS)}"}
            file.write(json.dumps(row) + "\n")


class Run(NamedTuple):
    """What one run of a command took."""

    seconds: float
    cpu_s: float
    peak_mib: float
    worker_mib: float


def measured(arguments: list[str]) -> Run:
    """Run `momus` with arguments in a process that says at its end what it and its workers took."""
    script = (
        "import json, re, resource, sys\n"
        "from pathlib import Path\n"
        "from momus.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "peak = int(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
        "print(json.dumps([sum(own.ru_utime + own.ru_stime for own in used), peak, used[1].ru_maxrss]))\n"
        "sys.exit(code)\n"
    )
    start = perf_counter()
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    seconds = perf_counter() - start
    if done.returncode:
        raise SystemExit(f"momus {' '.join(arguments)}: {done.stderr}")
    cpu, peak, worker = json.loads(done.stdout.splitlines()[-1])
    return Run(seconds, cpu, peak / 1024, worker / 1024)


def main() -> None:
    """Measure each command, print the table, check the goals."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--rows", type=int, default=1_000_000, help="prompts (1000000)")
    chosen = options.parse_args()
    rows = 2000 if chosen.quick else chosen.rows
    report = Report(chosen)
    workers = str(os.cpu_count() or 1)
    table, runs = [], dict[tuple[str, int], list[Run]]()
    with tempfile.TemporaryDirectory() as name:
        source, part, against, out = (str(Path(name, f"{own}.jsonl")) for own in ("all", "tenth", "against", "out"))
        write(Path(source), rows, seed=2)
        write(Path(part), rows // 10, seed=2)
        write(Path(against), EVALUATION, seed=1)
        prompts = ["prompts", source, "--out", out, "--against", against]
        cases: list[tuple[str, int, list[str]]] = [
            ("inspect", rows, ["inspect", source]),
            ("convert", rows // 10, ["convert", part, "--out", out]),
            ("convert", rows, ["convert", source, "--out", out]),
            ("prompts --keep-personal", rows, [*prompts, "--keep-personal"]),
            (f"prompts --workers {workers}", rows, [*prompts, "--workers", workers]),
        ]
        for case, count, arguments in cases:
            own = runs[case, count] = [measured(["data", *arguments]) for _ in range(chosen.repeats)]
            report.case(
                f"{case}, {count} rows", {"momus": [run.seconds for run in own]}, runs=[r._asdict() for r in own]
            )
            middle = [median(column) for column in zip(*own, strict=True)]
            table.append((case, f"{count:,}", *(f"{value:,.0f}" for value in middle)))
    report.table("momus data", ("command", "rows", "seconds", "CPU s", "MiB", "MiB of a worker"), table)
    growth = runs["convert", rows][0].peak_mib / runs["convert", rows // 10][0].peak_mib
    full = [run for (case, _), own in runs.items() if case.startswith("prompts") for run in own]
    report.finish(
        [
            Goal("CPU minutes of prompts", max(run.cpu_s for run in full) / 60, 10, at_least=False),
            Goal("peak MiB of prompts", max(run.peak_mib for run in full), 1024, at_least=False),
            Goal("peak memory of convert, all rows / a tenth", growth, 1.1, at_least=False),
        ]
    )


if __name__ == "__main__":
    main()
