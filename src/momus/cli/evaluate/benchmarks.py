"""`momus evaluate reward|labelers|public|tax`: reward models, public tasks and the alignment tax."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, LocalOptions
from momus.cli.shared.output import bar, say, show, weights_of
from momus.cli.shared.seed import Seed
from momus.errors import UserError
from momus.files import write_json

if TYPE_CHECKING:
    from momus.evaluate.instruct.results import TaskResult
    from momus.evaluate.instruct.reward_models import Ranked
    from momus.lm.chat import ChatFormat
    from momus.lm.models import RewardModel
    from momus.runtime.runs import Progress

_MOST_LABELERS = 20


@dataclass(frozen=True)
class Reward:
    """How often a reward model orders answers as people did, in all and by labeler."""

    model: Positional[str]
    """The reward model's folder."""
    data: tuple[str, ...]
    """Rankings it was not trained on, in any known format."""
    out: Path | None = None
    """A JSON file for the numbers."""
    local: Annotated[LocalOptions, FLAT] = field(default_factory=LocalOptions)

    def run(self) -> int:
        """Print the accuracies."""
        from momus.evaluate.instruct.reward_models import accuracy, accuracy_by, pairs_right
        from momus.report.terminal import accuracy_table

        model, chat = reward_model(self.model, self.local)
        limit = getattr(model.backbone.config, "max_position_embeddings", None)
        ranked = _in_tokens(self.data, chat, limit if isinstance(limit, int) else None)
        counts, prompts = pairs_right(model, ranked), [ranking.prompt for ranking in ranked]
        rows = {"all": accuracy(counts, prompts)}
        by_labeler = accuracy_by(counts, prompts, [ranking.labeler for ranking in ranked])
        if len(by_labeler) > 1:
            if len(by_labeler) > _MOST_LABELERS:
                say(f"{len(by_labeler)} labelers: the {_MOST_LABELERS} with the most rankings are shown")
            rows |= {name or "not stated": share for name, share in list(by_labeler.items())[:_MOST_LABELERS]}
        show(accuracy_table("Pairs ordered as the labeler did", rows))
        if self.out:
            write_json(self.out, {name: asdict(share) for name, share in rows.items()}, indent=1)
        return 0


@dataclass(frozen=True)
class Labelers:
    """Train reward models without a group of labelers, and test them on those and on the others (InstructGPT, E.2)."""

    data: Positional[tuple[str, ...]]
    """Rankings that name their labelers, in any known format."""
    model: str
    """The language model every reward model starts from: a folder, or a name on the hub."""
    out: Path
    """The run directory; run again with the same options it continues."""
    folds: int = 5
    """Groups of labelers, and parts of the prompts."""
    preset: Literal["paper", "tiny"] = "paper"
    """How the models are trained: as in the paper (C.2), or on a small machine."""
    epochs: int | None = None
    """Passes over the rankings, in place of the preset's."""
    seed: Seed = 0
    """Draws the heads, and orders the prompts."""
    local: Annotated[LocalOptions, FLAT] = field(default_factory=LocalOptions)

    def run(self) -> int:
        """Train and test every fold."""
        import torch

        from momus.evaluate.instruct.reward_models import cross_validate
        from momus.files import digest
        from momus.lm.chat import ChatFormat
        from momus.lm.models import RewardModel, load_causal_lm, load_tokenizer
        from momus.report.terminal import folds_table
        from momus.runtime.processes import on_device
        from momus.runtime.settings import Setup
        from momus.runtime.sharding import prepare
        from momus.train.settings import RewardConfig

        if self.folds < 2:
            raise UserError(f"--folds {self.folds}: must be at least 2")
        changes: dict[str, Any] = {"seed": self.seed, **({} if self.epochs is None else {"epochs": self.epochs})}
        config = RewardConfig.tiny(**changes) if self.preset == "tiny" else RewardConfig(**changes)
        base = load_causal_lm(self.model)
        limit = getattr(base.config, "max_position_embeddings", None)
        chat = ChatFormat(load_tokenizer(self.model))
        ranked = _in_tokens(self.data, chat, limit if isinstance(limit, int) else None)
        setup = Setup(self.local.precision)

        def fresh() -> RewardModel:
            torch.manual_seed(self.seed)
            return prepare(RewardModel.from_causal_lm(base), setup)

        with on_device(self.local.device), bar("Training") as show_progress:

            def progress(fold: int) -> Progress:
                return lambda done, total, metrics: show_progress(fold * total + done, self.folds * total)

            settings = {"model": weights_of(self.model), "data": digest([repr(ranking) for ranking in ranked])}
            settings |= self.local.settings()
            result = cross_validate(fresh, ranked, config, self.out, settings, folds=self.folds, progress=progress)
        show(folds_table(result))
        write_json(self.out / "labelers.json", asdict(result), indent=1)
        say(f"The numbers are {self.out / 'labelers.json'}")
        return 0


