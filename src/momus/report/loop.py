"""From the results of the embedded loop to its report: what is counted, compared and shown."""

from __future__ import annotations

import platform
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from momus import __version__
from momus.critique import Comment, Critique, lines_of
from momus.evaluate.baselines import line_comments
from momus.evaluate.critics import CriticRow, draw_comparisons, elo, measure, preference
from momus.match.bugs import Judgement, Label, judge
from momus.raters.contractor import TARGET_AGREEMENT, SimulatedContractor
from momus.records import Comparison, Tamper
from momus.report import data
from momus.report.data import ReportData
from momus.stats.agreement import preference_agreement
from momus.stats.bootstrap import Interval, mean_interval
from momus.stats.pareto import pareto_front

SFT, RL, FORCED = "SFT", "RL", "SFT, quote forced"
PERCENTILES = (10, 25, 50, 75)
"""Where the four length modifiers lie among the lengths in the search (CriticGPT, appendix 7.1)."""
EXAMPLES = 12


def fsbs_name(percentile: int) -> str:
    """Name the critic that searches with the modifier at a percentile."""
    return f"RL+FSBS, {percentile}th percentile"


def greedy_name(policy: str) -> str:
    """Name the critic that takes the likeliest token each time."""
    return f"{policy}, greedy"


def best_of_name(count: int) -> str:
    """Name the critic that takes the best of `count` samples."""
    return f"RL, best of {count}"


@dataclass(frozen=True)
class LoopResult:
    """Everything the loop leaves behind that the report speaks of.

    `critiques` holds, for every critic, one critique per tamper; `ppo` the metrics of every iteration;
    `reward_accuracy` the share of held-back pairs ordered right and their number.
    """

    tampers: Sequence[Tamper]
    critiques: Mapping[str, Sequence[Critique]]
    modifiers: Mapping[str, float]
    comparisons: Sequence[Comparison]
    contractors: Sequence[SimulatedContractor]
    noise: float
    agreement: float
    reward_accuracy: tuple[float, int]
    ppo: Sequence[Mapping[str, Any]]
    tampered_training: bool
    seed: int
    seconds: Mapping[str, float]
    config: Mapping[str, Any]
    command: str


def report_data(result: LoopResult) -> ReportData:
    """Measure everything and lay out the report."""
    rows = measure(result.critiques, result.tampers, seed=result.seed)
    forced, chance = first_line_rates(result.critiques[FORCED], result.tampers)
    wins = _duel(result, RL, SFT)
    greedy_wins = _duel(result, greedy_name(RL), greedy_name(SFT))
    ranked = draw_comparisons(result.critiques, result.tampers, result.contractors, per_answer=4, seed=result.seed + 1)
    ratings = elo(ranked, list(result.critiques), seed=result.seed)
    by_name = {row.source: row for row in rows}
    bugs = sum(len(tamper.bugs) for tamper in result.tampers)
    clean = sum(not tamper.bugs for tamper in result.tampers)
    return ReportData(
        title="Momus: a critic trained on human-style feedback",
        summary=(
            f"Functions of this machine's Python standard library, {bugs} bugs inserted into "
            f"{len(result.tampers) - clean} answers from modules that were never trained on, {clean} answers left "
            "clean; a small critic trained by supervised learning (SFT), by PPO against a reward model (RL), and "
            "searched with Force Sampling Beam Search (FSBS)."
        ),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        command=result.command,
        seconds=sum(result.seconds.values()),
        simulated=_simulated(result),
        headline=(
            data.Figure("one inserted bug: its line found", forced, "percent", "by the shipped critic, a quote forced"),
            data.Figure("the same by a random line", chance, "percent", "computed exactly for each function"),
            data.Figure(
                "RL preferred to SFT", wins, "percent", f"one sample each; {greedy_wins.value:.0%} when both are greedy"
            ),
            data.Figure(
                "false comments per clean answer",
                by_name[fsbs_name(PERCENTILES[0])].clean_false,
                "number",
                f"RL+FSBS at its most careful; at its most thorough "
                f"{by_name[fsbs_name(PERCENTILES[-1])].clean_false.value:.2f}",
            ),
        ),
        steps=_steps(result),
        columns=_COLUMNS,
        critics=tuple(_critic(row) for row in rows),
        critics_note=(
            "Inserted bugs only. Intervals are 95% bootstrap intervals over functions. A comment catches a bug when "
            "it quotes a line of it, names it when it also contains the repair; a comment that does neither is a "
            "fake problem, a linter's finding that is no bug or a repeated comment a nitpick."
        ),
        expectations=_expectations(result, by_name, forced, chance, wins),
        elo=tuple(
            data.Rating(name, Interval(rating, low, high), games)
            for name, rating, low, high, games in zip(
                ratings.names, ratings.rating, ratings.low, ratings.high, ratings.games, strict=True
            )
        ),
        elo_note=(
            "Bradley-Terry ratings of the simulated contractors' overall preferences in blind comparisons of four, "
            "a tie half a win each way; intervals by bootstrap over functions."
            + (f" A prior of {ratings.prior} wins was added to every pair." if ratings.prior else "")
        ),
        pareto=_pareto(rows, result),
        pareto_note="Up and to the left is better. The line joins the operating points of one search.",
        curves=_curves(result.ppo),
        reward=data.Reward(_binomial(*result.reward_accuracy), result.reward_accuracy[1]),
        contractors=_contractors(result),
        examples=tuple(_examples(result)),
        config=dict(result.config),
        environment=_environment(),
    )


