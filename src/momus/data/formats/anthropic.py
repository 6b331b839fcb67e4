r"""hh-rlhf: transcripts of `\n\nHuman: …\n\nAssistant: …` (github.com/anthropics/hh-rlhf).

A pair becomes a Ranking under the longest run of turns that both share; in a few real rows that is not all but the
last turn, and then the answers are several turns. An empty answer is kept. A red-team row becomes a Judgement
`rating`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from momus.data.formats.base import BadRecordError, Format, Row, different, number_of, optional_text, text_of
from momus.data.formats.conversation import common_prompt, split_answer
from momus.records import Judgement, Message, Origin, Ranking

_TURN = re.compile(r"\n\n(Human|Assistant):")


def turns(transcript: str, field: str) -> tuple[Message, ...]:
    """Read a transcript; the spaces around a turn belong to the layout."""
    before, *parts = _TURN.split(transcript)
    if before.strip() or not parts:
        raise BadRecordError(field, r"must start with '\n\nHuman:'")
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message(role="user" if who == "Human" else "assistant", content=text.strip()) for who, text in pairs)


def _is_transcript(value: Any) -> bool:
    return isinstance(value, str) and bool(_TURN.match(value))


def _pair(row: Row) -> Iterator[Ranking]:
    both = [turns(text_of(row, field), field) for field in ("chosen", "rejected")]
    prompt, candidates = common_prompt(both, "chosen")
    different(candidates, "chosen")
    yield Ranking(prompt=prompt, candidates=candidates, ranks=(1, 2))


def _red_team(row: Row) -> Iterator[Judgement]:
    prompt, answer = split_answer(turns(text_of(row, "transcript"), "transcript"), "transcript")
    yield Judgement(
        prompt=prompt,
        answer=answer,
        values={"rating": number_of(row, "rating")},
        author=optional_text(row, "model_type"),
        labeler=optional_text(row, "red_team_member_id"),
        origin=Origin(user=optional_text(row, "red_team_member_id")),
    )


ANTHROPIC = (
    Format(
        "hh-rlhf",
        "chosen and rejected, transcripts",
        lambda row: _is_transcript(row.get("chosen")) and _is_transcript(row.get("rejected")),
        _pair,
    ),
    Format(
        "hh-rlhf-red-team",
        "transcript and rating",
        lambda row: _is_transcript(row.get("transcript")) and "rating" in row,
        _red_team,
    ),
)
