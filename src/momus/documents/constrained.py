"""What a model of this process may write as feedback: the JSON of a rubric, its quotes sentences of the document.

The model writes every section with as many points as the rubric allows, each in its own words, and chooses a sentence
that it was shown, or none where the rubric does not ask for one. No sentence is quoted twice while others are left. So
every answer can be read, and no quote is struck. Where Korean is asked for every text begins with a letter of it: small
models that are asked in English go on in English.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Literal, NamedTuple

from momus.documents.budget import sentences
from momus.documents.document import READ, Document, Language
from momus.documents.rubrics import Rubric, RubricSection
from momus.lm.constraint import Vocabulary
from momus.lm.json_form import FormState, JsonForm
from momus.match.extract import find_support

_MORE_DETAILS = 2
"""Details that a point may have more than it must."""
_LONGEST_QUOTE = 600
"""Characters of a sentence that may be quoted: what is longer is no sentence."""


_HANGUL = frozenset(letter.encode()[0] for letter in "가뀀쀀힣")
"""The bytes with which syllables of Korean begin."""


class FeedbackPlace(NamedTuple):
    """Where in the feedback we are: in which section, its point and the point's detail, from 1, and what was quoted.

    In "scores" `section` numbers the score that comes.
    """

    part: Literal["section", "point", "detail", "quote", "quoted", "scores"]
    section: int = 0
    point: int = 0
    detail: int = 0
    used: frozenset[int] = frozenset()


class JsonFeedback(JsonForm):
    """A constraint (`momus.lm.constraint.Constraint`): feedback by a rubric.

    Args:
        passages: What may be quoted; see `quotable_passages`.
        rubric: The rubric.
        language: What it is written in.
        vocabulary: The bytes behind the tokens.
        ends: The tokens that end an answer of the model.
    """

    def __init__(
        self,
        passages: tuple[str, ...],
        rubric: Rubric,
        language: Language,
        vocabulary: Vocabulary,
        ends: frozenset[int],
    ) -> None:
        super().__init__(vocabulary, ends)
        if language == "ko":
            self.opening = _HANGUL
        self._rubric = rubric
        self._passages = [json.dumps(passage, ensure_ascii=False).encode() for passage in passages]

    def beginning(self) -> Hashable:
        """Return the place before the first section."""
        return FeedbackPlace("section")

    def options(self, place: Hashable) -> Mapping[bytes, FormState]:
        """Return what may stand at a place."""
        assert isinstance(place, FeedbackPlace)
        if place.part == "scores":
            return self._scores(place)
        section = self._rubric.sections[place.section]
        if place.part == "section":
            before = b", " if place.section else b'{"sections": {'
            before += json.dumps(section.key).encode() + b": ["
            options = {before + b'{"point": "': FormState(place._replace(part="point", point=1), "text")}
            if not section.points[0]:
                options[before + b"]"] = self._after_section(place)
            return options
        if place.part in ("point", "detail"):
            return self._details(place, section)
        if place.part == "quote":
            return self._quotes(place, section)
        options = {}
        if place.point < section.points[1]:
            another = place._replace(part="point", point=place.point + 1, detail=0)
            options[b'}, {"point": "'] = FormState(another, "text")
        if place.point >= section.points[0]:
            options[b"}]"] = self._after_section(place)
        return options

    def after_text(self, place: Hashable) -> Hashable:
        """Return the place after a point or a detail: the same, for what may follow is decided there."""
        return place

    def _details(self, place: FeedbackPlace, section: RubricSection) -> Mapping[bytes, FormState]:
        """Return what may stand after a point, or a detail of it: another detail, or the quote."""
        before = b", " if place.detail else b', "details": ['
        options = {}
        if place.detail < section.details + _MORE_DETAILS:
            more = place._replace(part="detail", detail=place.detail + 1)
            options[before + b'"'] = FormState(more, "text")
        if place.detail >= section.details:
            ending = b'], "quote": ' if place.detail else before + b'], "quote": '
            options[ending] = FormState(place._replace(part="quote"))
        return options

    def _quotes(self, place: FeedbackPlace, section: RubricSection) -> Mapping[bytes, FormState]:
        """Return what may stand as a quote: a passage, or nothing."""
        quoted = place._replace(part="quoted")
        options = {} if section.quote == "must" and self._passages else {b'""': FormState(quoted)}
        if section.quote != "no":
            fresh = [i for i in range(len(self._passages)) if i not in place.used] or range(len(self._passages))
            for i in fresh:
                options[self._passages[i]] = FormState(quoted._replace(used=place.used | {i}))
        return options

    def _after_section(self, place: FeedbackPlace) -> FormState:
        """Return the state after a section's closing bracket."""
        if place.section + 1 < len(self._rubric.sections):
            return FormState(FeedbackPlace("section", place.section + 1, used=place.used))
        return FormState(FeedbackPlace("scores"))

    def _scores(self, place: FeedbackPlace) -> Mapping[bytes, FormState]:
        """Return what may stand after the sections: the end, or a score with what comes after it."""
        scores = self._rubric.scores
        if not scores:
            return {b"}}": FormState(place, "end")}
        score, last = scores[place.section], place.section + 1 == len(scores)
        before = b"" if place.section else b'}, "scores": {'
        after = FormState(place, "end") if last else FormState(place._replace(section=place.section + 1))
        return {
            before + f'"{score.key}": {number}{"}}" if last else ", "}'.encode(): after
            for number in range(score.low, score.high + 1)
        }


def quotable_passages(document: Document, shown: str) -> tuple[str, ...]:
    """Return the sentences of a document that can support a point, each once, of those in what the model is shown."""
    texts = [piece.text for piece in document.pieces if piece.kind in READ and piece.kind not in ("title", "heading")]
    passages = dict.fromkeys(sentence for text in texts for sentence in sentences(text) if sentence in shown)
    return tuple(p for p in passages if len(p) <= _LONGEST_QUOTE and find_support(p, document.text))