def _duel(result: LoopResult, critic: str, other: str) -> Interval:
    """Return how often the contractors prefer one critic to another, of the comparisons they decide."""
    pair = {name: result.critiques[name] for name in (critic, other)}
    made = draw_comparisons(pair, result.tampers, result.contractors, per_answer=3, seed=result.seed)
    return preference(made, critic, other, seed=result.seed)


def first_line_rates(critiques: Sequence[Critique], tampers: Sequence[Tamper]) -> tuple[Interval, Interval]:
    """Return how often a critique's first comment quotes the bug's line, and how often a random line would.

    Over the functions with exactly one bug.
    """
    found, chance = [], []
    for critique, tamper in zip(critiques, tampers, strict=True):
        if len(tamper.bugs) != 1:
            continue
        found.append(float(_hits(critique.comments[:1], tamper)))
        lines = line_comments(tamper.answer)
        chance.append(float(np.mean([_hits([line], tamper) for line in lines])) if lines else 0.0)
    return mean_interval(found), mean_interval(chance)


def _hits(comments: Sequence[Comment], tamper: Tamper) -> bool:
    return judge(Critique(comments=tuple(comments)), tamper).located > 0


_COLUMNS = (
    data.Column("catch", "Bugs caught", "percent", "high", "share of inserted bugs whose line is quoted"),
    data.Column("named", "Repair named", "percent", "high", "share of bugs whose repair is spelled out as well"),
    data.Column("fakes", "Fake problems", "number", "low", "per critique"),
    data.Column("nitpicks", "Nitpicks", "number", "low", "per critique"),
    data.Column("clean_false", "False on clean", "number", "low", "false comments per clean answer"),
    data.Column("comments", "Comments", "number", "", "per critique"),
    data.Column("length", "Length", "points", "", "characters per critique"),
    data.Column("verbatim", "Verbatim", "percent", "high", "share of quotes that stand in the answer"),
)

_NOTES = {
    "random line": "one random line quoted in every answer",
    "ruff": "the linter's findings, as comments",
    SFT: "the shipped critic, one sample at temperature 1",
    FORCED: "the shipped critic, greedy, made to quote something",
    RL: "after PPO, one sample at temperature 1",
}


def _critic(row: CriticRow) -> data.CriticRow:
    return data.CriticRow(
        name=row.source,
        metrics={column.key: getattr(row, column.key) for column in _COLUMNS},
        note=_NOTES.get(row.source, ""),
        ours=row.source not in ("random line", "ruff"),
    )


def _simulated(result: LoopResult) -> tuple[str, ...]:
    return (
        f"No person rated anything: {len(result.contractors)} simulated contractors, who know the inserted bugs, "
        f"rate with noise set so that two of them agree on {result.agreement:.0%} of preferences.",
        "The bugs are mutations of real code. How far results carry over to bugs that people make by "
        "themselves is not measured here.",
        "The critic is a model of some four million parameters, trained for an hour and a half on two cores: "
        "read the numbers as a demonstration of the method.",
    )


