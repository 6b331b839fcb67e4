"""Alpaca and ShareGPT, with the columns LLaMA-Factory adds: system, history, chosen and rejected, label or kto_tag.

A row with chosen and rejected becomes a Ranking, one with a label a Judgement `label`, any other a Demonstration. An
Alpaca input follows its instruction after a blank line. ShareGPT turns after the last answer are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from momus.data.formats.base import (
    BadRecordError,
    Format,
    Row,
    as_text,
    as_truth,
    different,
    get,
    instruction_of,
    labeler_of,
    list_of,
    optional_text,
    origin_of,
    text_of,
)
from momus.data.formats.conversation import conversation, is_conversation, is_message, message, simplest, split_answer
from momus.records import Content, Demonstration, Judgement, Message, Ranking, Record

_LABELS = ("label", "kto_tag")


def _label(row: Row) -> float | None:
    for field in _LABELS:
        if row.get(field) is not None:
            return float(as_truth(row[field], field))
    return None


def _alpaca(row: Row) -> Iterator[Record]:
    question, turns = instruction_of(row), _before(row)
    prompt: Content = (*turns, Message(role="user", content=question)) if turns else question
    for record in _answered(row, prompt, "output"):
        if isinstance(record, Demonstration) and isinstance(prompt, tuple):
            answer = Message(role="assistant", content=text_of(row, "output"))
            first, rest = split_answer((*prompt, answer), "history")  # answers in the history are learned as well
            yield record.model_copy(update={"prompt": first, "answer": rest})
        else:
            yield record


def _before(row: Row) -> tuple[Message, ...]:
    turns = []
    if optional_text(row, "system"):
        turns.append(Message(role="system", content=optional_text(row, "system")))
    for number, pair in enumerate(list_of(row, "history") if row.get("history") is not None else ()):
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadRecordError(f"history[{number}]", "must be a question and an answer")
        turns.append(Message(role="user", content=as_text(pair[0], f"history[{number}][0]")))
        turns.append(Message(role="assistant", content=as_text(pair[1], f"history[{number}][1]")))
    return tuple(turns)


def _answered(row: Row, prompt: Content, field: str) -> Iterator[Record]:
    label = _label(row)
    if row.get("chosen") is not None:
        answers = tuple(_single(row, side) for side in ("chosen", "rejected"))
        different(answers, "chosen")
        yield Ranking(prompt=prompt, candidates=answers, ranks=(1, 2), labeler=labeler_of(row), origin=origin_of(row))
    elif label is not None:
        yield Judgement(
            prompt=prompt,
            answer=text_of(row, field),
            values={"label": label},
            labeler=labeler_of(row),
            origin=origin_of(row),
        )
    else:
        author = optional_text(row, "generator", "model")
        yield Demonstration(prompt=prompt, answer=text_of(row, field), author=author, origin=origin_of(row))


def _single(row: Row, field: str) -> str:
    value = get(row, field)
    return message(value, field).content if is_message(value) else as_text(value, field)


def _sharegpt(row: Row) -> Iterator[Record]:
    messages = conversation(get(row, "conversations"), "conversations")
    if optional_text(row, "system") and messages[0].role != "system":
        messages = (Message(role="system", content=optional_text(row, "system")), *messages)
    label = _label(row)
    if row.get("chosen") is not None:
        yield from _answered(row, messages, "chosen")
    elif label is not None:
        if messages[-1].role != "assistant" or len(messages) < 2:
            raise BadRecordError("conversations", "must end with the answer that the label is about")
        yield Judgement(
            prompt=messages[:-1],
            answer=simplest(messages[-1:]),
            values={"label": label},
            labeler=labeler_of(row),
            origin=origin_of(row),
        )
    else:
        prompt, answer = split_answer(messages, "conversations")
        yield Demonstration(prompt=prompt, answer=answer, author=optional_text(row, "model"), origin=origin_of(row))


CHAT = (
    Format("sharegpt", "conversations", lambda row: is_conversation(row.get("conversations")), _sharegpt),
    Format(
        "alpaca",
        "instruction, and output or chosen",
        lambda row: isinstance(row.get("instruction"), str) and ("output" in row or "chosen" in row),
        _alpaca,
    ),
)
