"""What a labeler sees of an item, and nothing else: no source, no author, no id, no gold.

A view is JSON: `panels` to read and `fields` to fill in, in words of the labeler's language. Critiques of people and of
models go through the same parsing and formatting, so that nothing but what they say tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from random import Random
from typing import Any

from momus.critique import Comment, lines_of, parse_critique
from momus.label import kinds
from momus.label.feedback.page import feedback_view
from momus.label.texts import Words, prose
from momus.records import Content

View = dict[str, Any]

LETTERS = "ABCDEFGHI"


def arrange(kind: str, payload: Any, random: Random) -> dict[str, Any]:
    """Draw what differs between labelers of the same item: the order of what is judged, and who sees a prefill."""
    things = {"ranking": "candidates", "comparison": "critiques"}.get(kind)
    if things:
        count = len(payload[things])
        return {"order": random.sample(range(count), count)}
    if kind == "critique" and payload.get("prefill"):
        return {"prefilled": random.random() < 0.5}
    return {}


def view(kind: str, payload: Any, arrangement: Mapping[str, Any], words: Words, models: bool = False) -> View:
    """Return what the page shows and asks.

    Args:
        kind: The item's kind.
        payload: What the item holds.
        arrangement: What was drawn for this labeler.
        words: The labeler's language.
        models: Whether a model can be asked (a live answer, whether the critic catches a bug).
    """
    item = kinds.KINDS[kind].item.model_validate(payload)
    shown: View = _VIEWS[kind](item, arrangement, words)
    if not models:
        shown["fields"] = [field for field in shown["fields"] if field["type"] != "probe"]
    return {
        "kind": kind,
        "title": words[f"kind.{kind}"],
        "steps": words.lines(f"steps.{kind}"),
        **shown,
    }


def prefilled_comments(item: kinds.CritiqueItem) -> dict[str, tuple[str, str]]:
    """Return highlight and text of a prefill's comments by the ids that the page gets."""
    return {name: (comment.highlight, comment.text) for name, comment in _prefilled(item).items()}


def _prefilled(item: kinds.CritiqueItem) -> dict[str, Comment]:
    comments = parse_critique(item.prefill, item.task.answer).comments if item.prefill else ()
    return {f"p{i}": comment for i, comment in enumerate(comments) if comment.span is not None}


def _prompt(content: Content, words: Words, label: str = "panel.prompt") -> View:
    if isinstance(content, str):
        return {"type": "prose", "label": words[label], "html": prose(content)}
    turns = [{"role": words.get(f"role.{turn.role}", turn.role), "html": prose(turn.content)} for turn in content]
    return {"type": "turns", "label": words[label], "turns": turns}


def _code(text: str, words: Words, label: str, marked: Sequence[tuple[int, int]] = ()) -> View:
    marks = [{"first": first, "last": last, "name": str(i + 1)} for i, (first, last) in enumerate(marked)]
    return {"type": "code", "label": words[label], "lines": text.split("\n"), "marks": marks}


def _text(name: str, words: Words, *, needed: bool = True, rows: int = 8, initial: str = "") -> View:
    label = words[f"field.{name}"]
    return {"type": "text", "name": name, "label": label, "needed": needed, "rows": rows, "initial": initial}


def _scale(name: str, words: Words) -> View:
    return {
        "name": name,
        "label": words[f"field.{name}"],
        "low": words[f"low.{name}"],
        "high": words[f"high.{name}"],
    }


def _demonstration(item: kinds.DemonstrationItem, arrangement: Mapping[str, Any], words: Words) -> View:
    return {"panels": [_prompt(item.prompt, words)], "fields": [_text("answer", words, rows=16)]}


def _write_prompt(item: kinds.PromptItem, arrangement: Mapping[str, Any], words: Words) -> View:
    panels = [{"type": "prose", "label": words[f"style.{item.style}"], "html": prose(words[f"about.{item.style}"])}]
    if item.about:
        panels.append({"type": "prose", "label": words["panel.about"], "html": prose(item.about)})
    fields = [_text("prompt", words)]
    if item.style == "few-shot":
        fields.append({"type": "pairs", "name": "examples", "label": words["field.examples"]})
    return {"panels": panels, "fields": fields}


