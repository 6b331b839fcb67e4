"""The critics that review: one that writes several reviews and reports what recurs, and one that searches.

Both have a dial (`momus.critics.dial`). The first one's is the confidence: the share of its reviews that must quote a
line. The second is Force Sampling Beam Search with a reward model, and its dial the length modifier (CriticGPT, arXiv
2407.00215, appendix 7.1), with one difference: the search forces a highlight, so that it always finds something, and
here "no problems found" competes too, with the score that the reward model gives it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from momus.critics.dial import DialledCritic, Look, promised, read_calibration
from momus.critique import NO_PROBLEMS, Critique, parse_critique
from momus.errors import UserError
from momus.lm.engine import Engine
from momus.lm.prompts import prompt_of
from momus.lm.tiny import TINY
from momus.records import Task
from momus.search.best_of_n import best_of_n
from momus.search.candidates import add_line_odds, encode_tasks, zero_reward
from momus.search.fsbs import FSBSConfig, choose_best, find_ties, force_sampling_beam_search, take_midpoints
from momus.search.majority import merge_by_majority
from momus.search.result import Candidate, RewardFunction, RewardSource, SearchResult

if TYPE_CHECKING:
    from momus.lm.pointer import Pointer

SHIPPED = Path(__file__).with_name("calibration.json")
"""What was measured of the shipped critic."""

CONFIDENCE = 0.75
"""The voting critic's setting where nobody asks for another: quiet rather than complete (see calibration.json)."""


@dataclass(frozen=True)
class VotingConfig:
    """How hard the voting critic looks."""

    samples: int = 16
    """Reviews of every piece of code."""
    max_tokens: int = 120
    """Length limit of one review."""
    context: int = 640
    """Most tokens of code and question; longer functions are read in windows."""
    seed: int = 0


@dataclass(frozen=True)
class SearchConfig:
    """How hard the searching critic looks."""

    fsbs: FSBSConfig = field(default_factory=lambda: FSBSConfig(max_tokens=120))
    context: int = 512
    """Most tokens of code and question; longer functions are read in windows."""
    seed: int = 0


@dataclass(frozen=True)
class Votes:
    """Several reviews of one answer; the dial is the share that must agree."""

    critiques: tuple[Critique, ...]
    answer: str

    def at(self, setting: float) -> Critique:
        """Return the comments that a share of the reviews agree on."""
        return merge_by_majority(self.critiques, self.answer, setting)

    def turns(self) -> Iterable[float]:
        """Return every share that a number of reviews can make."""
        return [votes / len(self.critiques) for votes in range(1, len(self.critiques) + 1)]


@dataclass(frozen=True)
class Searched:
    """A finished search of one answer; the dial is the length modifier."""

    result: SearchResult
    answer: str

    def at(self, setting: float) -> Critique:
        """Return the best critique, every highlight adding `setting` to its score."""
        return parse_critique(choose_best(self.result, setting).text, self.answer)

    def turns(self) -> Iterable[float]:
        """Return one modifier between any two at which the choice changes, and one beyond each end."""
        return take_midpoints(find_ties(self.result))


class VotingCritic:
    """Reviews by majority over any engine whose model can write critiques.

    Args:
        engine: The critic.
        weights: What names the model: the SHA-256 of its files.
        config: How hard to look.
        pointer: What chooses the lines to quote, where the critic has it.
    """

    def __init__(
        self, engine: Engine, weights: str, config: VotingConfig | None = None, pointer: Pointer | None = None
    ) -> None:
        self._engine, self._weights, self._config = engine, weights, config or VotingConfig()
        self._pointer = pointer

    def fits(self, task: Task) -> bool:
        """Whether the code and its question leave room for a critique."""
        return len(_prompt(self._engine, task)) <= self._config.context

    def look(self, tasks: Sequence[Task]) -> list[Look]:
        """Review every task several times."""
        results = best_of_n(
            self._engine,
            zero_reward,
            add_line_odds(encode_tasks(self._engine, tasks), self._pointer),
            self._config.samples,
            # Keyed by nothing but the seed, so that a function is reviewed alike whatever file it is in.
            key=[self._config.seed] * len(tasks),
            max_tokens=self._config.max_tokens,
        )
        return [
            Votes(tuple(parse_critique(c.text, task.answer) for c in result.candidates), task.answer)
            for task, result in zip(tasks, results, strict=True)
        ]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of critic, its weights and its settings."""
        return {"kind": "voting", "model": self._weights, "settings": asdict(self._config)}


class SearchCritic:
    """Reviews by Force Sampling Beam Search.

    Args:
        engine: The critic.
        reward: What the search goes by.
        end: The end-of-text token, with which "no problems found" is scored.
        weights: What names the model and the reward model: the SHA-256 of their files.
        config: How hard to look.
        pointer: What chooses the lines to quote, where the critic has it.
    """

    def __init__(
        self,
        engine: Engine,
        reward: RewardFunction,
        end: int,
        weights: Mapping[str, str],
        config: SearchConfig | None = None,
        pointer: Pointer | None = None,
    ) -> None:
        self._engine, self._reward, self._end, self._weights = engine, reward, end, dict(weights)
        self._config, self._pointer = config or SearchConfig(), pointer

    def fits(self, task: Task) -> bool:
        """Whether the code and its question leave room for a critique."""
        return len(_prompt(self._engine, task)) <= self._config.context

    def look(self, tasks: Sequence[Task]) -> list[Look]:
        """Search critiques of every task, and score "no problems found" beside them."""
        subjects = add_line_odds(encode_tasks(self._engine, tasks), self._pointer)
        # Keyed by nothing but the seed, as above.
        found = force_sampling_beam_search(
            self._engine, self._reward, subjects, self._config.fsbs, key=[self._config.seed] * len(tasks)
        )
        silence = (*self._engine.encode(NO_PROBLEMS, bos=False), self._end)
        scores = self._reward([subject.prompt for subject in subjects], [[silence]] * len(subjects))
        return [
            Searched(SearchResult((Candidate(NO_PROBLEMS, silence, float(score), 0), *own.candidates)), task.answer)
            for task, own, (score,) in zip(tasks, found, scores, strict=True)
        ]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of critic, its weights and its settings."""
        return {"kind": "search", **self._weights, "settings": asdict(self._config)}


