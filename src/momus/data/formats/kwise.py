"""Rankings of several answers, and preferences with reasons: Nectar, NeMo-RL, HelpSteer2 and 3. K answers stay K.

| fields | becomes |
|---|---|
| prompt, answers[answer, model, rank] (Nectar) | Ranking of all answers, 1 the best, ties kept |
| context, completions[completion, rank] (NeMo-RL) | Ranking of all completions, 0 the best |
| prompt, response, helpfulness, correctness, coherence, … (HelpSteer2) | Judgement with a value for each attribute |
| prompt, response_1, response_2, preference_strength (HelpSteer2) | Ranking with the reasons |
| context, response1, response2, overall_preference (HelpSteer3) | one Ranking an annotator, reasons and feedback kept |
| context, response1, response2, feedback1, feedback2 (HelpSteer3) | a Demonstration of each critique |
| context, original_response, edited_response (HelpSteer3) | Ranking: the edited answer first |
| context, response, good_edited_response, bad_edited_response (HelpSteer3) | Ranking: the good edit, then the bad one |

Scores go from -3 (the first answer is much better) to 3; 0 is a tie.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from momus.data.formats.anthropic import turns
from momus.data.formats.base import (
    BadRecordError,
    Format,
    Row,
    as_number,
    as_text,
    different,
    get,
    list_of,
    number_of,
    object_at,
    optional_text,
    origin_of,
    ranks_of,
    text_of,
)
from momus.data.formats.conversation import content_of, conversation, is_conversation, simplest
from momus.records import Content, Demonstration, Judgement, Message, Ranking, Record


def _nectar(row: Row) -> Iterator[Ranking]:
    answers = [object_at(answer, f"answers[{number}]") for number, answer in enumerate(list_of(row, "answers"))]
    prompt: Content = text_of(row, "prompt")
    if isinstance(prompt, str) and prompt.lstrip().startswith("Human:"):
        prompt = turns(prompt, "prompt")
        prompt = prompt[:-1] if prompt[-1].role == "assistant" and not prompt[-1].content.strip() else prompt
    candidates = tuple(text_of(answer, "answer", f"answers[{number}]") for number, answer in enumerate(answers))
    if len(candidates) < 2:
        raise BadRecordError("answers", "a ranking needs two answers at least")
    ranks = [as_number(get(answer, "rank", f"answers[{n}]"), f"answers[{n}].rank") for n, answer in enumerate(answers)]
    yield Ranking(
        prompt=prompt,
        candidates=candidates,
        ranks=ranks_of([-rank for rank in ranks]),
        authors=tuple(optional_text(answer, "model") for answer in answers),
        origin=origin_of(row).model_copy(update={"dataset": _source(row.get("source"))}),
    )


def _source(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _nemo(row: Row) -> Iterator[Ranking]:
    completions = [object_at(c, f"completions[{number}]") for number, c in enumerate(list_of(row, "completions"))]
    candidates: list[Content] = []
    for number, completion in enumerate(completions):
        value, at = get(completion, "completion", f"completions[{number}]"), f"completions[{number}].completion"
        candidates.append(simplest(conversation(value, at)) if isinstance(value, list) else as_text(value, at))
    if len(candidates) < 2:
        raise BadRecordError("completions", "a ranking needs two completions at least")
    ranks = [
        as_number(get(completion, "rank", f"completions[{number}]"), f"completions[{number}].rank")
        for number, completion in enumerate(completions)
    ]
    yield Ranking(
        prompt=content_of(row, "context"),
        candidates=tuple(candidates),
        ranks=ranks_of([-rank for rank in ranks]),
        origin=origin_of(row),
    )


def _preference(row: Row) -> Iterator[Ranking]:
    prompt = content_of(row, "context")
    candidates = (text_of(row, "response1"), text_of(row, "response2"))
    different(candidates, "response1")
    overall = number_of(row, "overall_preference")
    annotators = row.get("individual_preference") or [{"score": overall}]
    for number, value in enumerate(annotators):
        at = f"individual_preference[{number}]"
        annotator = object_at(value, at)
        score = as_number(get(annotator, "score", at), f"{at}.score")
        if not -3 <= score <= 3:
            raise BadRecordError(f"{at}.score", f"is {score:g}: must be from -3 to 3")
        critiques = (optional_text(annotator, "feedback1"), optional_text(annotator, "feedback2"))
        yield Ranking(
            prompt=prompt,
            candidates=candidates,
            ranks=ranks_of((-score, score)),
            scores=(-score, score),
            confidence=abs(score),
            labeler=optional_text(annotator, "annotator", "annotator_id"),
            comment=optional_text(annotator, "reasoning"),
            critiques=critiques if any(critiques) else (),
            origin=origin_of(row).model_copy(update={"dataset": optional_text(row, "domain")}),
        )


def _attributes(row: Row) -> Iterator[Judgement]:
    values = {name: number_of(row, name) for name in _ATTRIBUTES}
    yield Judgement(
        prompt=text_of(row, "prompt"), answer=text_of(row, "response"), values=values, origin=origin_of(row)
    )


_ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def _strength(row: Row) -> Iterator[Ranking]:
    score = number_of(row, "preference_strength")
    if not -3 <= score <= 3:
        raise BadRecordError("preference_strength", f"is {score:g}: must be from -3 to 3")
    candidates = (text_of(row, "response_1"), text_of(row, "response_2"))
    different(candidates, "response_1")
    yield Ranking(
        prompt=text_of(row, "prompt"),
        candidates=candidates,
        ranks=ranks_of((-score, score)),
        scores=(-score, score),
        confidence=abs(score),
        comment=optional_text(row, "preference_statement", "preference_elaboration"),
        origin=origin_of(row),
    )


def _feedback(row: Row) -> Iterator[Demonstration]:
    context = content_of(row, "context")
    before = (Message(role="user", content=context),) if isinstance(context, str) else context
    for number in (1, 2):
        answer = Message(role="assistant", content=text_of(row, f"response{number}"))
        ask = Message(role="user", content=CRITIQUE_REQUEST)
        feedback = row.get(f"feedback{number}")
        for text in feedback if isinstance(feedback, list) else [feedback]:
            yield Demonstration(
                prompt=(*before, answer, ask),
                answer=as_text(text, f"feedback{number}"),
                origin=origin_of(row).model_copy(update={"dataset": optional_text(row, "domain")}),
            )


CRITIQUE_REQUEST = "Give feedback on your last answer: what is good about it, and what is not."
"""How a critique of an answer is asked for, where the source has the critique alone."""


def _edit(row: Row) -> Iterator[Ranking]:
    edited, original = text_of(row, "edited_response"), text_of(row, "original_response")
    different((edited, original), "edited_response")
    feedback = row.get("feedback")
    yield Ranking(
        prompt=content_of(row, "context"),
        candidates=(edited, original),
        ranks=(1, 2),
        authors=("edited", "original"),
        comment=optional_text(row, "change_summary"),
        critiques=(
            "",
            "\n\n".join(map(str, feedback)) if isinstance(feedback, list) else optional_text(row, "feedback"),
        ),
        origin=origin_of(row).model_copy(update={"dataset": optional_text(row, "domain")}),
    )


def _edit_quality(row: Row) -> Iterator[Ranking]:
    good, bad = text_of(row, "good_edited_response"), text_of(row, "bad_edited_response")
    different((good, bad), "good_edited_response")
    yield Ranking(
        prompt=content_of(row, "context"),
        candidates=(good, bad),
        ranks=(1, 2),
        authors=("good edit", "bad edit"),
        origin=origin_of(row).model_copy(update={"dataset": optional_text(row, "domain")}),
    )


def _has_ranked(row: Row, field: str, text: str) -> bool:
    value = row.get(field)
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and {text, "rank"} <= value[0].keys()


def _is_helpsteer(row: Row, *fields: str) -> bool:
    context = row.get("context")
    return set(fields) <= row.keys() and (isinstance(context, str) or is_conversation(context))


def _read_helpsteer(row: Row) -> Iterator[Record]:
    if "overall_preference" in row:
        yield from _preference(row)
    elif "good_edited_response" in row:
        yield from _edit_quality(row)
    elif "edited_response" in row:
        yield from _edit(row)
    else:
        yield from _feedback(row)


KWISE = (
    Format("nectar", "prompt, and answers with rank", lambda row: _has_ranked(row, "answers", "answer"), _nectar),
    Format(
        "nemo-rank",
        "context, and completions with rank",
        lambda row: "context" in row and _has_ranked(row, "completions", "completion"),
        _nemo,
    ),
    Format(
        "helpsteer2",
        "prompt, response, helpfulness, correctness and coherence",
        lambda row: {"prompt", "response", *_ATTRIBUTES} <= row.keys(),
        _attributes,
    ),
    Format(
        "helpsteer2-preference",
        "prompt, response_1, response_2 and preference_strength",
        lambda row: {"prompt", "response_1", "response_2", "preference_strength"} <= row.keys(),
        _strength,
    ),
    Format(
        "helpsteer3",
        "context, and response1 and response2 or edited responses",
        lambda row: (
            _is_helpsteer(row, "response1", "response2", "overall_preference")
            or _is_helpsteer(row, "response1", "response2", "feedback1", "feedback2")
            or _is_helpsteer(row, "original_response", "edited_response")
            or _is_helpsteer(row, "good_edited_response", "bad_edited_response")
        ),
        _read_helpsteer,
    ),
)
