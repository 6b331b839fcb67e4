"""Critiques of one shard of a data set: the part that runs in any process and gives the same bytes in all of them.

Answers are searched in lockstep in batches of `BATCH`, cut by their places in the input, and nothing is remembered
from one batch to the next. A batch's numbers, to the last bit of a score, therefore depend on its own tasks, on the
settings and on the kind of machine, and not on which process computed what before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from momus.critics.pointed import find_pointer
from momus.critics.prompted import PromptedConfig
from momus.critics.refine import GivenCritiques, Refiner
from momus.critics.run import BATCH, Shard, TaskCritiques, Written, stop_if_spent, task_of
from momus.critics.scores.search import as_reward
from momus.critics.trained import ChatWriter, FencedWriter, Writer
from momus.critique import format_critique
from momus.errors import UnfitInputError, UserError
from momus.lm.local.engine import LocalEngine
from momus.lm.local.load import load_local_engine
from momus.lm.pointers.pointer import Pointer
from momus.lm.text.encode import TooLongError
from momus.lm.tiny import TINY
from momus.records import Tamper, Task
from momus.search.best_of_n import best_of_n
from momus.search.candidates import zero_reward
from momus.search.form import FENCED
from momus.search.fsbs import FSBSConfig, choose_best, force_sampling_beam_search
from momus.search.result import Candidate, EncodedTask, RewardFunction, RewardSource, SearchResult
from momus.search.reward import load_reward_function

Method = Literal["sample", "fsbs", "best-of-n"]
SAMPLES: dict[Method, int] = {"sample": 1, "fsbs": FSBSConfig.n, "best-of-n": FSBSConfig().candidates}


@dataclass(frozen=True)
class CritiqueConfig:
    """How critiques are written: together with the input, everything that decides the result.

    Raises:
        UserError: A value is out of range, or goes with another method.
    """

    model: str | Path = TINY
    """The critic: a folder, a name on the hub or a GGUF file."""
    reward: Path | None = None
    """Directory of the reward model; "fsbs" and "best-of-n" need one, there or on a server."""
    reward_url: str | None = None
    """The base URL of a server with the reward model (`reward_server.py`); scores are then as exact as it is."""
    reward_tokenizer: str | None = None
    """Directory or name of that model's tokenizer; None where it reads the critic's tokens."""
    method: Method = "sample"
    n: int | None = None
    """Critiques sampled of an answer ("sample", "best-of-n") or from each beam ("fsbs"); None is as in `SAMPLES`."""
    modifier: float = 0.0
    """What each highlight adds to a score when the best critique is chosen (CriticGPT, appendix 7.1)."""
    max_tokens: int = 120
    """Length limit of one sample. The shipped critic reads 1024 tokens in all; the paper's critiques have up to 704."""
    verbatim: bool = True
    """Constrain quotes to be lines of the answer; the paper only forces them."""
    seed: int = 0
    threads: int = 1
    """Of one process. Sums are cut up by threads, so another number may change the last bits of a score."""
    device: str | None = None
    """Where models run; None takes a GPU if there is one."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What the critic is held and computed in; with a model that chats its reward model, too."""
    prompted: PromptedConfig | None = None
    """How a model that chats is asked, which then writes JSON; None for a critic that Momus trained."""
    scored: bool = False
    """A score of comments (`momus.critics.scores`), which is the caller's, is what a search goes by."""

    def __post_init__(self) -> None:
        for option, value, least in (
            ("n", self.samples, 1),
            ("max-tokens", self.max_tokens, 1),
            ("seed", self.seed, 0),
            ("threads", self.threads, 1),
        ):
            if value < least:
                raise UserError(f"--{option} {value}: must be at least {least}")
        if self.method == "fsbs":
            self.fsbs()
        if self.prompted is not None and not self.verbatim:
            raise UserError("a model that chats writes JSON, whose quotes are always verbatim: leave out --paper")
        if self.method == "sample" and self.modifier:
            raise UserError("--modifier chooses among critiques: give --method fsbs or best-of-n with it")
        source = self.source
        if self.scored and source:
            raise UserError("--score rates what was written, and so does --reward: one of both, or --score reward")
        if self.method != "sample" and not (source or self.scored):
            raise UserError(
                f"--method {self.method} needs --reward, the directory of a reward model, or --reward-url, a server's, "
                "or a --score"
            )

    @property
    def source(self) -> RewardSource:
        """Where the reward model is, if anywhere."""
        return RewardSource(self.reward, self.reward_url, self.reward_tokenizer)

    @property
    def samples(self) -> int:
        """The number in force: `n`, or the method's default."""
        return SAMPLES[self.method] if self.n is None else self.n

    def fsbs(self) -> FSBSConfig:
        """Return the search's settings: the paper's but for the number of samples and their length."""
        return FSBSConfig(n=self.samples, max_tokens=self.max_tokens, verbatim=self.verbatim)


