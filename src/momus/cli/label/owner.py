"""What owners do from the terminal: links, numbers, pauses, work to be done again, copies, erasure."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from momus.cli.label.database import OnDatabase
from momus.errors import UserError

if TYPE_CHECKING:
    from momus.label.database import Database
    from momus.label.owner.figures import Draw, Drawn
    from momus.label.owner.series import Series
    from momus.label.texts import Words


@dataclass(frozen=True)
class Invite(OnDatabase):
    """Print invitation links, each for one person, once."""

    count: int = 1
    """How many."""
    owner: bool = False
    """For an owner, who sees and may do everything; such a link works for 15 minutes."""
    candidate: bool = False
    """For a candidate, who does the screening and nothing else until an owner admits them."""
    adjudicator: bool = False
    """For an adjudicator, who also decides where labelers disagree."""
    labeler: str | None = None
    """A new link for an account there is: its pseudonym."""
    public_url: str | None = None
    """Where labelers reach the workbench."""
    port: int = 8765
    """Its port, where there is no --public-url."""

    def run(self) -> int:
        """Print the links."""
        from momus.label.people import INVITATION_SECONDS, OWNER_INVITATION_SECONDS, RANK, People, Role
        from momus.label.serve import ServeConfig, site_of

        site = site_of(ServeConfig(self.database, port=self.port, public_url=self.public_url))
        with closing(self.open()) as database:
            for _ in range(self.count):
                seconds = OWNER_INVITATION_SECONDS if self.owner else INVITATION_SECONDS
                chosen = {"owner": self.owner, "adjudicator": self.adjudicator, "candidate": self.candidate}
                roles: list[Role] = [role for role in RANK if chosen.get(role)]
                role = roles[-1] if roles else "labeler"
                token = People(database).invite(role, "terminal", self.labeler, seconds)
                print(f"{site.origins[0]}/join/{token}")
        return 0


@dataclass(frozen=True)
class Status(OnDatabase):
    """Print progress, labelers and agreement."""

    csv: bool = False
    """As CSV."""
    json: bool = False
    """As one JSON object."""
    figures: Path | None = None
    """A folder for figures (SVG) and their numbers (CSV): progress, time, prefills, win rates, drift."""

    def run(self) -> int:
        """Print the tables."""
        import json

        from rich.table import Table

        from momus.cli.shared.output import show
        from momus.label.owner.overview import as_csv, overview

        with closing(self.open()) as database:
            shown = overview(database)
            if self.figures:
                _write_figures(database, self.figures)
        if self.csv:
            print(as_csv(shown), end="")
        elif self.json:
            print(json.dumps(shown, ensure_ascii=False))
        else:
            for name in ("progress", "people", "agreement", "labelers"):
                if rows := shown[name]:
                    table = Table(*rows[0], title=name, title_justify="left")
                    for row in rows:
                        table.add_row(*map(_cell, row.values()))
                    show(table)
        return 0


def figures_drawer() -> Draw | None:
    """Return what draws figures, where matplotlib is installed."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        return None

    def draw(rows: Series, words: Words) -> Mapping[str, Drawn]:
        from momus.report.labeling import draw_labeling

        return draw_labeling(rows, words)

    return draw


def _write_figures(database: Database, folder: Path) -> None:
    from momus.cli.shared.output import say
    from momus.files import write_text
    from momus.label.owner.figures import rows_as_csv
    from momus.label.owner.series import series
    from momus.label.texts import Words
    from momus.report.labeling import draw_labeling

    rows = series(database)
    drawn = draw_labeling(rows, Words("en"))
    for name, figure in drawn.items():
        write_text(folder / f"{name}.svg", figure.svg)
        write_text(folder / f"{name}.csv", rows_as_csv(rows[name]))
    say(f"{len(drawn)} figures are in {folder}, their numbers beside them")


@dataclass(frozen=True)
class _Stopped(OnDatabase):
    batch: str | None = None
    """Only a batch, by its name: what --batch of import said, or the file's name."""
    labeler: str | None = None
    """Only a labeler, by the pseudonym."""

    def change(self, paused: bool) -> int:
        """Pause, or let go on, what was named; the whole project by default."""
        from momus.cli.shared.output import say
        from momus.label.owner.actions import pause_project, resume_project, set_batch_paused
        from momus.label.people import People

        if self.batch is not None and self.labeler is not None:
            raise UserError("--batch and --labeler do not go together")
        with closing(self.open()) as database:
            if self.labeler is not None:
                People(database).set_state(self.labeler, "paused" if paused else "active", "terminal")
            elif self.batch is not None:
                count = set_batch_paused(database, self.batch, paused, "terminal")
                say(f"{count} items {'paused' if paused else 'go on'}")
            else:
                (pause_project if paused else resume_project)(database, "terminal")
        return 0


@dataclass(frozen=True)
class Pause(_Stopped):
    """Hand out no new tasks: in the whole project, of a batch, or to a labeler. What is begun may be finished.

    A labeler who is paused is signed out.
    """

    def run(self) -> int:
        """Pause."""
        return self.change(True)


