"""From the results of the embedded loop to its report: what is counted, compared and shown."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from operator import attrgetter
from typing import Any

from momus import __version__
from momus.critique import Critique, parse_critique
from momus.evaluate.critics.cbi import calibrated_judge, judge_agreement, labelled_bugs
from momus.evaluate.critics.lineup import (
    FORCED,
    PERCENTILES,
    RANDOM_LINE,
    RL,
    RUFF,
    SAMPLES,
    SFT,
    fsbs_name,
    greedy_name,
)
from momus.evaluate.critics.measure import CriticRow, draw_comparisons, elo, first_line_rates, measure, preference
from momus.raters.contractor import TARGET_AGREEMENT, SimulatedContractor
from momus.records import Comparison, Rating, Tamper
from momus.report import data
from momus.report.data import ReportData
from momus.report.examples import examples
from momus.report.expectations import expectations
from momus.stats.agreement import agreement_interval
from momus.stats.bootstrap import Interval
from momus.stats.elo import UNDETERMINED_NOTE, EloResult
from momus.stats.pareto import pareto_front
from momus.stats.text import interval_text, percent_text

_Rated = tuple[Sequence[Rating], Sequence[Rating]]
"""Two contractors' ratings of the same critiques."""


@dataclass(frozen=True)
class LoopResult:
    """Everything the loop leaves behind that the report speaks of.

    `critiques` holds, for every critic, one critique per tamper, `samples` several times one by SFT and one by RL;
    `ppo` the metrics of every iteration; `reward_accuracy` the share of held-back pairs ordered right and their number.
    `comparisons` holds one of each answer, of the `rated` there are; the last `kept_back` answers took part in neither
    reward training nor PPO.
    `noise` has two contractors agree on a share of `agreement`, which is what was asked for where `reached`.
    """

    tampers: Sequence[Tamper]
    critiques: Mapping[str, Sequence[Critique]]
    samples: Sequence[Mapping[str, Sequence[Critique]]]
    modifiers: Mapping[str, float]
    comparisons: Sequence[Comparison]
    rated: int
    kept_back: int
    contractors: Sequence[SimulatedContractor]
    noise: float
    agreement: float
    reached: bool
    reward_accuracy: tuple[Interval, int]
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
    wins = _duel(result, result.samples, RL, SFT)
    greedy_wins = _duel(result, [result.critiques], greedy_name(RL), greedy_name(SFT))
    ranked = draw_comparisons(result.critiques, result.tampers, result.contractors, per_answer=4, seed=result.seed + 1)
    ratings = elo(ranked, list(result.critiques), seed=result.seed)
    by_name = {row.source: row for row in rows}
    shown = fsbs_name(50)  # the middle of the search's operating points
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
        headline=_headline(by_name, forced, chance, wins, greedy_wins),
        steps=_steps(result),
        columns=_COLUMNS,
        critics=tuple(_critic(row) for row in rows),
        critics_note=(
            "Inserted bugs only. Intervals are 95% bootstrap intervals over functions. A comment catches a bug when "
            "it quotes a line of it, names it when it also contains the repair; a comment that does neither is a "
            "fake problem, a linter's finding that is no bug or a repeated comment a nitpick. Where quotes are "
            "constrained (quote forced, best of many, FSBS), the critic's pointer draws which line is quoted; single "
            "samples and greedy critiques are the model's own words." + _judge_note(result)
        ),
        expectations=expectations(
            by_name,
            forced=forced,
            chance=chance,
            wins=wins,
            reward_accuracy=result.reward_accuracy[0].value,
            tampered_training=result.tampered_training,
        ),
        elo=_elo(ratings),
        elo_note=(
            "Bradley-Terry ratings of the simulated contractors' overall preferences in blind comparisons of four, "
            "a tie half a win each way; intervals by bootstrap over functions."
            + (f" {UNDETERMINED_NOTE}" if ratings.has_undetermined else "")
        ),
        pareto=_pareto(rows, result),
        pareto_note="Up and to the left is better. The line joins the operating points of one search.",
        curves=_curves(result.ppo),
        reward=data.RewardAccuracy(*result.reward_accuracy),
        contractors=_contractors(result),
        examples=tuple(examples(shown, result.critiques[shown], result.tampers, result.seed)),
        config=dict(result.config),
        environment=_environment(),
    )


def _judge_note(result: LoopResult) -> str:
    """Say how far the matcher, calibrated on training answers, agrees with the truth of which bugs are included."""
    known = [
        labelled_bugs(parse_critique(text, comparison.tamper.answer), comparison.tamper)
        for comparison in result.comparisons
        for text in comparison.critiques
        if comparison.tamper.bugs
    ]
    judge = calibrated_judge(known)
    if judge is None:
        return ""
    agreement = judge_agreement(result.critiques, result.tampers, judge)
    return (
        " An automatic judge, the lexical matcher between comments and descriptions with a threshold from the "
        f"training answers, finds {agreement.judged.value:.0%} of bugs included where {agreement.truth.value:.0%} are; "
        f"its agreement with the truth, beyond chance, is kappa = {interval_text(agreement.kappa)} over "
        f"{agreement.bugs} verdicts."
    )


