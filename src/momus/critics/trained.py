"""Critics that continue texts token by token: one samples several critiques and reports what recurs, and one searches.

The first one's dial is the confidence: the share of its critiques that must comment on a line. The second is Force
Sampling Beam Search with a reward model, and its dial the length modifier (CriticGPT, arXiv 2407.00215, appendix 7.1),
with one difference: the search forces a highlight, so that it always finds something, and here "no problems found"
competes too, with the score that the reward model gives it. What it searches with is a `Writer`: a critic that Momus
trained, or any model of this process that chats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from momus.critics.constrained import JsonCritiques
from momus.critics.critic import AgreementDial, LengthDial
from momus.critics.prompted import PromptedConfig, prompt_digest, write_prompt
from momus.critique import Critique
from momus.errors import UnfitInputError
from momus.lm.engine import Engine, SearchEngine
from momus.lm.prompts import prompt_of
from momus.lm.text.encode import TooLongError
from momus.records import Message, Task
from momus.search.best_of_n import best_of_n
from momus.search.candidates import add_line_odds, encode_tasks, zero_reward
from momus.search.form import FENCED, CritiqueForm
from momus.search.fsbs import FSBSConfig, force_sampling_beam_search
from momus.search.result import Candidate, EncodedTask, RewardFunction, RewardSource, SearchResult

if TYPE_CHECKING:
    from momus.lm.local.engine import LocalEngine
    from momus.lm.pointers.line_pointer import LinePointer
    from momus.lm.pointers.line_states import LineReader
    from momus.lm.pointers.pointer import Pointer


@dataclass(frozen=True)
class VotingConfig:
    """How hard the voting critic looks."""

    samples: int = 16
    """Critiques of every piece of code."""
    max_tokens: int = 120
    """Length limit of one critique."""
    context: int = 640
    """Most tokens of code and question; longer functions are read in windows."""
    seed: int = 0


@dataclass(frozen=True)
class SearchConfig:
    """How hard the searching critic looks."""

    fsbs: FSBSConfig = field(default_factory=lambda: FSBSConfig(max_tokens=120))
    seed: int = 0


class VotingCritic:
    """Samples several critiques over any engine whose model can write them.

    Args:
        engine: The critic.
        weights: What names the model: the SHA-256 of its files.
        config: How hard to look.
        pointer: What chooses the lines to quote, where the critic has it.
    """

    dial = AgreementDial()
    languages = ("Python",)

    def __init__(
        self, engine: Engine, weights: str, config: VotingConfig | None = None, pointer: Pointer | None = None
    ) -> None:
        self._engine, self._weights, self._config = engine, weights, config or VotingConfig()
        self._pointer = pointer

    def fits(self, task: Task) -> bool:
        """Return whether the code and its question leave room for a critique."""
        return _fits(self._engine, task, self._config.context)

    def write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        """Sample critiques of every task."""
        return best_of_n(
            self._engine,
            zero_reward,
            add_line_odds(encode_tasks(self._engine, tasks), self._pointer),
            self._config.samples,
            # Keyed by nothing but the seed, so that a function is reviewed alike whatever file it is in.
            key=[self._config.seed] * len(tasks),
            max_tokens=self._config.max_tokens,
        )

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of critic, its weights and its settings."""
        return {"kind": "voting", "model": self._weights, "settings": asdict(self._config)}


class Writer(Protocol):
    """How a model that searches are made with reads tasks and writes critiques."""

    @property
    def form(self) -> CritiqueForm:
        """How its critiques are written."""

    @property
    def end(self) -> int:
        """The token with which a critique ends."""

    def fits(self, task: Task) -> bool:
        """Return whether the code and its question leave room for a critique."""

    def encode(self, task: Task) -> EncodedTask:
        """Lay a task out as the tokens that a critique continues.

        Raises:
            TooLongError: It has more tokens than the model reads, for certain.
        """

    def add_line_odds(self, tasks: Sequence[Task], encoded: Sequence[EncodedTask]) -> list[EncodedTask]:
        """Add the odds of their lines to tasks that were laid out, where there is a pointer."""

    def identity(self) -> Mapping[str, Any]:
        """Return what decides how tasks are read, besides the weights."""


class FencedWriter:
    """A critic that Momus trained: the paper's form.

    Args:
        engine: The critic.
        pointer: What chooses the lines to quote, where the critic has it.
        context: Most tokens of code and question; longer functions are read in windows.

    Attributes:
        form: How its critiques are written.
    """

    form: CritiqueForm = FENCED
    languages = ("Python",)

    def __init__(self, engine: SearchEngine, pointer: Pointer | None = None, context: int = 512) -> None:
        self._engine, self._pointer, self._context = engine, pointer, context

    @property
    def end(self) -> int:
        """The token that ends a critique."""
        return int(self._engine.tokenizer.eos_token_id)

    def fits(self, task: Task) -> bool:
        """Return whether the code and its question leave room for a critique."""
        return _fits(self._engine, task, self._context)

    def encode(self, task: Task) -> EncodedTask:
        """Lay a task out as the tokens that a critique continues."""
        (encoded,) = encode_tasks(self._engine, [task])
        return encoded

    def add_line_odds(self, tasks: Sequence[Task], encoded: Sequence[EncodedTask]) -> list[EncodedTask]:
        """Add the odds that the critic's pointer gives the lines."""
        return add_line_odds(encoded, self._pointer)

    def identity(self) -> Mapping[str, Any]:
        """Return how much is read at once."""
        return {"context": self._context}


