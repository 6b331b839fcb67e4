"""OpenAI's data: summarize-from-feedback, WebGPT's comparisons, PRM800K, evals, and preferences for fine-tuning.

A comparison of summaries becomes a Ranking with its worker and confidence; ratings along axes become a Judgement, an
axis left unrated is left out. A step of PRM800K with several rated completions becomes a Ranking of them after the
steps before it, one with a single one a Judgement `step`; a step that the labeler wrote counts as rated 1. A sample
of an eval becomes a Demonstration for each ideal answer, or without one a Prompt. WebGPT's two answers and the two of
a row for preference fine-tuning become a Ranking; WebGPT's scores of 0 are a tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
    ranks_of,
    shown,
    text_of,
)
from momus.data.formats.conversation import content_of, conversation, simplest, tools_of, with_tools
from momus.records import Demonstration, Judgement, Origin, Prompt, Ranking, Record

_RATINGS = (-1.0, 0.0, 1.0)
_WEBGPT = {"question", "answer_0", "answer_1", "score_0", "score_1"}


def _post(row: Row) -> str:
    """Lay out what was to be summarised: a post with its subreddit and title, or an article."""
    info = object_at(get(row, "info"), "info")
    if info.get("post") is None:
        return f"Article: {text_of(row, 'info.article')}\n\nTL;DR:"
    title, post = optional_text(info, "title"), text_of(row, "info.post")
    return f"SUBREDDIT: r/{optional_text(info, 'subreddit')}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:"


def _summary_origin(row: Row) -> Origin:
    name = optional_text(object_at(get(row, "info"), "info"), "id")
    return Origin(id=name, group=name, split=optional_text(row, "split"))


def _comparison(row: Row) -> Iterator[Ranking]:
    summaries = [object_at(summary, f"summaries[{i}]") for i, summary in enumerate(list_of(row, "summaries"))]
    if len(summaries) != 2:
        raise BadRecordError("summaries", f"{len(summaries)} summaries: must be two")
    choice = as_number(get(row, "choice"), "choice")
    if choice not in (0, 1):
        raise BadRecordError("choice", f"is {shown(row['choice'])}: must be 0 or 1")
    extra = row.get("extra")
    confidence = extra.get("confidence") if isinstance(extra, Mapping) else None
    yield Ranking(
        prompt=_post(row),
        candidates=tuple(text_of(summary, "text", f"summaries[{i}]") for i, summary in enumerate(summaries)),
        ranks=(1, 2) if choice == 0 else (2, 1),
        labeler=optional_text(row, "worker"),
        authors=tuple(optional_text(summary, "policy") for summary in summaries),
        confidence=None if confidence is None else as_number(confidence, "extra.confidence"),
        origin=_summary_origin(row),
    )


def _axes(row: Row) -> Iterator[Judgement]:
    summary = object_at(get(row, "summary"), "summary")
    axes = object_at(get(summary, "axes", "summary"), "summary.axes")
    values = {axis: as_number(value, f"summary.axes.{axis}") for axis, value in axes.items() if value is not None}
    if not values:
        raise BadRecordError("summary.axes", "no axis is rated: leave the row out")
    yield Judgement(
        prompt=_post(row),
        answer=text_of(row, "summary.text"),
        values=values,
        author=optional_text(summary, "policy"),
        labeler=optional_text(row, "worker"),
        origin=_summary_origin(row),
    )


def _solution(row: Row) -> Iterator[Record]:
    problem = text_of(row, "question.problem")
    labeler, prompt = optional_text(row, "labeler"), problem
    origin = Origin(group=problem)
    for number, item in enumerate(list_of(row, "label.steps")):
        field = f"label.steps[{number}]"
        step = object_at(item, field)
        texts, ratings, rated = [], [], []
        for i, choice in enumerate(list_of(step, "completions", field) if step.get("completions") is not None else ()):
            at = f"{field}.completions[{i}]"
            completion = object_at(choice, at)
            texts.append(text_of(completion, "text", at))
            if completion.get("rating") is not None:
                ratings.append(as_number(completion["rating"], f"{at}.rating"))
                rated.append(texts[-1])
                if ratings[-1] not in _RATINGS:
                    raise BadRecordError(f"{at}.rating", f"is {shown(completion['rating'])}: must be -1, 0 or 1")
        human = _human_step(step.get("human_completion"), f"{field}.human_completion")
        if human is not None:
            rated.append(human)
            ratings.append(1.0)
        if len(rated) > 1:
            yield Ranking(
                prompt=prompt,
                candidates=tuple(rated),
                ranks=ranks_of(ratings),
                scores=tuple(ratings),
                labeler=labeler,
                origin=origin,
            )
        elif rated:
            values = {"step": ratings[0]}
            yield Judgement(prompt=prompt, answer=rated[0], values=values, labeler=labeler, origin=origin)
        taken = human if step.get("chosen_completion") is None else _chosen(step, texts, field)
        if taken is None:
            return  # the labeler stopped here
        prompt = f"{prompt}\n{taken}"


def _human_step(value: object, field: str) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("text")
    return None if value is None else as_text(value, field)


def _chosen(step: Row, texts: list[str], field: str) -> str:
    index = step["chosen_completion"]
    if not isinstance(index, int) or not 0 <= index < len(texts):
        raise BadRecordError(f"{field}.chosen_completion", f"is {shown(index)}: there are {len(texts)} completions")
    return texts[index]


def _eval(row: Row) -> Iterator[Record]:
    prompt, ideal = content_of(row, "input"), row.get("ideal")
    if ideal is None:
        yield Prompt(prompt=prompt)
        return
    for number, answer in enumerate(ideal if isinstance(ideal, list) else [ideal]):
        field = f"ideal[{number}]" if isinstance(ideal, list) else "ideal"
        yield Demonstration(prompt=prompt, answer=as_text(answer, field))


def _webgpt(row: Row) -> Iterator[Ranking]:
    question = object_at(get(row, "question"), "question")
    candidates = (text_of(row, "answer_0"), text_of(row, "answer_1"))
    different(candidates, "answer_0")
    scores = (number_of(row, "score_0"), number_of(row, "score_1"))
    name = optional_text(question, "id")
    yield Ranking(
        prompt=text_of(question, "full_text", "question"),
        candidates=candidates,
        ranks=ranks_of(scores),
        scores=scores,
        origin=Origin(id=name, group=name, dataset=optional_text(question, "dataset")),
    )


def _fine_tuning(row: Row) -> Iterator[Ranking]:
    asked = object_at(get(row, "input"), "input")
    prompt = simplest(conversation(get(asked, "messages", "input"), "input.messages"))
    preferred, other = (
        simplest(conversation(get(row, field), field)) for field in ("preferred_output", "non_preferred_output")
    )
    different((preferred, other), "preferred_output")
    tools = tools_of(asked.get("tools"), "input.tools")
    yield Ranking(prompt=with_tools(prompt, tools), candidates=(preferred, other), ranks=(1, 2))


OPENAI = (
    Format(
        "summarize-from-feedback",
        "info, summaries and choice",
        lambda row: {"info", "summaries", "choice"} <= row.keys(),
        _comparison,
    ),
    Format(
        "summarize-from-feedback-axes",
        "info and summary.axes",
        lambda row: "info" in row and isinstance(row.get("summary"), Mapping) and "axes" in row["summary"],
        _axes,
    ),
    Format(
        "prm800k",
        "question.problem and label.steps",
        lambda row: isinstance(row.get("question"), Mapping) and isinstance(row.get("label"), Mapping),
        _solution,
    ),
    Format("webgpt", "answer_0, answer_1 and score_0", lambda row: row.keys() >= _WEBGPT, _webgpt),
    Format(
        "openai-preference",
        "input, preferred_output and non_preferred_output",
        lambda row: {"input", "preferred_output", "non_preferred_output"} <= row.keys(),
        _fine_tuning,
    ),
    Format("openai-evals", "input and ideal", lambda row: {"input", "ideal"} <= row.keys(), _eval),
)