def _headline(
    rows: Mapping[str, CriticRow], forced: Interval, chance: Interval, wins: Interval, greedy_wins: Interval
) -> tuple[data.Figure, ...]:
    return (
        data.Figure("one inserted bug: its line found", forced, "percent", "by the shipped critic, a quote forced"),
        data.Figure("the same by a random line", chance, "percent", "computed exactly for each function"),
        data.Figure(
            "RL preferred to SFT",
            wins,
            "percent",
            f"{SAMPLES} samples of each an answer; RL makes {rows[RL].comments.value:.2f} comments a critique, SFT "
            f"{rows[SFT].comments.value:.2f}; {percent_text(greedy_wins.value)} when both are greedy",
        ),
        data.Figure(
            "false comments per clean answer",
            rows[fsbs_name(PERCENTILES[0])].clean_false,
            "number",
            f"RL+FSBS at its most careful; at its most thorough "
            f"{rows[fsbs_name(PERCENTILES[-1])].clean_false.value:.2f}",
        ),
    )


def _elo(ratings: EloResult) -> tuple[data.EloRating, ...]:
    return tuple(
        data.EloRating(name, ratings.interval(name), games)
        for name, games in zip(ratings.names, ratings.games, strict=True)
    )


def _duel(result: LoopResult, written: Sequence[Mapping[str, Sequence[Critique]]], critic: str, other: str) -> Interval:
    """Return how often the contractors prefer one critic to another, of the comparisons they decide."""
    made: list[Comparison] = []
    for number, by_critic in enumerate(written):
        pair, seed = {name: by_critic[name] for name in (critic, other)}, result.seed + number
        made += draw_comparisons(pair, result.tampers, result.contractors, per_answer=3, seed=seed)
    return preference(made, critic, other, seed=result.seed)


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
    RANDOM_LINE: "one random line quoted in every answer",
    RUFF: "the linter's findings, as comments",
    SFT: "the shipped critic, one sample at temperature 1",
    FORCED: "the shipped critic, greedy, made to quote something; its pointer says what",
    RL: "after PPO, one sample at temperature 1",
}


def _critic(row: CriticRow) -> data.CriticSummary:
    return data.CriticSummary(
        name=row.source,
        metrics={column.key: getattr(row, column.key) for column in _COLUMNS},
        note=_NOTES.get(row.source, ""),
        ours=row.source not in (RANDOM_LINE, RUFF),
    )


def _simulated(result: LoopResult) -> tuple[str, ...]:
    return (
        f"No person rated anything: {len(result.contractors)} simulated contractors, who know the inserted bugs, "
        f"rate with noise set so that two of them agree on {result.agreement:.0%} of preferences.",
        "The bugs are mutations of real code. How far results carry over to bugs that people make by "
        "themselves is not measured here.",
        "The critic is a model of some eleven million parameters, trained for eight hours on two cores: "
        "read the numbers as a demonstration of the method.",
    )


def _steps(result: LoopResult) -> tuple[data.Step, ...]:
    made, used = len(result.comparisons), len(result.comparisons) - result.kept_back
    tampered = sum(bool(c.tamper.bugs) for c in result.comparisons)
    share, pairs = result.reward_accuracy
    details = {
        "answers": f"{made} training and {len(result.tampers)} held-out functions",
        "comparisons": f"{result.rated} comparisons of four critiques of {made} answers, {tampered} of them tampered",
        "reward": f"those of {used} answers to train on, and the word of the critic's pointer on the lines quoted; of "
        f"{result.kept_back} answers kept back, {percent_text(share.value)} of {pairs} pairs "
        "ordered right",
        "ppo": f"{len(result.ppo)} iterations, prompts from the same {used} answers"
        + (", tampered and clean answers" if result.tampered_training else ", clean answers only (ablation)"),
        "critiques": f"{len(result.critiques)} critics on {len(result.tampers)} held-out answers",
    }
    return tuple(data.Step(name, text, result.seconds.get(name, 0.0)) for name, text in details.items())


def _pareto(rows: Sequence[CriticRow], result: LoopResult) -> tuple[data.ParetoPoint, ...]:
    front = pareto_front([r.catch.value for r in rows], [r.clean_false.value for r in rows])
    return tuple(
        data.ParetoPoint(
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
    rated: list[_Rated] = []
    for comparison in result.comparisons:
        texts = tuple(dict.fromkeys(comparison.critiques))  # the same words once, as when the noise was calibrated
        rated.append((first.rate(comparison.tamper, texts), second.rate(comparison.tamper, texts)))

    def agree(name: str, score: Callable[[Rating], float], pairs: Sequence[_Rated]) -> data.Agreement:
        tasks = ([([score(r) for r in a], [score(r) for r in b])] for a, b in pairs)
        return data.Agreement(name, agreement_interval(tasks)[0])

    attributes = ("overall", "comprehensive", "fake_problem", "nitpick", "concise")
    rows = [agree(name.replace("_", " "), attrgetter(name), rated) for name in attributes]
    if with_bugs := [(a, b) for a, b in rated if a[0].cbi]:
        rows.append(agree("includes the bug", lambda rating: sum(rating.cbi), with_bugs))
    return data.Contractors(
        number=len(result.contractors),
        noise=result.noise,
        target=TARGET_AGREEMENT,
        agreement=tuple(rows),
        note=("" if result.reached else f"No noise gets there: at this one they agree on {result.agreement:.0%}. ")
        + (
            "The target is InstructGPT's agreement between labelers; the noise is calibrated on overall preferences. "
            f"What they value, in points: {taste.located} a bug located, {taste.named} more if its repair is named, "
            f"{taste.fake} a fake problem, {taste.nitpick} a nitpick, {taste.hundred_characters} a hundred characters. "
            "The weights are ours, not the paper's."
        ),
    )


def _environment() -> dict[str, str]:
    packages = ("torch", "transformers", "numpy", "libcst", "ruff")
    versions = {name: metadata.version(name) for name in packages}
    return {"python": platform.python_version(), "platform": platform.platform(), **versions}
