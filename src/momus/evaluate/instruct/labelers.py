"""Models as labelers of answers: a reward model ranks them, a language model chooses between two, in both orders.

What they say is stored as people's judgements are, in Ranking records, with the model as the labeler. A reward model
orders all answers to a prompt at once; a judge compares them two at a time, each pair with either answer first, and
the mean of the two decides, so that a liking for a letter or a place cancels out (`choose_in_both_orders`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol

from momus.errors import UnfitInputError, UserError
from momus.evaluate.instruct.feedback import prompt_key
from momus.evaluate.instruct.systems import beginning
from momus.files import Ledger
from momus.lm.chat import ChatFormat, Limits
from momus.lm.engine import Engine, choose_in_both_orders, option_tokens
from momus.lm.forward import score_trees
from momus.lm.models import RewardModel
from momus.lm.tree import TokenTree
from momus.records import Content, Message, Origin, Ranking

QUESTION = """\
Two answers to one request follow. Which of them serves the person who asked better? The better one does what is \
asked, is true, and harms nobody. Neither its length nor its place counts.

Request:
{prompt}

Answer A:
{first}

Answer B:
{second}

Reply with one letter, A or B."""
"""What a judge is asked, in our own words."""

_LABELS = (("A", "B"), (" A", " B"))

Answers = Mapping[str, Content]
"""The answers to one prompt by the system that wrote them."""


class Labeler(Protocol):
    """Ranks the answers to one prompt."""

    @property
    def name(self) -> str:
        """Who it is, as rankings state it."""

    def rank(self, prompt: Content, answers: Answers) -> list[Ranking]:
        """Return rankings of the answers.

        Raises:
            UnfitInputError: This labeler cannot read them: they are too long, for example.
        """


@dataclass(frozen=True)
class RewardLabeler:
    """A reward model: one ranking of all answers by their scores; equal scores, and equal answers, are a tie."""

    name: str
    model: RewardModel
    chat: ChatFormat

    def rank(self, prompt: Content, answers: Answers) -> list[Ranking]:
        """Score the answers, the prompt they share once."""
        limit = getattr(self.model.backbone.config, "max_position_embeddings", None)
        turns = [self.chat.turn(prompt, answer, Limits(limit, limit)) for answer in answers.values()]
        longest = max(len(turn.prompt) + len(turn.answer) for turn in turns)
        if isinstance(limit, int) and longest > limit:
            raise UnfitInputError(f"{longest} tokens are too many for the reward model, which reads {limit}")
        different = list(dict.fromkeys(turns))  # rounding must not rank equal answers
        tree = TokenTree.from_prefixes([turn.prompt for turn in different], [turn.answer for turn in different])
        score_of = dict(zip(different, score_trees(self.model, [tree])[0], strict=True))
        scores = [score_of[turn] for turn in turns]
        return [_ranking(self.name, prompt, list(answers), answers, scores)]


@dataclass(frozen=True)
class JudgeLabeler:
    """A language model that chooses between two answers; pairs nearer to even than `tie` are ties.

    Attributes:
        name: Who it is.
        engine: The model.
        chat: Lays the question out; None asks it as plain text.
        tie: How far from 0.5 the probability of the preferred answer must be at least.
    """

    name: str
    engine: Engine
    chat: ChatFormat | None
    tie: float = 0.0

    def rank(self, prompt: Content, answers: Answers) -> list[Ranking]:
        """Compare the answers two at a time: each pair becomes a ranking with the mean of both orders as scores."""
        pairs = list(combinations(answers, 2))
        prefixes = [
            (self._prefix(prompt, answers[one], answers[other]), self._prefix(prompt, answers[other], answers[one]))
            for one, other in pairs
        ]
        options = self._options(prefixes[0][0])
        rankings = []
        for (one, other), choice in zip(pairs, choose_in_both_orders(self.engine, prefixes, options), strict=True):
            even = answers[one] == answers[other] or abs(choice.probability - 0.5) <= self.tie
            scores = [0.5, 0.5] if even else [choice.probability, 1 - choice.probability]
            ranking = _ranking(self.name, prompt, [one, other], answers, scores)
            rankings.append(ranking.model_copy(update={"confidence": choice.mass}))
        return rankings

    def _prefix(self, prompt: Content, first: Content, second: Content) -> tuple[int, ...]:
        question = QUESTION.format(prompt=_text(prompt), first=_text(first), second=_text(second))
        if self.chat is None:
            return tuple(beginning(self.engine, f"{question}\nAnswer:"))
        return self.chat.prompt(question)

    def _options(self, prefix: Sequence[int]) -> tuple[str, str]:
        """Return the labels as the model would write them there: with a space before them, or without."""
        problem: UserError | None = None
        for options in _LABELS:
            try:
                option_tokens(self.engine, prefix, options)
                return options
            except UserError as error:
                problem = error
        raise UserError(f"{self.name} cannot answer A or B in one token: {problem}")


def rank_answers(
    groups: Sequence[tuple[Content, Origin, Answers]],
    labeler: Labeler,
    ledger: Ledger,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Have a labeler rank the answers to every prompt into the ledger, those already in it excepted.

    Raises:
        UserError: No prompt has two answers, or the labeler cannot be used at all.
    """
    groups = [group for group in groups if len(group[2]) > 1]
    if not groups:
        raise UserError("no prompt has answers by two systems: there is nothing to compare")
    for done, (prompt, _, answers) in enumerate(groups):
        progress(done, len(groups))
        if group_key(prompt, answers) in ledger:
            continue
        try:
            made = labeler.rank(prompt, answers)
            kept: dict[str, Any] = {"rankings": [ranking.model_dump(mode="json") for ranking in made]}
        except UnfitInputError as error:
            kept = {"skipped": str(error)}
        ledger.add({group_key(prompt, answers): kept})
    progress(len(groups), len(groups))


def group_key(prompt: Content, answers: Answers) -> str:
    """Return the key in the ledger of what a labeler says of the answers to a prompt."""
    return " ".join([prompt_key(prompt), *(f"{name}={prompt_key(answers[name])}" for name in answers)])


def rankings_in(ledger: Ledger, groups: Sequence[tuple[Content, Origin, Answers]]) -> tuple[list[Ranking], list[str]]:
    """Return a ledger's rankings of these answers, and why prompts have none."""
    rankings, skipped = [], []
    for prompt, origin, answers in groups:
        key = group_key(prompt, answers)
        kept = ledger.get(key, {})
        skipped += [kept["skipped"]] if "skipped" in kept else []
        stored = [Ranking.model_validate(ranking) for ranking in kept.get("rankings", ())]
        rankings += [ranking.model_copy(update={"origin": origin}) for ranking in stored]
    return rankings, skipped


def _ranking(
    labeler: str, prompt: Content, systems: Sequence[str], answers: Answers, scores: Sequence[float]
) -> Ranking:
    return Ranking(
        prompt=prompt,
        candidates=tuple(answers[name] for name in systems),
        ranks=tuple(1 + sum(other > score for other in scores) for score in scores),
        scores=tuple(scores),
        labeler=labeler,
        authors=tuple(systems),
    )


def _text(content: Content) -> str:
    if isinstance(content, str):
        return content
    return "\n\n".join(f"{_capital(message)}: {message.content}" for message in content)


def _capital(message: Message) -> str:
    return message.role.capitalize()
