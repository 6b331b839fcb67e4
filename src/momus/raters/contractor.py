"""Simulated contractors: raters who know the bugs, with a stated noise model. Not people.

A contractor fills in CriticGPT's form (arXiv 2407.00215, table 2) for up to four critiques of one answer.
Every attribute has a *latent* value on the 1-7 scale, computed from the truth (`momus.tamper.truth.judge`):

    cbi, per bug      1 missed, 5.5 located, 7 repair named
    comprehensive     1 to 7 with the mean over bugs of (0 missed, 0.75 located, 1 named); 7 on clean code
    nitpick           1 without, 6 with one, 7 with more
    fake_problem      1 without, 6 with one, 7 with more
    concise           7, less 1 for every `Taste.concise_characters` characters
    overall           4 + merit, less the mean merit in this comparison

    merit = 2 bugs located + 1 bugs named - 0.6 fake problems - 0.35 nitpicks - 0.15 per hundred characters

so that on clean code "no problems found" is best, and so it is wherever remarks are right less than about one
time in four. The weights are `Taste`; overall is relative to the other critiques, as on the form.

What the contractor writes down is round(latent + bias + noise * z), kept within 1 to 7, where the bias
belongs to the contractor and attribute (standard deviation `BIAS`) and z is standard normal; with probability
`UNSURE` it is 4, the form's "I'm unsure". `calibrate` finds the noise at which two contractors agree on 73%
of pairwise preferences, as InstructGPT's labelers did (72.6%, arXiv 2203.02155); CriticGPT prints no number.

Every draw is keyed by (seed, contractor, what is compared, critique), so ratings depend neither on the order
in which comparisons are rated nor on the slots.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from momus.critique import Critique, format_critique, parse_critique
from momus.errors import UserError
from momus.records import Comparison, Rating, Tamper
from momus.stats.agreement import preference_agreement
from momus.tamper.truth import CritiqueTruth, Verdict, judge

Floats = NDArray[np.float64]

TARGET_AGREEMENT = 0.73
BIAS = 0.3
UNSURE = 0.02
MOST_NOISE = 16.0

_CBI = {Verdict.MISSED: 1.0, Verdict.LOCATED: 5.5, Verdict.NAMED: 7.0}
_COVERED = {Verdict.MISSED: 0.0, Verdict.LOCATED: 0.75, Verdict.NAMED: 1.0}


@dataclass(frozen=True)
class Taste:
    """What makes a critique good overall, in points of the 1-7 scale."""

    located: float = 2.0
    """For each bug located."""
    named: float = 1.0
    """More, for each bug whose repair is named."""
    fake: float = -0.6
    """For each fake problem: a comment pays when it is right more often than about one time in four."""
    nitpick: float = -0.35
    """For each nitpick."""
    hundred_characters: float = -0.15
    """For each hundred characters of the critique's text."""
    concise_characters: float = 120.0
    """Characters that cost one point of the *concise* attribute."""


class NoiseCalibration(NamedTuple):
    """A noise scale, the agreement it gives, and whether that is the agreement asked for."""

    noise: float
    agreement: float
    reached: bool


class _Draw(NamedTuple):
    """One rating before it is written down: per attribute the mean, the standard normal, and "unsure"."""

    mean: Floats
    z: Floats
    unsure: NDArray[np.bool_]