def open_writer(config: CritiqueConfig, engine: LocalEngine) -> Writer:
    """Return how the critic reads and writes, with its pointer where it has one.

    Raises:
        UserError: The pointer cannot be read, or the reward model does not read what the critic writes.
    """
    if config.prompted is None:
        return FencedWriter(engine, Pointer.load_if_present(config.model, engine.model, engine.vocabulary))
    writer = ChatWriter(engine, find_pointer(str(config.model), None), config.prompted)
    writer.check_reward(config.source)
    return writer


class ShardCritic:
    """The models of one process, loaded once.

    Args:
        config: How critiques are written.
        refiner: What comes after; where critiques are searched for, its score is what the search goes by.

    Raises:
        UserError: A directory does not hold the model it should.
    """

    def __init__(self, config: CritiqueConfig, refiner: Refiner | None = None) -> None:
        torch.set_num_threads(config.threads)
        self._config, self._refiner = config, refiner
        loaded = load_local_engine(config.model, config.device, config.precision)
        self._model, self._tokenizer = loaded.model, loaded.tokenizer
        dtype = None if config.prompted is None else loaded.model.dtype
        self._reward = load_reward_function(config.source, loaded, loaded.model.device, dtype) or zero_reward
        self._writer = open_writer(config, loaded)

    def __call__(self, shard: Shard) -> list[TaskCritiques]:
        """Return the critiques of every task of a shard, in order."""
        return [
            critiques
            for start in range(0, len(shard.tasks), BATCH)
            for critiques in self._batch(shard.first + start, shard.tasks[start : start + BATCH])
        ]

    def _batch(self, first: int, tasks: Sequence[Task | Tamper]) -> Iterator[TaskCritiques]:
        # A new engine has read nothing: what one remembers decides how a sum is cut up, and so its last bits.
        engine = LocalEngine(self._model, self._tokenizer)
        encoded: dict[int, EncodedTask] = {}
        problems: dict[int, str] = {}
        for index, task in enumerate(tasks, first):
            try:
                encoded[index] = self._writer.encode(task_of(task))
            except TooLongError as error:
                problems[index] = self._too_long(error.fewest, "at least ")
            except UnfitInputError as error:
                problems[index] = str(error)
            else:
                problems[index] = self._too_long(len(encoded[index].prompt)) or self._unfit(task_of(task))
        fitting = [index for index, problem in problems.items() if not problem]
        given = [task_of(tasks[index - first]) for index in fitting]
        with_odds = self._writer.add_line_odds(given, [encoded[index] for index in fitting])
        reward = self._reward_of(engine, given, with_odds)
        found = self._search(engine, reward, dict(zip(fitting, with_odds, strict=True)))
        kept = {index: self._kept(result) for index, result in found.items()}
        results = {**kept, **self._refine({i: r for i, r in kept.items() if r.candidates}, first, tasks)}
        for index, task in enumerate(tasks, first):
            result = SearchResult((), problems[index]) if problems[index] else results[index]
            yield TaskCritiques(
                index=index,
                id=task.task.id if isinstance(task, Tamper) else task.id,
                critiques=tuple(map(self._written, result.candidates)),
                skipped=result.problem,
            )

    def _refine(
        self, kept: dict[int, SearchResult], first: int, tasks: Sequence[Task | Tamper]
    ) -> dict[int, SearchResult]:
        """Have a second opinion and a score come after what was written."""
        if self._refiner is None or not kept:
            return kept
        given = GivenCritiques(list(kept.values()))
        after = self._refiner.around(given) if self._config.method == "sample" else self._refiner.opposed(given)
        results = after.write([task_of(tasks[index - first]) for index in kept])
        stop_if_spent(results)
        return dict(zip(kept, results, strict=True))

    @property
    def _is_rated(self) -> bool:
        """Whether whole critiques have a score."""
        return bool(self._config.source) or (self._config.scored and self._config.method != "sample")

    def _too_long(self, size: int, at_least: str = "") -> str:
        """Return why a prompt of so many tokens cannot be read; "" when it can."""
        limit, more = getattr(self._model.config, "max_position_embeddings", None), self._config.max_tokens
        if not at_least and (limit is None or size + more <= limit):
            return ""
        prompt = f"a prompt of {at_least}{size} tokens"
        return f"too long: {prompt} and {more} more for the critique, where the model reads {limit}"

    def _unfit(self, task: Task) -> str:
        """Return why a model that chats cannot be asked about a task."""
        chats = self._config.prompted is not None
        return "too long: it does not fit into a prompt" if chats and not self._writer.fits(task) else ""

    def _reward_of(self, engine: LocalEngine, tasks: Sequence[Task], encoded: Sequence[EncodedTask]) -> RewardFunction:
        """Return what a search for critiques of these tasks goes by."""
        score = self._refiner.score if self._refiner and self._config.method != "sample" else None
        return self._reward if score is None else as_reward(score, engine, tasks, encoded, self._writer.form)

    def _search(
        self, engine: LocalEngine, reward: RewardFunction, tasks: dict[int, EncodedTask]
    ) -> dict[int, SearchResult]:
        """Search one batch; where an answer does not fit, each task alone, so that only those at fault go without."""
        if not tasks:
            return {}
        try:
            return dict(zip(tasks, self._search_together(engine, reward, tasks), strict=True))
        except UnfitInputError as error:
            if len(tasks) == 1:
                return dict.fromkeys(tasks, SearchResult((), str(error)))
        alone = [
            self._search(LocalEngine(self._model, self._tokenizer), reward, {i: task}) for i, task in tasks.items()
        ]
        return {index: result for results in alone for index, result in results.items()}

    def _search_together(
        self, engine: LocalEngine, reward: RewardFunction, tasks: dict[int, EncodedTask]
    ) -> list[SearchResult]:
        config, encoded = self._config, list(tasks.values())
        keys: list[int | tuple[int, ...]] = [(config.seed, index) for index in tasks]
        if config.method == "fsbs":
            return force_sampling_beam_search(engine, reward, encoded, config.fsbs(), key=keys, form=self._writer.form)
        return best_of_n(
            engine,
            reward,
            encoded,
            config.samples,
            key=keys,
            max_tokens=config.max_tokens,
            verbatim=config.verbatim,
            form=self._writer.form,
        )

    def _kept(self, result: SearchResult) -> SearchResult:
        if self._config.method == "sample" or not result.candidates:
            return result
        return SearchResult((choose_best(result, self._config.modifier),))

    def _written(self, candidate: Candidate) -> Written:
        return Written(
            text=candidate.text if self._writer.form is FENCED else format_critique(candidate.critique),
            critique=candidate.critique,
            score=candidate.score if self._is_rated else None,
            tokens=len(candidate.tokens),
            scores=candidate.scores,
        )
