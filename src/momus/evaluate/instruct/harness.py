"""EleutherAI's lm-evaluation-harness over our engines: any of its tasks, and ours (`tasks.py`).

The harness loads the data, draws the examples, lays out the prompts and computes the metrics; the engine answers. All
text generation is greedy, as in InstructGPT (arXiv 2203.02155, appendix D). Values are kept item by item: an item's
value is the task's own metric of that item alone. A mean over items is then exactly the harness's number where the
metric is a mean; for a metric of the whole corpus (BLEU) it is the mean of single sentences', and the note says so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.evaluator import evaluate

from momus.errors import UserError
from momus.evaluate.instruct.questions import Questions
from momus.evaluate.instruct.results import TaskResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lm_eval.api.instance import Instance

SEED = 1234
"""The harness's own seed for drawing examples: the same examples for every model."""

_MAX_TOKENS = 256
_BETTER: dict[bool | None, Literal["high", "low", ""]] = {True: "high", False: "low", None: ""}


class MomusLM(LM):  # type: ignore[misc]
    """A model of the harness that asks `questions`.

    Args:
        questions: The engine and its answers so far.
        mean: Give the average log-probability per token of a continuation, not the sum: how InstructGPT chooses
            among answers of several tokens (appendix D).
        greedy: Also say whether each continuation is the greedy one, which costs a second pass; tasks that need it
            are found by `needs_greedy`.
    """

    def __init__(self, questions: Questions, *, mean: bool = False, greedy: bool = False) -> None:
        super().__init__()
        self.questions, self.mean, self.greedy = questions, mean, greedy

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Return each continuation's log-probability, and whether it is the greedy one (False where not asked for)."""
        asked = [(str(request.args[0]), str(request.args[1])) for request in requests]
        likelihoods = self.questions.likelihoods(asked)
        greedy = [False] * len(asked)
        if self.greedy:
            for i, ((before, text), likelihood) in enumerate(zip(asked, likelihoods, strict=True)):
                greedy[i] = self.questions.greedy([before], [], likelihood.tokens)[0] == text
        values = [each.logprob / max(1, each.tokens) if self.mean else each.logprob for each in likelihoods]
        return list(zip(values, greedy, strict=True))

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Return each whole text's log-probability."""
        whole = [("", str(request.args[0])) for request in requests]
        return [likelihood.logprob for likelihood in self.questions.likelihoods(whole)]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Return how the model goes on, greedily, up to the first of the texts that end it."""
        settings = [_generation(request) for request in requests]
        answers: dict[int, str] = {}
        for setting in dict.fromkeys(settings):
            chosen = [i for i, other in enumerate(settings) if other == setting]
            written = self.questions.greedy([str(requests[i].args[0]) for i in chosen], setting[0], setting[1])
            answers.update(zip(chosen, written, strict=True))
        return [answers[i] for i in range(len(requests))]


def _generation(request: Instance) -> tuple[tuple[str, ...], int]:
    settings: Mapping[str, Any] = request.args[1]
    if settings.get("do_sample") and settings.get("temperature", 1.0):
        raise UserError(f"{request.task_name}: samples at random: only greedy tasks can be run here")
    until = settings.get("until") or ()
    stops = (until,) if isinstance(until, str) else tuple(until)
    return tuple(stop for stop in stops if stop), int(settings.get("max_gen_toks", _MAX_TOKENS))


def needs_greedy(task: Task) -> bool:
    """Whether a task's metrics use that a continuation is the greedy one."""
    if task.OUTPUT_TYPE == "loglikelihood":
        return True
    return task.OUTPUT_TYPE == "multiple_choice" and "exact_match" in getattr(task, "_metric_fn_list", {})


