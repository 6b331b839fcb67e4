"""How well a reward model predicts the people it learned from, and people it never met.

Accuracy is the share of untied pairs of answers that the model orders as the labeler did, an equal score counting one
half; intervals resample prompts.

`cross_validate` is InstructGPT's test (arXiv 2203.02155, §4.1 and E.2): labelers fall into five groups, a model is
trained on four and tested on the labelers of the fifth. The paper reports 72.4 ± 0.4 % for labelers of the training
groups and 69.6 ± 0.9 % for held-out ones, over five models. Prompts are held out as well here, so that both numbers
are about prompts the model has not seen: fold k leaves out part k of the prompts and group k of the labelers, trains
on what is left, and is tested on part k of the prompts, on the labelers it learned from and on the others.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from momus.errors import UnfitInputError, UserError
from momus.evaluate.instruct.feedback import prompt_key
from momus.files import read_json, write_json
from momus.lm.chat import ChatFormat, Limits
from momus.lm.forward import score_trees
from momus.lm.models import RewardModel
from momus.lm.text.encode import TooLongError
from momus.records import Ranking
from momus.runtime.runs import Progress, Run
from momus.stats.bootstrap import SHARE, Interval, difference_interval, ratio_interval
from momus.train.reward import RankedPrompt, train_reward_model
from momus.train.settings import RewardConfig

FOLDS = 5


class Ranked(NamedTuple):
    """A ranking in tokens, whose it is, and the name of its prompt."""

    tokens: RankedPrompt
    labeler: str
    prompt: str


@dataclass(frozen=True)
class Accuracy:
    """The share of pairs ordered as the labeler did, the pairs and the prompts."""

    share: Interval
    pairs: int
    prompts: int


@dataclass(frozen=True)
class Fold:
    """One model: labelers trained on and held out, and its accuracy on each for prompts it has not seen."""

    trained: int
    labelers: tuple[str, ...]
    in_group: float
    held_out: float


@dataclass(frozen=True)
class CrossValidation:
    """All folds together: every prompt is tested once, by the model that has not seen it."""

    folds: tuple[Fold, ...]
    in_group: Accuracy
    held_out: Accuracy
    difference: Interval


def ranked_in_tokens(
    rankings: Sequence[Ranking], chat: ChatFormat, limit: int | None = None
) -> tuple[list[Ranked], Counter[str]]:
    """Turn rankings into tokens; returns them, and how many were left out for what reason.

    Args:
        rankings: Rankings of answers.
        chat: The reward model's layout.
        limit: Longest prompt and answer together, in tokens.
    """
    usable, left_out = [], Counter[str]()
    for ranking in rankings:
        try:
            turns = [chat.turn(ranking.prompt, answer, Limits(limit, limit)) for answer in ranking.candidates]
        except TooLongError:
            left_out[f"longer than {limit} tokens"] += 1
            continue
        except UnfitInputError as error:
            left_out[str(error)] += 1
            continue
        if limit is not None and max(len(turn.prompt) + len(turn.answer) for turn in turns) > limit:
            left_out[f"longer than {limit} tokens"] += 1
            continue
        tokens = RankedPrompt(turns[0].prompt, tuple(turn.answer for turn in turns), ranking.ranks)
        if tokens.pairs():
            usable.append(Ranked(tokens, ranking.labeler, prompt_key(ranking.prompt)))
        else:
            left_out["no preference among the answers"] += 1
    return usable, left_out


def pairs_right(model: RewardModel, ranked: Sequence[Ranked]) -> NDArray[np.float64]:
    """Return, for every ranking, how many pairs the model orders as the labeler did, and how many there are.

    Returns:
        `[rankings, 2]`.
    """
    scores = score_trees(model, [item.tokens.tree() for item in ranked])
    counts = np.zeros((len(ranked), 2))
    for row, item, score in zip(counts, ranked, scores, strict=True):
        pairs = item.tokens.pairs()
        row[:] = sum((score[i] > score[j]) + 0.5 * (score[i] == score[j]) for i, j in pairs), len(pairs)
    return counts


def accuracy(counts: NDArray[np.float64], prompts: Sequence[str]) -> Accuracy:
    """Return the accuracy of `pairs_right`'s counts `[rankings, 2]`, its interval over the prompts they are about."""
    totals = _by_prompt(counts, prompts, {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))})
    share = ratio_interval(totals[:, 0], totals[:, 1], bounds=SHARE)
    return Accuracy(share, int(totals[:, 1].sum()), len(totals))


def accuracy_by(counts: NDArray[np.float64], prompts: Sequence[str], groups: Sequence[str]) -> dict[str, Accuracy]:
    """Return the accuracy for each group (labeler, data set) of rankings, the largest first."""
    accuracies = {}
    for group, _ in Counter(groups).most_common():
        members = [i for i, name in enumerate(groups) if name == group]
        accuracies[group] = accuracy(counts[members], [prompts[i] for i in members])
    return accuracies