@dataclass(frozen=True)
class Resume(_Stopped):
    """Let go on what was paused."""

    def run(self) -> int:
        """Let it go on."""
        return self.change(False)


@dataclass(frozen=True)
class Revoke(OnDatabase):
    """Sign a labeler out everywhere and make unused links of theirs useless; `invite --labeler` makes a new one."""

    labeler: Positional[str] = ""
    """The pseudonym."""

    def run(self) -> int:
        """End sessions and links."""
        from momus.label.people import People

        with closing(self.open()) as database:
            People(database).revoke(self.labeler, "terminal")
        return 0


@dataclass(frozen=True)
class Redo(OnDatabase):
    """Have a labeler's accepted judgements done again. They stop counting and are kept."""

    labeler: Positional[str] = ""
    """The pseudonym."""
    why: str = ""
    """The reason, which the labeler reads."""
    by: Literal["others", "same"] = "others"
    """Who does them again: others, or the same labeler, to whom they are returned."""
    kind: str = ""
    """Only of a kind, such as ranking."""

    def run(self) -> int:
        """Take them back and say how many there were."""
        from momus.cli.shared.output import say
        from momus.label.owner.actions import redo

        with closing(self.open()) as database:
            count = redo(database, self.labeler, self.kind, self.by, self.why, "terminal")
        say(f"{count} judgements no longer count")
        return 0


@dataclass(frozen=True)
class Screening(OnDatabase):
    """Print how candidates did by InstructGPT's four criteria, beside the cut-offs."""

    json: bool = False
    """As one JSON object."""

    def run(self) -> int:
        """Print the table."""
        import json
        from dataclasses import asdict

        from rich.table import Table

        from momus.cli.shared.output import show
        from momus.label.owner.screening import CRITERIA, candidates, cutoffs

        with closing(self.open()) as database:
            people, wanted = candidates(database), cutoffs(database)
        if self.json:
            rows = [asdict(person) for person in people]
            print(json.dumps({"cutoffs": asdict(wanted), "candidates": rows}, ensure_ascii=False))
            return 0
        table = Table("candidate", *(f"{name} ≥ {getattr(wanted, name):g}" for name in CRITERIA), "passed", "state")
        for person in people:
            scores = (person.scores[name] for name in CRITERIA)
            cells = (f"{_cell(score.value) or '–'} ({score.done}/{score.of})" for score in scores)
            table.add_row(person.person, *cells, {True: "yes", False: "no", None: "–"}[person.passed], person.state)
        show(table)
        return 0


@dataclass(frozen=True)
class Hours(OnDatabase):
    """Print how long each labeler was at work, day by day, as CSV: hours for pay."""

    since: str = ""
    """The first day, such as 2026-11-01 (UTC); everything by default."""
    until: str = ""
    """The last day."""

    def run(self) -> int:
        """Print the rows."""
        from momus.label.owner.figures import rows_as_csv
        from momus.label.owner.hours import day_of, hours

        since, until = day_of(self.since), day_of(self.until)
        with closing(self.open()) as database:
            print(rows_as_csv(hours(database, since, until)), end="")
        return 0


@dataclass(frozen=True)
class Verify(OnDatabase):
    """Check the audit log's chain, and the judgements against it. Exits with 1 if anything is wrong."""

    def run(self) -> int:
        """Print what is wrong, or the last seal."""
        from momus.label.verify import verify

        with closing(self.open()) as database:
            problems, count, last = verify(database)
        for problem in problems:
            print(problem)
        if not problems:
            print(f"{count} entries, last seal {last}")
        return 1 if problems else 0


@dataclass(frozen=True)
class Backup(OnDatabase):
    """Copy an SQLite workbench, whole, while it is in use; `restore` puts a copy in place."""

    out: Positional[Path] = Path("label.backup.db")
    """The copy; a file that is there already is refused."""

    def run(self) -> int:
        """Make the copy."""
        from momus.label.schema import back_up
        from momus.label.sqlite import SQLite

        with closing(self.open()) as database:
            if not isinstance(database, SQLite):
                raise UserError("--database: PostgreSQL is backed up with pg_dump")
            back_up(database, self.out)
        return 0


@dataclass(frozen=True)
class Restore(OnDatabase):
    """Put a copy by `backup` in the place of --database, after checking it; a file that is there already is refused."""

    copy: Positional[Path] = Path("label.backup.db")
    """The copy; it stays as it is."""

    def run(self) -> int:
        """Check it, put it in place, and print the last seal."""
        from momus.label.owner.restoring import restore

        if "://" in self.database:
            raise UserError("--database: PostgreSQL is restored with psql or pg_restore, then momus label verify")
        entries, last = restore(self.copy, Path(self.database))
        print(f"{entries} entries, last seal {last}")
        return 0


@dataclass(frozen=True)
class Erase(OnDatabase):
    """Erase a person's name and unfinished work; judgements stay under the pseudonym, and the log stays verifiable."""

    labeler: Positional[str] = ""
    """The pseudonym."""

    def run(self) -> int:
        """Erase the name."""
        from momus.label.people import People

        with closing(self.open()) as database:
            People(database).erase(self.labeler, "terminal")
        return 0


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