def run_task(
    task: Task,
    questions: Questions,
    *,
    name: str,
    metrics: Sequence[str] = (),
    shots: int = 0,
    prompt: str = "",
    mean: bool = False,
    limit: int | None = None,
    source: str = "",
) -> list[TaskResult]:
    """Run one task of the harness; returns a result for each metric.

    Args:
        task: The task, its data loaded.
        questions: The engine.
        name: What the task is called in the results.
        metrics: Which of its metrics; all of them by default.
        shots: Examples before every prompt.
        prompt: A text put before everything else, verbatim.
        mean: See `MomusLM`.
        limit: The first so many items only.
        source: Where the items came from.

    Raises:
        UserError: The task cannot be run on this model, or does not have a metric.
    """
    task.set_config(key="num_fewshot", value=shots)
    task.set_fewshot_seed(seed=SEED)
    cut = questions.cut
    lm = MomusLM(questions, mean=mean, greedy=needs_greedy(task))
    with _quiet():
        evaluated = evaluate(
            lm,
            {task.config.task: task},
            limit=limit,
            bootstrap_iters=0,
            log_samples=True,
            system_instruction=prompt or None,
        )
    samples = evaluated["samples"][task.config.task]
    groups = {str(sample["doc_id"]): str(sample["doc"]["group"]) for sample in samples if sample["doc"].get("group")}
    aggregations, better = task.aggregation(), task.higher_is_better()
    results = []
    for metric in metrics or list(aggregations):
        if metric not in aggregations:
            raise UserError(f"{name}: has no metric {metric!r}: there are {', '.join(aggregations)}")
        values = [(str(sample["doc_id"]), sample[metric]) for sample in samples if metric in sample]
        items = {doc: _value(value, aggregations[metric]) for doc, value in values}
        notes = [f"{questions.cut - cut} prompts cut to what the model reads"] if questions.cut > cut else []
        if values and not isinstance(values[0][1], int | float | np.number):
            together = evaluated["results"][task.config.task][f"{metric},none"]
            notes.append(f"the mean of single items' values; of all together it is {together:.4g}")
        results.append(
            TaskResult(
                task=name,
                metric=metric,
                better=_BETTER[better.get(metric)],
                items=items,
                prompt=prompt,
                shots=shots,
                groups=groups,
                source=source,
                note="; ".join(notes),
            )
        )
    return results


def named_task(name: str) -> Task:
    """Return a task of the harness by its name there, its data loaded; the harness takes half a minute to look it up.

    Raises:
        UserError: There is no such task, it is a group, or its data cannot be had.
    """
    from lm_eval.tasks import TaskManager

    with _quiet():
        manager = TaskManager()
        if name not in manager.all_subtasks:
            raise UserError(f"lm-eval:{name}: the harness has no single task of that name: see lm-eval ls tasks")
        task: Task = load_or_explain(name, lambda: manager.load([name])["tasks"][name])
    return task


def configured(name: str, config: Mapping[str, Any]) -> Task:
    """Return the task of the harness that a configuration describes, its data loaded.

    Raises:
        UserError: Its data cannot be had.
    """
    with _quiet():
        return load_or_explain(name, lambda: ConfigurableTask(config={"task": name, **config}))


def load_or_explain(name: str, load: Any) -> Any:
    """Load a task, and say in one line what is wrong where that fails.

    Raises:
        UserError: Its data cannot be had.
    """
    try:
        return load()
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{name}: its data cannot be loaded ({type(error).__name__}: {reason}): connect to the Hugging Face hub, "
            f"or give a file with --data {name}=FILE"
        ) from error


def _value(value: Any, aggregation: Any) -> float:
    return float(value) if isinstance(value, int | float | np.number) else float(aggregation([value]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the harness's log and progress bars off the terminal: ours are enough."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar
    from lm_eval.api import task as harness_tasks

    loggers = [logging.getLogger(name) for name in ("lm_eval", "lm-eval", "datasets", "huggingface_hub", "httpx")]
    levels, bar = [logger.level for logger in loggers], harness_tasks.tqdm
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    disable_progress_bar()
    harness_tasks.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        enable_progress_bar()
        harness_tasks.tqdm = bar
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
