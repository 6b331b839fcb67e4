"""The critics that the embedded loop compares, and their critiques of the same answers.

random line, ruff     baselines without a model
SFT                   the shipped critic: samples; greedy; greedy and made to quote something
RL                    the trained critic: samples; greedy; the best of as many samples as the search tries
RL+FSBS               the trained critic searched, at four length modifiers

Where quotes are constrained (made to quote something, best of n, search) a critic's pointer draws their lines, if it
has one; a sample by itself, and the greedy critique, are the model's own words throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from momus.critique import format_critique
from momus.evaluate.critics.baselines import random_line, ruff
from momus.lm.engine import Engine, Key
from momus.records import Record, Tamper
from momus.search.best_of_n import best_of_n, decode_greedily
from momus.search.candidates import add_line_odds, encode_tasks, zero_reward
from momus.search.fsbs import FSBSConfig, choose_best, choose_modifiers, force_sampling_beam_search
from momus.search.result import RewardFunction, SearchResult

if TYPE_CHECKING:
    from momus.lm.pointers.pointer import Pointer

RANDOM_LINE, RUFF = "random line", "ruff"
SFT, RL, FORCED = "SFT", "RL", "SFT, quote forced"
PERCENTILES = (10, 25, 50, 75)
"""Where the four length modifiers lie among the lengths in the search (CriticGPT, appendix 7.1)."""
SAMPLES = 4
"""Samples of each policy, of every answer: all are compared, the first stands for the policy everywhere else."""

_AT_ONCE = 20


def fsbs_name(percentile: int) -> str:
    """Name the critic that searches with the modifier at a percentile."""
    return f"RL+FSBS, {percentile}th percentile"


def greedy_name(policy: str) -> str:
    """Name the critic that takes the likeliest token each time."""
    return f"{policy}, greedy"


def best_of_name(count: int) -> str:
    """Name the critic that takes the best of `count` samples."""
    return f"RL, best of {count}"


class CriticModel(NamedTuple):
    """A model that writes critiques and, where it has one, its pointer to the lines it is made to quote."""

    engine: Engine
    pointer: Pointer | None = None


class LineUp(Record):
    """What every critic wrote about every answer.

    Attributes:
        by_critic: For every critic its critique of every answer.
        modifiers: The length modifiers at `PERCENTILES`.
        samples: `SAMPLES` times a critique of every answer by both policies, SFT and RL.
    """

    by_critic: dict[str, tuple[str, ...]]
    modifiers: tuple[float, ...]
    samples: tuple[dict[str, tuple[str, ...]], ...]


def line_up(
    tampers: Sequence[Tamper],
    sft: CriticModel,
    rl: CriticModel,
    reward: RewardFunction,
    fsbs: FSBSConfig,
    *,
    max_tokens: int,
    seed: int,
    progress: Callable[[float], None],
) -> LineUp:
    """Have every critic write about every answer.

    Args:
        tampers: The answers.
        sft: The shipped critic.
        rl: The trained critic.
        reward: What best of n and the search choose by.
        fsbs: The search's settings.
        max_tokens: Length limit of a critique that is not searched.
        seed: Names the randomness; each answer's is its own.
        progress: Called now and then with the share done.
    """
    texts: dict[str, list[str]] = {
        RANDOM_LINE: [format_critique(c) for c in random_line(tampers, seed)],
        RUFF: [format_critique(c) for c in ruff(tampers)],
    }
    samples: list[dict[str, list[str]]] = [{SFT: [], RL: []} for _ in range(SAMPLES)]
    forced = replace(fsbs, n=1, k=1, d=1, temperature=0.0)
    count = fsbs.candidates
    searched: list[SearchResult] = []
    for start in range(0, len(tampers), _AT_ONCE):
        chunk = tampers[start : start + _AT_ONCE]
        encoded = encode_tasks(sft.engine, chunk)
        by_sft, by_rl = add_line_odds(encoded, sft.pointer), add_line_odds(encoded, rl.pointer)
        keys: list[Key] = [(seed, 5, start + i) for i in range(len(chunk))]
        drawn = {
            name: best_of_n(
                critic.engine, zero_reward, encoded, SAMPLES, key=keys, max_tokens=max_tokens, verbatim=False
            )
            for name, critic in ((SFT, sft), (RL, rl))
        }
        for name, results in drawn.items():
            for number, sample in enumerate(samples):
                sample[name].extend(result.candidates[number].text for result in results)
        written = {
            SFT: drawn[SFT],
            greedy_name(SFT): decode_greedily(sft.engine, encoded, max_tokens=max_tokens, verbatim=False),
            FORCED: force_sampling_beam_search(sft.engine, zero_reward, by_sft, forced, key=0),
            RL: drawn[RL],
            greedy_name(RL): decode_greedily(rl.engine, encoded, max_tokens=max_tokens, verbatim=False),
            best_of_name(count): best_of_n(rl.engine, reward, by_rl, count, key=keys, max_tokens=max_tokens),
        }
        for name, results in written.items():
            texts.setdefault(name, []).extend(choose_best(result).text for result in results)
        searched += force_sampling_beam_search(rl.engine, reward, by_rl, fsbs, key=keys)
        progress(len(searched) / len(tampers))
    modifiers = choose_modifiers(searched, PERCENTILES)
    for percentile, modifier in zip(PERCENTILES, modifiers, strict=True):
        texts[fsbs_name(percentile)] = [choose_best(result, modifier).text for result in searched]
    return LineUp(
        by_critic={name: tuple(critiques) for name, critiques in texts.items()},
        modifiers=tuple(modifiers),
        samples=tuple({name: tuple(texts) for name, texts in sample.items()} for sample in samples),
    )
