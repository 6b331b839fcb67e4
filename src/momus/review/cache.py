"""Reviews that are kept: equal bytes, critic and settings give equal findings, without reading anything again.

Three things are kept in the cache of answers (`momus.lm.chats.cache`): that a file parses, what came of a whole file at
a setting, and what a critic wrote about one function, which serves wherever that function is and at every setting. What
a review failed to read is not kept. A model that is prompted has its answers kept there by itself.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from momus import __version__
from momus.critics.critic import Critic, Dial
from momus.lm.chats.cache import AnswerCache
from momus.lm.chats.protocol import Answer
from momus.records import Task
from momus.review.files import Source
from momus.review.findings import FileReview
from momus.review.reviewer import Target, Tell, review_targets
from momus.search.result import SearchResult

VERSION = "reviews 4"
"""Changes where, within a release of Momus, what is kept would be another for the same code."""


def digest(*parts: Any) -> str:
    """Return a digest of values that JSON can hold."""
    return hashlib.sha256(json.dumps([VERSION, __version__, *parts], sort_keys=True, default=str).encode()).hexdigest()


class Kept:
    """Values kept by a key, as JSON.

    Args:
        cache: Where.
    """

    def __init__(self, cache: AnswerCache) -> None:
        self._cache = cache

    def get(self, keys: Sequence[str]) -> dict[str, str]:
        """Return those there are."""
        return {key: answer.text for key, answer in self._cache.get(list(keys)).items()}

    def put(self, values: Mapping[str, str]) -> None:
        """Keep values."""
        self._cache.put({key: Answer(text) for key, text in values.items()})


@dataclass(frozen=True)
class KeptChecks:
    """Which texts parse, so that an unchanged file is parsed only when its tree is asked for.

    Attributes:
        kept: Where that is kept; None keeps nothing.
    """

    kept: Kept | None

    def check(self, source: Source) -> None:
        """Parse a source that did not parse before.

        Raises:
            UserError: It does not parse.
        """
        if self.kept is None:
            source.check()
            return
        key = digest("parses", source.language, sys.version_info[:3], _digest_of(source))
        if not self.kept.get([key]):
            source.check()
            self.kept.put({key: ""})


@dataclass(frozen=True)
class KeptReviews:
    """What came of whole files, by their text, the critic, its setting and the limit of comments."""

    kept: Kept
    critic: Mapping[str, Any]
    setting: float
    max_comments: int | None

    def get(self, targets: Sequence[Target]) -> dict[str, FileReview]:
        """Return the reviews there are, by the names of the targets."""
        keys = {self._key(target): target for target in targets}
        return {
            keys[key].name: replace(_reviews().validate_json(text), path=keys[key].source.path)
            for key, text in self.kept.get(list(keys)).items()
        }

    def put(self, pairs: Sequence[tuple[Target, FileReview]]) -> None:
        """Keep reviews, but for those that failed to read something."""
        done = [(target, review) for target, review in pairs if not review.unanswered]
        self.kept.put({self._key(target): _reviews().dump_json(review).decode() for target, review in done})

    def _key(self, target: Target) -> str:
        lines = None if target.changed is None else [sorted(target.changed), sorted(target.beside_removed)]
        dial = [dict(self.critic), self.setting, self.max_comments]
        return digest("file", target.name, str(target.source.path.suffix), _digest_of(target.source), lines, dial)


def review_kept(
    targets: Sequence[Target],
    critic: Critic,
    setting: float,
    max_comments: int | None,
    kept: Kept | None,
    by_risk: bool = False,
    tell: Tell | None = None,
) -> Iterator[FileReview]:
    """Yield reviews, those that are kept first; see `review_targets`. What is read is kept.

    Only of a `KeptCritic` are whole files kept: a model that is prompted keeps its answers by itself.
    """

    def read(some: Sequence[Target]) -> Iterator[FileReview]:
        return review_targets(some, critic, setting, max_comments, by_risk=by_risk, keep_going=True, tell=tell)

    if kept is None or not isinstance(critic, KeptCritic):
        yield from read(targets)
        return
    files = KeptReviews(kept, critic.identity(), setting, max_comments)
    done = files.get(targets)
    yield from (done[target.name] for target in targets if target.name in done)
    waiting = {target.name: target for target in targets if target.name not in done}
    for review in read(list(waiting.values())):
        files.put([(waiting[review.name], review)])
        yield review


class KeptCritic:
    """A critic that writes about nothing twice.

    Args:
        critic: Who writes.
        kept: Where it is kept.
    """

    def __init__(self, critic: Critic, kept: Kept) -> None:
        self.critic, self._kept = critic, kept
        if hasattr(critic, "languages"):
            self.languages = critic.languages

    @property
    def dial(self) -> Dial:
        """What chooses among the critiques."""
        return self.critic.dial

    def fits(self, task: Task) -> bool:
        """Return whether the critic can read a task."""
        return self.critic.fits(task)

    def write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        """Return what is kept, and have the critic write the rest."""
        identity = dict(self.critic.identity())
        keys = [digest("function", identity, task.question, task.answer) for task in tasks]
        known = {key: _results().validate_json(text) for key, text in self._kept.get(keys).items()}
        missing = {key: task for key, task in zip(keys, tasks, strict=True) if key not in known}
        if missing:
            written = dict(zip(missing, self.critic.write(list(missing.values())), strict=True))
            done = {key: result for key, result in written.items() if result.candidates}
            self._kept.put({key: _results().dump_json(result).decode() for key, result in done.items()})
            known |= written
        return [known[key] for key in keys]

    def identity(self) -> Mapping[str, Any]:
        """Return what identifies the critic."""
        return self.critic.identity()


def _digest_of(source: Source) -> str:
    return hashlib.sha256(source.text.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _reviews() -> TypeAdapter[FileReview]:
    return TypeAdapter(FileReview)


@cache
def _results() -> TypeAdapter[SearchResult]:
    return TypeAdapter(SearchResult)
