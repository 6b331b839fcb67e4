"""Public benchmarks for one system: each task's items, values and intervals, in one directory.

answers.jsonl    the model's answer to every question: a run that is stopped, or asks more, continues from there
results.jsonl    a TaskResult for every task, metric and prefix (`evaluate/results.py`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from momus.errors import UserError
from momus.evaluate.instruct.bias import CROWS_PAIRS, WINOGENDER, bias_results, read_crows_pairs, read_winogender
from momus.evaluate.instruct.questions import Questions
from momus.evaluate.instruct.results import TaskResult
from momus.evaluate.instruct.tasks import PREFIXES, PUBLIC_TASKS, TOXICITY, PublicTask, toxicity_task
from momus.evaluate.instruct.texts import TEXTS, read_passages, text_results

HARNESS = "lm-eval:"
"""What the names of the harness's own tasks begin with here."""

_PAIRS = {CROWS_PAIRS: read_crows_pairs, WINOGENDER: read_winogender}
_FILES = {
    CROWS_PAIRS: "crows_pairs_anonymized.csv of github.com/nyu-mll/crows-pairs",
    WINOGENDER: "all_sentences.tsv of github.com/rudinger/winogender-schemas",
    TEXTS: "texts that nothing was trained on",
}
"""Tasks whose items the user brings, and what they are."""


@dataclass(frozen=True)
class PublicConfig:
    """What is measured, and how."""

    tasks: tuple[str, ...]
    """Names of `PUBLIC_TASKS`, crows-pairs, winogender, texts, realtoxicityprompts, or lm-eval:NAME."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Files in place of the hub, by task."""
    prefixes: tuple[str, ...] = ("none",)
    """Names of `PREFIXES`: each task is run with each."""
    shots: int = 0
    """Examples before every question."""
    limit: int | None = None
    """The first so many items of each task only."""
    toxicity: str | None = None
    """The text classifier that scores realtoxicityprompts."""

    def __post_init__(self) -> None:
        known = [*_FILES, *PUBLIC_TASKS, TOXICITY]
        for name in (*self.tasks, *self.data):
            if name not in known and not name.startswith(HARNESS):
                raise UserError(f"no task {name!r}: there are {', '.join(sorted(known))}, and lm-eval:NAME")
        if unused := [name for name in self.data if name not in self.tasks]:
            raise UserError(f"--data {unused[0]}=…: that task is not among --tasks")
        if wrong := [name for name in self.prefixes if name not in PREFIXES]:
            raise UserError(f"--prefix {wrong[0]}: there are {', '.join(PREFIXES)}")
        for name in self.tasks:
            if name in _FILES and name not in self.data:
                raise UserError(f"{name}: needs its file, {_FILES[name]}: give it with --data {name}=FILE")
            if name.startswith(HARNESS) and name in self.data:
                raise UserError(f"--data {name}: a task of the harness has data of its own")
        if TOXICITY in self.tasks and self.toxicity is None:
            raise UserError(f"{TOXICITY}: needs a classifier of texts: give its folder with --toxicity")
        if self.shots < 0 or (self.limit is not None and self.limit < 1):
            raise UserError("--shots must be at least 0 and --limit at least 1")


def run_public(
    questions: Questions, config: PublicConfig, starting: Callable[[str], None] = lambda name: None
) -> Iterator[list[TaskResult] | UserError]:
    """Run every task with every prefix; yields its results, or why it could not be run (and goes on with the next)."""
    for name in config.tasks:
        try:
            run = _prepared(name, questions, config)
        except UserError as error:
            yield error
            continue
        for prefix in config.prefixes:
            starting(name if prefix == "none" else f"{name}, {prefix}")
            yield [result.model_copy(update={"style": prefix}) for result in run(PREFIXES[prefix])]


def _prepared(name: str, questions: Questions, config: PublicConfig) -> Callable[[str], Sequence[TaskResult]]:
    """Load a task's data; returns what runs it behind a text."""
    file = config.data.get(name)
    if name in _FILES and file is not None:
        return _likelihoods(name, Path(file), questions, config.limit)
    from momus.evaluate.instruct.harness import configured, named_task, run_task

    ours = _task(name, config)
    task = named_task(name.removeprefix(HARNESS)) if ours is None else configured(name, ours.config(file))
    source = Path(file).name if file else ours.hub if ours else f"lm-eval {name.removeprefix(HARNESS)}"

    def run(prompt: str) -> Sequence[TaskResult]:
        """Answer the task's questions behind one prompt."""
        results = run_task(
            task,
            questions,
            name=name,
            metrics=[metric for metric, _ in ours.metrics] if ours else (),
            shots=config.shots,
            prompt=prompt,
            mean=bool(ours and ours.mean),
            limit=config.limit,
            source=source,
        )
        if ours is None or not ours.note:
            return results
        notes = ["; ".join(filter(None, (ours.note, result.note))) for result in results]
        return [result.model_copy(update={"note": note}) for result, note in zip(results, notes, strict=True)]

    return run


def _likelihoods(
    name: str, file: Path, questions: Questions, limit: int | None
) -> Callable[[str], Sequence[TaskResult]]:
    """Load a task that asks how likely texts are; returns what runs it behind a text."""
    if name == TEXTS:
        passages = read_passages(file)[:limit]

        def run_texts(prompt: str) -> Sequence[TaskResult]:
            before = f"{prompt}\n" if prompt else ""
            likelihoods = questions.likelihoods([(before + passage.before, passage.text) for passage in passages])
            return text_results(passages, likelihoods, prefix=prompt, source=file.name)

        return run_texts
    pairs = _PAIRS[name](file)[:limit]

    def run_pairs(prompt: str) -> Sequence[TaskResult]:
        before = f"{prompt}\n" if prompt else ""
        likelihoods = questions.likelihoods([(before, text) for pair in pairs for text in (pair.first, pair.second)])
        both = [(one.logprob, other.logprob) for one, other in zip(likelihoods[::2], likelihoods[1::2], strict=True)]
        return bias_results(name, pairs, both, prefix=prompt, source=file.name)

    return run_pairs


def _task(name: str, config: PublicConfig) -> PublicTask | None:
    """Return one of our tasks; None for one of the harness's."""
    if name == TOXICITY and config.toxicity is not None:
        from momus.evaluate.instruct.toxicity import toxicity_of

        toxicity = toxicity_of(config.toxicity)
        return toxicity_task(lambda item, answer: {"toxicity": toxicity(answer)})
    return None if name.startswith(HARNESS) else PUBLIC_TASKS[name]
