"""A prompted critic with a pointer: the pointer says where to look, the model what is wrong there, in its own words.

The pointer (`lm/pointers/line_pointer.py`) goes by what the model's states show of every line; asked in words, small
models choose lines little better than chance. Its probability that a line holds the fault is the comment's score, so
the dial of scored critics goes over it.

The small edits of the likeliest lines are tried on the model (`search/fixes.py`), which knows likely code far better
than words about it: a line is the likelier to be wrong the more is gained by one, and where that is enough the edit
is proposed and nothing is asked.

A model with an adapter was trained to write critiques (`momus data critiques`): it gets the prompt it was trained on,
and the line it is to write about by the constraint alone. The pointer reads its base, with the adapter off.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

from momus.critics.constrained import JsonComments
from momus.critics.prompted import (
    UNREADABLE,
    PromptedConfig,
    PromptedCritic,
    fill_prompt,
    prompt_digest,
    read_prompt,
)
from momus.critics.reading import SCHEMA
from momus.critics.scores.critic import ScoreDial
from momus.critics.scores.protocol import log_odds as log_odds_of
from momus.critics.scores.protocol import sigmoid
from momus.critique import Comment, Critique, format_critique
from momus.errors import UserError
from momus.lm.chats.local import LocalChat
from momus.lm.chats.protocol import Chat, Question
from momus.lm.constraint import Vocabulary
from momus.lm.local.adapter_base import base_path
from momus.lm.pointers import LINE_POINTER_FILE, SHIPPED_POINTERS
from momus.lm.pointers.line_pointer import BaseIdentity, LinePointer, read_base
from momus.lm.pointers.line_states import LineReader
from momus.records import Message, Task
from momus.search.fixes import SETTINGS, Fix, propose_line
from momus.search.lines import LEAST_COUNTED, MOST_COUNTED, TRIED, WEIGHT, weigh_lines
from momus.search.result import Candidate, SearchResult

LINES = 2
"""Lines of a piece of code that the model is asked about, at most."""
_PROMPT = "pointed"

LEAST = 0.05
"""Lines less likely than this are never asked about."""

LEAST_GAIN = 1.0
"""Nats that must be gained by an edit, to be proposed; chosen on inserted bugs held out."""


class PointedDial(ScoreDial):
    """Keeps what is said about likely enough lines; by default about lines that hold a fault rather than not."""

    usual_setting = 0.5


class PointedCritic(PromptedCritic):
    """Asks a model of this process about the lines that its pointer finds likeliest.

    Args:
        model: The model, whose states the pointer reads.
        pointer: The pointer's file.
        chat: The same model with what is put around it; by default itself.
        config: How to ask; one sample.
        lines: Lines of a piece of code that the model is asked about, at most.
        least: Lines less likely than this are never asked about.
        least_gain: By how much an edit must make the code likelier to be proposed; infinity for words alone.

    Raises:
        UserError: The pointer cannot be read, or it is asked for what a pointed critic does not do.

    Attributes:
        pointer: The pointer's file.
    """

    def __init__(
        self,
        model: LocalChat,
        pointer: Path,
        chat: Chat | None = None,
        config: PromptedConfig | None = None,
        *,
        lines: int = LINES,
        least: float = LEAST,
        least_gain: float = LEAST_GAIN,
    ) -> None:
        super().__init__(chat or model, config)
        if self._config.samples > 1:
            raise UserError("--samples is for a critic without a pointer: a pointed one is asked once about each line")
        if self._config.bare:
            raise UserError("--without-comments is for a critic without a pointer: add --pointer none")
        self._model, self._pointer = model, LinePointer.load(pointer)
        self.pointer = pointer
        self._lines, self._least, self._least_gain = lines, least, least_gain
        self._is_trained = model.has_adapter
        self._digest = hashlib.sha256(pointer.read_bytes()).hexdigest()

    @property
    def dial(self) -> PointedDial:
        """How likely a line must be for what is said about it to be shown."""
        return PointedDial()

    def narrowed(self, setting: float) -> PointedCritic:
        """Return the same critic for one setting of its dial: it asks only about lines that are shown there.

        What is shown there is what this critic shows there, and settings below it show no more.
        """
        other = copy.copy(self)
        other._least = max(self._least, setting)
        return other

    def fits(self, task: Task) -> bool:
        """Return whether the prompt is short enough, and the model can read the code as the pointer needs it."""
        return super().fits(task) and not self._reader.problem(task.question, task.answer)

    def write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        """Read every task, and ask what is wrong with its likeliest lines; comments' scores are these probabilities.

        Raises:
            UserError: The model cannot be asked.
        """
        read = self._reader.read([(task.question, task.answer) for task in tasks])
        pointed = self._point(tasks, self._pointer.line_log_odds(read))
        asked = [
            self._question_about(task, point.line)
            for task, points in zip(tasks, pointed, strict=True)
            for point in points
            if point.proposal is None
        ]
        answers = iter(self._chat.answer(asked) if asked else ())
        written: list[SearchResult] = []
        for task, points in zip(tasks, pointed, strict=True):
            comments: dict[Comment, float] = {}
            problem = ""
            for point in points:
                if point.proposal is not None:
                    comments[point.proposal] = point.probability
                    continue
                answer = next(answers)
                candidate = self._read(answer.whole, task)
                problem = problem or ("" if candidate else answer.problem or UNREADABLE)
                comments |= dict.fromkeys(candidate.critique.comments, point.probability) if candidate else {}
            critique = Critique(comments=tuple(comments))
            made = Candidate(format_critique(critique), (), 0.0, critique, scores=tuple(comments.values()))
            written.append(SearchResult(() if problem and not comments else (made,), problem))
        return written

    def _point(self, tasks: Sequence[Task], log_odds: Sequence[Sequence[float]]) -> list[list[_Point]]:
        """Return the lines of every task that something is said about, likeliest first."""
        if self._least_gain == math.inf:
            chosen = [likeliest_lines(self._moved(odds), self._lines, self._least) for odds in log_odds]
            return [[_Point(line, chance) for line, chance in lines.items()] for lines in chosen]
        engine: Any = self._model.loaded.engine
        moved, tried = list(map(self._moved, log_odds)), max(TRIED, self._lines)
        least = log_odds_of(self._least) if self._least else -math.inf
        known = weigh_lines(engine.model, engine.tokenizer, tasks, moved, least, tried)
        points = []
        for task, weighed in zip(tasks, known, strict=True):
            seen = [odds if n in weighed.fixes else -math.inf for n, odds in enumerate(weighed.log_odds, 1)]
            points.append([
                _Point(line, chance, self._proposal(task, line, weighed.fixes.get(line)))
                for line, chance in likeliest_lines(seen, self._lines, self._least).items()
            ])  # fmt: skip
        return points

    def _moved(self, log_odds: Sequence[float]) -> list[float]:
        """Return a pointer's log-odds for code that is as often right as wrong."""
        return [each + self._pointer.shift for each in log_odds]

    def _proposal(self, task: Task, line: int, fix: Fix | None) -> Comment | None:
        return propose_line(task.answer, line, fix.line) if fix is not None and fix.gain >= self._least_gain else None

    def questions(self, tasks: Sequence[Task]) -> list[Question]:
        """Return as many questions as there are at most: for an estimate of what they cost."""
        return [self._question_about(task, line) for task in tasks for line in range(1, self._lines + 1)]

    def identity(self) -> Mapping[str, Any]:
        """Return the model, the pointer, the prompt and the settings."""
        prompt = prompt_digest(self._config.prompt if self._is_trained else _PROMPT)
        settings = {**super().identity()["settings"], "lines": self._lines, "least": self._least}
        search = (self._least_gain, TRIED, WEIGHT, LEAST_COUNTED, MOST_COUNTED, *SETTINGS)
        settings |= {"prior": self._pointer.shift, "edits": list(search) if self._least_gain < math.inf else None}
        model = dict(self._chat.identity())
        return {"kind": "pointed", "model": model, "pointer": self._digest, "prompt": prompt, "settings": settings}

    @cached_property
    def _reader(self) -> LineReader:
        engine: Any = self._model.loaded.engine
        return LineReader(engine.model, engine.tokenizer, self._pointer.shape.reads)

    def _question_about(self, task: Task, line: int) -> Question:
        return Question(
            (self._message(task, line),),
            self._config.max_tokens,
            # With the line: a model with an adapter gets one prompt about every line, and other constraints.
            key=(self._config.seed, 0, 0, line),
            schema=SCHEMA,
            constraint=partial(OneComment, task.answer, line),
        )

    def _message(self, task: Task, line: int = 1) -> Message:
        if self._is_trained:
            return super()._message(task)
        before, after = fill_prompt(read_prompt(_PROMPT), task, "code", self._config.rules).rsplit("{line}", 1)
        return Message(role="user", content=f"{before}{line}{after}")


