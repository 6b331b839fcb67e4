"""The options of what comes after a critic wrote: scores of its comments, and a second opinion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from momus.critics.refine import Refinement
    from momus.search.result import RewardSource


@dataclass(frozen=True, kw_only=True)
class RefiningOptions:
    """What comes after a critic wrote."""

    score: Literal["samples", "probability", "answers", "pointer", "reward"] | None = None
    """How far a comment can be believed, for a dial to go by: the share of several samples that make it, by line and
    meaning; the probability that a model gives it of being right; the share of that model's answers that say so, for
    servers that tell no probabilities; what a model's pointer, and the code that it finds likely, say of the line and
    of what the comment proposes; or a reward model (--reward)."""
    score_model: str | None = None
    """The model of --score probability, answers and pointer; by default the critic's own."""
    score_url: str | None = None
    """The server that has it."""
    second_opinion: str | None = None
    """A model that argues against every comment and, after it was defended, judges it; what falls is left out."""
    second_opinion_url: str | None = None
    """The server that has it."""

    def asks_here(self) -> bool:
        """Return whether a model in this process is asked after the critic."""
        second = self.second_opinion is not None and self.second_opinion_url is None
        return second or (self.score_model is not None and self.score_url is None)

    def refinement(
        self, reward: RewardSource, device: str | None, precision: Literal["fp32", "bf16"] | None
    ) -> Refinement | None:
        """Return what comes after a critic wrote; None for nothing.

        Args:
            reward: The reward model of --score reward.
            device: Where models in this process run.
            precision: What they are held and computed in.

        Raises:
            UserError: The options do not go together.
        """
        from momus.critics.refine import Refinement
        from momus.critics.scores.open import ScoreSource
        from momus.errors import UserError

        if self.score is None and (self.score_model or self.score_url):
            raise UserError(
                "--score-model and --score-url are of no use without --score probability, answers or pointer"
            )
        source = None
        if self.score is not None:
            used = {"reward": reward} if self.score == "reward" else {}
            source = ScoreSource(self.score, self.score_model, self.score_url, **used)
        return Refinement(source, self.second_opinion, self.second_opinion_url, device, precision) or None
