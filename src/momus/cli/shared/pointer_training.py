"""`momus train pointer`: the options, and what is shown while it works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from momus.errors import UserError
from momus.train.pointers.settings import PointerConfig, PointerData

if TYPE_CHECKING:
    from momus.cli.shared.train_report import Report
    from momus.train.pointers.pointer import Say

_SECONDS = 30.0
"""How long without a line, where there is no terminal."""


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """A pointer for a critic: which line to look at, learnt from tampered functions, the model left as it is."""

    model: str
    """The model whose states it goes by: a folder, a name on the hub or a GGUF file."""
    out: Path
    """The run directory; run again with the same options it continues. OUT/pointer holds what came out of it."""
    data: tuple[Path, ...] = ()
    """Python files and directories to learn from, taken to be free of bugs; by default the standard library and
    installed packages with permissive licences."""
    tampers: tuple[Path, ...] = ()
    """In their place JSON Lines of Tamper records, such as `momus tamper` writes, taken as they are."""
    device: str | None = None
    """Where the model runs, such as cpu or cuda:1; by default on a GPU if there is one."""
    precision: Literal["fp32", "bf16"] | None = None
    """What the model is held and computed in; by default bf16 where that is faster and loses nothing."""
    most_gib: float = 4.0
    """How many GiB of what was read may be kept, in OUT/states until the end and in memory."""
    twice: bool = False
    """Read every answer twice in a row, so that each line is read after the whole answer too, and let the held-out
    answers decide between the readings. It takes twice as long; of a 0.5B model the first was as good."""
    answers: Annotated[PointerData, arg(name="")] = field(default_factory=PointerData)
    head: Annotated[PointerConfig, arg(name="head")] = field(default_factory=PointerConfig)

    @classmethod
    def presets(cls) -> dict[str, Callable[[], dict[str, Any]]]:
        """Return what each preset sets: there are none."""
        return {}

    def run(self, report: Report) -> dict[str, Any]:
        """Read, choose, fit; show what is being done."""
        from momus.train.pointers.stage import PointerSource, run_pointer

        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"--out {self.out}: is a file: name a directory")
        source = PointerSource(
            self.model, self.data, self.tampers, self.answers, self.device, self.precision, self.most_gib, self.twice
        )
        with _bars() as say:
            return run_pointer(source, self.head, self.out, say)


@contextmanager
def _bars() -> Iterator[Say]:
    """Show what is being done on stderr: as bars in a terminal, elsewhere as a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    last = 0.0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("Reading")

        def say(what: str, done: int, total: int) -> None:
            nonlocal last
            bars.update(bar, description=what, completed=done, total=total)
            if not console.is_terminal and monotonic() - last > _SECONDS:
                last = monotonic()
                console.print(f"{what}: {done} of {total}", markup=False, highlight=False, soft_wrap=True)

        yield say
