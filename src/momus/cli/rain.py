"""`momus rain`: answers that a frozen model searches for, judging itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from momus.errors import UserError

if TYPE_CHECKING:
    from momus.lm.local import LocalEngine
    from momus.records import Prompt, Task
    from momus.search.rain_models import Encoder, Writer
    from momus.search.rain_runs import Rain, RainAnswer
    from momus.search.rain_tasks import RainTask


def command(
    files: Positional[tuple[str, ...]] = (),
    prompt: tuple[str, ...] = (),
    model: str | None = None,
    task: Literal["harmless", "adversarial", "truthful", "sentiment", "critique"] = "harmless",
    out: Path | None = None,
    export: Literal["preferences", "demonstrations"] | None = None,
    limit: int | None = None,
    max_tokens: int | None = None,
    threshold: float | None = None,
    iterations: int | None = None,
    cases: int | None = None,
    embeddings: Literal["values", "sentences", "none"] = "values",
    budget_tokens: int | None = None,
    budget_iterations: int | None = None,
    budget_seconds: float | None = None,
    chat_template: Path | None = None,
    seed: int = 0,
    memory: int = 512,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    reference: bool = False,
    json: bool = False,
) -> int:
    """Answer prompts by RAIN: the model searches, judges itself, takes back what is bad. Nothing is trained.

    Measure the model as a judge before you rely on it: momus judge calibrate. An answer whose `met` is false did not
    reach the threshold; what to do with it is yours to decide.

    Args:
        files: Prompts, or records that have prompts, in any format that `momus data` reads; for critique, tasks.
        prompt: A prompt; may be given several times.
        model: Directory or name of a causal language model; for critique, the shipped critic by default.
        task: What the model judges itself by, and the settings that go with it.
        out: The run directory, for files; run again with the same options it continues.
        export: Also write the searches as training data into the run directory.
        limit: Answer at most so many prompts.
        max_tokens: Longest answer, in tokens.
        threshold: V: the value from which a token set is taken at once.
        iterations: T: visits after which a token set is taken whatever its value.
        cases: Worked examples shown to the judge, at most.
        embeddings: How siblings are compared: by the model's attention values, by sentence-transformers, or not at all.
        budget_tokens: Tokens that one search may forward.
        budget_iterations: Iterations that one search may take.
        budget_seconds: Seconds that one search may take; answers then depend on the machine.
        chat_template: A file with a Jinja chat template, in place of the tokenizer's own.
        seed: Everything random follows from it.
        memory: MiB of keys and values to remember.
        device: Where the model runs, such as cuda.
        precision: What it computes in.
        reference: Do everything plainly: nothing remembered, one thing at a time. The same answers, far slower.
        json: Print JSON, one answer a line.
    """
    from momus.cli._telling import say, weights_of
    from momus.search.rain_result import Budget
    from momus.search.rain_runs import run, with_settings
    from momus.search.rain_tasks import TASKS

    if bool(files) == bool(prompt):
        raise UserError("give files with prompts, or --prompt, and not both")
    if files and out is None:
        raise UserError("--out is needed with files: the run directory")
    if prompt and (out or export):
        raise UserError("--out and --export are for files: a --prompt is answered here")
    _check(limit=limit, max_tokens=max_tokens, iterations=iterations, memory=memory)
    _check(budget_tokens=budget_tokens, budget_iterations=budget_iterations)
    chosen = with_settings(TASKS[task], max_tokens=max_tokens, threshold=threshold, iterations=iterations)
    chosen = chosen.with_cases(cases)
    prompts = read_prompts(files, prompt, task, limit)
    name = _model(model, task)
    rain = loaded(name, chosen, chat_template, embeddings, memory, device, precision, reference)
    budget = Budget(budget_tokens, budget_iterations, budget_seconds)

    with _shown() as showing:

        def answer(index: int, own: Prompt | Task) -> RainAnswer:
            return rain.answer(index, own, seed, budget, showing(index, len(prompts)))

        if out is None:
            for index, own in enumerate(prompts):
                _print(answer(index, own), json)
            return 0
        settings = {
            "model": weights_of(name),
            "task": asdict(chosen),
            "embeddings": embeddings,
            "budget": asdict(budget),
            "template": rain.chat.template,
            "seed": seed,
            "computed": [device, precision, "reference" if reference else "fast"],
        }
        path = run(prompts, out, settings, answer, lambda done, total: None)
    _tell(path, json)
    if export:
        say(_exported(path, export, f"RAIN ({task}), self-evaluation of {name}"))
    return 0


def _check(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be at least 1")


def _model(model: str | None, task: str) -> str:
    from momus.lm.tiny import TINY

    if model is None and task != "critique":
        raise UserError(f"--model is needed: the shipped model reviews code only, and cannot do {task}")
    return model or str(TINY)


def loaded(
    model: str,
    task: RainTask,
    chat_template: Path | None = None,
    embeddings: str = "values",
    memory: int = 512,
    device: str = "cpu",
    precision: str = "fp32",
    reference: bool = False,
) -> Rain:
    """Load the model, and put it together with the task."""
    from momus.search.rain_models import Sentences, Values
    from momus.search.rain_runs import Rain

    def encoder(writer: Writer) -> Encoder | None:
        if embeddings == "none":
            return None
        return Values(writer) if embeddings == "values" else Sentences(writer.engine)

    engine = engine_of(model, 0 if reference else memory, device, precision)
    return Rain.of(engine, task, template=read_template(chat_template), encoder=encoder, reference=reference)


def engine_of(model: str, memory: int = 512, device: str = "cpu", precision: str = "fp32") -> LocalEngine:
    """Load a model to be run in this process; `memory` is in MiB."""
    import torch

    from momus.lm.codec import read_tokenizer
    from momus.lm.local import LocalEngine
    from momus.lm.models import load_causal_lm

    loaded = load_causal_lm(model, torch.bfloat16 if precision == "bf16" else torch.float32)
    try:
        loaded = loaded.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device}: {' '.join(str(error).split())[:120]}") from error
    return LocalEngine(loaded, read_tokenizer(model), memory=memory << 20)  # nothing is padded or trained here


def read_template(path: Path | None) -> str | None:
    """Read a chat template; a missing file is told by its name."""
    return None if path is None else path.read_text(encoding="utf-8")


def read_prompts(files: Sequence[str], given: Sequence[str], task: str, limit: int | None) -> list[Prompt | Task]:
    """Read what is to be answered; for critique, answers to review."""
    from itertools import chain, islice

    from momus.records import Prompt, Task

    read: Callable[[str], Iterator[Prompt | Task]] = _tasks if task == "critique" else _prompts
    found: list[Prompt | Task] = [
        Task(id="", question="", answer=text) if task == "critique" else Prompt(prompt=text) for text in given
    ]
    found += islice(chain.from_iterable(map(read, files)), limit)
    if not found:
        raise UserError(f"there are no prompts in {', '.join(files)}")
    return found


def _tasks(file: str) -> Iterator[Task]:
    from momus.records import Tamper
    from momus.search.dataset import read_records

    for own in read_records(Path(file), Path(file).read_bytes()):
        yield own.task.model_copy(update={"answer": own.answer}) if isinstance(own, Tamper) else own


def _prompts(file: str) -> Iterator[Prompt]:
    from momus.data.convert import read, recognise
    from momus.data.sources import Problem
    from momus.records import Demonstration, Judgement, Prompt, Ranking

    for own in read(*recognise(file)):
        if isinstance(own, Problem):
            raise UserError(f"{own}: mend it, or convert the file with momus data convert --skip-bad")
        if isinstance(own, Prompt):
            yield own
        elif isinstance(own, Demonstration | Judgement | Ranking):
            yield Prompt(prompt=own.prompt, origin=own.origin)


@contextmanager
def _shown() -> Iterator[Callable[[int, int], Callable[[str, int], None]]]:
    """Show the answer as it grows, and is taken back, where somebody is looking."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(console=console, transient=True, auto_refresh=False) as live:

        def showing(index: int, total: int) -> Callable[[str, int], None]:
            def show(text: str, iterations: int) -> None:
                if console.is_terminal:
                    head = f"{index + 1}/{total}, {iterations} iterations: "
                    printable = "".join(c if c.isprintable() or c == "\n" else "·" for c in text)
                    live.update(Text(head, style="dim") + Text(printable[-2000:], style="default"), refresh=True)

            return show

        yield showing