def _steps(result: LoopResult) -> tuple[data.Step, ...]:
    training = result.comparisons
    tampered = sum(bool(c.tamper.bugs) for c in training)
    details = {
        "answers": f"{len(training)} training and {len(result.tampers)} held-out functions",
        "comparisons": f"{len(training)} comparisons of four critiques, {tampered} of tampered answers",
        "reward": f"held-back pairs ordered right: {result.reward_accuracy[0]:.0%} of {result.reward_accuracy[1]}",
        "ppo": f"{len(result.ppo)} iterations"
        + (", tampered and clean answers" if result.tampered_training else ", clean answers only (ablation)"),
        "critiques": f"{len(result.critiques)} critics on {len(result.tampers)} held-out answers",
    }
    return tuple(data.Step(name, text, result.seconds.get(name, 0.0)) for name, text in details.items())


def _expectations(
    result: LoopResult, rows: Mapping[str, CriticRow], forced: Interval, chance: Interval, wins: Interval
) -> tuple[data.Expectation, ...]:
    """Compare what was expected of the loop with what came of it."""
    curve = [rows[fsbs_name(p)] for p in PERCENTILES]
    catches, false = [r.catch.value for r in curve], [r.clean_false.value for r in curve]
    rising = all(a <= b for values in (catches, false) for a, b in pairwise(values))
    verbatim = min(r.verbatim.value for r in curve)
    times = forced.value / chance.value if chance.value else float("nan")
    return (
        data.Expectation(
            "a quote forced, the shipped critic finds the tampered line in at least 45% of held-out functions",
            f"{forced.value:.1%}",
            forced.value >= 0.45,
            "The shipped weights saw 12.8 million tokens and are undertrained: they have learned to quote lines, and "
            "hardly yet to tell which. Longer training is the remedy (momus pretrain).",
        ),
        data.Expectation(
            "and at least 2.5 times as often as a random line",
            f"{times:.2f} times",
            times >= 2.5,
            f"For the same reason; a random line is right in {chance.value:.1%} of these functions.",
        ),
        data.Expectation(
            "the contractors prefer RL to SFT in at least 60% of decided comparisons",
            f"{wins.value:.1%} ({wins.low:.1%} to {wins.high:.1%})",
            wins.value >= 0.6,
            "Without tampered answers the reward knows no bugs, and RL learns to say nothing."
            if not result.tampered_training
            else f"The reward model orders only {result.reward_accuracy[0]:.0%} of held-back pairs right, so PPO has "
            "little to go by; and the contractors' noise pulls every preference towards one half.",
        ),
        data.Expectation(
            "FSBS trades false comments for caught bugs monotonically along its four modifiers",
            " → ".join(f"{c:.0%} at {f:.2f}" for c, f in zip(catches, false, strict=True)),
            rising,
            "Steps between neighbouring modifiers are smaller than the sampling error of this many answers.",
        ),
        data.Expectation(
            "every constrained quote is verbatim",
            f"{verbatim:.1%}",
            verbatim == 1.0,
            "This would be a defect.",
        ),
    )


def _pareto(rows: Sequence[CriticRow], result: LoopResult) -> tuple[data.Point, ...]:
    front = pareto_front([r.catch.value for r in rows], [r.clean_false.value for r in rows])
    return tuple(
        data.Point(
            name=row.source,
            false_comments=row.clean_false,
            catch=row.catch,
            curve="RL+FSBS" if row.source in result.modifiers else "",
            front=bool(best),
        )
        for row, best in zip(rows, front, strict=True)
    )


_CURVES = {
    "score": ("Reward", "The reward model's score; demonstrations average 0."),
    "kl": ("KL from SFT", "Nats per critique."),
    "entropy": ("Entropy", "Nats per token."),
    "length": ("Length", "Tokens per critique."),
}


def _curves(history: Sequence[Mapping[str, Any]]) -> tuple[data.Curve, ...]:
    steps = tuple(float(line["step"]) for line in history)
    return tuple(
        data.Curve(title, steps, tuple(float(line[key]) for line in history), caption)
        for key, (title, caption) in _CURVES.items()
        if history
    )


