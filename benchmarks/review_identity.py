"""How well findings keep their identity over real histories: consecutive releases of a package, as commits.

    pip download --no-deps -d releases/click click==8.1.0   # and others, as wheels, a directory for each package
    python benchmarks/review_identity.py releases/*

Every line of code of a release that is also in the next one (by a diff of the lines without their indentation, files
followed by Git where they were renamed) could carry a finding. It *keeps* its identity where the line in the next
release has the same one; it is *mistaken* where another line has it. Lines whose definition was renamed or moved into
another one are counted apart: there the finding is a new one by intention.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

from momus.errors import UserError
from momus.review.changes.change import change_since
from momus.review.files import source_of
from momus.review.findings import Finding, identify
from momus.review.identity import Identity
from momus.review.units import units


def identities(text: str, path: str) -> dict[int, Identity]:
    """Return the identity that a finding on each line of code would have."""
    source = source_of(text, path)
    lines = source.text.split("\n")
    functions = {line: unit.name for unit in units(source) for line in unit.lines}
    found = [Finding(n, n, name, lines[n - 1], "") for n, name in sorted(functions.items()) if lines[n - 1].strip()]
    identified = identify(found, path, source.text, functions)
    return {finding.line: finding.identity for finding in identified if finding.identity}


def compare(before: str, after: str, old: str, new: str) -> Counter[str]:
    """Count what became of the lines of one file from one release to the next."""
    known, current = identities(before, old), identities(after, new)
    by_identity = {identity: line for line, identity in current.items()}
    stripped = [[" ".join(line.split()) for line in text.split("\n")] for text in (before, after)]
    counts: Counter[str] = Counter()
    for start, target, size in SequenceMatcher(None, *stripped, autojunk=False).get_matching_blocks():
        for offset in range(1, size + 1):
            line, moved = start + offset, target + offset
            if line not in known or moved not in current:
                continue
            identity = replace(known[line], path=new)
            if identity.function != current[moved].function:
                counts["in another definition"] += 1
            elif identity == current[moved]:
                counts["kept"] += 1
            else:
                counts["mistaken" if identity in by_identity else "lost"] += 1
    return counts


def history(folder: Path, repository: Path) -> list[str]:
    """Make a repository whose commits are the releases in a folder, oldest first; return their names."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=repository, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    git("config", "user.email", "benchmark@example.org")
    git("config", "user.name", "Benchmark")
    commits = []
    for wheel in sorted(folder.glob("*.whl"), key=lambda path: [int(n) for n in path.name.split("-")[1].split(".")]):
        git("rm", "-rfq", "--ignore-unmatch", ".")
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith(".py") and ".." not in name:
                    target = repository / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(name))
        git("add", "-A")
        git("commit", "-qm", wheel.name)
        commits.append(git("rev-parse", "HEAD"))
    return commits


def main() -> None:
    """Print a line for each package and one for all."""
    total: Counter[str] = Counter()
    for folder in map(Path, sys.argv[1:]):
        counts: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as temporary:
            repository = Path(temporary)
            commits = history(folder, repository)
            for one, other in pairwise(commits):
                change = change_since(repository, f"{one}..{other}")
                names = {new: old for old, new in change.renamed.items()}
                for target in change.targets:
                    old = names.get(target.name, target.name)
                    shown = subprocess.run(
                        ["git", "show", f"{one}:{old}"], cwd=repository, capture_output=True, check=False
                    )
                    if shown.returncode == 0:
                        try:
                            counts += compare(shown.stdout.decode(), target.source.text, old, target.name)
                        except (UserError, UnicodeDecodeError):
                            counts["files not read"] += 1
        print(f"{folder.name}: {len(commits)} releases, {dict(counts)}")
        total += counts
    same = total["kept"] + total["mistaken"] + total["lost"]
    print(
        f"all: {same} lines in changed files, {total['kept'] / same:.2%} kept, {total['mistaken'] / same:.2%} mistaken"
    )


if __name__ == "__main__":
    main()