@dataclass(frozen=True)
class SimulatedContractor:
    """A labeler who knows the truth and reports it with noise.

    Attributes:
        name: The labeler's name; it keys the bias and the noise.
        noise: Standard deviation of the noise, in points of the 1-7 scale.
        taste: The weights of the overall attribute.
        seed: Seed of the study.
    """

    name: str
    noise: float
    taste: Taste = Taste()
    seed: int = 0

    def rate(self, tamper: Tamper, critiques: Sequence[str]) -> tuple[Rating, ...]:
        """Rate critiques of one answer side by side, in the order given.

        Args:
            tamper: The answer and the bugs it is known to have.
            critiques: The critiques as written.
        """
        return tuple(_write(draw, self.noise) for draw in self._draws(tamper, critiques))

    def _draws(self, tamper: Tamper, critiques: Sequence[str]) -> list[_Draw]:
        """Return everything a rating is made of but the noise scale, for each critique."""
        judgements = [judge(parse_critique(text, tamper.answer), tamper) for text in critiques]
        merits = [merit(j, text, self.taste) for j, text in zip(judgements, critiques, strict=True)]
        middle = float(np.mean(merits))
        occasion = (tamper.task.id, tamper.answer, *sorted(critiques))
        per_bug, *others = _rng(self.seed, "bias", self.name).normal(0, BIAS, 6).tolist()
        bias = np.array([per_bug] * len(tamper.bugs) + others)
        draws = []
        for judgement, text, value in zip(judgements, critiques, merits, strict=True):
            rng = _rng(self.seed, "rating", self.name, *occasion, text)
            latent = _latent(judgement, text, value - middle, self.taste)
            z, unsure = rng.standard_normal(len(latent)), rng.random(len(latent)) < UNSURE
            draws.append(_Draw(latent + bias, z, unsure))
        return draws


def merit(judgement: CritiqueTruth, text: str, taste: Taste) -> float:
    """Return how good a critique is overall, in points; see the module's formula."""
    return (
        taste.located * judgement.located
        + taste.named * judgement.named
        + taste.fake * judgement.fakes
        + taste.nitpick * judgement.nitpicks
        + taste.hundred_characters * len(text) / 100
    )


def panel(size: int, noise: float, *, taste: Taste | None = None, seed: int = 0) -> tuple[SimulatedContractor, ...]:
    """Return `size` contractors called contractor-1, contractor-2 and so on."""
    taste = taste or Taste()
    return tuple(SimulatedContractor(f"contractor-{i + 1}", noise, taste, seed) for i in range(size))


def assign(
    contractors: Sequence[SimulatedContractor], rng: np.random.Generator, *, authors: Collection[str] = ()
) -> SimulatedContractor:
    """Draw who rates a comparison, never the author of one of its critiques.

    CriticGPT bars self-rating in its evaluation because contractors rate their own critiques too highly.

    Raises:
        UserError: Nobody is left to rate it.
    """
    eligible = [c for c in contractors if c.name not in authors]
    if not eligible:
        raise UserError("every contractor wrote one of these critiques; add one who did not, to rate them")
    return eligible[int(rng.integers(len(eligible)))]


def compare_critiques(
    tamper: Tamper,
    critiques: Sequence[Critique | str],
    sources: Sequence[str],
    contractor: SimulatedContractor,
    rng: np.random.Generator,
    *,
    authors: Collection[str] = (),
) -> Comparison:
    """Have a contractor rate critiques of one answer, in slots shuffled blind.

    Args:
        tamper: The answer and its known bugs.
        critiques: Two to four critiques, as written or parsed.
        sources: Who wrote each; kept for the analysis, unseen by the contractor.
        contractor: Who rates.
        rng: Decides the slots.
        authors: Labelers who wrote one of the critiques themselves.

    Raises:
        UserError: The contractor is among the authors.
    """
    if contractor.name in authors:
        raise UserError(f"{contractor.name} wrote one of these critiques and may not rate it")
    if len(critiques) != len(sources):
        raise ValueError(f"{len(critiques)} critiques but {len(sources)} sources")
    texts = [c if isinstance(c, str) else format_critique(c) for c in critiques]
    slots = rng.permutation(len(texts)).tolist()
    shuffled = tuple(texts[i] for i in slots)
    return Comparison(
        tamper=tamper,
        critiques=shuffled,
        sources=tuple(sources[i] for i in slots),
        labeler=contractor.name,
        simulated=True,
        ratings=contractor.rate(tamper, shuffled),
    )


