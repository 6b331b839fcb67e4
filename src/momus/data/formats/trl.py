"""The data types of TRL, as text and as conversations (huggingface.co/docs/trl/dataset_formats); KTO is one of them.

| fields | becomes |
|---|---|
| text | Demonstration without a prompt |
| messages | Demonstration |
| prompt | Prompt |
| prompt, completion | Demonstration |
| (prompt,) chosen, rejected | Ranking |
| prompt, completion, label | Judgement `label`, 1 or 0 |
| messages, label | Judgement `label` of the last answer (KTO as LLaMA-Factory writes it) |
| prompt, completions, labels | one Judgement `step` for every step |

Without a prompt it is the longest that both share: of messages, or of text up to a space. Where `score_chosen` and
`score_rejected` are there (UltraFeedback binarized) they are the scores, and equal scores are a tie.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from momus.data.formats.base import (
    BadRecordError,
    Format,
    Row,
    as_text,
    as_truth,
    different,
    get,
    labeler_of,
    list_of,
    number_of,
    optional_text,
    origin_of,
    ranks_of,
)
from momus.data.formats.conversation import (
    common_prompt,
    content_of,
    conversation,
    is_conversation,
    is_message,
    simplest,
    split_answer,
)
from momus.records import Content, Demonstration, Judgement, Message, Prompt, Ranking

# A table with a prompt and one of these is in a format of its own, which must not be taken for prompts alone.
_ANSWERS = {
    *("answer", "answers", "response", "responses", "output", "outputs", "completion", "completions"),
    *("chosen", "rejected", "winner", "label", "rating", "score"),
    *("candidates", "ranks", "rank", "critiques", "ratings", "values", "preference"),
}


_SCORES = (("score_chosen", "score_rejected"), ("chosen_rating", "rejected_rating"))
"""Columns that rate both answers: UltraFeedback binarized, and the preference mixtures of Tulu 3."""


def _has(row: Row, *fields: str) -> bool:
    return all(field in row for field in fields)


def _is_content(value: Any) -> bool:
    return isinstance(value, str) or is_conversation(value)


def _text(row: Row) -> Iterator[Demonstration]:
    yield Demonstration(prompt="", answer=as_text(get(row, "text"), "text"), origin=origin_of(row))


def _messages(row: Row) -> Iterator[Demonstration]:
    prompt, answer = split_answer(conversation(get(row, "messages"), "messages"), "messages")
    yield Demonstration(prompt=prompt, answer=answer, author=optional_text(row, "model"), origin=origin_of(row))


def _prompt(row: Row) -> Iterator[Prompt]:
    yield Prompt(prompt=_not_blank(content_of(row, "prompt"), "prompt"), origin=origin_of(row))


def _completion(row: Row) -> Iterator[Demonstration]:
    answer = _answer(row, "completion")
    yield Demonstration(
        prompt=content_of(row, "prompt"), answer=answer, author=optional_text(row, "model"), origin=origin_of(row)
    )


def _label(row: Row) -> Iterator[Judgement]:
    if "messages" in row:
        messages = conversation(row["messages"], "messages")
        while messages and messages[-1].role != "assistant":
            messages = messages[:-1]
        if len(messages) < 2:
            raise BadRecordError("messages", "no answer of the assistant to judge")
        prompt: Content = messages[:-1]
        answer = simplest(messages[-1:])
    else:
        prompt, answer = content_of(row, "prompt"), _answer(row, "completion")
    values = {"label": float(as_truth(get(row, "label"), "label"))}
    yield Judgement(prompt=prompt, answer=answer, values=values, labeler=labeler_of(row), origin=origin_of(row))


def _steps(row: Row) -> Iterator[Judgement]:
    prompt = as_text(get(row, "prompt"), "prompt")
    steps, labels = list_of(row, "completions"), list_of(row, "labels")
    if len(steps) != len(labels):
        raise BadRecordError("labels", f"{len(labels)} labels for {len(steps)} completions")
    for number, (step, label) in enumerate(zip(steps, labels, strict=True)):
        answer = as_text(step, f"completions[{number}]")
        values = {"step": float(as_truth(label, f"labels[{number}]"))}
        origin = origin_of(row).model_copy(update={"group": prompt})
        yield Judgement(prompt=prompt, answer=answer, values=values, labeler=labeler_of(row), origin=origin)
        prompt = f"{prompt}\n{answer}"


def _preference(row: Row) -> Iterator[Ranking]:
    prompt, candidates = _compared(row)
    scored = next((names for names in _SCORES if all(row.get(name) is not None for name in names)), None)
    scores = (number_of(row, scored[0]), number_of(row, scored[1])) if scored else ()
    ranks = ranks_of(scores) if scores else (1, 2)
    if scored and scores and scores[0] < scores[1]:
        raise BadRecordError(scored[0], f"is below {scored[1]}: swap the answers, or leave the scores out")
    authors = (optional_text(row, "chosen_model"), optional_text(row, "rejected_model"))
    different(candidates, "chosen")
    yield Ranking(
        prompt=prompt,
        candidates=candidates,
        ranks=ranks,
        scores=scores,
        authors=authors if any(authors) else (),
        labeler=labeler_of(row),
        origin=origin_of(row),
    )


def _compared(row: Row) -> tuple[Content, tuple[Content, ...]]:
    """Return the prompt and the two answers of a preference, better first."""
    if not isinstance(get(row, "chosen"), list):
        texts = _answer(row, "chosen"), _answer(row, "rejected")
        if row.get("prompt") is not None:
            return content_of(row, "prompt"), texts
        if "messages" in row:  # as LLaMA-Factory writes it
            return conversation(row["messages"], "messages"), texts
        if isinstance(texts[0], str) and isinstance(row["chosen"], str) and isinstance(texts[1], str):
            return common_text(texts[0], texts[1])
        raise BadRecordError("prompt", "missing: answers that are single messages need one")
    both = [conversation(get(row, field), field) for field in ("chosen", "rejected")]
    prompt = content_of(row, "prompt") if row.get("prompt") is not None else ()
    if all(side[0].role == "assistant" for side in both):
        turns = (Message(role="user", content=prompt),) if isinstance(prompt, str) else prompt
        both = [turns + side for side in both]
    elif isinstance(prompt, tuple) and prompt:
        raise BadRecordError("chosen", "must start with the assistant's answer, for there is a prompt")
    elif isinstance(prompt, str) and all(prompt.strip() != side.content.strip() for side in both[0]):
        raise BadRecordError("prompt", "is none of the messages of chosen: leave the field out")
    return common_prompt(both, "chosen")


def common_text(one: str, other: str) -> tuple[str, tuple[str, str]]:
    """Split two texts at the last space up to which they are the same; the space goes with the answers."""
    shortest = min(len(one), len(other))
    shared = next((i for i in range(shortest) if one[i] != other[i]), shortest - 1)
    while shared > 0 and not (one[shared].isspace() and other[shared].isspace()):
        shared -= 1
    if shared <= 0 or not one[:shared].strip():
        raise BadRecordError("chosen", "shares no beginning with rejected: add a prompt")
    return one[:shared], (one[shared:], other[shared:])


def _answer(row: Row, field: str) -> Content:
    value = get(row, field)
    if is_message(value):
        value = [value]
    if isinstance(value, list):
        return simplest(conversation(value, field))
    return as_text(value, field)


def _not_blank(content: Content, field: str) -> Content:
    if isinstance(content, str) and not content.strip():
        raise BadRecordError(field, "is blank: leave the row out")
    return content


def _strings(row: str) -> Iterator[Prompt]:
    yield Prompt(prompt=_not_blank(as_text(row, "prompt"), "prompt"))


TRL = (
    Format(
        "trl-stepwise",
        "prompt, completions and labels",
        lambda row: _has(row, "prompt", "completions", "labels"),
        _steps,
    ),
    Format(
        "trl-unpaired",
        "prompt, completion and label (KTO)",
        lambda row: _has(row, "prompt", "completion", "label"),
        _label,
    ),
    Format(
        "kto-messages",
        "messages and label (KTO)",
        lambda row: "label" in row and is_conversation(row.get("messages")),
        _label,
    ),
    Format(
        "trl-preference",
        "chosen and rejected",
        lambda row: all(_is_content(row.get(f)) or is_message(row.get(f)) for f in ("chosen", "rejected")),
        _preference,
    ),
    Format(
        "trl-prompt-completion",
        "prompt and completion",
        lambda row: _has(row, "prompt", "completion"),
        _completion,
    ),
    Format("trl-messages", "messages", lambda row: is_conversation(row.get("messages")), _messages),
    Format(
        "trl-prompt",
        "prompt and no answer",
        lambda row: _is_content(row.get("prompt")) and not _ANSWERS & row.keys(),
        _prompt,
    ),
    Format("trl-text", "text and no prompt", lambda row: isinstance(row.get("text"), str), _text),
    Format("prompts", "bare strings", lambda row: True, _strings, str),
)