class ChatWriter:
    """A model of this process that chats: it is asked as a prompted critic is, and writes JSON.

    Args:
        engine: The model.
        pointer: The file of a pointer over it, which then chooses the lines to quote.
        config: How to ask; how it samples is the search's affair.

    Attributes:
        form: How its critiques are written.
        end: The token that ends one.
    """

    def __init__(self, engine: LocalEngine, pointer: Path | None = None, config: PromptedConfig | None = None) -> None:
        from momus.lm.chat import ChatFormat

        self._engine, self._config, self._file = engine, config or PromptedConfig(), pointer
        self._chat = ChatFormat(engine.tokenizer, limit=engine.context_length)
        self.end = self._chat.end_id
        self.form: CritiqueForm = JsonCritiques(frozenset({self.end}) | engine.end_tokens)

    def fits(self, task: Task) -> bool:
        """Return whether the prompt is short enough, and the model can read the code as a pointer needs it."""
        limit = self._engine.context_length
        room = self._config.context if limit is None else min(self._config.context, limit - self._config.max_tokens)
        try:
            fits = len(self.encode(task).prompt) <= room
        except UnfitInputError:
            return False
        return fits and not (self._pointer and self._pointer[1].problem(task.question, task.answer))

    def encode(self, task: Task) -> EncodedTask:
        """Lay a task out as the tokens that a critique continues."""
        text = write_prompt(task, self._config.prompt, self._config.rules)
        return EncodedTask(self._chat.prompt((Message(role="user", content=text),)), task.answer)

    def add_line_odds(self, tasks: Sequence[Task], encoded: Sequence[EncodedTask]) -> list[EncodedTask]:
        """Add the odds that the pointer gives the lines, where there is one."""
        if self._pointer is None or not tasks:
            return list(encoded)
        pointer, reader = self._pointer
        odds = pointer.line_log_odds(reader.read([(task.question, task.answer) for task in tasks]))
        return [replace(each, line_log_odds=lines) for each, lines in zip(encoded, odds, strict=True)]

    def check_reward(self, source: RewardSource) -> None:
        """Refuse a reward model of a folder that does not read what this model writes.

        Raises:
            UserError: It reads other tokens, or another layout.
        """
        from momus.lm.codec import read_tokenizer

        if source.folder is not None:
            name = str(self._engine.tokenizer.name_or_path)
            self._chat.check_reward(read_tokenizer(source.folder), source.folder, name)

    def identity(self) -> Mapping[str, Any]:
        """Return the prompt, the rules, how much is read at once and the pointer."""
        return describe_chat_writer(self._config, self._file)

    @cached_property
    def _pointer(self) -> tuple[LinePointer, LineReader] | None:
        if self._file is None:
            return None
        from momus.lm.pointers.line_pointer import LinePointer
        from momus.lm.pointers.line_states import LineReader

        pointer = LinePointer.load(self._file)
        return pointer, LineReader(self._engine.model, self._engine.tokenizer, pointer.shape.reads)


def chat_search(config: PromptedConfig) -> SearchConfig:
    """Return how hard is looked with a model that chats: the paper's search, as long as it may answer."""
    return SearchConfig(FSBSConfig(max_tokens=config.max_tokens), config.seed)


def describe_chat_writer(config: PromptedConfig, pointer: Path | None) -> dict[str, Any]:
    """Return what decides how a `ChatWriter` reads tasks, besides the model's weights."""
    digest = None if pointer is None else hashlib.sha256(pointer.read_bytes()).hexdigest()
    prompt = prompt_digest(config.prompt)
    return {"prompt": prompt, "rules": config.rules, "context": config.context, "pointer": digest}


class SearchCritic:
    """Searches by Force Sampling Beam Search.

    Args:
        engine: The critic.
        reward: What the search goes by.
        writer: How it reads and writes.
        weights: What names the model and the reward model.
        config: How hard to look.

    Attributes:
        engine: The critic.
        reward: What the search goes by.
        writer: How the critic reads and writes.
    """

    dial = LengthDial()

    def __init__(
        self,
        engine: Engine,
        reward: RewardFunction,
        writer: Writer,
        weights: Mapping[str, Any],
        config: SearchConfig | None = None,
    ) -> None:
        self.engine, self.reward, self.writer = engine, reward, writer
        self._weights, self._config = dict(weights), config or SearchConfig()
        if hasattr(writer, "languages"):
            self.languages: Sequence[str] = writer.languages

    def fits(self, task: Task) -> bool:
        """Return whether the code and its question leave room for a critique."""
        return self.writer.fits(task)

    def write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        """Search critiques of every task, and score that nothing was found beside them.

        One that turns out not to fit goes without, and says why.
        """
        try:
            return self._write(tasks)
        except UnfitInputError as error:
            if len(tasks) == 1:
                return [SearchResult((), str(error))]
            return [result for task in tasks for result in self.write([task])]

    def _write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        form = self.writer.form
        encoded = self.writer.add_line_odds(tasks, [self.writer.encode(task) for task in tasks])
        # Keyed by nothing but the seed, as above.
        results = force_sampling_beam_search(
            self.engine, self.reward, encoded, self._config.fsbs, key=[self._config.seed] * len(tasks), form=form
        )
        nothing = (*self.engine.encode(form.nothing, bos=False), self.writer.end)
        scores = self.reward([task.prompt for task in encoded], [[nothing]] * len(encoded))
        return [
            SearchResult((Candidate(form.nothing, nothing, float(score), Critique()), *result.candidates))
            for result, (score,) in zip(results, scores, strict=True)
        ]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of critic, its weights and its settings."""
        settings = {**asdict(self._config), **self.writer.identity()}
        return {"kind": "search", **self._weights, "settings": settings}


def _fits(engine: Engine, task: Task, context: int) -> bool:
    try:
        return len(engine.encode(prompt_of(task), bos=True)) <= context
    except TooLongError:
        return False
