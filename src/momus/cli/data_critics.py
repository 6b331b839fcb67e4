"""`momus data tampers | rate | critiques`: from functions to what critics are trained on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from momus.cli.shared.output import say
from momus.cli.shared.seed import Seed
from momus.errors import UserError

if TYPE_CHECKING:
    from momus.data.functions import Size
    from momus.records import Record, Task


@dataclass(frozen=True)
class Tampers:
    """Put bugs into functions, and leave some as they are: answers with known bugs, to train and to measure critics."""

    paths: Positional[tuple[Path, ...]] = ()
    """Python files, and directories to search for them; by default the standard library's modules."""
    out: Path = Path("tampers.jsonl")
    """The file to write."""
    split: Literal["train", "valid", "test", "all"] = "train"
    """Which functions of the standard library: a module belongs to one split, wherever it is asked for."""
    limit: int | None = None
    """At most so many answers."""
    per_function: int = 1
    """How often each function is taken, each time with other bugs."""
    clean: float = 0.2
    """Share of answers without a bug."""
    lines: tuple[int, int] = (4, 40)
    """Fewest and most lines of a function."""
    seed: Seed = 0
    """Other seeds, other bugs."""
    differential: bool = False
    """Call functions, where that can be done, with and without their bug, in the sandbox's cage; a bug that no call
    shows is replaced by another."""

    def run(self) -> int:
        """Write the file."""
        from momus.data.functions import Size
        from momus.files import write_lines
        from momus.tamper.differential import TOGETHER, Counts, without_equivalent
        from momus.tamper.insert import tamper, tamper_tasks

        if not 0 <= self.clean <= 1:
            raise UserError(f"--clean {self.clean}: must be from 0 to 1")
        for name, value in (("per-function", self.per_function), ("limit", self.limit)):
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: must be at least 1")
        rng = random.Random(self.seed)
        files: dict[str, str] = {}
        tasks = self._tasks(Size(self.lines[0], self.lines[1]), files)
        rng.shuffle(tasks)
        made: list[str] = []
        checked, again = Counts(), random.Random(f"{self.seed} again")
        for _ in range(self.per_function):
            tampers = tamper_tasks(tasks, (self.clean, 1 - self.clean), rng)
            if self.differential:
                tampers = without_equivalent(
                    tampers,
                    lambda done: tamper(done.task, len(done.bugs), again),
                    checked,
                    files,
                    min(self.limit or TOGETHER, TOGETHER),
                )
            for made_of in tampers:
                if len(made) == self.limit:
                    break
                made.append(made_of.model_dump_json())
        if not made:
            raise UserError("no function has room for a bug: name other files, or other --lines")
        write_lines(self.out, made)
        say(f"{len(made)} answers of {len(tasks)} functions in {self.out}")
        if self.differential:
            say(str(checked))
        return 0

    def _tasks(self, size: Size, files: dict[str, str]) -> list[Task]:
        """Return the functions, each once; of files, put their text into `files`, by the name of the file."""
        from momus.data.stdlib import stdlib_tasks

        if not self.paths:
            return [task for task in stdlib_tasks(size) if self.split in (task.split, "all")]
        from momus.data.dedup import Deduplicator
        from momus.data.functions import functions
        from momus.records import Task
        from momus.review.files import read_sources, spelled

        sources, _ = read_sources(self.paths)
        deduplicate, tasks = Deduplicator(), list[Task]()
        for source in sources:
            name = spelled(source.path)
            files[name] = source.text
            for function in functions(source.text, size):
                task = Task(id=f"{name}:{function.name}", question=function.question, answer=function.answer)
                if deduplicate.add(task.answer):
                    tasks.append(task.model_copy(update={"module": name}))
        return tasks


@dataclass(frozen=True)
class Rate:
    """Have simulated contractors rate sampled critiques, four of an answer side by side, the gold one among them.

    They know the bugs, and their noise is set so that two of them agree as often as people did (InstructGPT: 73%).
    """

    tampers: Positional[Path]
    """The answers, with their bugs."""
    critiques: Path
    """What `momus critique --n 4` wrote on these answers."""
    out: Path
    """The file of comparisons to write."""
    contractors: int = 5
    """How many rate; each rates every answer but those whose gold critique is theirs."""
    seed: Seed = 0
    """Decides slots, raters and their noise."""

    def run(self) -> int:
        """Write the file, and say how far the contractors agree."""
        from momus.critics.run import TaskCritiques
        from momus.files import write_lines
        from momus.raters.study import SLOTS, rate_samples
        from momus.records import Tamper, read_jsonl

        if self.contractors < 2:
            raise UserError(f"--contractors {self.contractors}: must be at least 2")
        tampers, written = list(read_jsonl(self.tampers, Tamper)), list(read_jsonl(self.critiques, TaskCritiques))
        if [tamper.task.id for tamper in tampers] != [row.id for row in written]:
            raise UserError(f"{self.critiques}: these are not critiques of {self.tampers}: run momus critique on it")
        rated = [(t, row) for t, row in zip(tampers, written, strict=True) if len(row.critiques) >= SLOTS]
        if not rated:
            raise UserError(f"{self.critiques}: no answer has {SLOTS} critiques: run momus critique with --n {SLOTS}")
        samples = [[critique.text for critique in row.critiques[:SLOTS]] for _, row in rated]
        ratings = rate_samples([tamper for tamper, _ in rated], samples, self.contractors, self.seed)
        made = [comparison.model_dump_json() for one in ratings.comparisons for comparison in one]
        write_lines(self.out, made)
        left = f"; {len(tampers) - len(rated)} answers had fewer than {SLOTS}" if len(rated) < len(tampers) else ""
        say(f"{len(made)} simulated comparisons of {len(rated)} answers in {self.out}{left}")
        say(f"two contractors agree on {ratings.agreement:.0%} of pairs{'' if ratings.reached else ' (not as asked)'}")
        return 0


@dataclass(frozen=True)
class Critiques:
    """Write answers with known bugs as demonstrations, comparisons as rankings, for `momus train` of any chat model.

    The prompt is that of `momus review --model`, so that what is trained is reviewed with in the same way.
    """

    files: Positional[tuple[Path, ...]]
    """Answers with their bugs (`momus tamper`, `momus data tampers`, `momus label export`), or comparisons."""
    out: Path
    """The file to write."""
    rules: Path | None = None
    """A text file with the house's own rules, for the prompt."""

    def run(self) -> int:
        """Write the file."""
        from momus.cli.shared.prompting import read_prompting
        from momus.critics.training_records import records_of
        from momus.files import write_lines

        asked = read_prompting(self.rules, None)
        lines = [record.model_dump_json() for record in records_of(_read(self.files), asked.rules if asked else "")]
        if not lines:
            raise UserError(f"{', '.join(map(str, self.files))}: nothing in it")
        write_lines(self.out, lines)
        say(f"{len(lines)} records in {self.out}")
        return 0


def _read(files: tuple[Path, ...]) -> Iterator[Record]:
    """Yield the records of several files; a bad row ends in one line."""
    from momus.data.convert import read, recognise
    from momus.data.sources import Problem

    for file in files:
        for item in read(*recognise(str(file), "momus")):
            if isinstance(item, Problem):
                raise UserError(str(item))
            yield item
