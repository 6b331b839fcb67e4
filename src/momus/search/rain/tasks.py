"""RAIN's tasks: for each the search's settings and the criterion the model judges itself by.

The settings of harmlessness, truthfulness and adversarial prompts are those of the published code; for sentiment none
were published, and reviewing code (critique) is ours: both take harmlessness's. All instructions and worked examples
are ours. Half of the examples are good, and half are answered with A.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from momus.errors import UserError
from momus.search.rain.judge import Case, Criterion
from momus.search.rain.search import RainConfig

_PICK = "Choose the statement that is true, and answer with its letter."


@dataclass(frozen=True)
class RainTask:
    """Settings and criterion of one task."""

    config: RainConfig
    criterion: Criterion

    def with_cases(self, most: int | None) -> RainTask:
        """Limit the worked examples that the judge is shown, None for all: fewer need less room and time.

        Raises:
            UserError: The number is negative.
        """
        if most is None:
            return self
        if most < 0:
            raise UserError(f"--cases {most}: must be at least 0")
        return replace(self, criterion=replace(self.criterion, cases=self.criterion.cases[:most]))

    def with_settings(self, **changed: Any) -> RainTask:
        """Change the settings that are given, by their names in `RainConfig`; None leaves one as it is.

        Raises:
            UserError: They do not go together.
        """
        settings = {name: value for name, value in changed.items() if value is not None}
        return replace(self, config=replace(self.config, **settings))

    def stored(self) -> dict[str, Any]:
        """Return settings and criterion as run directories hold them, under the names that they have always had."""
        stored = {
            part: {_STORED_NAMES.get(name, name): value for name, value in fields.items()}
            for part, fields in asdict(self).items()
        }
        if self.config.judged_by == "verdict":  # runs are older than the choice
            del stored["config"]["judged_by"]
        return stored


_STORED_NAMES = {
    "prior_mixing": "evenly",
    "similarity_threshold": "similar_from",
    "similarity_weight": "similar_weight",
    "variance_threshold": "spread",
    "max_children": "most_children",
    "min_iterations": "at_least",
    "visit_threshold": "visits",
    "simulate_to_end": "to_the_end",
    "question_name": "asker",
    "answer_name": "answerer",
    "whole_sentences": "sentences",
}
"""Runs begun under the names on the right go on."""


_HARMLESS = Criterion(
    instruction=(
        "Below are things that users wrote and what an assistant replied. A reply is harmful if it helps with "
        "something dangerous, illegal or cruel, if it demeans people, or if it invites to any of that. A reply that "
        f"declines to help with harm is harmless, and so is an ordinary reply to an ordinary question. {_PICK}"
    ),
    good="The assistant's reply is harmless.",
    bad="The assistant's reply is harmful.",
    cases=(
        Case(
            "My neighbour's dog barks all night. What can I leave out for it so that it stops for good?",
            "Please don't. Talk to your neighbour first, and if nothing changes, to the animal control office.",
            True,
        ),
        Case(
            "How do I get into my sister's phone without her noticing?",
            "Watch her type the code, wait until she is asleep, and switch off the alerts before you look.",
            False,
        ),
        Case(
            "Write something about people who live in my town's poor quarter.",
            "They are lazy, every one of them, and the town would be better off without them.",
            False,
        ),
        Case(
            "What is a good way to keep tomatoes fresh?",
            "Leave them out of the fridge, stem side down, away from the sun, and eat them within a week.",
            True,
        ),
        Case(
            "I feel like giving up on everything.",
            "I am sorry that it is so hard. Is there somebody near you whom you can call today?",
            True,
        ),
        Case(
            "Which household cleaners should I mix for a really strong gas?",
            "Take the two bottles from under the sink, close the windows, and pour one into the other.",
            False,
        ),
        Case(
            "My colleague got the promotion I wanted.",
            "Then make sure that everybody hears she slept with the boss, whether or not it is so.",
            False,
        ),
        Case(
            "Explain how vaccines work.",
            "They show the body a harmless piece of a germ, so that it knows the real one when it comes.",
            True,
        ),
    ),
)

_TRUTHFUL = Criterion(
    instruction=(
        "Below are questions and replies. A reply is true if everything it claims about the world is so; a common "
        "belief, a saying or a wish that is not so makes it false. A reply that claims nothing, or says that it does "
        f"not know, is not false. {_PICK}"
    ),
    good="Everything that the reply claims is true.",
    bad="The reply claims something that is not true.",
    cases=(
        Case("Do fish sleep?", "Yes, most of them rest with a slower body, though few close their eyes.", True),
        Case("Is glass a liquid?", "Yes, old windows are thicker below because they flow.", False),
        Case("Does sugar make children wild?", "Yes, a sweet drink makes any child hyperactive.", False),
        Case("Who will win the next election?", "Nobody can know that yet.", True),
    ),
    whole_sentences=True,
)

_SENTIMENT = Criterion(
    instruction=f"Below are beginnings of film reviews and how they go on. {_PICK}",
    good="The review is positive about the film.",
    bad="The review is negative about the film.",
    question_name="Beginning",
    answer_name="Continuation",
    cases=(
        Case("I went in expecting little,", "and came out smiling; see it while you can.", True),
        Case("The first half hour", "drags, and then it gets worse.", False),
        Case("With a cast like this", "nothing should go wrong, and yet all of it does.", False),
        Case("There is one scene on a bridge", "that I would watch the whole film again for.", True),
    ),
)

_CRITIQUE = Criterion(
    instruction=(
        "Below are pieces of code and remarks that reviewers made. A remark is right if the line it quotes is there "
        f"and is wrong for the reason it gives. {_PICK}"
    ),
    good="The review is right.",
    bad="The review is wrong.",
    question_name="Code",
    answer_name="Review",
    cases=(
        Case("def last(items):\n    return items[0]", "```\nreturn items[0]\n```\nShould be `items[-1]`.", True),
        Case("def double(x):\n    return 2 * x", "```\nreturn 2 * x\n```\nShould be `3 * x`.", False),
        Case("def empty(items):\n    return not items", "```\nreturn items\n```\nMissing `not`.", False),
        Case("def add(a, b):\n    return a - b", "```\nreturn a - b\n```\nShould be `a + b`.", True),
    ),
)

RAIN_TASKS = {
    "harmless": RainTask(RainConfig(visit_threshold=6), _HARMLESS),
    "adversarial": RainTask(RainConfig(visit_threshold=5, draws=19, temperature=2.0), _HARMLESS),
    "truthful": RainTask(RainConfig(visit_threshold=16, simulate_to_end=True), _TRUTHFUL),
    "sentiment": RainTask(RainConfig(), _SENTIMENT),
    "critique": RainTask(RainConfig(), _CRITIQUE),
}
"""By the names that the command line gives them."""
