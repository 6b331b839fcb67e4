"""The process that reads damaged files: it says which case it begins, so that a crash or a hang has a number.

Arguments: a folder, the first case and how many. Case -1 - n is the n-th reader's whole files. On stdout, one JSON
object a line: {"begins": number}, {"found": text} after a case that ended in neither a result nor a UserError.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import random
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from momus.errors import UserError
from momus.terminal import visible_line
from support.fuzz_readers import READERS, Reader, names, real_seeds
from support.mutations import mutated

SECONDS = 20
"""Of processor time for one case; ten times as much by the clock."""

MEMORY = 2 << 30
"""Bytes of address space that reading may add."""

LONGEST_LINE = 3000
"""Characters of a refusal: it names what is wrong, and does not print the file."""

ROUND = names()


def whole_files(reader: Reader, root: Path) -> list[Path]:
    """Return a reader's undamaged files, made once."""
    folder = root / "whole" / reader.name.replace(" ", "-")
    listing = folder.with_suffix(".list")
    if not listing.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        listing.write_text("\n".join(map(str, (*reader.seeds(folder), *real_seeds(reader, folder)))))
    return [Path(line) for line in listing.read_text().split("\n")]


def damaged(reader: Reader, root: Path, number: int) -> Path:
    """Return a damaged copy of one of a reader's files or folders; the number decides everything about it."""
    chance = random.Random(f"{reader.name} {number}")
    seeds = whole_files(reader, root)
    seed, case = chance.choice(seeds), root / "case"
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir()
    copy = case / seed.name
    if seed.is_dir():
        shutil.copytree(seed, copy)
    else:
        shutil.copyfile(seed, copy)
    files = sorted(file for file in copy.rglob("*") if file.is_file()) if copy.is_dir() else [copy]
    file = chance.choice(files)
    other = chance.choice([*files, *(path for path in seeds if path.is_file())])
    file.write_bytes(mutated(file.read_bytes(), other.read_bytes(), chance))
    return copy


def wrong_with(reader: Reader, path: Path, whole: bool) -> str:
    """Read a file; return what is wrong with how that ends, or nothing."""
    try:
        reader.read(path)
    except UserError as error:
        line = visible_line(" ".join(str(error).split()))
        if whole:
            return f"{path.name}: refused, though nothing is wrong with it: {line[:300]}"
        if not line or len(line) > LONGEST_LINE:
            return f"a refusal of {len(line)} characters: {line[:300]}"
    except Exception:
        return traceback.format_exc()
    return ""


def bounded() -> None:
    """Bound the memory that this process may add to what it has, and let a hang say where it is."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.register(signal.SIGPROF, all_threads=False, chain=True)
    warnings.simplefilter("ignore")


def cases(root: Path, first: int, count: int) -> Iterator[tuple[int, Reader, Path, bool]]:
    """Yield the number, reader and file of every case, and whether it is whole."""
    named = {reader.name: reader for reader in READERS}
    for number in range(first, first + count):
        if number < 0:
            yield from ((number, READERS[-1 - number], path, True) for path in whole_files(READERS[-1 - number], root))
        else:
            reader = named[ROUND[number % len(ROUND)]]
            yield number, reader, damaged(reader, root, number), False


def run(root: Path, first: int, count: int) -> None:
    """Read every case."""
    say = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not for whoever listens
    for reader in READERS:
        whole_files(reader, root)
    bounded()
    for number in range(first, first + count):
        say.write(json.dumps({"begins": number}) + "\n")
        for _, reader, path, whole in cases(root, number, 1):
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
            found = wrong_with(reader, path, whole)
            signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()
            if found:
                say.write(json.dumps({"found": f"{reader.name}, case {number}, {path.name}: {found}"}) + "\n")
        if number % 100 == 0:
            gc.collect()


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
