"""The rules InstructGPT chooses prompts by (arXiv 2203.02155, section 3.2 and appendix A).

In this order: blank prompts go; of prompts with a long common prefix the first stays; a user keeps at most 200; what
an evaluation set contains goes; each user's prompts are all in one split; personal data in the training split becomes
placeholders (`personal`). Differences: the paper does not say how long
a prefix is long (200 characters here, case and spacing aside, and all of a shorter prompt), nor the shares of the
splits (its table 6 comes to some two thirds of prompts in training). Section 3.2 limits and splits by user, appendix
A.2 by organisation: give either as the rows' user. A prompt of an unknown user is limited by nothing and split by
itself. The contamination check is ours: 13 words in a row, as GPT-3's (arXiv 2005.14165, appendix C).

Memory is some hundred bytes a prompt, and the 13-grams of the evaluation sets. How many prompts each rule took out, and
where personal data was, is written beside the prompts (`PromptReport`).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from momus.data.convert import BadRowsError, Problems, not_itself, read, recognise
from momus.data.personal import REGIONS, redact_training
from momus.data.sources import Problem, watched
from momus.errors import UserError
from momus.normalise import normalise
from momus.records import Content, Demonstration, Judgement, Origin, Prompt, Ranking, Record, Split, Task, write_jsonl

_WORD = re.compile(r"\w+")
_GRAM = 13


@dataclass(frozen=True)
class PromptRules:
    """Which prompts are chosen; the defaults are the paper's where it states them."""

    prefix: int = 200
    """Characters that two prompts must begin with to be one. Not stated in the paper."""
    per_user: int = 200
    """Most prompts of one user (section 3.2)."""
    by: Literal["user", "group"] = "user"
    """Whose prompts are limited and kept in one split (section 3.2: user; appendix A.2: organisation)."""
    valid: float = 0.1
    test: float = 0.1
    """Shares of the users held out. Not stated in the paper."""


@dataclass(frozen=True)
class Redaction:
    """How personal data is looked for."""

    regions: tuple[str, ...] = REGIONS
    """Countries (ISO 3166, two letters) whose telephone numbers are known without a country code."""
    workers: int = 1
    """Processes that look for it."""


class Place(BaseModel):
    """A prompt that personal data was in: its place in the source, and how many of each kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: str
    kinds: dict[str, int]


class PromptReport(Record):
    """What became of the prompts of a source.

    `counts` says how many each rule took out and each split got. `personal` says how many of each kind became
    placeholders, and `places` where; both are None where personal data was not looked for.
    """

    source: str
    counts: dict[str, int]
    personal: dict[str, int] | None = None
    places: tuple[Place, ...] | None = None


class Contamination:
    """Knows the texts of evaluation sets: 13 words in a row, or all the words of a shorter one."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._grams: set[int] = set()
        self._short: set[int] = set()
        for text in texts:
            words = _words(text)
            self._grams.update(_grams(words))
            if words and len(words) < _GRAM:
                self._short.add(hash(words))

    def touches(self, text: str) -> bool:
        """Whether a text shares 13 words in a row with an evaluation text, or is one."""
        words = _words(text)
        return hash(words) in self._short or not self._grams.isdisjoint(_grams(words))


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(normalise(text)))


def _grams(words: tuple[str, ...]) -> Iterator[int]:
    return (hash(words[start : start + _GRAM]) for start in range(len(words) - _GRAM + 1))


def choose(
    prompts: Iterable[Prompt], rules: PromptRules, tests: Contamination | None, counts: Counter[str]
) -> Iterator[Prompt]:
    """Yield the prompts the rules leave, each with its split; count what each rule takes out."""
    seen: set[bytes] = set()
    of_user: Counter[bytes] = Counter()
    for prompt in prompts:
        text = plain(prompt.prompt)
        start = normalise(text)[: rules.prefix]
        user = prompt.origin.user if rules.by == "user" else prompt.origin.group
        key, owner = _digest(start), _digest(user)
        if not start:
            counts["blank"] += 1
        elif key in seen:
            counts["with the beginning of another"] += 1
        elif user and of_user[owner] >= rules.per_user:
            counts[f"beyond {rules.per_user} of a {rules.by}"] += 1
        elif tests is not None and tests.touches(text):
            counts["in an evaluation set"] += 1
        else:
            seen.add(key)
            of_user[owner] += bool(user)
            split = split_of(user or start, rules)
            counts[split] += 1
            yield prompt.model_copy(update={"split": split})