@dataclass(frozen=True)
class Public:
    """Measure a language model on public tasks, or score answers to them that somebody else generated."""

    out: Path
    """The run directory; run again it continues, and asks no question twice. With --answers: a folder a system."""
    model: Positional[str] = ""
    """A folder, or a name on the hub; with --url its name on that server. None with --answers."""
    tasks: tuple[str, ...] = ()
    """Which tasks (docs/guides/evaluation.md), or lm-eval:NAME for any of the harness's own."""
    answers: tuple[str, ...] = ()
    """Score the answers in these files, each FILE or TASK=FILE, instead of asking a model."""
    data: tuple[str, ...] = ()
    """TASK=FILE: a task's items from a file instead of the hub."""
    prefix: tuple[str, ...] = ("none",)
    """What is put before everything: none, respectful, biased, no-comment; every task is run with each."""
    shots: int = 0
    """Examples before every question."""
    limit: int | None = None
    """The first so many items of each task only."""
    toxicity: str | None = None
    """A text classifier's folder, which realtoxicityprompts needs."""
    url: str | None = None
    """An OpenAI-compatible server to ask instead of a model in this process."""
    local: Annotated[LocalOptions, FLAT] = field(default_factory=LocalOptions)

    def run(self) -> int:
        """Run the tasks; those that cannot be run are named on stderr, and the exit code is then 2."""
        if self.answers:
            return self._score_answers()
        if not self.model or not self.tasks:
            raise UserError("momus evaluate public needs MODEL and --tasks, or --answers FILE")
        self.local.check_used(not self.url)
        from momus.evaluate.instruct.public import PublicConfig, run_public
        from momus.evaluate.instruct.questions import Questions
        from momus.evaluate.instruct.results import write_results
        from momus.evaluate.instruct.systems import System, open_engine
        from momus.files import Ledger
        from momus.report.terminal import results_table

        config = PublicConfig(self.tasks, self._files(), self.prefix, self.shots, self.limit, self.toxicity)
        system = System(self.out.name, self.model, url=self.url or "")
        engine = open_engine(system, self.local.device, self.local.precision)
        results: list[TaskResult] = []
        failed = False
        settings = {"model": weights_of(self.model), "url": self.url, **self.local.settings()}
        with Ledger(self.out / "answers.jsonl", settings) as ledger, bar("Questions") as progress:
            for outcome in run_public(Questions(engine, ledger, progress), config, say):
                if isinstance(outcome, UserError):
                    failed = True
                    print("momus: error:", outcome, file=sys.stderr)
                else:
                    results += outcome
        if not results:
            return UserError.exit_code
        notes = dict.fromkeys(f"{result.task}, {result.metric}: {result.note}" for result in results if result.note)
        show(results_table(results), *notes)
        say(f"The results are {write_results(self.out, results)}")
        return UserError.exit_code if failed else 0

    def _score_answers(self) -> int:
        from momus.evaluate.instruct.answers import folder_of, score_answers
        from momus.evaluate.instruct.results import write_results
        from momus.report.terminal import systems_table

        if self.model or self.tasks:
            raise UserError("--answers scores given answers: no MODEL and no --tasks with it")
        by_system = score_answers(self.answers)
        folders = {system: self.out / folder_of(system) for system in by_system}
        if len(set(folders.values())) < len(folders):
            raise UserError(f"--answers: systems whose folders would have one name: {', '.join(folders)}")
        for system, results in by_system.items():
            write_results(folders[system], results)
        notes = {f"{result.task}: {result.note}": None for each in by_system.values() for result in each if result.note}
        show(systems_table(by_system), *notes, "In brackets: 95 % intervals, items (or their passages) resampled.")
        say(f"The results of {len(by_system)} systems are in {self.out}: compare them with momus evaluate tax")
        return 0

    def _files(self) -> Mapping[str, str]:
        files = {}
        for given in self.data:
            name, equals, file = given.partition("=")
            if not equals or not file:
                raise UserError(f"--data {given}: write TASK=FILE")
            files[name] = file
        return files


@dataclass(frozen=True)
class Tax:
    """Compare public-task results from before and after training, item by item: the alignment tax."""

    before: Positional[str]
    """Results of the model that training began with: a folder of `momus evaluate public`, or NAME=FOLDER."""
    after: Positional[tuple[str, ...]]
    """Those of the models it ended with, such as PPO and PPO-ptx; each is compared with the one before it too."""
    out: Path
    """The folder for tax.html and tax.json."""

    def run(self) -> int:
        """Write the report."""
        from momus.evaluate.instruct.tax import compare_systems
        from momus.report.tax import write_tax
        from momus.report.terminal import tax_table

        named = [_named_results(folder) for folder in (self.before, *self.after)]
        report = compare_systems(named[0], named[1:])
        show(tax_table(report))
        shown = " ".join(["momus evaluate tax", self.before, *self.after])
        say(f"The report is {write_tax(report, self.out, shown)}")
        return 0


def reward_model(folder: str, local: LocalOptions) -> tuple[RewardModel, ChatFormat]:
    """Load a reward model with the layout of its tokenizer.

    Raises:
        UserError: It cannot be loaded, or there is no such device.
    """
    import torch

    from momus.lm.chat import ChatFormat
    from momus.lm.models import RewardModel, load_tokenizer

    device, dtype = local.place(), torch.bfloat16 if local.precision == "bf16" else torch.float32
    model = RewardModel.load(Path(folder)).to(device=device, dtype=dtype)
    return model, ChatFormat(load_tokenizer(folder))


def _in_tokens(files: tuple[str, ...], chat: ChatFormat, limit: int | None) -> list[Ranked]:
    """Read rankings and turn them into tokens; print what is left out."""
    from momus.evaluate.instruct.feedback import of_kind, records_of
    from momus.evaluate.instruct.reward_models import ranked_in_tokens
    from momus.records import Ranking

    rankings = of_kind(records_of(files), Ranking)
    ranked, left_out = ranked_in_tokens(rankings, chat, limit)
    for reason, number in left_out.most_common(5):
        say(f"{number} rankings left out: {reason}")
    if not ranked:
        raise UserError(f"{', '.join(files)}: no rankings in it that can be used")
    return ranked


def _named_results(given: str) -> tuple[str, list[TaskResult]]:
    from momus.evaluate.instruct.results import read_results

    name, equals, folder = given.partition("=")
    path = Path(folder if equals else given)
    return (name if equals else path.name), list(read_results(path))
