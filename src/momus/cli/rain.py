"""`momus rain`: answers that a frozen model searches for, judging itself."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from momus.cli.shared.seed import Seed
from momus.errors import UserError

if TYPE_CHECKING:
    from momus.cli.shared.searching import Where
    from momus.records import Prompt, Task
    from momus.search.rain.dataset import Rain, RainAnswer
    from momus.search.rain.result import Budget


def command(
    files: Positional[tuple[str, ...]] = (),
    prompt: tuple[str, ...] = (),
    model: str | None = None,
    url: str | None = None,
    tokenizer: str | None = None,
    task: Literal["harmless", "adversarial", "truthful", "sentiment", "critique"] = "harmless",
    out: Path | None = None,
    export: Literal["preferences", "demonstrations"] | None = None,
    limit: int | None = None,
    max_tokens: int | None = None,
    threshold: float | None = None,
    iterations: int | None = None,
    cases: int | None = None,
    embeddings: Literal["values", "sentences", "none"] | None = None,
    budget_tokens: int | None = None,
    budget_iterations: int | None = None,
    budget_seconds: float | None = None,
    chat_template: Path | None = None,
    seed: Seed = 0,
    memory: int = 512,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    json: bool = False,
) -> int:
    """Answer prompts by RAIN: the model searches, judges itself, takes back what is bad. Nothing is trained.

    Measure the model as a judge before you rely on it: momus judge calibrate. An answer whose `met` is false did not
    reach the threshold; what to do with it is yours to decide.

    Args:
        files: Prompts, or records that have prompts, in any format that `momus data` reads; for critique, tasks.
        prompt: A prompt; may be given several times.
        model: Directory or name of a causal language model; for critique, the shipped critic by default.
        url: The base URL of an OpenAI-compatible server that runs the model; --model is then its name there.
        tokenizer: With --url: directory or name of the model's tokenizer, if it is not the model's name.
        task: What the model judges itself by, and the settings that go with it.
        out: The run directory, for files; run again with the same options it continues.
        export: Also write the searches as training data into the run directory.
        limit: Answer at most so many prompts.
        max_tokens: Longest answer, in tokens.
        threshold: V: the value from which a token set is taken at once.
        iterations: T: visits after which a token set is taken whatever its value, 15 of them new, or all T if that is
            fewer.
        cases: Worked examples shown to the judge, at most.
        embeddings: How siblings are compared: by the model's attention values, by sentence-transformers, or not at all.
            By default its values; on a server, which does not show them, sentence-transformers if installed, else none.
        budget_tokens: Tokens that one search may forward; on a server, send and have written.
        budget_iterations: Iterations that one search may take.
        budget_seconds: Seconds that one search may take; answers then depend on the machine.
        chat_template: A file with a Jinja chat template, in place of the tokenizer's own.
        seed: Everything random follows from it.
        memory: MiB of keys and values to remember; not with --url.
        device: Where the model runs, such as cuda; not with --url.
        precision: What it computes in; not with --url.
        json: Print JSON, one answer a line.
    """
    from momus.cli.shared.output import say, weights_of
    from momus.cli.shared.rain_report import exported, tell
    from momus.cli.shared.searching import Where, loaded, read_prompts, way_to_compare
    from momus.search.rain.result import Budget
    from momus.search.rain.tasks import RAIN_TASKS

    if bool(files) == bool(prompt):
        raise UserError("give files with prompts, or --prompt, and not both")
    if files and out is None:
        raise UserError("--out is needed with files: the run directory")
    if prompt and (out or export):
        raise UserError("--out and --export are for files: a --prompt is answered here")
    _check(limit=limit, max_tokens=max_tokens, memory=memory)
    _check(budget_tokens=budget_tokens, budget_iterations=budget_iterations)
    if iterations is not None and iterations < 2:
        raise UserError(f"--iterations {iterations}: must be at least 2")
    if budget_seconds is not None and not budget_seconds > 0:
        raise UserError(f"--budget-seconds {budget_seconds:g}: must be above 0")
    chosen = RAIN_TASKS[task].with_settings(max_tokens=max_tokens, threshold=threshold, iterations=iterations)
    chosen = chosen.with_cases(cases)
    prompts = read_prompts(files, prompt, task, limit)
    where = Where(_model(model, url, task), url, tokenizer, device, precision, memory)
    compared = way_to_compare(embeddings, url)
    rain = loaded(where, chosen, chat_template, compared)
    budget = Budget(budget_tokens, budget_iterations, seconds=budget_seconds)
    if out is None:
        return _answer_here(rain, prompts, seed, budget, json)
    settings = {
        "model": weights_of(where.model or "") if url is None else _name(where, rain),
        "task": chosen.stored(),
        "embeddings": compared,
        "budget": asdict(budget),
        "template": rain.chat.template,
        "seed": seed,
        "computed": [device, precision, "fast"],  # as stored when there was another way
    }
    path = _answer_all(rain, prompts, seed, budget, out, settings)
    tell(path, json)
    if export is not None:
        say(exported(path, export, f"RAIN ({task}), self-evaluation of {_name(where, rain)}"))
    return 0


def _answer_here(rain: Rain, prompts: list[Prompt | Task], seed: int, budget: Budget, json: bool) -> int:
    """Answer prompts one after the other, and print what comes out."""
    from momus.cli.shared.rain_report import print_answer, shown

    with shown() as showing:
        for index, own in enumerate(prompts):
            print_answer(rain.answer(index, own, seed, budget, showing(index, len(prompts))), json)
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
    from momus.cli.shared.rain_report import shown
    from momus.search.rain.dataset import run

    with shown() as showing:

        def answer(index: int, own: Prompt | Task) -> RainAnswer:
            return rain.answer(index, own, seed, budget, showing(index, len(prompts)))

        return run(prompts, out, settings, answer, lambda done, total: None)


def _check(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be at least 1")


def _model(model: str | None, url: str | None, task: str) -> str | None:
    """Return the model's name: the shipped critic's where nobody says, and it will do."""
    from momus.lm.tiny import TINY

    if model is None and url is None and task != "critique":
        raise UserError(f"--model is needed: the shipped model reviews code only, and cannot do {task}")
    return str(TINY) if model is None and url is None else model


def _name(where: Where, rain: Rain) -> str:
    """Say which model it is: of one on a server, which nothing more is known of, its name there and where."""
    if where.url is None:
        return str(where.model)
    from momus.lm.remote.engine import RemoteEngine

    engine = rain.writer.engine
    assert isinstance(engine, RemoteEngine)
    return engine.name