def calibrate_noise(
    comparisons: Sequence[Comparison],
    target: float = TARGET_AGREEMENT,
    *,
    taste: Taste | None = None,
    seed: int = 0,
    tolerance: float = 0.005,
) -> NoiseCalibration:
    """Find the noise at which two contractors agree as often as asked, by bisection.

    The draws are the same at every noise, so the agreement falls with the noise but for small steps. Where
    even noiseless contractors agree less often (too many critiques are equally good), the answer is no noise
    and `reached` is False.

    Args:
        comparisons: Comparisons like those to be rated; only their answers and critiques are used.
        target: The share of pairwise preferences to agree on, between 0.5 and 1.
        taste: The contractors' weights.
        seed: Seed of the two contractors' draws.
        tolerance: How close to `target` counts as reached.

    Raises:
        UserError: There is nothing to compare, or the target is out of range.
    """
    if not 0.5 < target < 1:
        raise UserError(f"agreement to calibrate to must be between 0.5 and 1, not {target}")
    agreement = _agreement_by_noise(comparisons, taste or Taste(), seed)
    noise, best = 0.0, agreement(0.0)
    if np.isnan(best):
        raise UserError("calibrating contractors needs comparisons of at least two different critiques")
    low, high = 0.0, MOST_NOISE if best > target else 0.0
    while high - low > 1e-3 and abs(best - target) > tolerance / 5:
        middle = (low + high) / 2
        now = agreement(middle)
        if abs(now - target) < abs(best - target):
            noise, best = middle, now
        low, high = (middle, high) if now > target else (low, middle)
    return NoiseCalibration(noise, best, abs(best - target) <= tolerance)


def _agreement_by_noise(comparisons: Sequence[Comparison], taste: Taste, seed: int) -> Callable[[float], float]:
    """Return how often two contractors prefer the same critique, as a function of their noise.

    Preferences are those of the overall attribute; ties count one half, in place of a coin toss (CriticGPT,
    appendix 7.5). Critiques that say the same, word for word, are compared once.
    """
    first, second = panel(2, 0.0, taste=taste, seed=seed)
    rated = []
    for comparison in comparisons:
        texts = tuple(dict.fromkeys(comparison.critiques))
        rated.append((first._draws(comparison.tamper, texts), second._draws(comparison.tamper, texts)))

    def agreement(noise: float) -> float:
        return preference_agreement(
            ([_write(d, noise).overall for d in a], [_write(d, noise).overall for d in b]) for a, b in rated
        )

    return agreement


def _write(draw: _Draw, noise: float) -> Rating:
    """Round a draw to the form's 1-7 scale."""
    written = np.clip(np.rint(draw.mean + noise * draw.z), 1, 7)
    *cbi, comprehensive, nitpick, fake_problem, concise, overall = (
        np.where(draw.unsure, 4, written).astype(int).tolist()
    )
    return Rating(
        cbi=tuple(cbi),
        comprehensive=comprehensive,
        nitpick=nitpick,
        fake_problem=fake_problem,
        concise=concise,
        overall=overall,
    )


def _latent(judgement: CritiqueTruth, text: str, relative_merit: float, taste: Taste) -> Floats:
    """Return the noiseless ratings: cbi per bug, comprehensive, nitpick, fake problem, concise, overall."""
    covered = [_COVERED[v] for v in judgement.verdicts]
    return np.array(
        [
            *(_CBI[v] for v in judgement.verdicts),
            1 + 6 * float(np.mean(covered)) if covered else 7.0,
            _presence(judgement.nitpicks),
            _presence(judgement.fakes),
            max(1.0, 7 - len(text) / taste.concise_characters),
            4 + relative_merit,
        ]
    )


def _presence(count: int) -> float:
    return 1.0 if count == 0 else min(7.0, 5.0 + count)


def _rng(seed: int, *key: str) -> np.random.Generator:
    """Return a generator keyed by text: the same wherever and whenever it is asked for."""
    digest = hashlib.blake2b("\0".join((str(seed), *key)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
