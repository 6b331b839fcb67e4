"""Instructions with answers: few-shot prompts by labelers, mixtures of tasks (FLAN, P3 of T0, Aya), problems (MBPP).

A few-shot prompt is an instruction with K pairs of a query and its response; it becomes K Demonstrations, each with the
other K - 1 pairs as context (InstructGPT, arXiv 2203.02155, appendix A.1), one group, so that no split parts them. The
paper gives no layout: here each pair is under the headings `Query:` and `Response:`.

A row of a mixture becomes a Demonstration; its task is the data set. `definition` (Natural Instructions) goes before
the input. Of P3 the text is read, not the tokens, and a row whose `is_correct` is false, a wrong choice, is left out.
A problem with tests is demonstrated by its solution; its number is that of the published splits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from momus.data.formats.base import (
    BadRecordError,
    Format,
    Row,
    as_truth,
    list_of,
    object_at,
    optional_text,
    origin_of,
    text_of,
)
from momus.records import Demonstration

_PAIRS = (("query", "response"), ("input", "output"), ("question", "answer"))
_COLUMNS = (("inputs_pretokenized", "targets_pretokenized"), ("inputs", "targets"), ("source", "target"))


def _few_shot(row: Row) -> Iterator[Demonstration]:
    instruction = text_of(row, "instruction")
    pairs = []
    for number, item in enumerate(list_of(row, "examples")):
        at = f"examples[{number}]"
        pair = object_at(item, at)
        query, response = next((names for names in _PAIRS if names[0] in pair), _PAIRS[0])
        pairs.append((text_of(pair, query, at), text_of(pair, response, at)))
    if not pairs:
        raise BadRecordError("examples", "is empty: give at least one pair, or make the instruction a prompt")
    origin = origin_of(row)
    group = origin.id or instruction
    for number, (query, response) in enumerate(pairs, 1):
        others = (f"Query:\n{q}\n\nResponse:\n{r}" for i, (q, r) in enumerate(pairs, 1) if i != number)
        yield Demonstration(
            prompt="\n\n".join((instruction, *others, f"Query:\n{query}\n\nResponse:\n")),
            answer=response,
            author=optional_text(row, "labeler", "author"),
            origin=origin.model_copy(update={"id": f"{origin.id}#{number}" if origin.id else "", "group": group}),
        )


def _columns(row: Row) -> tuple[str, str] | None:
    """Return the columns of a mixture's input and answer; `source` and `target` count only beside a task's name."""
    for names in _COLUMNS:
        known = names[0] != "source" or "task_name" in row
        if known and all(isinstance(row.get(name), str) for name in names):
            return names
    return None


def _mixture(row: Row) -> Iterator[Demonstration]:
    if row.get("is_correct") is not None and not as_truth(row["is_correct"], "is_correct"):
        return
    asked, answered = _columns(row) or _COLUMNS[1]
    prompt = text_of(row, asked)
    if optional_text(row, "definition"):
        prompt = f"{optional_text(row, 'definition')}\n\n{prompt}"
    dataset = optional_text(row, "task_name", "_task_name", "task", "dataset_name", "task_source", "_task_source")
    origin = origin_of(row).model_copy(update={"dataset": dataset})
    yield Demonstration(prompt=prompt, answer=text_of(row, answered), origin=origin)


def _problem(row: Row) -> Iterator[Demonstration]:
    problem, solution = (text_of(row, name).replace("\r\n", "\n") for name in ("text", "code"))
    origin = origin_of(row).model_copy(update={"id": optional_text(row, "task_id")})
    yield Demonstration(prompt=problem, answer=solution, origin=origin)


INSTRUCTIONS = (
    Format(
        "few-shot",
        "instruction and examples",
        lambda row: (
            isinstance(row.get("instruction"), str)
            and isinstance(row.get("examples"), list)
            and all(isinstance(example, Mapping) for example in row["examples"])
        ),
        _few_shot,
    ),
    Format("mixture", "inputs and targets", lambda row: _columns(row) is not None, _mixture),
    Format("mbpp", "text, code and test_list", lambda row: {"text", "code", "test_list"} <= row.keys(), _problem),
)