def _contractors(result: LoopResult) -> data.Contractors:
    """Have two contractors rate the same comparisons and see how far they agree."""
    first, second = result.contractors[:2]
    taste = first.taste
    rated = [(first.rate(c.tamper, c.critiques), second.rate(c.tamper, c.critiques)) for c in result.comparisons]
    attributes = ("overall", "comprehensive", "fake_problem", "nitpick", "concise")
    found = []
    for attribute in attributes:
        scores = [tuple([float(getattr(r, attribute)) for r in side] for side in pair) for pair in rated]
        found.append(
            data.Agreement(
                attribute.replace("_", " "),
                mean_interval([preference_agreement([(a, b)]) for a, b in scores]),
            )
        )
    with_bugs = [(a, b) for a, b in rated if a[0].cbi]
    if with_bugs:
        sums = [tuple([float(sum(r.cbi)) for r in side] for side in pair) for pair in with_bugs]
        found.append(
            data.Agreement("includes the bug", mean_interval([preference_agreement([(a, b)]) for a, b in sums]))
        )
    return data.Contractors(
        number=len(result.contractors),
        noise=result.noise,
        target=TARGET_AGREEMENT,
        agreement=tuple(found),
        note=(
            "The target is InstructGPT's agreement between labelers; the noise is calibrated on overall preferences. "
            f"What they value, in points: {taste.located} a bug located, {taste.named} more if its repair is named, "
            f"{taste.fake} a fake problem, {taste.nitpick} a nitpick, {taste.hundred_characters} a hundred characters. "
            "The weights are ours, not the paper's."
        ),
    )


def _examples(result: LoopResult) -> list[data.Example]:
    """Show critiques of the middle operating point: wins, half wins, failures and clean answers in turn."""
    name = fsbs_name(50)
    groups: dict[str, list[data.Example]] = {"win": [], "partial": [], "failure": [], "clean": []}
    order = list(range(len(result.tampers)))
    random.Random(result.seed).shuffle(order)
    for index in order:
        tamper, critique = result.tampers[index], result.critiques[name][index]
        example = _example(name, tamper, critique, judge(critique, tamper))
        groups[example.outcome if tamper.bugs else "clean"].append(example)
    chosen: list[data.Example] = []
    while len(chosen) < EXAMPLES and any(groups.values()):
        for group in groups.values():
            if group and len(chosen) < EXAMPLES:
                chosen.append(group.pop(0))
    return chosen


_VERDICTS: dict[Label, Literal["real", "nitpick", "fake"]] = {
    Label.REAL: "real",
    Label.NITPICK: "nitpick",
    Label.FAKE: "fake",
}


def _example(name: str, tamper: Tamper, critique: Critique, judgement: Judgement) -> data.Example:
    bugs, caught, fakes = len(tamper.bugs), judgement.located, judgement.fakes
    outcome: Literal["win", "partial", "failure"]
    if not bugs:
        outcome = "failure" if fakes else "win"
        note = f"A clean answer, {fakes} false comment{'s' * (fakes != 1)}."
    else:
        outcome = "failure" if not caught else "win" if caught == bugs and not fakes else "partial"
        note = f"{caught} of {bugs} bug{'s' * (bugs != 1)} caught, {judgement.named} with the repair named"
        note += f"; {fakes} fake problem{'s' * (fakes != 1)}." if fakes else "."
    return data.Example(
        title=tamper.task.id,
        critic=name,
        outcome=outcome,
        outcome_note=note,
        question=tamper.task.question,
        code=tamper.answer,
        bugs=tuple(
            data.KnownBug(
                lines=tuple(sorted({line + 1 for span in bug.spans for line in lines_of(span, tamper.answer)})),
                kind=bug.kind.replace("_", " "),
                description=bug.description,
            )
            for bug in tamper.bugs
        ),
        remarks=tuple(
            data.Remark(
                text=comment.text,
                highlight=comment.highlight,
                span=None if comment.span is None else (comment.span.start, comment.span.end),
                verdict=_VERDICTS[label],
            )
            for comment, label in zip(critique.comments, judgement.labels, strict=True)
        ),
        closing=critique.closing,
    )


def _binomial(share: float, count: int) -> Interval:
    """Return a share of `count` with its Wilson interval."""
    if not count:
        return Interval(float("nan"), float("nan"), float("nan"))
    z = 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5 / (1 + z**2 / count)
    return Interval(share, middle - half, middle + half)


def _environment() -> dict[str, str]:
    packages = ("torch", "transformers", "numpy", "libcst", "ruff")
    versions = {name: metadata.version(name) for name in packages}
    return {"python": platform.python_version(), "platform": platform.platform(), **versions}
