"""`momus evaluate critics`: critics side by side on answers whose bugs are known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, AskingOptions, ChatOptions, split_server
from momus.cli.shared.output import bar, say, show
from momus.cli.shared.seed import Seed
from momus.errors import UserError
from momus.files import write_json

if TYPE_CHECKING:
    from momus.critique import Critique
    from momus.evaluate.critics.cbi import JudgeAgreement
    from momus.records import Tamper


_AT_ONCE = 16
"""Answers that a critic is given together."""


@dataclass(frozen=True)
class Critics:
    """What critics catch and claim on answers with known bugs, and how far a matcher as judge agrees with the truth."""

    tampers: Positional[Path]
    """The answers, with their bugs: what `momus tamper` wrote."""
    critiques: tuple[str, ...] = ()
    """NAME=FILE for each critic: what `momus critique` wrote on these answers; the first critique of each counts. Or
    NAME=MODEL, NAME=URL or NAME=MODEL@URL: a critic that writes now, as it would in `momus review`; one that is
    prompted, with its answers kept."""
    baselines: bool = False
    """Also critics that need no model: a comment on a random line, and ruff."""
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

        replace(self.chat, budget_tokens=None, prices=None).named().used_by(self.by)
        named = _named(self.critiques, self.baselines)
        tampers = list(read_jsonl(self.tampers, Tamper))
        if not tampers:
            raise UserError(f"{self.tampers}: no answers in it")
        critiques = self._baselines(tampers)
        for name, critic in named:
            file = _file_of(critic)
            critiques[name] = self._write(name, critic, tampers) if file is None else _read(name, file, tampers)
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

    def _baselines(self, tampers: list[Tamper]) -> dict[str, list[Critique]]:
        from momus.evaluate.critics.baselines import random_line, ruff
        from momus.evaluate.critics.lineup import RANDOM_LINE, RUFF

        return {RANDOM_LINE: random_line(tampers, self.seed), RUFF: ruff(tampers)} if self.baselines else {}

    def _write(self, name: str, critic: str, tampers: list[Tamper]) -> list[Critique]:
        """Have a critic write about every answer, and say what it costs."""
        from momus.cli.shared.costs import print_cost, print_estimate
        from momus.critics.critic import narrowed, usual_setting
        from momus.critics.open import open_critic
        from momus.critics.run import task_of
        from momus.critics.vacuous import drop_vacuous
        from momus.critique import Critique
        from momus.lm.chats.costs import OVER_BUDGET, SPENT

        model, url = split_server(critic)
        asking = self.chat.asking()
        opened = open_critic(model, url=url, device=self.chat.device, precision=self.chat.precision, asking=asking)
        setting = usual_setting(opened.dial)
        opened = narrowed(opened, setting)
        tasks = {index: task for index, tamper in enumerate(tampers) if opened.fits(task := task_of(tamper))}
        print_estimate(asking, opened, lambda: list(tasks.values()), AskingOptions())
        critiques, silent, numbers = [Critique() for _ in tampers], len(tampers) - len(tasks), list(tasks)
        with bar(name) as progress:
            for start in range(0, len(numbers), _AT_ONCE):
                part = numbers[start : start + _AT_ONCE]
                for index, result in zip(part, opened.write([tasks[index] for index in part]), strict=True):
                    if result.problem == OVER_BUDGET:
                        raise UserError(f"{name}: {SPENT}")
                    silent += not result.candidates
                    answer = tampers[index].answer
                    critiques[index] = opened.dial.choose(drop_vacuous(result, answer), answer, setting)
                progress(start + len(part), len(numbers))
        print_cost(asking)
        _print_silent(name, silent)
        return critiques

    def _judge(self, critiques: dict[str, list[Critique]], tampers: list[Tamper]) -> JudgeAgreement | None:
        from momus.cli.shared.costs import print_cost
        from momus.evaluate.critics.cbi import compared_texts, cross_fitted_agreement, judge_agreement
        from momus.match.open import open_matcher

        if self.by == "lexical" and self.calibration is None:
            return cross_fitted_agreement(critiques, tampers, seed=self.seed)
        model = self.chat.named(self.seed)
        matcher = open_matcher(self.by, model, self.calibration, compared_texts(critiques, tampers))
        agreement = judge_agreement(critiques, tampers, matcher, seed=self.seed)
        print_cost(model.asking)
        return agreement


def _named(critiques: tuple[str, ...], baselines: bool) -> list[tuple[str, str]]:
    """Split NAME=CRITIC, each name once."""
    critics: dict[str, str] = {}
    for option in critiques:
        name, equals, critic = option.partition("=")
        if not (name and equals and critic):
            raise UserError(f"--critiques {option}: give each critic as NAME=FILE, NAME=MODEL or NAME=MODEL@URL")
        if name in critics:
            raise UserError(f"--critiques: {name} is named twice")
        critics[name] = critic
    if not (critics or baselines):
        raise UserError("--critiques: name at least one critic, as NAME=FILE, or give --baselines")
    return list(critics.items())


def _file_of(critic: str) -> Path | None:
    """Return the file of critiques that is named, or None where a critic is."""
    path = Path(critic)
    if "://" in critic or path.suffix == ".gguf":
        return None
    if (path / "critiques.jsonl").is_file():
        return path / "critiques.jsonl"
    return path if path.is_file() or path.suffix == ".jsonl" else None


def _read(name: str, path: Path, tampers: list[Tamper]) -> list[Critique]:
    """Read one critic's critiques, one for each answer in their order; where it has none, one without comments."""
    from momus.critics.run import TaskCritiques
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
    _print_silent(name, sum(not row.critiques for row in written))
    # Anchored afresh: whether a quote stands in the answer is for the answer to say.
    return [
        parse_critique(row.critiques[0].text, tamper.answer) if row.critiques else Critique()
        for row, tamper in zip(written, tampers, strict=True)
    ]


def _print_silent(name: str, silent: int) -> None:
    if silent:
        say(f"{name}: {silent} answers have no critique; they count as answers it found nothing in")


def _describe_agreement(agreement: JudgeAgreement, by: str) -> str:
    from momus.report.terminal import estimate_text, percent

    failed = f"; it gave no usable verdict on {agreement.failed} critiques" if agreement.failed else ""
    return (
        f"The {by} matcher as judge calls {percent(agreement.judged)} % of bugs included, {percent(agreement.truth)} % "
        f"are; it is right on {percent(agreement.agreement)} % of {agreement.bugs}, "
        f"kappa {estimate_text(agreement.kappa, 1, 2)}{failed}."
    )