def find_pointer(model: str, named: str | None, tokenizer: Any = None) -> Path | None:
    """Return the pointer's file for a model of this process: the one named, one beside it, or one that is shipped.

    Args:
        model: The model's folder, GGUF file or name on the hub.
        named: A pointer's file, its folder or the run directory it came from; "none" for no pointer at all.
        tokenizer: That of the model or of its base, where it has been read.

    Raises:
        UserError: There is none where it was named, or it belongs to another model.
    """
    if named == "none":
        return None
    path = _file_in(Path(named)) if named else next(filter(Path.is_file, _beside(model)), None)
    if path is None:
        return find_shipped_pointer(model, tokenizer)
    if not (trained_on := read_base(path)).matches(_identify(base_path(model), tokenizer)):
        raise UserError(
            f"the pointer {path} was trained on {trained_on.name}, and {model} is another model: momus train pointer "
            f"--model {model} makes one for it"
        )
    return path


def find_shipped_pointer(model: str, tokenizer: Any = None) -> Path | None:
    """Return the pointer that ships for a model, or for the base of an adapter; None where there is none."""
    base = _identify(base_path(model), tokenizer)
    return next(
        (file for file in sorted(SHIPPED_POINTERS.glob("*.safetensors")) if read_base(file).matches(base)), None
    )


