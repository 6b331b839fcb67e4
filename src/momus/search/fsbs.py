"""Force Sampling Beam Search (LLM Critics Help Catch LLM Bugs, arXiv 2407.00215, appendix 7.1).

1. Append an opening fence to the critique, which forces a highlight, and sample n continuations to
   completion.
2. Score all with the reward model and keep the best k.
3. From each kept one strip the end, drop the last paragraph if it holds no highlight (the closing remark),
   append an opening fence again and sample n continuations.
4. Search for d rounds in all.
5. Of all critiques of all rounds take the argmax of score + modifier * number of highlights.

That makes n * (k * (d - 1) + 1) = 28 candidates. Steps 2 and 3 go by the score alone: the modifier enters
only at the end, so one search serves every operating point from "claim nothing false" to "miss nothing".

Differences from the paper: quotes are constrained to be verbatim lines of the answer, each quoted once
(`FSBSConfig.verbatim`; the paper only forces the fence), drawn by the critic's pointer where it has one
(`lm/pointer.py`); and many answers are searched in lockstep.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from momus.critique import FENCE, strip_closing
from momus.errors import UserError
from momus.lm.constraint import VerbatimQuotes
from momus.lm.engine import Engine, Key, prompt_keys
from momus.search.result import Candidate, Reward, SearchResult, Subject, Tokens, judged

OPENING = f"{FENCE}\n"


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


def search(
    engine: Engine,
    reward: Reward,
    subjects: Sequence[Subject],
    config: FSBSConfig | None = None,
    *,
    key: Key | list[Key],
) -> list[SearchResult]:
    """Search critiques of many answers in lockstep: one call of the engine and one of the reward a round.

    Args:
        engine: The critic.
        reward: Scores critiques; each distinct one once.
        subjects: Prompts and answers.
        config: The search; the paper's by default.
        key: Names the randomness, as in `Engine.sample`; a list gives each subject its own.

    Returns:
        One result per subject, each of `config.candidates` candidates in the order they were sampled.

    Raises:
        UserError: A prompt is too long for the critic, or quotes are constrained and an answer has nothing to
            quote.
    """
    config = config or FSBSConfig()
    keys = prompt_keys(key, len(subjects))
    known: list[dict[Tokens, float]] = [{} for _ in subjects]
    everything: list[list[Candidate]] = [[] for _ in subjects]
    beams = [[""] for _ in subjects]
    for number in range(1, config.d + 1):
        found = _sample(engine, subjects, beams, config, [(*own, number) for own in keys])
        candidates = judged(engine, subjects, found, reward, known, number)
        for task, own in enumerate(candidates):
            everything[task] += own
            kept = sorted(own, key=lambda c: -c.score)[: config.k]
            beams[task] = [unfinished(candidate.text) for candidate in kept]
    return [SearchResult(tuple(own)) for own in everything]


def unfinished(critique: str) -> str:
    """Strip what ends a critique: a quote the length limit left open, and the closing remark."""
    fences = [match.start() for match in re.finditer(f"^{FENCE}", critique, re.MULTILINE)]
    closed = critique[: fences[-1]].rstrip() if len(fences) % 2 else critique
    return strip_closing(closed)


def forced(critique: str) -> str:
    """Append an opening fence to an unfinished critique: what comes next must be a highlight."""
    return f"{critique}\n\n{OPENING}" if critique else OPENING


def _sample(
    engine: Engine,
    subjects: Sequence[Subject],
    beams: Sequence[Sequence[str]],
    config: FSBSConfig,
    keys: Sequence[tuple[int, ...]],
) -> list[list[Tokens]]:
    """Sample n completions of every beam of every subject, a highlight forced: critiques [subject][k * n]."""
    owners = [(task, beam) for task, own in enumerate(beams) for beam in range(len(own))]
    starts = [forced(beams[task][beam]) for task, beam in owners]
    tokens = [tuple(engine.encode(start, bos=False)) for start in starts]
    samples = engine.sample(
        [(*subjects[task].prompt, *own) for (task, _), own in zip(owners, tokens, strict=True)],
        config.n,
        key=[(*keys[task], beam) for task, beam in owners],
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        constraints=[
            VerbatimQuotes(subjects[task].answer, engine.vocabulary, written=start, lines=subjects[task].lines)
            if config.verbatim
            else None
            for (task, _), start in zip(owners, starts, strict=True)
        ],
    )
    found: list[list[Tokens]] = [[] for _ in subjects]
    for (task, _), start_tokens, group in zip(owners, tokens, samples, strict=True):
        found[task] += [(*start_tokens, *sample.tokens) for sample in group]
    return found
