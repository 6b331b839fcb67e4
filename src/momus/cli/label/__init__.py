"""`momus label`: the workbench, where people demonstrate, rank, tamper, compare and write critiques."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, subcommand

from momus.cli.label.database import OnDatabase
from momus.cli.label.owner import (
    Backup,
    Erase,
    Hours,
    Invite,
    Pause,
    Redo,
    Restore,
    Resume,
    Revoke,
    Screening,
    Status,
    Verify,
)
from momus.cli.shared.options import FLAT, LocalOptions
from momus.errors import UserError

_KIND = Literal[
    "demonstration",
    "prompt",
    "ranking",
    "edit",
    "break",
    "tamper",
    "found",
    "critique",
    "comparison",
    "survey",
    "feedback",
]


@dataclass(frozen=True)
class Serve(OnDatabase):
    """Serve the workbench. The first start prints a link that signs its owner in."""

    host: str = "127.0.0.1"
    """The address to listen on; for others to reach it, put a proxy with TLS before it and give --public-url."""
    port: int = 8765
    """The port."""
    public_url: str | None = None
    """Where labelers reach it, such as https://label.example.org."""
    review_share: float = 0.0
    """So large a share of submissions is checked by somebody else; the paper's median is 0.14."""
    model: str | None = None
    """A model that labelers can ask while they work: its folder or its name on the hub; with --url its name there."""
    url: str | None = None
    """An OpenAI-compatible server."""
    run_code: bool = False
    """Let labelers run the Python that they see, in a cage on this machine; left out where momus doctor escapes."""
    local: Annotated[LocalOptions, FLAT] = field(default_factory=LocalOptions)

    def run(self) -> int:
        """Print where it is and serve until interrupted."""
        from momus.cli.label.owner import figures_drawer
        from momus.cli.shared.output import say
        from momus.label.probe import open_models
        from momus.label.running import open_runner
        from momus.label.serve import ServeConfig, open_store, owner_link, serve, site_of

        if not 0 <= self.review_share <= 1:
            raise UserError(f"--review-share {self.review_share}: from 0 to 1")
        config = ServeConfig(self.database, self.host, self.port, self.public_url, self.review_share)
        site = site_of(config)
        self.local.check_used(self.model is not None and self.url is None)
        models = open_models(self.model, self.url, self.local.device, self.local.precision)
        runner = open_runner() if self.run_code else None
        if self.run_code and runner is None:
            say("Labelers cannot run code here: there is no cage that holds (momus doctor says why).")
        database = open_store(self.database)
        link = owner_link(database, site, "first")
        database.close()
        say(f"The workbench is at {site.origins[0]}/ (Ctrl+C ends it; nothing is lost).")
        if link:
            say(f"It has no owner yet. This link signs you in as its owner, once, within 15 minutes:\n{link}")
        serve(config, models, runner, figures_drawer())
        return 0


@dataclass(frozen=True)
class Import(OnDatabase):
    """Add items to be judged: records of Momus, or anything `momus data` reads, turned into tasks of one kind."""

    file: Positional[str] = ""
    """The records; the formats of `momus data convert`, or JSON Lines of the kind's own items. Of the kind feedback a
    folder of documents with drafts of `momus feedback`."""
    kind: _KIND = "ranking"
    """What labelers are to do with them."""
    want: int = 1
    """How many judgements each item gets."""
    batch: str = ""
    """A name for what is added together; by default the file's name. The same item is added to a batch once."""
    purpose: Literal["real", "gold", "training", "screening"] = "real"
    """Gold items check labelers among the real ones; training items come first and show their expected result;
    screening items are what candidates do."""
    critiques: tuple[str, ...] = ()
    """NAME=FILE for each writer of critiques (momus critique, momus label export): of the kind critique the first is
    what a random half starts from, of the kind comparison up to four are compared."""
    warning: str = ""
    """What labelers read before each of these items is shown ("Describes violence."); they may decline it without a
    reason. Items of the kind's own fields may have a `warning` of their own."""
    preview: int = 0
    """Show the first so many items, and add nothing."""
    demo: bool = False
    """Add one small item of every kind, to try the workbench."""

    def run(self) -> int:
        """Add them and say how many were new."""
        import json

        from momus.cli.shared.output import say
        from momus.label.importing import LONGEST_WARNING, authors_by_task, demo_items, read_items, without_authors
        from momus.label.serve import open_store
        from momus.label.store import Store

        if self.want < 1:
            raise UserError(f"--want {self.want}: must be at least 1")
        if bool(self.file) == self.demo:
            raise UserError("name a file of records, or give --demo")
        critiques = {name: Path(path) for name, _, path in (pair.partition("=") for pair in self.critiques)}
        items = demo_items() if self.demo else read_items(self.file, self.kind, self.want, self.purpose, critiques)
        if len(self.warning) > LONGEST_WARNING:
            raise UserError(f"--warning: at most {LONGEST_WARNING} characters")
        items = [replace(item, warning=item.warning or self.warning) for item in items]
        if self.preview:
            for item in items[: self.preview]:
                print(json.dumps({"kind": item.kind, **item.payload}, ensure_ascii=False))
            say(f"{len(items)} items; nothing was added")
            return 0
        with closing(open_store(self.database)) as database:
            batch = self.batch or ("demo" if self.demo else Path(self.file).name)
            barred = without_authors(items, authors_by_task(database))
            added = Store(database).add_items(barred, batch, "terminal")
        say(f"{added} items added, {len(items) - added} were there already")
        return 0


@dataclass(frozen=True)
class Export(OnDatabase):
    """Write the judgements as records that `momus train` and `momus evaluate` read."""

    out: Positional[Path] = Path("labels")
    """The folder to write; one that is there already is refused."""

    def run(self) -> int:
        """Write them and say what there is."""
        from momus.cli.shared.output import say
        from momus.label.exporting import export

        with closing(self.open()) as database:
            counts = export(database, self.out)
        for name, count in counts.items():
            print(f"{self.out / name}\t{count}")
        say(f"{sum(counts.values())} records, described in {self.out / 'README.md'}")
        return 0


_Action = (
    Annotated[Serve, subcommand("serve")]
    | Annotated[Import, subcommand("import")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Invite, subcommand("invite")]
    | Annotated[Status, subcommand("status")]
    | Annotated[Pause, subcommand("pause")]
    | Annotated[Resume, subcommand("resume")]
    | Annotated[Revoke, subcommand("revoke")]
    | Annotated[Redo, subcommand("redo")]
    | Annotated[Hours, subcommand("hours")]
    | Annotated[Screening, subcommand("screening")]
    | Annotated[Verify, subcommand("verify")]
    | Annotated[Backup, subcommand("backup")]
    | Annotated[Restore, subcommand("restore")]
    | Annotated[Erase, subcommand("erase")]
)


def command(action: Annotated[_Action, tyro.conf.arg(name="")]) -> int:
    """Collect judgements of people in a browser (docs/guides/labeling.md)."""
    return action.run()
