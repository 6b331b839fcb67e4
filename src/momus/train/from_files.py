"""The stages from files to a model: `momus train sft | reward | dpo | ppo`, and `momus.train_sft` and so on.

Each step opens and checks the model it starts from (`bases.py`), reads the files by the paper's limits (`texts.py`),
trains (`stages.py`), and leaves one run directory: `model/`, which transformers loads, and `summary.json`. Called again
with the same arguments it continues, or returns what is already done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.text import Text

from momus.errors import UserError
from momus.lm.chat import Turn
from momus.runtime.runs import Progress, Run
from momus.runtime.settings import Setup
from momus.train import stages, texts
from momus.train.bases import Base, open_base
from momus.train.judges import TextReward
from momus.train.mixture import train_mixtures
from momus.train.reward import RankedPrompt
from momus.train.rollout_server import Rollouts
from momus.train.settings import DPOConfig, PPOConfig, RewardConfig, SFTConfig, TextConfig
from momus.train.texts import DataSource, Gathered, Tokens

ItemT = TypeVar("ItemT")


class StepReport(stages.Report, Protocol):
    """How a step says what it does."""

    def read(self, kind: str, work: Callable[[], Gathered[ItemT]]) -> Gathered[ItemT]:
        """Do `work`, which reads data of a kind, and say what is kept and left out."""

    def example(self, title: str, text: Text) -> None:
        """Print an example under a title."""


class QuietReport:
    """Says nothing."""

    def say(self, text: str | Text) -> None:
        """Print nothing."""

    def watch(self, title: str, run: Run) -> AbstractContextManager[Progress]:
        """Show no progress."""
        return nullcontext(lambda done, total, metrics: None)

    def read(self, kind: str, work: Callable[[], Gathered[ItemT]]) -> Gathered[ItemT]:
        """Do the work."""
        return work()

    def example(self, title: str, text: Text) -> None:
        """Print nothing."""


def train_sft(
    model: str | Path | Base,
    data: Sequence[DataSource],
    out: str | Path,
    config: SFTConfig | None = None,
    *,
    lengths: TextConfig | None = None,
    reward: Path | TextReward | None = None,
    pretraining: Sequence[DataSource] = (),
    every_turn: bool = False,
    report: StepReport | None = None,
) -> dict[str, Any]:
    """Fine-tune a model on demonstrations: step 1 (InstructGPT, arXiv 2203.02155, §3.5 and C.1).

    Args:
        model: A folder, a name on the hub, a GGUF file, or what `open_base` returned.
        data: Demonstrations.
        out: The run directory.
        config: How to train; by default the paper's settings. `SFTConfig.tiny()` suits a small machine.
        lengths: The longest prompt and answer in tokens; by default the paper's. `TextConfig.tiny()` suits momus-tiny.
        reward: A reward model's folder, or a function of texts: the epoch whose answers to held-out prompts it scores
            best is kept.
        pretraining: Texts to mix in, for `config.pretraining_share`.
        every_turn: Train all of the assistant's turns of a conversation, not only the last.
        report: Says what happens; by default nobody does.

    Returns:
        The run's summary; `["model"]` is the folder of the model.

    Raises:
        UserError: A model or file cannot be read or used, or the loss is not finite.
        BadRowsError: There are bad rows, and `lengths.skip_bad` is not set.
    """
    config, lengths, report = config or SFTConfig(), lengths or TextConfig(), report or QuietReport()
    base = _opened(model, lengths)
    pieces = read_pretraining(pretraining, base, lengths, {"--pretraining-share": config.pretraining_share}, report)
    shown = report.read("demonstrations", lambda: texts.demonstrations(data, base.chat, lengths, every_turn))
    report.example("One demonstration, what is trained in green", base.chat.shown(shown.train[0][-1]))
    return stages.run_sft(
        base, shown, config, Path(out), report, pretraining=pieces, reward=reward, max_answer=lengths.max_answer
    )


def train_reward(
    model: str | Path | Base,
    data: Sequence[DataSource],
    out: str | Path,
    config: RewardConfig | None = None,
    *,
    lengths: TextConfig | None = None,
    demonstrations: Sequence[DataSource] = (),
    mix: Sequence[DataSource] = (),
    shares: Sequence[float] = (),
    report: StepReport | None = None,
) -> dict[str, Any]:
    """Train a reward model on rankings of K answers: step 2 (InstructGPT, arXiv 2203.02155, §3.5, equation 1).

    Args:
        model: What it starts from: usually the model that `train_sft` made; as in `train_sft`.
        data: Rankings.
        out: The run directory.
        config: How to train; by default the paper's settings.
        lengths: As in `train_sft`.
        demonstrations: Demonstrations, whose mean score becomes 0 (§3.5).
        mix: Other rankings to learn from beside these, which alone are measured on.
        shares: What part of the rankings are of `mix`, from 0 to below 1; of several the one that is best on held-out
            rankings is kept. By default all of `mix` is taken.
        report: As in `train_sft`.

    Returns:
        The run's summary; `["model"]` is the folder of the reward model.

    Raises:
        UserError: As `train_sft`, or no ranking prefers one answer to another.
        BadRowsError: As `train_sft`.
    """
    config, lengths, report = config or RewardConfig(), lengths or TextConfig(), report or QuietReport()
    base = _opened(model, lengths)
    if shares and not mix:
        raise UserError("--shares are of the rankings in --mix: name files of these")
    if not all(0 <= share < 1 for share in shares):
        raise UserError(f"--shares {' '.join(f'{share:g}' for share in shares)}: each must be from 0 to below 1")
    title = "An answer ranked first, in green; it is scored at its last token"
    rankings = _read_rankings(data, base, lengths, report, title)
    others = report.read("rankings mixed in", lambda: texts.rankings(mix, base.chat, lengths)) if mix else None
    centred: list[tuple[Turn, ...]] = []
    if demonstrations:
        centred = report.read("demonstrations", lambda: texts.demonstrations(demonstrations, base.chat, lengths)).train
    else:
        report.say("Without --demonstrations the zero of the scores means nothing")
    if others is None:
        return stages.run_reward(base, rankings, config, Path(out), report, demonstrations=centred)
    return train_mixtures(base, rankings, others, shares, config, Path(out), report, centred)


def train_dpo(
    model: str | Path | Base,
    data: Sequence[DataSource],
    out: str | Path,
    config: DPOConfig | None = None,
    *,
    lengths: TextConfig | None = None,
    report: StepReport | None = None,
) -> dict[str, Any]:
    """Train a policy on rankings of K answers without a reward model (DPO, arXiv 2305.18290).

    Args:
        model: The policy to start from, which is also the reference: usually the model that `train_sft` made.
        data: Rankings.
        out: The run directory.
        config: How to train; by default the paper's settings.
        lengths: As in `train_sft`.
        report: As in `train_sft`.

    Returns:
        The run's summary; `["model"]` is the folder of the policy.

    Raises:
        UserError: As `train_sft`, or no ranking prefers one answer to another.
        BadRowsError: As `train_sft`.
    """
    config, lengths, report = config or DPOConfig(), lengths or TextConfig(), report or QuietReport()
    base = _opened(model, lengths)
    rankings = _read_rankings(data, base, lengths, report, "An answer ranked first, in green")
    return stages.run_dpo(base, rankings, config, Path(out), report)


def train_ppo(
    model: str | Path | Base,
    reward: str | Path | TextReward,
    data: Sequence[DataSource],
    out: str | Path,
    config: PPOConfig | None = None,
    *,
    lengths: TextConfig | None = None,
    pretraining: Sequence[DataSource] = (),
    rollouts: Callable[[Base], Rollouts | None] = lambda base: None,
    report: StepReport | None = None,
) -> dict[str, Any]:
    """Train a policy against a reward model with PPO or PPO-ptx: step 3 (InstructGPT, arXiv 2203.02155, §3.5 and C.4).

    Args:
        model: The policy to start from, which is also the KL reference: usually the model that `train_sft` made.
        reward: The reward model's folder, which must read the policy's tokens; or a function of texts in its place.
        data: Prompts, or records that have prompts.
        out: The run directory.
        config: How to train; by default the paper's settings. `ptx_coefficient` above 0 makes it PPO-ptx.
        lengths: As in `train_sft`.
        pretraining: Texts for `config.ptx_coefficient`.
        rollouts: Connects to the server to sample from; by default the policy's process samples.
        report: As in `train_sft`.

    Returns:
        The run's summary; `["model"]` is the folder of the policy.

    Raises:
        UserError: As `train_sft`, or the KL passed its limit.
        BadRowsError: As `train_sft`.
    """
    config, lengths, report = config or PPOConfig(), lengths or TextConfig(), report or QuietReport()
    base = _opened(model, lengths)
    pieces = read_pretraining(pretraining, base, lengths, {"--ptx-coefficient": config.ptx_coefficient}, report)
    prompts = report.read("prompts", lambda: texts.prompts(data, base.chat, lengths))
    report.example("One prompt, as the policy is given it", base.chat.shown(Turn(prompts.train[0].tokens, ())))
    return stages.run_ppo(
        base,
        Path(reward) if isinstance(reward, str) else reward,
        prompts,
        config,
        Path(out),
        report,
        pretraining=pieces,
        max_answer=lengths.max_answer,
        rollouts=rollouts(base),
    )


def read_pretraining(
    data: Sequence[DataSource], base: Base, lengths: TextConfig, needed_by: Mapping[str, float], report: StepReport
) -> list[Tokens]:
    """Read pretraining texts, and see that they are there if a setting needs them, and only then.

    Args:
        data: The texts: .txt files, files in any known format, or records.
        base: Whose tokens they become.
        lengths: How they are cut.
        needed_by: The settings that need them, by their flags.
        report: Says what is read.

    Raises:
        UserError: Texts are missing, or nothing uses them.
    """
    for flag, value in needed_by.items():
        if value and not data:
            raise UserError(f"{flag} {value:g} needs pretraining texts: give them with --pretraining, or set it to 0")
    if data and not any(needed_by.values()):
        raise UserError(f"--pretraining: nothing uses the texts: give {' or '.join(needed_by)}, or leave them out")
    if not data:
        return []
    return report.read("pretraining texts", lambda: texts.pretraining(data, base.chat, lengths)).train


def _read_rankings(
    data: Sequence[DataSource], base: Base, lengths: TextConfig, report: StepReport, title: str
) -> Gathered[RankedPrompt]:
    """Read rankings, and show an answer ranked first under a title."""
    rankings = report.read("rankings", lambda: texts.rankings(data, base.chat, lengths))
    first = rankings.train[0]
    best = first.branches[first.ranks.index(min(first.ranks))]
    report.example(title, base.chat.shown(Turn(first.prompt, best)))
    return rankings


def _opened(model: str | Path | Base, lengths: TextConfig) -> Base:
    return model if isinstance(model, Base) else open_base(str(model), lengths, Setup())
