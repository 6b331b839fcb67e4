"""What a report shows: plain values that travel as `report.json`, so a report can be rendered again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from momus.errors import UserError
from momus.stats.bootstrap import Interval

Unit = Literal["percent", "number", "points"]
"""How a value is written: a share as 12.3%, a number as 1.23, points (Elo, characters) without decimals."""

_CONFIG = ConfigDict(extra="forbid", ser_json_inf_nan="constants")


@dataclass(frozen=True)
class Figure:
    """A number worth showing large, with its interval and what it means."""

    label: str
    interval: Interval
    unit: Unit = "percent"
    note: str = ""


@dataclass(frozen=True)
class Expectation:
    """Something stated before the run and what came of it; `why` explains one that did not hold."""

    expected: str
    measured: str
    held: bool
    why: str = ""


@dataclass(frozen=True)
class Step:
    """One stage of the pipeline: what went through it, and how long it took (0: reused from before)."""

    name: str
    detail: str
    seconds: float


@dataclass(frozen=True)
class Column:
    """A column of the table of critics: the key of its values, its heading, and which direction is better."""

    key: str
    title: str
    unit: Unit
    better: Literal["high", "low", ""] = ""
    help: str = ""


@dataclass(frozen=True)
class CriticSummary:
    """One critic: its value for each column's key (absent or NaN: nothing to count).

    Those that are not `ours` (chance, a linter) are for comparison and take no part in who is best.
    """

    name: str
    metrics: dict[str, Interval]
    note: str = ""
    ours: bool = True


@dataclass(frozen=True)
class EloRating:
    """One critic's Elo."""

    name: str
    elo: Interval
    games: float = 0


@dataclass(frozen=True)
class ParetoPoint:
    """A critic in the plane of false comments (x, per clean answer) and bugs caught (y, a share).

    Points with the same non-empty `curve` are joined in the order given: operating points of one search.
    """

    name: str
    false_comments: Interval
    catch: Interval
    curve: str = ""
    front: bool = False


@dataclass(frozen=True)
class Curve:
    """A quantity over the steps of training, and a sentence that says how to read it."""

    title: str
    steps: tuple[float, ...]
    values: tuple[float, ...]
    caption: str = ""


@dataclass(frozen=True)
class RewardAccuracy:
    """The reward model on pairs it was not trained on; ties are not pairs."""

    accuracy: Interval
    pairs: int
    note: str = ""


@dataclass(frozen=True)
class Agreement:
    """How often two labelers agree on one attribute."""

    attribute: str
    agreement: Interval


@dataclass(frozen=True)
class Contractors:
    """The simulated contractors: their noise, and how far they agree with each other against the target."""

    number: int
    noise: float
    target: float
    agreement: tuple[Agreement, ...]
    note: str = ""


@dataclass(frozen=True)
class KnownBug:
    """A bug known to be in an example: its 1-based lines, its kind and a reviewer's description."""

    lines: tuple[int, ...]
    kind: str
    description: str


@dataclass(frozen=True)
class Remark:
    """A comment of the critique; `span` is its highlight's place in the code, None when not there."""

    text: str
    highlight: str
    span: tuple[int, int] | None
    verdict: Literal["real", "nitpick", "fake"]


@dataclass(frozen=True)
class Example:
    """One critique beside its code, wins and failures alike; no bugs means a clean answer."""

    title: str
    critic: str
    outcome: Literal["win", "partial", "failure"]
    outcome_note: str
    question: str
    code: str
    bugs: tuple[KnownBug, ...] = ()
    remarks: tuple[Remark, ...] = ()
    closing: str = ""


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows. Lists may be empty: their section is then left out."""

    title: str
    summary: str
    created: str
    version: str
    command: str
    seconds: float
    simulated: tuple[str, ...]
    headline: tuple[Figure, ...]
    steps: tuple[Step, ...]
    columns: tuple[Column, ...]
    critics: tuple[CriticSummary, ...]
    critics_note: str = ""
    expectations: tuple[Expectation, ...] = ()
    elo: tuple[EloRating, ...] = ()
    elo_note: str = ""
    pareto: tuple[ParetoPoint, ...] = ()
    pareto_note: str = ""
    curves: tuple[Curve, ...] = ()
    reward: RewardAccuracy | None = None
    contractors: Contractors | None = None
    examples: tuple[Example, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    schema_version: Literal[1] = 1

    __pydantic_config__ = _CONFIG

    def to_json(self) -> str:
        """Return the report's data as JSON; `from_json` is its inverse."""
        return _ADAPTER.dump_json(self, indent=1).decode()

    @classmethod
    def from_json(cls, text: str) -> ReportData:
        """Read what `to_json` wrote.

        Raises:
            UserError: It is not a report's data of this version.
        """
        try:
            return _ADAPTER.validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "report"
            raise UserError(f"not a report's data: {place}: {first['msg']}") from error


_ADAPTER = TypeAdapter(ReportData)
