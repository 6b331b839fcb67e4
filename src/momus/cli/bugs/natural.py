"""`momus data bugs`: natural bugs, out of a model's wrong answers to problems with tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, LocalOptions
from momus.cli.shared.output import bar, say, show
from momus.cli.shared.seed import Seed
from momus.errors import UserError


@dataclass(frozen=True)
class Bugs:
    """Let a model answer problems, and keep its wrong answers with the place and the repair of what is wrong.

    The tests run in the cage that momus doctor describes. An answer that fails them is repaired by the smallest edit
    that passes, or else by --repair-model. Run again, the command goes on where it stopped.
    """

    problems: Positional[Path]
    """Problems with tests, in MBPP's format: JSON Lines with text, code, test_list and task_id."""
    model: str
    """Who answers: a folder, a name on the hub or a GGUF file; with --url its name on that server."""
    out: Path
    """The directory to write: bugs.jsonl, counts.json, and answers.jsonl, from which it goes on."""
    repair_model: str | None = None
    """Who is asked for a repair where no small edit passes; by default nobody."""
    url: str | None = None
    """A server that has --model, with an OpenAI-compatible or Anthropic-style API."""
    samples: int = 1
    """Answers to each problem."""
    temperature: float = 0.7
    """0 takes the likeliest answer."""
    split: Literal["train", "valid", "test", "all"] = "train"
    """Which problems: 601-974, 511-600 or 11-510, as published."""
    limit: int | None = None
    """At most so many problems."""
    probe: bool = False
    """Ask also whether the model knows the problems by heart: it completes 100 truncated ones (a local model only)."""
    seed: Seed = 0
    """Other seeds, other answers."""
    local: Annotated[LocalOptions, FLAT] = field(default_factory=LocalOptions)

    def run(self) -> int:
        """Write the files."""
        from momus.files import Ledger, write_json
        from momus.lm.chats.open import open_chat
        from momus.records import write_jsonl
        from momus.sandbox import require_cage
        from momus.tamper.natural.collect import AnswerConfig, collect
        from momus.tamper.natural.problems import read_problems

        for name, value in (("samples", self.samples), ("limit", self.limit)):
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: must be at least 1")
        if self.temperature < 0:
            raise UserError(f"--temperature {self.temperature}: must not be negative")
        if self.probe and self.url is not None:
            raise UserError("--probe is for a model in this process: a server may not continue a text")
        problems = [each for each in read_problems(self.problems) if self.split in (each.split, "all")][: self.limit]
        if not problems:
            raise UserError(f"{self.problems}: no problems of the split {self.split}")
        require_cage()
        device, precision = self.local.device, self.local.precision
        self.local.check_used(self.url is None or self.repair_model is not None)
        chat = open_chat(self.model, self.url, device=device, precision=precision)
        repairer = None
        if self.repair_model is not None:
            repairer = open_chat(self.repair_model, device=device, precision=precision)
        config = AnswerConfig(self.samples, self.temperature, self.seed)
        settings = {"model": dict(chat.identity()), "samples": self.samples, "temperature": self.temperature,
                    "seed": self.seed}  # fmt: skip
        with Ledger(self.out / "answers.jsonl", settings) as ledger:
            with bar("answers") as progress:
                tampers, counts = collect(
                    problems, chat, repairer, ledger, config, lambda step, done, total: progress(done, total)
                )
            known = None
            if self.probe:
                from momus.lm.chats.local import LocalChat
                from momus.tamper.natural.contamination import probe

                assert isinstance(chat, LocalChat)
                known = probe(problems, lambda: chat.loaded.engine, ledger)
        write_jsonl(self.out / "bugs.jsonl", tampers)
        write_json(self.out / "counts.json", {**counts, **({"known": known} if known else {})}, 2)
        for name, count in counts.items():
            show(f"{count:6} {name}")
        for name, share in (known or {}).items():
            show(f"{share:6.1%} {name}")
        say(f"{len(tampers)} bugs in {self.out / 'bugs.jsonl'}")
        return 0
