"""`momus evaluate critics`: critics side by side on answers whose bugs are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, ChatOptions
from momus.cli.shared.output import say, show
from momus.cli.shared.seed import Seed
from momus.errors import UserError
from momus.files import write_json

if TYPE_CHECKING:
    from momus.critique import Critique
    from momus.evaluate.critics.cbi import JudgeAgreement
    from momus.records import Tamper


@dataclass(frozen=True)
class Critics:
    """What critics catch and claim on answers with known bugs, and how far a matcher as judge agrees with the truth."""

    tampers: Positional[Path]
    """The answers, with their bugs: what `momus tamper` wrote."""
    critiques: tuple[str, ...]
    """NAME=FILE for each critic: what `momus critique` wrote on these answers; the first critique of each counts."""
    by: Literal["lexical", "embedding", "model", "voting", "pairwise"] = "lexical"
    """Who judges whether a comment includes a bug: the matchers of `momus match`."""
    calibration: Path | None = None
    """What momus match calibrate measured of the judge. Without it the lexical judge's threshold for either half of the
    tasks is chosen on the other half."""
    chat: Annotated[ChatOptions, FLAT] = field(default_factory=ChatOptions)
    out: Path | None = None
    """A JSON file for the numbers."""
    seed: Seed = 0
    """Resamples the tasks, and whatever is random in asking a model."""

    def run(self) -> int:
        """Print the table and the judge's agreement."""
        from dataclasses import asdict

        from momus.evaluate.critics.measure import measure
        from momus.records import Tamper, read_jsonl
        from momus.report.terminal import critic_table

        self.chat.named().used_by(self.by)
        tampers = list(read_jsonl(self.tampers, Tamper))
        if not tampers:
            raise UserError(f"{self.tampers}: no answers in it")
        critiques = {name: _critiques(name, path, tampers) for name, path in _named(self.critiques)}
        rows = measure(critiques, tampers, seed=self.seed)
        agreement = self._judge(critiques, tampers)
        show(critic_table(rows), "In brackets: 95 % intervals, tasks resampled.")
        if agreement is None:
            show("Too few bugs are both included and missed to choose the judge's threshold: give --calibration.")
        else:
            show(_describe_agreement(agreement, self.by))
        if self.out:
            rated = {"critics": [asdict(row) for row in rows], "judge": agreement and asdict(agreement)}
            write_json(self.out, rated, indent=1)
        return 0

    def _judge(self, critiques: dict[str, list[Critique]], tampers: list[Tamper]) -> JudgeAgreement | None:
        from momus.evaluate.critics.cbi import compared_texts, cross_fitted_agreement, judge_agreement
        from momus.match.open import open_matcher

        if self.by == "lexical" and self.calibration is None:
            return cross_fitted_agreement(critiques, tampers, seed=self.seed)
        model = self.chat.named(self.seed)
        matcher = open_matcher(self.by, model, self.calibration, compared_texts(critiques, tampers))
        return judge_agreement(critiques, tampers, matcher, seed=self.seed)


def _named(critiques: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Split NAME=FILE, each name once."""
    files: dict[str, Path] = {}
    for option in critiques:
        name, equals, path = option.partition("=")
        if not (name and equals and path):
            raise UserError(f"--critiques {option}: give each critic as NAME=FILE")
        if name in files:
            raise UserError(f"--critiques: {name} is named twice")
        files[name] = Path(path)
    if not files:
        raise UserError("--critiques: name at least one critic, as NAME=FILE")
    return list(files.items())


def _critiques(name: str, path: Path, tampers: list[Tamper]) -> list[Critique]:
    """Read one critic's critiques, one for each answer in their order; where it has none, one without comments."""
    from momus.critics.shard import TaskCritiques
    from momus.critique import Critique, parse_critique
    from momus.records import read_jsonl

    written = list(read_jsonl(path, TaskCritiques))
    ids, expected = [row.id for row in written], [tamper.task.id for tamper in tampers]
    if ids != expected:
        place = next(
            (i for i, (a, b) in enumerate(zip(ids, expected, strict=False)) if a != b), min(len(ids), len(expected))
        )
        raise UserError(
            f"{path}: these are not critiques of these answers ({len(ids)} of {len(expected)}; number {place + 1} "
            "differs): run momus critique on the same file"
        )
    if silent := sum(not row.critiques for row in written):
        say(f"{name}: {silent} answers have no critique; they count as answers it found nothing in")
    # Anchored afresh: whether a quote stands in the answer is for the answer to say.
    return [
        parse_critique(row.critiques[0].text, tamper.answer) if row.critiques else Critique()
        for row, tamper in zip(written, tampers, strict=True)
    ]


def _describe_agreement(agreement: JudgeAgreement, by: str) -> str:
    from momus.report.terminal import estimate_text, percent

    failed = f"; it gave no usable verdict on {agreement.failed} critiques" if agreement.failed else ""
    return (
        f"The {by} matcher as judge calls {percent(agreement.judged)} % of bugs included, {percent(agreement.truth)} % "
        f"are; it is right on {percent(agreement.agreement)} % of {agreement.bugs}, "
        f"kappa {estimate_text(agreement.kappa, 1, 2)}{failed}."
    )