def _ranking(item: kinds.RankingItem, arrangement: Mapping[str, Any], words: Words) -> View:
    cards = [_prompt(item.candidates[i], words) for i in arrangement["order"]]
    items = [{"letter": LETTERS[i], **card, "label": ""} for i, card in enumerate(cards)]
    letters = list(LETTERS[: len(items)])
    flags = [{"name": name, "label": words[f"flag.{name}"]} for name in kinds.FLAGS]
    return {
        "panels": [_prompt(item.prompt, words)],
        "fields": [
            {"type": "cards", "name": "cards", "label": words["field.cards"], "items": items, "flags": flags,
             "scale": _scale("overall", words)},
            {"type": "ladder", "name": "ranks", "label": words["field.ranks"], "items": letters},
            {"type": "flag", "name": "all_bad", "label": words["field.all_bad"]},
            _text("rationale", words, needed=False, rows=3),
        ],
    }  # fmt: skip


def _edit(item: kinds.EditItem, arrangement: Mapping[str, Any], words: Words) -> View:
    return {
        "panels": [_prompt(item.prompt, words)],
        "fields": [
            {"type": "code", "name": "answer", "label": words["field.better"], "original": item.answer, "prose": True},
            _text("why", words, needed=False, rows=3),
        ],
    }


def _break(item: kinds.BreakItem, arrangement: Mapping[str, Any], words: Words) -> View:
    about = [{"type": "prose", "label": words["panel.about"], "html": prose(item.about)}] if item.about else []
    fields = [
        _text("prompt", words, rows=5),
        {"type": "probe", "name": "live", "label": words["probe.ask"], "reads": ["prompt"], "fills": "answer"},
        _text("answer", words, rows=5),
        _text("why", words, rows=3),
    ]
    return {"panels": about, "fields": fields}


def _bugs(words: Words, target: str, needed: bool) -> View:
    return {"type": "bugs", "name": "bugs", "label": words["field.bugs"], "target": target, "needed": needed}


def _tamper(item: kinds.TamperItem, arrangement: Mapping[str, Any], words: Words) -> View:
    return {
        "panels": [{"type": "prose", "label": words["panel.question"], "html": prose(item.task.question)}],
        "fields": [
            {"type": "code", "name": "answer", "label": words["field.tampered"], "original": item.task.answer},
            _bugs(words, "answer", True),
            {"type": "probe", "name": "critic", "label": words["probe.critic"], "reads": ["answer", "bugs"]},
        ],
    }


def _answer(text: str, code: bool, words: Words, marked: Sequence[tuple[int, int]] = ()) -> View:
    return {**_code(text, words, "panel.answer", marked), "id": "answer", "prose": not code}


def _found(item: kinds.FoundItem, arrangement: Mapping[str, Any], words: Words) -> View:
    reason = [{"type": "prose", "label": words["panel.reason"], "html": prose(item.reason)}] if item.reason else []
    question = {"type": "prose", "label": words["panel.question"], "html": prose(item.task.question)}
    return {
        "panels": [question, *reason, _answer(item.task.answer, True, words)],
        "fields": [
            _bugs(words, "answer", False),
            {"type": "flag", "name": "nothing", "label": words["field.nothing"]},
        ],
    }


def _critique(item: kinds.CritiqueItem, arrangement: Mapping[str, Any], words: Words) -> View:
    before = _prefilled(item) if arrangement.get("prefilled") else {}
    initial = [
        {"id": name, "highlight": comment.highlight, "text": comment.text,
         "line": lines_of(comment.span, item.task.answer)[0] + 1}
        for name, comment in before.items() if comment.span
    ]  # fmt: skip
    question = {"type": "prose", "label": words["panel.question"], "html": prose(item.task.question)}
    return {
        "panels": [question, _answer(item.task.answer, item.code, words)],
        "fields": [
            {"type": "comments", "name": "comments", "label": words["field.comments"], "target": "answer",
             "initial": initial},
            {"type": "flag", "name": "nothing", "label": words["field.nothing"]},
            _text("closing", words, needed=False, rows=3),
        ],
    }  # fmt: skip


def _comparison(item: kinds.ComparisonItem, arrangement: Mapping[str, Any], words: Words) -> View:
    answer = item.tamper.answer
    marked = [(spans[0] + 1, spans[-1] + 1) for bug in item.tamper.bugs for spans in [lines_of(bug.spans[0], answer)]]
    order = arrangement["order"]
    columns = [{"letter": LETTERS[i], **_comments(item.critiques[j], answer)} for i, j in enumerate(order)]
    described = [{"name": str(i + 1), "text": bug.description} for i, bug in enumerate(item.tamper.bugs)]
    rows = [
        {
            "name": f"cbi.{i}",
            "label": words["field.cbi"].format(i + 1),
            "low": words["low.cbi"],
            "high": words["high.cbi"],
        }
        for i in range(len(described))
    ]
    rows += [_scale(name, words) for name in kinds.ATTRIBUTES]
    question = {"type": "prose", "label": words["panel.question"], "html": prose(item.tamper.task.question)}
    return {
        "panels": [
            question,
            _answer(answer, item.code, words, marked),
            {"type": "bugs", "label": words["panel.bugs"], "items": described, "none": words["panel.no_bugs"]},
            {"type": "critiques", "label": words["panel.critiques"], "target": "answer", "items": columns},
        ],
        "fields": [
            {"type": "matrix", "name": "ratings", "label": words["field.ratings"], "rows": rows,
             "columns": [column["letter"] for column in columns]},
            _text("rationale", words, needed=False, rows=3),
        ],
    }  # fmt: skip


