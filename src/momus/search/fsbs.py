"""Force Sampling Beam Search (LLM Critics Help Catch LLM Bugs, arXiv 2407.00215, appendix 7.1).

1. Append an opening fence to the critique, which forces a highlight, and sample n continuations to
   completion.
2. Score all with the reward model and keep the best k.
3. From each kept one strip the end, drop the last paragraph if it holds no highlight (the closing remark),
   append an opening fence again and sample n continuations.
4. Search for d rounds in all.
5. Of all critiques of all rounds take the argmax of score + modifier * number of highlights (`choose_best`).

That makes n * (k * (d - 1) + 1) = 28 candidates. Steps 2 and 3 go by the score alone: the length modifier enters
only at the end, so one search serves every operating point from "claim nothing false" to "miss nothing".
`choose_modifiers` finds the modifiers that give critiques of the lengths that the paper reports.

Differences from the paper: quotes are constrained to be verbatim lines of the answer, each quoted once
(`FSBSConfig.verbatim`; the paper only forces the fence), drawn by the critic's pointer where it has one
(`lm/pointers/pointer.py`); and many answers are searched in lockstep. Of a model that chats, whose critiques are JSON
(`FENCED` aside, `search/form.py`), a comment's beginning is what is forced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from momus.errors import UserError
from momus.lm.engine import Engine, Key, prompt_keys
from momus.lm.tree import Tokens
from momus.search.candidates import CandidateScorer
from momus.search.form import FENCED, CritiqueForm
from momus.search.result import Candidate, EncodedTask, RewardFunction, SearchResult


@dataclass(frozen=True)
class FSBSConfig:
    """The paper's search.

    Attributes:
        n: Continuations sampled from each beam (appendix 7.1: 4).
        k: Beams kept after each round (appendix 7.1: 2).
        d: Rounds (appendix 7.1: 4).
        temperature: Of sampling; not given in the paper.
        max_tokens: Longest continuation; the paper samples to completion (95% of its critiques have at most
            704 tokens, table 1).
        verbatim: Constrain quotes to be lines of the answer; not in the paper.
    """

    n: int = 4
    k: int = 2
    d: int = 4
    temperature: float = 1.0
    max_tokens: int = 704
    verbatim: bool = True

    def __post_init__(self) -> None:
        if min(self.n, self.k, self.d) < 1 or self.k > self.n:
            raise UserError(f"FSBS needs 1 <= k <= n and d >= 1, not n={self.n}, k={self.k}, d={self.d}")

    @property
    def candidates(self) -> int:
        """How many critiques one search samples: 28 by default."""
        return self.n * (self.k * (self.d - 1) + 1)


def force_sampling_beam_search(
    engine: Engine,
    reward: RewardFunction,
    tasks: Sequence[EncodedTask],
    config: FSBSConfig | None = None,
    *,
    key: Key | list[Key],
    form: CritiqueForm = FENCED,
) -> list[SearchResult]:
    """Search critiques of many answers in lockstep: one call of the engine and one of the reward per round.

    Args:
        engine: The critic.
        reward: Scores critiques; each distinct one once.
        tasks: Prompts and answers.
        config: The search; the paper's by default.
        key: Names the randomness, as in `Engine.sample`; a list gives each task its own.
        form: How critiques are written.

    Returns:
        One result per task, each of `config.candidates` candidates in the order they were sampled.

    Raises:
        UserError: A prompt is too long for the critic, or quotes are constrained and an answer has nothing to
            quote.
    """
    config = config or FSBSConfig()
    keys = prompt_keys(key, len(tasks))
    score = CandidateScorer(engine, reward, tasks, form)
    candidates: list[list[Candidate]] = [[] for _ in tasks]
    beams: list[list[Candidate | None]] = [[None] for _ in tasks]
    for round in range(1, config.d + 1):
        critiques = _sample_forced(engine, tasks, beams, config, [(*task_key, round) for task_key in keys], form)
        for i, scored in enumerate(score(critiques, round)):
            candidates[i] += scored
            beams[i] = [*sorted(scored, key=lambda candidate: -candidate.score)[: config.k]]
    return [SearchResult(tuple(of_task)) for of_task in candidates]


def choose_best(result: SearchResult, modifier: float = 0.0) -> Candidate:
    """Return the argmax of score + modifier * number of highlights; of equal candidates the one sampled first.

    Args:
        result: A finished search.
        modifier: The length modifier: what one more highlight is worth, in units of the score.
    """
    return max(result.candidates, key=lambda candidate: candidate.score + modifier * candidate.highlights)


def choose_modifiers(results: Sequence[SearchResult], percentiles: Sequence[float] = (10, 25, 50, 75)) -> list[float]:
    """Choose the modifiers that make critiques as long as given percentiles of the candidates (appendix 7.1).

    Length is the number of highlights. A percentile's target is that percentile (linear interpolation) of the
    lengths of all candidates of all results. The mean length of the chosen critiques is a step function of
    the modifier that never falls; it can only change where two candidates of one result tie. Every step is
    tried, at its middle (the two outermost at 1 beyond the last tie), and the one whose mean is nearest to
    the target is taken, the smaller modifier of two as near.

    Args:
        results: Finished searches.
        percentiles: Each from 0 to 100.

    Returns:
        One modifier per percentile; they rise with it, and may be negative.

    Raises:
        UserError: There are no results.
    """
    if not results:
        raise UserError("length modifiers need at least one finished search")
    modifiers = take_midpoints({tie for result in results for tie in find_ties(result)})
    means = [float(np.mean([choose_best(result, modifier).highlights for result in results])) for modifier in modifiers]
    lengths = [candidate.highlights for result in results for candidate in result.candidates]
    targets = np.percentile(lengths, percentiles)
    return [modifiers[int(np.argmin([abs(mean - target) for mean in means]))] for target in targets]


def find_ties(result: SearchResult) -> list[float]:
    """Return the modifiers at which `choose_best` switches to a longer critique, in ascending order.

    They are the corners of the upper envelope of the lines score + modifier * highlights.
    """
    best: dict[int, float] = {}
    for candidate in result.candidates:
        best[candidate.highlights] = max(candidate.score, best.get(candidate.highlights, candidate.score))
    hull: list[tuple[int, float]] = []
    for point in sorted(best.items()):
        while len(hull) > 1 and _tie(hull[-2], hull[-1]) >= _tie(hull[-1], point):
            hull.pop()
        hull.append(point)
    return [_tie(short, long) for short, long in pairwise(hull)]


def take_midpoints(ties: Iterable[float]) -> list[float]:
    """Return one modifier between any two neighbouring ties, ascending, and one beyond the last on either side."""
    ordered = sorted(ties) or [0.0]
    return [ordered[0] - 1.0, *((a + b) / 2 for a, b in pairwise(ordered)), ordered[-1] + 1.0]


def _tie(short: tuple[int, float], long: tuple[int, float]) -> float:
    """Return the modifier at which two (highlights, score) are worth the same."""
    return (short[1] - long[1]) / (long[0] - short[0])


def _sample_forced(
    engine: Engine,
    tasks: Sequence[EncodedTask],
    beams: Sequence[Sequence[Candidate | None]],
    config: FSBSConfig,
    keys: Sequence[tuple[int, ...]],
    form: CritiqueForm,
) -> list[list[Tokens]]:
    """Sample n completions of every beam of every task, a highlight forced: critiques [task][k * n]."""
    places = [(i, beam) for i, of_task in enumerate(beams) for beam in range(len(of_task))]
    starts = [_go_on(engine, beams[i][beam], form) for i, beam in places]
    samples = engine.sample(
        [(*tasks[i].prompt, *tokens) for (i, _), (_, tokens) in zip(places, starts, strict=True)],
        config.n,
        key=[(*keys[i], beam) for i, beam in places],
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        stop_tokens=form.stop_tokens,
        constraints=[
            form.constrain(tasks[i], engine.vocabulary, start, highlight=True) if config.verbatim else None
            for (i, _), (start, _) in zip(places, starts, strict=True)
        ],
    )
    critiques: list[list[Tokens]] = [[] for _ in tasks]
    for (i, _), (_, tokens), group in zip(places, starts, samples, strict=True):
        critiques[i] += [(*tokens, *sample.tokens) for sample in group]
    return critiques


def _go_on(engine: Engine, kept: Candidate | None, form: CritiqueForm) -> tuple[str, Tokens]:
    """Return how a critique goes on from one that was kept, in text and in tokens; from None it begins."""
    start = form.force_highlight(form.strip_end(kept.text) if kept else "")
    tokens = tuple(engine.encode(start, bos=False))
    if kept is None or engine.decode(tokens) == start:
        return start, tokens
    # The tokenizer writes some characters otherwise (é as one for e and an accent): what was written stays as it is.
    ends = range(len(kept.tokens), -1, -1)
    own = next(kept.tokens[:end] for end in ends if start.startswith(engine.decode(kept.tokens[:end])))
    return start, (*own, *engine.encode(start[len(engine.decode(own)) :], bos=False))