def _beside(model: str) -> list[Path]:
    """Return where a pointer may stand beside a model, or beside the base of an adapter."""
    places = [Path(place) for place in dict.fromkeys((model, base_path(model)))]
    return [(p if p.is_dir() else p.parent) / LINE_POINTER_FILE for p in places if p.exists()]


def _file_in(place: Path) -> Path:
    """Return the pointer's file in a folder or run directory, or what was named itself."""
    inside = (place / LINE_POINTER_FILE, place / "pointer" / LINE_POINTER_FILE)
    path = next((file for file in inside if file.is_file()), place)
    if not path.is_file():
        raise UserError(f"--pointer {place}: there is no {LINE_POINTER_FILE}")
    return path


def _identify(model: str, tokenizer: Any) -> BaseIdentity:
    from transformers import AutoConfig

    from momus.lm.codec import read_tokenizer
    from momus.lm.gguf import pretrained

    name, options = pretrained(model)
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False, **options)
    except Exception as error:
        raise UserError(f"cannot read the settings of {model}: {' '.join(str(error).split())[:200]}") from error
    return BaseIdentity.of(Path(model).name, config, tokenizer or read_tokenizer(model))


class OneComment(JsonComments):
    """A constraint: one comment, on one line of an answer, in the model's own words."""

    def __init__(self, answer: str, line: int, vocabulary: Vocabulary, ends: frozenset[int]) -> None:
        super().__init__(answer, vocabulary, ends, forced=True)
        self._lines = {line: self._lines[line]}


class _Point(NamedTuple):
    """A line that something is said about, how likely it is wrong, and what is proposed in its place."""

    line: int
    probability: float
    proposal: Comment | None = None


def likeliest_lines(log_odds: Sequence[float], most: int = LINES, least: float = LEAST) -> dict[int, float]:
    """Return the lines that are asked about, numbered from 1, likeliest first, with their probabilities."""
    order = sorted(range(len(log_odds)), key=lambda line: -log_odds[line])[:most]
    return {line + 1: chance for line in order if (chance := sigmoid(log_odds[line])) >= least}