class SetCritic:
    """A critic whose dial stands at one setting: what `review_sources` asks."""

    def __init__(self, critic: DialledCritic, setting: float) -> None:
        self._critic, self._setting = critic, setting

    def fits(self, task: Task) -> bool:
        """Whether the code and its question leave room for a critique."""
        return self._critic.fits(task)

    def critique(self, tasks: Sequence[Task]) -> list[Critique]:
        """Return one critique per task, its comments in the order of the code or, searched, as written."""
        return [look.at(self._setting) for look in self._critic.look(tasks)]


def load_critic(model: Path | None = None, reward: RewardSource | None = None) -> DialledCritic:
    """Load a critic: the searching one where there is a reward model, else the voting one.

    Args:
        model: Directory of the critic; the shipped one by default.
        reward: Where the reward model is, if anywhere.

    Raises:
        UserError: A directory does not hold the model it should.
    """
    from momus.lm.local.engine import LocalEngine
    from momus.lm.models import load_causal_lm, load_tokenizer, model_digest
    from momus.lm.pointer import Pointer
    from momus.search.reward import identify_reward, load_reward_function

    folder = model or TINY
    tokenizer = load_tokenizer(folder)
    engine = LocalEngine(load_causal_lm(folder), tokenizer)
    pointer = Pointer.load_if_present(folder, engine.model, engine.vocabulary)
    source = reward or RewardSource()
    found = load_reward_function(source, engine)
    if found is None:
        return VotingCritic(engine, model_digest(folder), pointer=pointer)
    weights = {"model": model_digest(folder), "reward": identify_reward(source, found)}
    return SearchCritic(engine, found, tokenizer.eos_token_id, weights, pointer=pointer)


def set_critic(
    model: Path | None,
    reward: RewardSource,
    confidence: float | None,
    false_alarms: float | None,
    calibration: Path | None,
) -> tuple[SetCritic, str]:
    """Load a critic and set its dial: by hand, or by what was measured.

    Returns:
        The critic and, where it was set by a measurement, what that promises in one line.

    Raises:
        UserError: The options do not go together, nothing was measured, or it was of another critic.
    """
    if false_alarms is None:
        if calibration is not None:
            raise UserError("--calibration says what the dial promises: give --false-alarms with it")
        if reward:
            raise UserError(
                "a critic with a reward model is set by --calibration and --false-alarms: see momus calibrate"
            )
        setting = CONFIDENCE if confidence is None else confidence
        if not 0 <= setting <= 1:
            raise UserError(f"--confidence {setting}: must be between 0 and 1")
        return SetCritic(load_critic(model), setting), ""
    if confidence is not None:
        raise UserError("--false-alarms sets the confidence: leave one of them out")
    if calibration is None and (model or reward):
        raise UserError("--false-alarms needs --calibration, what momus calibrate measured of this model")
    measured = read_calibration(calibration or SHIPPED)
    point = measured.promise(false_alarms)
    critic = load_critic(model, reward)
    if json.loads(json.dumps(critic.identity())) != measured.critic:
        raise UserError(
            f"{calibration or SHIPPED} was measured on another critic: calibrate this one, or name that one"
        )
    return SetCritic(critic, point.setting), promised(measured, point, false_alarms)


def _prompt(engine: Engine, task: Task) -> tuple[int, ...]:
    return tuple(engine.encode(prompt_of(task), bos=True))
