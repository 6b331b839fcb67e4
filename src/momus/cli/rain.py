"""`momus rain`: answers that a frozen model searches for, judging itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, EngineOptions
from momus.cli.shared.seed import Seed
from momus.errors import UserError

if TYPE_CHECKING:
    from momus.records import Prompt, Task
    from momus.search.rain.dataset import Rain, RainAnswer
    from momus.search.rain.result import Budget
    from momus.search.rain.tasks import RainTask


def _check(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be at least 1")


@dataclass(frozen=True)
class SearchOptions:
    """How an answer is searched for; None means the task's value."""

    max_tokens: int | None = None
    """Longest answer, in tokens."""
    threshold: float | None = None
    """V: the value from which a token set is taken at once."""
    iterations: int | None = None
    """T: visits after which a token set is taken whatever its value, 15 of them new, or all T if that is fewer."""
    judged_by: Literal["verdict", "log-odds"] | None = None
    """What an answer's value comes from: the paper's verdict in both orders, or how sure the model is, which helps
    where it likes a label whatever it stands for (momus judge calibrate tells)."""
    cases: int | None = None
    """Worked examples shown to the judge, at most."""
    embeddings: Literal["values", "sentences", "none"] | None = None
    """How siblings are compared: by the model's attention values, by sentence-transformers, or not at all. By default
    its values; on a server, which does not show them, sentence-transformers if installed, else none."""
    chat_template: Path | None = None
    """A file with a Jinja chat template, in place of the tokenizer's own."""

    def __post_init__(self) -> None:
        _check(max_tokens=self.max_tokens)
        if self.iterations is not None and self.iterations < 2:
            raise UserError(f"--iterations {self.iterations}: must be at least 2")

    def apply_to(self, task: str) -> RainTask:
        """Return a task with these settings."""
        from momus.search.rain.tasks import RAIN_TASKS

        settings = ("max_tokens", "threshold", "iterations", "judged_by")
        changed = {name: getattr(self, name) for name in settings}
        return RAIN_TASKS[task].with_settings(**changed).with_cases(self.cases)


@dataclass(frozen=True)
class BudgetOptions:
    """What one search may use."""

    budget_tokens: int | None = None
    """Tokens that one search may forward; on a server, send and have written."""
    budget_iterations: int | None = None
    """Iterations that one search may take."""
    budget_seconds: float | None = None
    """Seconds that one search may take; answers then depend on the machine."""

    def __post_init__(self) -> None:
        _check(budget_tokens=self.budget_tokens, budget_iterations=self.budget_iterations)
        if self.budget_seconds is not None and not self.budget_seconds > 0:
            raise UserError(f"--budget-seconds {self.budget_seconds:g}: must be above 0")

    def budget(self) -> Budget:
        """Return the budget."""
        from momus.search.rain.result import Budget

        return Budget(self.budget_tokens, self.budget_iterations, seconds=self.budget_seconds)


_NO_MODEL, _TASK_SETTINGS, _UNLIMITED = EngineOptions(), SearchOptions(), BudgetOptions()


