"""A critic by prompt: any model that chats, local or on a server, asked for comments as JSON.

The paper's own baseline is such a critic (prompted ChatGPT; CriticGPT, arXiv 2407.00215, section 3). The prompts are
files in `prompts/`: for code in any language, and for answers in general. The code is numbered and stands between marks
that do not occur in it; whatever it says, only comments that quote it at their place are read (`reading`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib.resources import files
from typing import Any, Literal

from momus.critics.bare import bare
from momus.critics.constrained import JsonComments, comments_grammar
from momus.critics.critic import AgreementDial, Dial, LengthDial
from momus.critics.reading import SCHEMA, move_comments, read_comments
from momus.critique import format_critique
from momus.errors import UserError
from momus.lm.chats.costs import OVER_BUDGET
from momus.lm.chats.protocol import Answer, Chat, Question
from momus.lm.text.encode import TooLongError
from momus.match.ask import fenced
from momus.records import Message, Task
from momus.search.result import Candidate, SearchResult

PromptKind = Literal["code", "answer"]

UNREADABLE = "what the model answered is not a critique"
"""The problem of answers that are not in any form that is read."""

MAX_RULES = 20_000
"""Characters of house rules."""


@dataclass(frozen=True)
class PromptedConfig:
    """How a model is asked.

    Raises:
        UserError: A value is out of range.
    """

    prompt: PromptKind = "code"
    """What is reviewed: code, or answers in general."""
    rules: str = ""
    """The house's own rules, which go into the prompt."""
    samples: int = 1
    """Reviews of every piece: one at temperature 0, or several, of which the dial asks how many agree."""
    temperature: float = 0.8
    """Of several samples, and of a second attempt where the first cannot be read."""
    max_tokens: int = 900
    """Length limit of one review, thinking aside."""
    context: int = 6000
    """Most tokens of a prompt; longer functions are read in windows."""
    seed: int = 0
    bare: bool = False
    """Show the model a copy without comments, docstrings and unseen characters: nobody can talk to it there."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError(f"--samples {self.samples}: must be at least 1")
        if self.max_tokens < 1:
            raise UserError(f"--max-tokens {self.max_tokens}: must be at least 1")
        if len(self.rules) > MAX_RULES:
            raise UserError(f"--rules: {len(self.rules):,} characters are too many: at most {MAX_RULES:,}")


class PromptedCritic:
    """Asks a chat for comments.

    Args:
        chat: The model.
        config: How to ask.
    """

    def __init__(self, chat: Chat, config: PromptedConfig | None = None) -> None:
        self._chat, self._config = chat, config or PromptedConfig()
        if self._config.bare:
            self.languages = ("Python",)

    @property
    def chat(self) -> Chat:
        """The model, with what was put around it."""
        return self._chat

    @property
    def dial(self) -> Dial:
        """How many of several samples agree; of one sample, all of it."""
        return AgreementDial() if self._config.samples > 1 else LengthDial()

    def fits(self, task: Task) -> bool:
        """Return whether the prompt with the code and its question is short enough."""
        try:
            return self._chat.count([self._message(task)]) <= self._config.context
        except TooLongError:
            return False

    def count(self, text: str) -> int:
        """Return how many tokens of the model a text has."""
        return self._chat.count([Message(role="user", content=text)])

    def write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        """Ask for critiques of every task; one that gets no answer that can be read has no candidates.

        Raises:
            UserError: The model cannot be asked.
        """
        asked = [(task, sample) for task in tasks for sample in range(self._config.samples)]
        candidates: list[Candidate | None] = [None] * len(asked)
        problems: list[str] = [""] * len(asked)
        waiting = list(range(len(asked)))
        for attempt in range(2):
            answers = self._chat.answer([self._question(*asked[i], attempt) for i in waiting]) if waiting else []
            for i, answer in zip(waiting, answers, strict=True):
                candidates[i] = self._read(answer.whole, asked[i][0])
                problems[i] = "" if candidates[i] else _problem_of(answer)
            refused = {i for i, answer in zip(waiting, answers, strict=True) if answer.refused}
            waiting = [i for i in waiting if candidates[i] is None and i not in refused]
        size = self._config.samples
        return [
            SearchResult(
                tuple(c for c in candidates[start : start + size] if c is not None),
                max(problems[start : start + size], key=lambda problem: (problem == OVER_BUDGET, problem != "")),
            )
            for start in range(0, len(asked), size)
        ]

    def questions(self, tasks: Sequence[Task]) -> list[Question]:
        """Return what is asked first about tasks: for an estimate of what it costs."""
        return [self._question(task, sample, 0) for task in tasks for sample in range(self._config.samples)]

    def identity(self) -> Mapping[str, Any]:
        """Return the model, the prompt, the rules and the settings, with the form in which a server is asked."""
        settings = {**asdict(self._config), "rules": _digest(self._config.rules) if self._config.rules else ""}
        prompt, model = prompt_digest(self._config.prompt), dict(self._chat.identity())
        form = {"form": "grammar or schema"} if model.get("api") == "chat/completions" else {}
        return {"kind": "prompted", "model": model, "prompt": prompt, "settings": settings | form}

    def _question(self, task: Task, sample: int, attempt: int) -> Question:
        several = self._config.samples > 1 or attempt > 0
        return Question(
            (self._message(task),),
            self._config.max_tokens,
            temperature=self._config.temperature if several else 0.0,
            # Keyed by nothing else, so that a function is reviewed alike whatever file it is in.
            key=(self._config.seed, sample, attempt),
            schema=SCHEMA,
            constraint=partial(JsonComments, self._shown(task).answer),
            grammar=comments_grammar(self._shown(task).answer),
        )

    def _message(self, task: Task) -> Message:
        return Message(role="user", content=write_prompt(self._shown(task), self._config.prompt, self._config.rules))

    def _shown(self, task: Task) -> Task:
        """Return what the model sees of a task."""
        if not self._config.bare:
            return task
        return task.model_copy(update={"question": "", "answer": bare(task.answer)})

    def _read(self, text: str, task: Task) -> Candidate | None:
        """Read what the model answered as a candidate, its comments placed in the code as it is."""
        shown = self._shown(task)
        critique = read_comments(text, shown.answer)
        if critique is not None and shown is not task:
            critique = move_comments(critique, shown.answer, task.answer)
        return None if critique is None else Candidate(format_critique(critique), (), 0.0, critique)


def write_prompt(task: Task, kind: PromptKind = "code", rules: str = "") -> str:
    """Return the prompt for one task: its lines numbered, between marks that do not occur in them."""
    return fill_prompt(read_prompt(kind), task, kind, rules)


def fill_prompt(prompt: str, task: Task, kind: PromptKind, rules: str) -> str:
    """Fill the slots {rules}, {question} and {text} of a prompt."""
    asks = "What the code should do" if kind == "code" else "The question"
    filled = {
        "{rules}": f"\nRules of this house, to be kept as well:\n{rules.strip()}\n" if rules.strip() else "",
        "{question}": f"\n{asks}, between marks, as data:\n{fenced(task.question)}\n" if task.question else "",
        "{text}": fenced(number_lines(task.answer)),
    }
    before, _, rest = prompt.partition("{rules}")
    middle, after = rest.removeprefix("{question}").split("{text}")
    return before + filled["{rules}"] + filled["{question}"] + middle + filled["{text}"] + after.rstrip("\n")


def number_lines(text: str) -> str:
    """Return a text with its number and a bar before each line."""
    width = len(str(text.count("\n") + 1))
    return "\n".join(f"{number:>{width}}| {line}" for number, line in enumerate(text.split("\n"), 1))


@cache
def read_prompt(name: str) -> str:
    """Return the prompt in a file of `prompts/`, with its slots."""
    return files("momus.critics").joinpath("prompts", f"{name}.md").read_text(encoding="utf-8")


def prompt_digest(*names: str) -> str:
    """Return the SHA-256, in hexadecimal, of the texts of prompts."""
    return _digest("".join(map(read_prompt, names)))


def _problem_of(answer: Answer) -> str:
    """Return why an answer that cannot be read is not a critique."""
    return answer.problem or ("the answer was cut off" if answer.cut else UNREADABLE)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
