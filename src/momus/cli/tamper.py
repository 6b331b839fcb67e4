"""`momus tamper`: bugs put into copies of Python files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from momus.cli.shared.seed import Seed

if TYPE_CHECKING:
    from momus.records import Tamper
    from momus.review.files import Source

_RECORDS = "tampers.jsonl"


def command_for(arguments: Sequence[str]) -> Callable[..., int]:
    """Return the command: with --by, a model puts the bugs in."""
    if any(word.partition("=")[0] == "--by" for word in arguments):
        from momus.cli.bugs.by_model import tamper

        return tamper
    return command


def command(
    paths: Positional[list[Path]],
    bugs: int = 1,
    seed: Seed = 0,
    json: bool = False,
    out: Path | None = None,
    differential: bool = False,
) -> int:
    """Put bugs into copies of Python files, each with the explanation a reviewer would write.

    The files themselves are never changed. Without --out, each file's diff and critique are printed; the diff
    applies with `patch --binary`. A copy differs from its file in nothing but the bugs: line endings, byte-order
    mark and encoding are kept. Nothing is written over.

    With --by MODEL --tests PROBLEMS a model puts the bugs in, and tests say which are bugs: momus tamper --by x --help.

    Args:
        paths: Python files, and directories to search for them.
        bugs: How many bugs in each file.
        seed: Other seeds, other bugs.
        json: Print one record a line instead: the file, its tampered text, and each bug's place and kind.
        out: A directory for the tampered copies, and their records as tampers.jsonl.
        differential: Call functions, where that can be done, with and without the bug, in the sandbox's cage; a bug
            that no call shows is replaced by another.
    """
    from rich.console import Console

    from momus.cli.shared.output import say
    from momus.errors import UserError
    from momus.review.files import read_sources
    from momus.review.formats.text import print_skipped

    if bugs < 1:
        raise UserError(f"--bugs {bugs}: must be at least 1")
    if differential and bugs > 1:
        raise UserError("--differential: checks one bug in a file: leave --bugs at 1")
    sources, skipped = read_sources(paths)
    print_skipped(skipped, Console(stderr=True))
    done = _tampered(sources, bugs, seed)
    if differential:
        done = _that_differ(done, seed)
    if not done:
        raise UserError("nothing was tampered with: ask for fewer bugs, or name other files")
    if out is not None:
        _write_all(done, out)
    for source, record in done:
        if json:
            print(record.model_dump_json())
        elif out is None:
            _print_explained(source, record)
    if out is not None:
        without = len(sources) + len(skipped) - len(done)
        files = f"{len(done)} file{'s' * (len(done) > 1)}"
        say(f"{files} tampered with, {without} left out; the copies and their {_RECORDS} are in {out}")
    return 0


def _tampered(sources: Sequence[Source], bugs: int, seed: int) -> list[tuple[Source, Tamper]]:
    """Put bugs into the text of files; say which are left out."""
    import random

    from momus.errors import UserError
    from momus.records import Tamper, Task
    from momus.review.files import spelled
    from momus.tamper.insert import tamper_file
    from momus.terminal import visible_line

    done = []
    for source in sources:
        name = visible_line(spelled(source.path))
        try:
            made = tamper_file(source.text, bugs, random.Random(f"{seed} {spelled(source.path)}"))
        except UserError as error:
            print(f"{name}: left out: {error}, or laid out as LibCST cannot read it", file=sys.stderr)
            continue
        if made is None:
            print(f"{name}: no room for {bugs} bug{'s' * (bugs > 1)}", file=sys.stderr)
            continue
        task = Task(id=spelled(source.path), question="", answer=source.text)
        done.append((source, Tamper(task=task, answer=made[0], bugs=made[1])))
    return done


def _that_differ(done: list[tuple[Source, Tamper]], seed: int) -> list[tuple[Source, Tamper]]:
    """Replace bugs that change nothing, as far as calls show; a file is left out where others change nothing either."""
    import random

    from momus.cli.shared.output import say
    from momus.tamper.differential import Counts, without_equivalent
    from momus.tamper.insert import tamper

    rng, counts = random.Random(f"{seed} again"), Counts()
    sources = {record.task.id: source for source, record in done}
    records = (record for _, record in done)
    kept = list(without_equivalent(records, lambda made: tamper(made.task, 1, rng), counts))
    say(str(counts))
    return [(sources[record.task.id], record) for record in kept]


def _write_all(done: list[tuple[Source, Tamper]], out: Path) -> None:
    """Write the copies, and their records last; what is there already is left as it is, or nothing is written."""
    from momus.errors import UserError
    from momus.files import write_bytes

    real = [source.path.resolve() for source, _ in done]
    base = Path(os.path.commonpath([path.parent for path in real]))
    texts: dict[Path, bytes] = {}
    for path, (source, record) in zip(real, done, strict=True):
        texts[out.resolve() / path.relative_to(base)] = source.encode(record.answer)
    texts[out.resolve() / _RECORDS] = "".join(record.model_dump_json() + "\n" for _, record in done).encode()
    for path, data in texts.items():
        if path.exists() and path.read_bytes() != data:
            raise UserError(f"--out {out}: would overwrite {path}: name another directory")
    for path, data in texts.items():
        write_bytes(path, data)


def _print_explained(source: Source, record: Tamper) -> None:
    """Print the diff, which applies to the file as it is, and the critique; a terminal gets no control characters."""
    import difflib
    import io

    from momus.critique import format_critique
    from momus.terminal import visible

    name = visible(source.path.as_posix().replace("\n", "\\n")).encode("utf-8", "backslashreplace")
    before, after = (io.BytesIO(source.encode(text)).readlines() for text in (record.task.answer, record.answer))
    diff = b"".join(
        line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n"
        for line in difflib.diff_bytes(difflib.unified_diff, before, after, name, name + b" (tampered)")
    )
    critique = f"\n{visible(format_critique(record.gold_critique()))}\n"
    if sys.stdout.isatty() or not hasattr(sys.stdout, "buffer"):
        print(visible(diff.decode(source.encoding, "backslashreplace")) + critique)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(diff + critique.encode() + b"\n")