def _comments(text: str, answer: str) -> View:
    """Return a critique for display; lines are None where the quote is not in the answer.

    Ends of lines, spaces before them and blank lines are the same whoever wrote it: models and people differ in them.
    """
    critique = parse_critique(text if "\r" in answer else text.replace("\r\n", "\n").replace("\r", "\n"), answer)
    comments = []
    for comment in critique.comments:
        lines = None if comment.span is None else lines_of(comment.span, answer)
        place = None if lines is None else [lines[0] + 1, lines[-1] + 1]
        comments.append(
            {"highlight": comment.highlight.rstrip(), "text": kinds.one_paragraph(comment.text), "lines": place}
        )
    paragraphs = [kinds.one_paragraph(part) for part in critique.closing.split("\n\n") if part.strip()]
    return {"comments": comments, "closing": "\n\n".join(paragraphs)}


def _review(item: kinds.ReviewItem, arrangement: Mapping[str, Any], words: Words) -> View:
    inner = view(item.kind, item.payload, item.arrangement, words)
    return {
        "panels": [
            *inner["panels"],
            {"type": "given", "label": words["panel.given"], "title": inner["title"], "fields": inner["fields"],
             "content": item.content},
        ],
        "fields": [
            {"type": "choice", "name": "verdict", "label": words["field.verdict"],
             "options": [{"value": value, "label": words[f"verdict.{value}"]}
                         for value in ("approved", "returned", "rejected")]},
            {"type": "scale", "needed": False, **_scale("grade", words)},
            _text("note", words, needed=False, rows=3),
        ],
    }  # fmt: skip


def _survey(item: kinds.SurveyItem, arrangement: Mapping[str, Any], words: Words) -> View:
    text = (
        [{"type": "prose", "label": item.title or words["panel.text"], "html": prose(item.text)}] if item.text else []
    )
    questions = [
        {**question.model_dump(mode="json"), "label": question.text, "needed": not question.optional,
         "options": [{"value": option, "label": option} for option in question.options]}
        for question in item.questions
    ]  # fmt: skip
    return {"panels": text, "fields": [{"type": "questions", "name": "values", "label": "", "questions": questions}]}


_VIEWS: dict[str, Any] = {
    "demonstration": _demonstration,
    "prompt": _write_prompt,
    "ranking": _ranking,
    "edit": _edit,
    "break": _break,
    "tamper": _tamper,
    "found": _found,
    "critique": _critique,
    "comparison": _comparison,
    "review": _review,
    "survey": _survey,
    "feedback": feedback_view,
}


def prefill_use(prefilled: Mapping[str, tuple[str, str]], comments: tuple[kinds.WrittenComment, ...]) -> dict[str, Any]:
    """Compare comments with those they were prefilled with, by id.

    Args:
        prefilled: Highlight and text of each prefilled comment, by its id.
        comments: What the labeler gave back.

    Returns:
        Numbers `kept`, `edited`, `deleted` and `added`; `similarity` of edited texts to what they were (0 to 1, a mean;
        None without any); and `origins`, one of "model", "edited", "human" for each comment given back.
    """
    origins, similarity = [], []
    seen: set[str] = set()
    for comment in comments:
        before = prefilled.get(comment.id) if comment.id not in seen else None
        if before is None:
            origins.append("human")
            continue
        seen.add(comment.id)
        same = before == (comment.highlight.strip("\n"), kinds.one_paragraph(comment.text))
        origins.append("model" if same else "edited")
        if not same:
            similarity.append(SequenceMatcher(None, before[1], comment.text, autojunk=False).ratio())
    return {
        "kept": origins.count("model"),
        "edited": origins.count("edited"),
        "deleted": len(set(prefilled) - seen),
        "added": origins.count("human"),
        "similarity": sum(similarity) / len(similarity) if similarity else None,
        "origins": tuple(origins),
    }
