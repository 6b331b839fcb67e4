"""How good critics are, on answers with known (inserted) bugs and on clean ones.

Two kinds of number, both with intervals from resampling tasks (`momus.stats.bootstrap`):

* counted against the truth (`momus.tamper.truth`): the share of bugs caught (the CBI rate of CriticGPT,
  arXiv 2407.00215, section 3), the share whose repair is named, fake problems, nitpicks, false comments on
  clean answers, length, and the share of quotes that are verbatim;
* preferred by raters: Elo from blind four-way comparisons, and the share of decided comparisons between two
  critics that one of them wins. The raters here are simulated contractors, and every record says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from momus.critique import Critique, focus, format_critique
from momus.errors import UserError
from momus.evaluate.critics.baselines import chance_rate
from momus.raters.contractor import SimulatedContractor, assign, compare_critiques
from momus.records import Comparison, Tamper
from momus.stats.bootstrap import COUNT, REPLICATES, SHARE, Bounds, Interval, mean_interval, ratio_interval
from momus.stats.elo import EloResult, bootstrap_elo, wins_by_task
from momus.tamper.truth import CritiqueTruth, judge

SLOTS = 4

Critiques = Mapping[str, Sequence[Critique]]


@dataclass(frozen=True)
class CriticRow:
    """One critic's line of the table; an interval is NaN where there was nothing to count.

    Attributes:
        source: The critic.
        catch: Share of bugs located.
        named: Share of bugs whose repair is named.
        fakes: Fake problems per critique.
        nitpicks: Nitpicks per critique.
        clean_false: Fake problems per clean answer.
        comments: Comments per critique.
        length: Characters per critique.
        verbatim: Share of comments whose quote stands in the answer.
        answers: Answers criticised.
        bugs: Bugs in them.
        clean: Answers without bugs among them.
    """

    source: str
    catch: Interval
    named: Interval
    fakes: Interval
    nitpicks: Interval
    clean_false: Interval
    comments: Interval
    length: Interval
    verbatim: Interval
    answers: int
    bugs: int
    clean: int


def measure(
    critiques: Critiques, tampers: Sequence[Tamper], *, replicates: int = REPLICATES, seed: int = 0
) -> list[CriticRow]:
    """Count what each critic catches and claims, one row a critic, in the order given.

    Args:
        critiques: For each critic one critique per tamper, aligned with `tampers`.
        tampers: Answers with their known bugs; clean ones have none.
        replicates: Bootstrap resamples of the tasks; answers made from one task stay together.
        seed: Seed of the resampling, the same for every critic.

    Raises:
        UserError: Nothing to measure on, or a critic without a critique for every answer.
    """
    _check(critiques, tampers)
    return [_row(source, written, tampers, replicates, seed) for source, written in critiques.items()]


def first_line_rates(critiques: Sequence[Critique], tampers: Sequence[Tamper]) -> tuple[Interval, Interval]:
    """Return how often a critique's first comment is about the bug's line, and how often a random line would.

    Over the answers with exactly one bug.
    """
    located, chance = [], []
    for critique, tamper in zip(critiques, tampers, strict=True):
        if len(tamper.bugs) == 1:
            first = Critique(comments=focus(critique, tamper.answer).comments[:1])
            located.append(float(judge(first, tamper).located))
            chance.append(chance_rate(tamper))
    return mean_interval(located, bounds=SHARE), mean_interval(chance, bounds=SHARE)


def draw_comparisons(
    critiques: Critiques,
    tampers: Sequence[Tamper],
    contractors: Sequence[SimulatedContractor],
    *,
    per_answer: int = 2,
    seed: int = 0,
    authors: Mapping[str, str] | None = None,
) -> list[Comparison]:
    """Have contractors compare critics, up to four at a time, blind.

    With more than four critics each comparison takes four at random. With two, every comparison is between
    them: that is how to collect a preference of one over the other.

    Args:
        critiques: For each critic one critique per tamper.
        tampers: The answers.
        contractors: Who may rate; each comparison goes to one at random.
        per_answer: Comparisons of each answer, by different contractors while they last.
        seed: Decides critics, slots and raters.
        authors: Critics that are labelers: source to labeler's name. They never rate themselves.

    Raises:
        UserError: Fewer than two critics, or nobody may rate a comparison.
    """
    _check(critiques, tampers)
    sources = list(critiques)
    if len(sources) < 2:
        raise UserError("comparing critics needs at least two of them")
    comparisons = []
    for number, tamper in enumerate(tampers):
        rng = np.random.default_rng([seed, number])
        fresh = list(contractors)
        for _ in range(per_answer):
            chosen = [sources[i] for i in rng.permutation(len(sources))[:SLOTS]]
            barred = {authors[source] for source in chosen if source in authors} if authors else set()
            able = [c for c in fresh if c.name not in barred]
            rater = assign(able or contractors, rng, authors=barred)
            fresh = [c for c in fresh if c is not rater]
            written = [critiques[source][number] for source in chosen]
            comparisons.append(compare_critiques(tamper, written, chosen, rater, rng, authors=barred))
    return comparisons


def elo(
    comparisons: Sequence[Comparison],
    names: Sequence[str],
    *,
    anchor: str | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> EloResult:
    """Rate critics by the overall attribute of comparisons, with intervals over tasks.

    Args:
        comparisons: Rated comparisons; sources that are not in `names` are passed over.
        names: The critics, in the order of the result.
        anchor: The critic rated 0; without one the ratings average 0.
        replicates: Bootstrap resamples of the tasks.
        seed: Seed of the resampling.

    Raises:
        UserError: No two of these critics were compared.
    """
    wanted = set(names)
    scored = (
        (c.tamper.task.id, [(s, r.overall) for s, r in zip(c.sources, c.ratings, strict=True) if s in wanted])
        for c in comparisons
    )
    wins = wins_by_task(scored, names)
    return bootstrap_elo(wins, names, anchor=anchor, replicates=replicates, seed=seed)


def preference(
    comparisons: Sequence[Comparison],
    critic: str,
    other: str,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Interval:
    """Return the share of decided comparisons in which `critic` is rated above `other` overall.

    Comparisons that tie the two, or hold only one of them, are no decision; NaN when none is.
    """
    tasks: dict[str, list[int]] = {}
    for comparison in comparisons:
        overall = {s: r.overall for s, r in zip(comparison.sources, comparison.ratings, strict=True)}
        if critic in overall and other in overall and overall[critic] != overall[other]:
            tally = tasks.setdefault(comparison.tamper.task.id, [0, 0])
            tally[0] += overall[critic] > overall[other]
            tally[1] += 1
    counts = np.array(list(tasks.values()), dtype=float).reshape(-1, 2)
    return ratio_interval(counts[:, 0], counts[:, 1], bounds=SHARE, replicates=replicates, seed=seed)


def _check(critiques: Critiques, tampers: Sequence[Tamper]) -> None:
    if not tampers:
        raise UserError("there are no answers to measure critics on")
    for source, written in critiques.items():
        if len(written) != len(tampers):
            raise UserError(f"{source} has {len(written)} critiques for {len(tampers)} answers")


def _row(source: str, written: Sequence[Critique], tampers: Sequence[Tamper], replicates: int, seed: int) -> CriticRow:
    judgements = [judge(critique, tamper) for critique, tamper in zip(written, tampers, strict=True)]
    tasks = {task: i for i, task in enumerate(dict.fromkeys(t.task.id for t in tampers))}
    cluster = np.array([tasks[tamper.task.id] for tamper in tampers])

    def rate(numerator: Sequence[float], denominator: Sequence[float], bounds: Bounds | None) -> Interval:
        top, bottom = (_totals(values, cluster, len(tasks)) for values in (numerator, denominator))
        return ratio_interval(top, bottom, bounds=bounds, replicates=replicates, seed=seed)

    ones = [1] * len(tampers)
    bugs = [len(tamper.bugs) for tamper in tampers]
    clean = [int(not tamper.bugs) for tamper in tampers]
    counts = [len(critique.comments) for critique in written]
    return CriticRow(
        source=source,
        catch=rate([j.located for j in judgements], bugs, SHARE),
        named=rate([j.named for j in judgements], bugs, SHARE),
        fakes=rate([j.fakes for j in judgements], ones, COUNT),
        nitpicks=rate([j.nitpicks for j in judgements], ones, COUNT),
        clean_false=rate([_on_clean(j) for j in judgements], clean, COUNT),
        comments=rate(counts, ones, COUNT),
        length=rate([len(format_critique(critique)) for critique in written], ones, None),
        verbatim=rate([len(critique.anchored) for critique in written], counts, SHARE),
        answers=len(tampers),
        bugs=sum(bugs),
        clean=sum(clean),
    )


def _on_clean(judgement: CritiqueTruth) -> int:
    return 0 if judgement.verdicts else judgement.fakes


def _totals(values: Sequence[float], cluster: NDArray[np.intp], clusters: int) -> NDArray[np.float64]:
    """Sum one value per answer into one per task."""
    totals = np.zeros(clusters)
    np.add.at(totals, cluster, np.asarray(values, dtype=float))
    return totals