def split_of(owner: str, rules: PromptRules) -> Split:
    """Return the split of everything of one owner: it depends on the name alone, so later data falls the same way."""
    share = int.from_bytes(_digest(owner)) / 2**64
    return "test" if share < rules.test else "valid" if share < rules.test + rules.valid else "train"


def plain(content: Content) -> str:
    """Return a prompt's text, the messages of a conversation on lines of their own."""
    return content if isinstance(content, str) else "\n".join(message.content for message in content)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def report_path(out: Path) -> Path:
    """Return where the report on the prompts in `out` is: chosen.jsonl has chosen.report.json."""
    return out.with_suffix(".report.json")


def choose_prompts(
    name: str,
    out: Path,
    rules: PromptRules,
    against: Sequence[str] = (),
    format_name: str | None = None,
    skip_bad: bool = False,
    redact: Redaction | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> tuple[PromptReport, Problems]:
    """Write the prompts of a source that the rules leave, as JSON Lines, and the report, whole or not at all.

    `against` names evaluation sets: sources in any known format. Without `redact` personal data is left where it is.
    `progress` is told the number of rows read, now and then.

    Raises:
        BadRowsError: There are bad rows, in the evaluation sets too, and `skip_bad` is not set.
        UserError: A source cannot be read, or no prompt is left.
    """
    not_itself(out, name)
    problems, counts = Problems(), Counter[str]()
    evaluations = (_prompts(other, None, problems, progress) for other in against)
    tests = Contamination(plain(prompt.prompt) for prompts in evaluations for prompt in prompts) if against else None
    _refuse(problems, skip_bad)
    places: list[Place] = []

    def records() -> Iterator[Prompt]:
        """Yield what is to be written; at the end refuse it where rows were bad or none is left."""
        chosen = choose(_prompts(name, format_name, problems, progress), rules, tests, counts)
        left = False
        for prompt, kinds in (
            redact_training(chosen, redact.regions, redact.workers) if redact else _as_they_are(chosen)
        ):
            left = True
            if kinds:
                places.append(Place(place=prompt.origin.place, kinds=kinds))
            yield prompt
        _refuse(problems, skip_bad)
        if not left:
            raise UserError(f"{name}: no prompt is left: nothing written")

    write_jsonl(out, records())
    report = PromptReport(source=name, counts=counts)
    if redact:
        kinds = sum((Counter(place.kinds) for place in places), Counter[str]())
        report = report.model_copy(update={"personal": dict(kinds), "places": tuple(places)})
    write_jsonl(report_path(out), [report])
    return report, problems


def _as_they_are(prompts: Iterable[Prompt]) -> Iterator[tuple[Prompt, Counter[str]]]:
    return ((prompt, Counter()) for prompt in prompts)


def _refuse(problems: Problems, skip_bad: bool) -> None:
    if problems.count and not skip_bad:
        raise BadRowsError(problems.first, problems.count)


def _prompts(
    name: str, format_name: str | None, problems: Problems, progress: Callable[[int], None]
) -> Iterator[Prompt]:
    """Yield the prompts of all the records of a source that have one."""
    source, source_format = recognise(name, format_name)
    for item in read(watched(source, progress), source_format):
        if isinstance(item, Problem):
            problems.add(item)
        elif isinstance(item, Prompt):
            yield item
        elif isinstance(item, Demonstration | Judgement | Ranking):
            yield Prompt(prompt=item.prompt, origin=item.origin)
        elif isinstance(item, Task):
            yield Prompt(prompt=item.question, origin=Origin(id=item.id))