def _print(answer: RainAnswer, as_json: bool) -> None:
    from momus.cli._telling import say

    if as_json:
        print(answer.model_dump_json())
        return
    print(answer.skipped or answer.answer)
    if not answer.skipped:
        say(_summary(answer))


def _summary(answer: RainAnswer) -> str:
    """Say in one line how an answer was found, and what is to be known about it."""
    judged = answer.judged or 1
    parts = [
        f"{len(answer.sets)} token sets, {answer.iterations} iterations, {answer.forwarded} tokens forwarded",
        "threshold met" if answer.met else "threshold not met",
        {"end": "ended by itself", "length": "cut at --max-tokens"}.get(answer.stopped, f"out of {answer.stopped}"),
        f"orders contradicted each other in {answer.disagreed / judged:.0%} of {answer.judged} judgements",
    ]
    parts += [f"the judge abstained in {answer.abstained / judged:.0%}"] if answer.abstained else []
    return "; ".join([*parts, f"siblings compared by {answer.embedding}"])


def _tell(path: Path, as_json: bool) -> None:
    """Say what a run came to."""
    from momus.cli._telling import say
    from momus.records import read_jsonl
    from momus.search.rain_runs import RainAnswer

    answers = list(read_jsonl(path, RainAnswer))
    if as_json:
        print(path.read_text(encoding="utf-8"), end="")
    done = [own for own in answers if not own.skipped]
    judged = sum(own.judged for own in done) or 1
    if skipped := [own for own in answers if own.skipped]:
        say(f"{len(skipped)} prompts have no answer; the first, number {skipped[0].index}: {skipped[0].skipped}")
    say(
        f"{len(done)} answers, {sum(own.met for own in done)} of them met the threshold; "
        f"{sum(own.iterations for own in done)} iterations, {sum(own.forwarded for own in done)} tokens forwarded; "
        f"orders contradicted each other in {sum(own.disagreed for own in done) / judged:.0%} of the judgements, the "
        f"judge abstained in {sum(own.abstained for own in done) / judged:.0%}"
    )
    say(f"The answers are {path}")


def _exported(path: Path, kind: str, by: str) -> str:
    from momus.records import Record, read_jsonl, write_jsonl
    from momus.search.rain_runs import RainAnswer, demonstrations, preferences

    answers = list(read_jsonl(path, RainAnswer))
    made: list[Record] = list(preferences(answers, by) if kind == "preferences" else demonstrations(answers, by))
    if not made:
        why = "no sibling was worse" if kind == "preferences" else "no answer met the threshold"
        return f"There are no {kind}: {why}"
    target = path.with_name(f"{kind}.jsonl")
    write_jsonl(target, made)
    return f"{len(made)} {kind} are {target}"
