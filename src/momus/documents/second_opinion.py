"""A second opinion on every point of feedback: it is argued against, defended and judged; what falls is left out.

As critics have it (`momus.critics.second_opinion`), about what the document says instead of what code does.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from importlib.resources import files

from momus.critics.scores.judged import fill_prompt
from momus.critics.second_opinion import SecondOpinionConfig, argue
from momus.documents.feedback import FallenPoint, FeedbackPoint, FeedbackSection
from momus.errors import UserError
from momus.lm.chats.protocol import Chat


class PointJudge:
    """Says which points stand.

    Args:
        second: Who argues against and judges.
        defender: Who defends: the model that made the points.
        config: How.
    """

    def __init__(self, second: Chat, defender: Chat, config: SecondOpinionConfig | None = None) -> None:
        self._second, self._defender, self._config = second, defender, config or SecondOpinionConfig()

    def keep_standing(
        self, sections: Sequence[FeedbackSection], shown: str
    ) -> tuple[tuple[FeedbackSection, ...], tuple[FallenPoint, ...]]:
        """Return the sections with the points that stand, and the others.

        Args:
            sections: The feedback.
            shown: The document, as far as it is read.

        Raises:
            UserError: The models cannot be asked, or not about this document.
        """
        points = [(section.key, point) for section in sections for point in section.points]
        prompts = [partial(_prompt_about, shown, point) for _, point in points]
        verdicts = argue(self._second, self._defender, prompts, self._config)
        if problem := next((problem for _, problem in verdicts if problem), ""):
            raise UserError(f"{self._second.name} gives no second opinion: {problem}")
        fallen = tuple(
            FallenPoint(section=key, text=point.text, probability=value)
            for (key, point), (value, _) in zip(points, verdicts, strict=True)
            if value < self._config.least
        )
        gone = {(point.section, point.text) for point in fallen}
        kept = [tuple(point for point in s.points if (s.key, point.text) not in gone) for s in sections]
        return tuple(s.model_copy(update={"points": k}) for s, k in zip(sections, kept, strict=True)), fallen


def _prompt_about(shown: str, point: FeedbackPoint, name: str, **slots: str) -> str:
    made = "\n".join((point.text, *(f"- {detail}" for detail in point.details)))
    comment = f'{made}\n\n"{point.quote}"' if point.quote else made
    return fill_prompt(_read(name), {"text": shown, "comment": comment, **slots})


@cache
def _read(name: str) -> str:
    return (files("momus.documents") / "prompts" / f"{name}.md").read_text(encoding="utf-8")