def groups_of_labelers(ranked: Sequence[Ranked], groups: int = FOLDS) -> dict[str, int]:
    """Return each labeler's group: the most productive first, each into the group with the fewest rankings so far.

    Raises:
        UserError: There are fewer labelers than groups.
    """
    counts = Counter(item.labeler for item in ranked if item.labeler)
    if len(counts) < groups:
        raise UserError(
            f"the rankings name {len(counts)} labelers: {groups} groups need at least {groups}; give fewer --folds"
        )
    sizes = [0] * groups
    group_of = {}
    for labeler, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        group = sizes.index(min(sizes))
        group_of[labeler] = group
        sizes[group] += count
    return group_of


def part_of(prompt: str, parts: int = FOLDS) -> int:
    """Return which part a prompt falls into: by its name alone, so that it does not depend on the others."""
    return int.from_bytes(hashlib.blake2b(prompt.encode(), digest_size=8).digest()) % parts


def cross_validate(
    fresh: Callable[[], RewardModel],
    ranked: Sequence[Ranked],
    config: RewardConfig,
    out: Path,
    settings: Mapping[str, Any],
    *,
    folds: int = FOLDS,
    progress: Callable[[int], Progress] | None = None,
) -> CrossValidation:
    """Train and test one model for each fold; see the module. Run again on the same directory it continues.

    Args:
        fresh: Returns the model every fold starts from, always the same.
        ranked: Rankings that name their labelers; others are left out.
        config: How the models are trained.
        out: The directory: a run for each fold, and its counts when it is done.
        settings: What else decides the result (the model, the data).
        folds: Groups of labelers, and parts of the prompts.
        progress: Given a fold's number, from 0, returns what to call after each of its steps.

    Raises:
        UserError: There are too few labelers, or a fold has nothing to train on or to test.
    """
    ranked = [item for item in ranked if item.labeler]
    group = groups_of_labelers(ranked, folds)
    numbers = {prompt: i for i, prompt in enumerate(dict.fromkeys(item.prompt for item in ranked))}
    totals = np.zeros((2, len(numbers), 2))
    measured = []
    for fold in range(folds):
        train = [item for item in ranked if group[item.labeler] != fold and part_of(item.prompt, folds) != fold]
        tested = [item for item in ranked if part_of(item.prompt, folds) == fold]
        if not train or not tested:
            raise UserError(
                f"fold {fold + 1} of {folds} has nothing to {'test' if train else 'train on'}: more prompts"
            )
        run = Run(out / f"fold-{fold + 1}", {**asdict(config), **settings, "fold": fold + 1, "folds": folds})
        counts = _counts(run, fresh, train, tested, config, progress(fold) if progress else None)
        known = np.array([group[item.labeler] != fold for item in tested])
        prompts = [item.prompt for item in tested]
        for which, chosen in enumerate((known, ~known)):
            own_prompts = [prompt for prompt, is_in in zip(prompts, chosen, strict=True) if is_in]
            totals[which] += _by_prompt(counts[chosen], own_prompts, numbers)
        shares = [_share(counts[chosen]) for chosen in (known, ~known)]
        out_labelers = tuple(sorted(name for name, number in group.items() if number == fold))
        measured.append(Fold(len(train), out_labelers, *shares))
    columns = [(total[:, 0], total[:, 1]) for total in totals]
    overall = [
        Accuracy(ratio_interval(right, pairs, bounds=SHARE), int(pairs.sum()), int((pairs > 0).sum()))
        for right, pairs in columns
    ]
    difference = difference_interval(columns[0], columns[1], bounds=(-1.0, 1.0))
    return CrossValidation(tuple(measured), overall[0], overall[1], difference)


def _counts(
    run: Run,
    fresh: Callable[[], RewardModel],
    train: Sequence[Ranked],
    tested: Sequence[Ranked],
    config: RewardConfig,
    progress: Progress | None,
) -> NDArray[np.float64]:
    """Return the counts of one fold's model on what it is tested on: those on disk, or of the model trained now."""
    file = run.path / "tested.json"
    if file.exists():
        with suppress(UserError, ValueError, TypeError):  # damaged: counted again
            stored = np.array(read_json(file), dtype=float).reshape(-1, 2)
            if len(stored) == len(tested):
                return stored
    model = fresh()
    train_reward_model(model, [item.tokens for item in train], config, run, progress)
    counts = pairs_right(model, tested)
    write_json(file, counts.tolist())
    return counts


def _by_prompt(counts: NDArray[np.float64], prompts: Sequence[str], numbers: Mapping[str, int]) -> NDArray[np.float64]:
    totals = np.zeros((len(numbers), 2))
    np.add.at(totals, np.array([numbers[prompt] for prompt in prompts], dtype=np.intp), counts)
    return totals


def _share(counts: NDArray[np.float64]) -> float:
    right, pairs = counts.sum(0)
    return float(right / pairs) if pairs else float("nan")
