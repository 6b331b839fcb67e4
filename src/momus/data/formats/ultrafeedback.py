"""UltraFeedback (github.com/OpenBMB/UltraFeedback): some four answers to an instruction, rated by GPT-4.

All answers stay together in one Ranking. Its scores are the means of an answer's ratings of its four aspects, not
`overall_score`: the first release gave 2,628 bad answers an overall 10. Ratings are text and may be "N/A"; an answer
with none is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from momus.data.formats.base import (
    BadRecordError,
    Format,
    Row,
    as_number,
    get,
    list_of,
    object_at,
    optional_text,
    ranks_of,
    text_of,
)
from momus.records import Origin, Ranking


def _read(row: Row) -> Iterator[Ranking]:
    instruction = text_of(row, "instruction")
    texts, scores, models = [], [], []
    for number, item in enumerate(list_of(row, "completions")):
        field = f"completions[{number}]"
        completion = object_at(item, field)
        ratings = _ratings(
            object_at(get(completion, "annotations", field), f"{field}.annotations"), f"{field}.annotations"
        )
        if ratings:
            texts.append(text_of(completion, "response", field))
            scores.append(sum(ratings) / len(ratings))
            models.append(optional_text(completion, "model"))
    if len(texts) < 2:
        raise BadRecordError("completions", f"{len(texts)} rated: at least two are needed, leave the row out")
    yield Ranking(
        prompt=instruction,
        candidates=tuple(texts),
        ranks=ranks_of(scores),
        scores=tuple(scores),
        authors=tuple(models),
        labeler="gpt-4",
        origin=Origin(dataset=optional_text(row, "source")),
    )


def _ratings(annotations: Row, field: str) -> list[float]:
    ratings = []
    for aspect, given in annotations.items():
        # Parquet fills aspects that a row does not have with null.
        rating = given.get("Rating") if isinstance(given, Mapping) else None
        if rating is not None and rating != "N/A":
            ratings.append(as_number(rating, f"{field}.{aspect}.Rating"))
    return ratings


ULTRAFEEDBACK = (
    Format(
        "ultrafeedback",
        "instruction and completions[].annotations",
        lambda row: (
            "instruction" in row
            and isinstance(row.get("completions"), list)
            and any(
                isinstance(completion, Mapping) and "annotations" in completion for completion in row["completions"]
            )
        ),
        _read,
    ),
)