def command(
    files: Positional[tuple[str, ...]] = (),
    prompt: tuple[str, ...] = (),
    engine: Annotated[EngineOptions, FLAT] = _NO_MODEL,
    task: Literal["harmless", "adversarial", "truthful", "sentiment", "critique"] = "harmless",
    out: Path | None = None,
    export: Literal["preferences", "demonstrations"] | None = None,
    limit: int | None = None,
    search: Annotated[SearchOptions, FLAT] = _TASK_SETTINGS,
    budget: Annotated[BudgetOptions, FLAT] = _UNLIMITED,
    seed: Seed = 0,
    json: bool = False,
) -> int:
    """Answer prompts by RAIN: the model searches, judges itself, takes back what is bad. Nothing is trained.

    Measure the model as a judge before you rely on it: momus judge calibrate. An answer whose `met` is false did not
    reach the threshold; what to do with it is yours to decide.

    Args:
        files: Prompts, or records that have prompts, in any format that `momus data` reads; for critique, tasks.
        prompt: A prompt; may be given several times.
        engine: The model; for critique the shipped critic by default.
        task: What the model judges itself by, and the settings that go with it.
        out: The run directory, for files; run again with the same options it continues.
        export: Also write the searches as training data into the run directory.
        limit: Answer at most so many prompts.
        search: How it searches.
        budget: What a search may use.
        seed: Everything random follows from it.
        json: Print JSON, one answer a line.
    """
    from momus.cli.shared.output import say
    from momus.cli.shared.rain_report import export_searches, print_run
    from momus.cli.shared.searching import choose_embeddings, load_rain, read_prompts

    _check_inputs(files, prompt, out, export, limit)
    rain_task = search.apply_to(task)
    prompts = read_prompts(files, prompt, task, limit)
    engine = _with_model(engine, task)
    embeddings = choose_embeddings(search.embeddings, engine.url)
    rain = load_rain(engine, rain_task, search.chat_template, embeddings)
    if out is None:
        return _answer_here(rain, prompts, seed, budget.budget(), json)
    settings = _run_settings(engine, rain, rain_task, embeddings, budget, seed)
    path = _answer_all(rain, prompts, seed, budget.budget(), out, settings)
    print_run(path, json)
    if export is not None:
        say(export_searches(path, export, f"RAIN ({task}), self-evaluation of {_name(engine, rain)}"))
    return 0


def _check_inputs(
    files: tuple[str, ...], prompt: tuple[str, ...], out: Path | None, export: str | None, limit: int | None
) -> None:
    if bool(files) == bool(prompt):
        raise UserError("give files with prompts, or --prompt, and not both")
    if files and out is None:
        raise UserError("--out is needed with files: the run directory (a prompt itself is given with --prompt)")
    if prompt and (out or export):
        raise UserError("--out and --export are for files: a --prompt is answered here")
    _check(limit=limit)


def _run_settings(
    engine: EngineOptions, rain: Rain, task: RainTask, embeddings: str, budget: BudgetOptions, seed: int
) -> dict[str, Any]:
    """Return what decides the answers: a run directory begun with other settings is not continued."""
    from momus.cli.shared.output import weights_of

    return {
        "model": weights_of(engine.model or "") if engine.url is None else _name(engine, rain),
        "task": task.stored(),
        "embeddings": embeddings,
        "budget": asdict(budget.budget()),
        "template": rain.chat.template,
        "seed": seed,
        # "fast" was once one of two ways; the directories of runs that were begun then still continue.
        "computed": ["cpu" if engine.url else engine.place(), engine.precision or "fp32", "fast"],
    }


def _answer_here(rain: Rain, prompts: list[Prompt | Task], seed: int, budget: Budget, json: bool) -> int:
    """Answer prompts one after the other, and print what comes out."""
    from momus.cli.shared.rain_report import live_answers, print_answer

    with live_answers() as showing:
        for index, item in enumerate(prompts):
            print_answer(rain.answer(index, item, seed, budget, showing(index, len(prompts))), json)
    return 0


def _answer_all(
    rain: Rain,
    prompts: list[Prompt | Task],
    seed: int,
    budget: Budget,
    out: Path,
    settings: dict[str, Any],
) -> Path:
    """Answer prompts into a run directory; returns the file with all answers."""
    from momus.cli.shared.rain_report import live_answers
    from momus.search.rain.dataset import run

    with live_answers() as showing:

        def answer(index: int, item: Prompt | Task) -> RainAnswer:
            return rain.answer(index, item, seed, budget, showing(index, len(prompts)))

        return run(prompts, out, settings, answer, lambda done, total: None)


def _with_model(engine: EngineOptions, task: str) -> EngineOptions:
    """Name the shipped critic where no model is named, and it will do."""
    from momus.lm.tiny import TINY

    if engine.model is not None or engine.url is not None:
        return engine
    if task != "critique":
        raise UserError(f"--model is needed: the shipped model reviews code only, and cannot do {task}")
    return replace(engine, model=str(TINY))


def _name(options: EngineOptions, rain: Rain) -> str:
    """Say which model it is: of one on a server, which nothing more is known of, its name there and where."""
    if options.url is None:
        return str(options.model)
    from momus.lm.remote.engine import RemoteEngine

    engine = rain.writer.engine
    assert isinstance(engine, RemoteEngine)
    return engine.name
