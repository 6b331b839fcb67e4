"""Models in public: LMSYS (MT-bench, Arena, the 55k of Kaggle, chat logs), WildChat and AlpacaEval. Ties are kept.

A pair becomes a Ranking of what the two conversations do not share. MT-bench judges turn 1 or 2 of a conversation of
two: what comes after it is cut off. "tie (bothbad)", in later files "both_bad", is a tie with that comment. A chat log
becomes a Demonstration by its model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from momus.data.formats.base import (
    BadRecordError,
    Format,
    Row,
    as_number,
    as_text,
    as_truth,
    get,
    instruction_of,
    number_of,
    optional_text,
    ranks_of,
    shown,
    text_of,
)
from momus.data.formats.conversation import common_prompt, conversation, is_conversation, split_answer
from momus.files import parse_json
from momus.records import Demonstration, Message, Origin, Ranking


def _lmsys(row: Row) -> Iterator[Ranking]:
    winner = text_of(row, "winner")
    tied = winner.startswith("tie") or winner == "both_bad"
    if not tied and winner not in ("model_a", "model_b"):
        raise BadRecordError("winner", f"is {shown(winner)}: must be model_a, model_b, both_bad or a tie")
    both = [conversation(get(row, field), field) for field in ("conversation_a", "conversation_b")]
    if row.get("turn") is not None:
        both = [_through(side, as_number(row["turn"], "turn")) for side in both]
    prompt, candidates = common_prompt(both, "conversation_a")
    question = optional_text(row, "question_id", "id")
    yield Ranking(
        prompt=prompt,
        candidates=candidates,
        ranks=(1, 1) if tied else (1, 2) if winner == "model_a" else (2, 1),
        labeler=optional_text(row, "judge"),
        authors=(optional_text(row, "model_a"), optional_text(row, "model_b")),
        comment=winner if tied and winner != "tie" else "",
        origin=Origin(
            id=question,
            group=optional_text(row, "evaluation_session_id") or question,
            language=optional_text(row, "language"),
        ),
    )


def _through(messages: tuple[Message, ...], turn: float) -> tuple[Message, ...]:
    """Return a conversation up to the assistant's turn of that number, counted from 1."""
    ends = [number for number, message in enumerate(messages, 1) if message.role == "assistant"]
    if not 1 <= turn <= len(ends) or turn != int(turn):
        raise BadRecordError("turn", f"is {shown(turn)}: the assistant has {len(ends)} turns")
    return messages[: ends[int(turn) - 1]]


def _kaggle(row: Row) -> Iterator[Ranking]:
    fields = ("winner_model_a", "winner_model_b", "winner_tie")
    flags = [as_truth(get(row, field), field) for field in fields]
    if sum(flags) != 1:
        raise BadRecordError("winner_model_a", "exactly one of the three winners must be 1")
    asked = _turns(row, "prompt")
    both = []
    for field in ("response_a", "response_b"):
        answers = _turns(row, field)
        if len(answers) != len(asked):
            raise BadRecordError(field, f"{len(answers)} answers to {len(asked)} prompts")
        turns: list[Message] = []
        for question, answer in zip(asked, answers, strict=True):
            turns += [Message(role="user", content=question), Message(role="assistant", content=answer)]
        both.append(turns)
    prompt, candidates = common_prompt(both, "prompt")
    yield Ranking(
        prompt=prompt,
        candidates=candidates,
        ranks=(1, 1) if flags[2] else (1, 2) if flags[0] else (2, 1),
        authors=(optional_text(row, "model_a"), optional_text(row, "model_b")),
        origin=Origin(id=optional_text(row, "id")),
    )


def _turns(row: Row, field: str) -> Sequence[str]:
    """Read a cell that is JSON: a list of turns, null where a model said nothing."""
    value = get(row, field)
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except (ValueError, RecursionError) as error:
            raise BadRecordError(field, "is not a list of turns written as JSON") from error
    if not isinstance(value, list) or not value:
        raise BadRecordError(field, "must be a list of turns")
    return ["" if turn is None else as_text(turn, f"{field}[{number}]") for number, turn in enumerate(value)]


def _log(row: Row) -> Iterator[Demonstration]:
    prompt, answer = split_answer(conversation(get(row, "conversation"), "conversation"), "conversation")
    origin = Origin(
        id=optional_text(row, "conversation_id", "conversation_hash"),
        user=optional_text(row, "hashed_ip"),
        language=optional_text(row, "language"),
    )
    yield Demonstration(prompt=prompt, answer=answer, author=optional_text(row, "model"), origin=origin)


def _alpaca_eval(row: Row) -> Iterator[Ranking]:
    if row.get("preference") is None:
        raise BadRecordError("preference", "is null: there is no judgement, leave the row out")
    preference = number_of(row, "preference")
    preference = preference or 1.5  # both are a draw
    if not 1 <= preference <= 2:
        raise BadRecordError("preference", f"is {shown(preference)}: must be from 1 to 2, or 0 for a draw")
    scores = (2 - preference, preference - 1)
    yield Ranking(
        prompt=instruction_of(row),
        candidates=(text_of(row, "output_1"), text_of(row, "output_2")),
        ranks=ranks_of(scores),
        scores=scores,
        labeler=optional_text(row, "annotator", "annotator_index"),
        authors=(optional_text(row, "generator_1"), optional_text(row, "generator_2")),
        origin=Origin(dataset=optional_text(row, "dataset")),
    )


ARENA = (
    Format(
        "lmsys",
        "winner, conversation_a and conversation_b",
        lambda row: {"winner", "conversation_a", "conversation_b"} <= row.keys(),
        _lmsys,
    ),
    Format(
        "lmsys-kaggle",
        "response_a, response_b and winner_tie",
        lambda row: {"prompt", "response_a", "response_b", "winner_tie"} <= row.keys(),
        _kaggle,
    ),
    Format(
        "chat-log",
        "conversation and model",
        lambda row: "model" in row and is_conversation(row.get("conversation")),
        _log,
    ),
    Format(
        "alpaca-eval",
        "instruction, output_1, output_2 and preference",
        lambda row: {"instruction", "output_1", "output_2", "preference"} <= row.keys(),
        _alpaca_eval,
    ),
)
