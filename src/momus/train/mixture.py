"""A reward model that learns from two kinds of rankings: those it is for, and others beside them.

CriticGPT's learnt from comparisons of critiques and from general preferences, how many of these being tuned on held-out
critiques (arXiv 2407.00215). Here one model is trained for each share that is tried, and the one that orders most
held-out pairs as people did is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from momus.errors import UserError
from momus.files import copy_directory
from momus.lm.chat import Turn
from momus.runtime.processes import on_main_process
from momus.train.bases import Base
from momus.train.reward import RankedPrompt
from momus.train.settings import RewardConfig
from momus.train.stages import Report, adapter_folder, run_reward, write_summary
from momus.train.texts import Gathered, describe_rankings, keep_apart


def mixed(
    data: Gathered[RankedPrompt], others: Gathered[RankedPrompt], share: float | None, seed: int
) -> Gathered[RankedPrompt]:
    """Return all rankings of `data` to train on, and so many others that these are a share of the whole.

    What is held out is `data`'s alone, prompts aside that are trained on now.

    Args:
        data: The rankings that the model is for.
        others: Rankings to learn from beside them.
        share: From 0 to below 1; None takes all of the others.
        seed: Draws them: a larger share has those of a smaller one, too.

    Raises:
        UserError: There are not as many others.
    """
    known = len(others.train)
    count = known if share is None else round(len(data.train) * share / (1 - share))
    if count > known:
        most = known / (known + len(data.train))
        raise UserError(f"--shares {share}: takes {count} rankings of --mix, and there are {known}: at most {most:.2g}")
    drawn = sorted(np.random.default_rng(seed).permutation(known)[:count].tolist())
    made = replace(data, train=[*data.train, *(others.train[i] for i in drawn)], dropped=data.dropped.copy())
    made.about = {**data.about, "mixed_in": count}
    keep_apart(made, lambda ranking: {ranking.prompt})
    describe_rankings(made)
    return made


def train_mixtures(
    base: Base,
    data: Gathered[RankedPrompt],
    others: Gathered[RankedPrompt],
    shares: Sequence[float],
    config: RewardConfig,
    out: Path,
    report: Report,
    demonstrations: Sequence[tuple[Turn, ...]],
) -> dict[str, Any]:
    """Train a reward model for each share of the others, all of them without any; the best of several is kept.

    Returns:
        The summary of what is kept, with the held-out accuracy for every share.

    Raises:
        UserError: As `mixed` or `run_reward`, or there is nothing to choose by.
    """
    if len(shares) < 2:
        made = mixed(data, others, shares[0] if shares else None, config.seed)
        return run_reward(base, made, config, out, report, demonstrations=demonstrations)
    mixtures = {share: mixed(data, others, share, config.seed) for share in shares}
    if not all(made.held_out for made in mixtures.values()):
        raise UserError("several --shares are chosen among by held-out rankings, and there are none: --held-out")
    done, accuracies = {}, {}
    for share, made in mixtures.items():
        report.say(f"{share:g} of the rankings are of --mix")
        done[share] = run_reward(base, made, config, out / f"share-{share:g}", report, demonstrations=demonstrations)
        accuracies[share] = done[share]["result"]["held_out_pair_accuracy"]
    best = max(accuracies, key=lambda share: accuracies[share]["value"])
    on_main_process(lambda: _keep(out / f"share-{best:g}", out))
    summary = {**done[best], "model": str(out / "model"), "share_kept": best}
    if base.setup.adapter:
        summary["adapter"] = str(adapter_folder(out))
    summary["result"] |= {"held_out_pair_accuracy_by_share": {f"{share:g}": each for share, each in accuracies.items()}}
    write_summary(out, summary)
    return summary


def _keep(run: Path, out: Path) -> None:
    """Copy the models of a run into the folder of all runs."""
    for folder in filter(Path.is_dir, (run / "model", adapter_folder(run))):
        copy_directory(folder, out / folder.name)
