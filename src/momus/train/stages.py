"""The stages as commands run them, InstructGPT's three steps and DPO: from a model and tokens to a better model.

Every stage is one run directory (`runtime/runs.py`) with two things more, written when it is done: `model/`, a
directory that transformers loads (and `ema/` for PPO), and `summary.json`, what was trained on what and what came out.
What is reported of the finished model is measured on what was saved, loaded again. With an adapter, `adapter/` (and
`ema-adapter/`) holds it alone: what the next stage starts from to continue it, and what to ship beside the published
base. `model/` is then the two merged in float32. A stage that is done is not done again; one that was interrupted goes
on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from rich.text import Text

from momus.errors import UserError
from momus.files import read_json, write_json
from momus.lm.chat import Turn
from momus.lm.local.engine import LocalEngine
from momus.lm.models import RewardModel, fingerprint, load_causal_lm
from momus.runtime import costs
from momus.runtime.adapters import has_adapter, reward_model_of
from momus.runtime.needs import Needs, training_flops_of
from momus.runtime.processes import device, is_main_process, sharded
from momus.runtime.runs import Progress, Run
from momus.runtime.sharding import describe, gathered, place, prepare, save, save_adapter, save_merged
from momus.stats.bootstrap import Interval
from momus.train.bases import Base
from momus.train.dpo import all_answer_logprobs, preference_accuracy, train_on_preferences
from momus.train.judges import Judge, TextReward
from momus.train.ppo import train_policy
from momus.train.reward import RankedPrompt, center, group_by_prompt, pair_accuracy, train_reward_model
from momus.train.rollout import engine_sampler
from momus.train.settings import PAPER_DROPOUT, DPOConfig, PPOConfig, RewardConfig, SFTConfig
from momus.train.sft import demonstration_trees, dropout_of, expected_flops, fine_tune, mean_loss
from momus.train.texts import Gathered, TokenizedPrompt, Tokens, digest

if TYPE_CHECKING:
    from momus.train.rollout_server import Rollouts

SUMMARY = "summary.json"
MEASURED = 256
"""Most held-out prompts that are answered to measure a policy."""


class Report(Protocol):
    """How a stage says what it does."""

    def say(self, text: str | Text) -> None:
        """Print a line."""

    def watch(self, title: str, run: Run) -> AbstractContextManager[Progress]:
        """Show the progress of a run under a title."""


# The stages


def run_sft(
    base: Base,
    data: Gathered[tuple[Turn, ...]],
    config: SFTConfig,
    out: Path,
    report: Report,
    *,
    pretraining: Sequence[Tokens] = (),
    reward: Path | TextReward | None = None,
    max_answer: int = 1024,
) -> dict[str, Any]:
    """Step 1: fine-tune on demonstrations; with a reward, the epoch is chosen by its scores of sampled answers.

    Raises:
        UserError: As `fine_tune`, or there are no held-out prompts to choose by.
    """
    asked = list(dict.fromkeys(turns[0].prompt for turns in data.held_out))[:MEASURED]
    if reward is not None and not asked:
        raise UserError("--reward chooses the epoch by answers to held-out prompts, and there are none: --held-out")
    model, start = _load(base, config.seed)
    model = prepare(model, base.setup)
    judge = Judge.open(reward, base, config.token_budget).placed(lambda it: it.to(device()).eval()) if reward else None
    seen = [data.digest(), digest(pretraining), judge.identity if judge else ""]
    if config.per_task is not None:
        seen.append(digest(data.tasks))
    run = _run(out, "sft", base, start, model, config, seen, max_answer if judge else None)
    if (done := _finished(out)) is not None:
        return done

    dropout = dropout_of(model, config)
    if config.dropout is None and not dropout:
        kind = model.config.model_type
        report.say(f"Residual dropout is 0, not the paper's {PAPER_DROPOUT}: this {kind} model has none (--dropout)")

    def score(trained: Any, _: int) -> float:
        assert judge is not None
        return judge.measure(trained, asked, max_answer, config.seed).value

    flops = None if config.per_task else expected_flops(model, data.train, config)
    _say_needs(
        report, Needs.of([model, *([judge.model] if judge and judge.model else [])], [model], flops=flops), model
    )
    with report.watch("SFT", run) as progress:
        history = fine_tune(
            model,
            data.train,
            config,
            run,
            progress,
            tasks=data.tasks,
            pretraining=pretraining,
            held_out=data.held_out,
            score=score if judge else None,
        )
    saved = _save(out, "model", model, base)
    measured = {"valid_loss": mean_loss(saved, data.held_out, config.token_budget)} if data.held_out else {}
    epochs = [line for line in history if "best_epoch" in line]
    chosen = "reward score" if judge else "validation loss" if data.held_out else "nothing"
    result = {
        "steps": len(history),
        "loss": history[-1]["loss"],
        "dropout": dropout,
        "epochs": [{key: line[key] for key in ("epoch", "valid_loss", "score") if key in line} for line in epochs],
        "epoch_kept": epochs[-1]["best_epoch"],
        "epoch_chosen_by": chosen if config.keep == "best" else "nothing",
        "saved": measured | ({"score": score(saved, 0)} if judge else {}),
        "cost": _cost(base, model, history),
    }
    return _finish(out, "sft", base, config, {"demonstrations": data.summary()}, result)


def run_reward(
    base: Base,
    data: Gathered[RankedPrompt],
    config: RewardConfig,
    out: Path,
    report: Report,
    *,
    demonstrations: Sequence[tuple[Turn, ...]] = (),
) -> dict[str, Any]:
    """Step 2: train a reward model on rankings, from a language model; its zero is the demonstrations' mean.

    Raises:
        UserError: As `train_reward_model`.
    """
    language_model, start = _load(base, config.seed)
    model = prepare(reward_model_of(language_model), base.setup)
    del language_model
    run = _run(out, "reward", base, start, model, config, [data.digest(), digest(demonstrations)])
    if (done := _finished(out)) is not None:
        return done
    flops = config.epochs * training_flops_of(model, _lengths(data.train))
    _say_needs(report, Needs.of([model], [model], flops=flops), model)
    with report.watch("Reward model", run) as progress:
        history = train_reward_model(model, data.train, config, run, progress)
    saved = _save(out, "model", model, base)
    bias = None
    with gathered(saved):
        if demonstrations:
            bias = center(saved, demonstration_trees(demonstrations), config.token_budget)
        accuracy, _ = pair_accuracy(saved, data.held_out, config.token_budget)
    if bias is not None:
        model.bias.copy_(saved.bias)
        _write(out, "model", model, base)
    result = {
        "steps": len(history),
        "loss": history[-1]["loss"],
        "held_out_pair_accuracy": as_dict(accuracy),
        "bias_that_centres_demonstrations": bias,
        "cost": _cost(base, model, history),
    }
    return _finish(out, "reward", base, config, {"rankings": data.summary()}, result)


def run_dpo(base: Base, data: Gathered[RankedPrompt], config: DPOConfig, out: Path, report: Report) -> dict[str, Any]:
    """Train the policy on the rankings themselves, beside steps 2 and 3; its reference is the model it starts from.

    Raises:
        UserError: As `train_on_preferences`.
    """
    policy, start = _load(base, config.seed)
    policy = prepare(policy, base.setup)
    run = _run(out, "dpo", base, start, policy, config, [data.digest()])
    if (done := _finished(out)) is not None:
        return done
    place(policy.eval())
    before = all_answer_logprobs(policy, group_by_prompt(data.held_out), config.token_budget)
    flops = config.epochs * training_flops_of(policy, _lengths(data.train))
    _say_needs(report, Needs.of([policy], [policy], kept=1, flops=flops), policy)
    with report.watch("DPO", run) as progress:
        history = train_on_preferences(policy, data.train, config, run, progress)
    saved = _save(out, "model", policy, base)
    with gathered(saved):
        accuracy = preference_accuracy(saved, before, data.held_out, config.token_budget)
    result = {
        "steps": len(history),
        "loss": history[-1]["loss"],
        "held_out_pair_accuracy": as_dict(accuracy),
        "cost": _cost(base, policy, history),
    }
    return _finish(out, "dpo", base, config, {"rankings": data.summary()}, result)


def run_ppo(
    base: Base,
    reward: Path | TextReward,
    data: Gathered[TokenizedPrompt],
    config: PPOConfig,
    out: Path,
    report: Report,
    *,
    pretraining: Sequence[Tokens] = (),
    max_answer: int = 1024,
    rollouts: Rollouts | None = None,
) -> dict[str, Any]:
    """Step 3: train the policy against a reward, with rollouts of the engine in this process or of a server.

    Raises:
        UserError: As `train_policy`, or as `Rollouts.engine`.
    """
    policy, start = _load(base, config.seed)
    judge = Judge.open(reward, base, config.token_budget)
    seen = [data.digest(), digest(pretraining), judge.identity]
    policy = prepare(policy, base.setup)
    judge = judge.placed(lambda model: prepare(model, base.setup).eval())
    run = _run(out, "ppo", base, start, policy, config, seen, max_answer)
    if (done := _finished(out)) is not None:
        return done
    if rollouts is None:
        sample = engine_sampler(LocalEngine(policy, base.chat.tokenizer, cache_bytes=0), max_answer, config.temperature)
    else:
        sample = rollouts.sampler(base.chat.tokenizer, base.load, max_answer, config.temperature, base.ends, run)
    asked = [prompt.tokens for prompt in data.held_out][:MEASURED]

    def score(trained: Any) -> float:
        return judge.measure(trained, asked, max_answer, config.seed).value

    if config.keep == "best" and not asked:
        raise UserError("--keep best chooses by answers to held-out prompts, and there are none: --held-out")
    before = judge.measure(policy, asked, max_answer, config.seed)
    reference = [] if has_adapter(policy) else [policy]
    judges = [judge.model] if judge.model else []
    copies = [*(judges or [policy]), *reference, *([] if config.ema_decay is None else [policy])]
    _say_needs(report, Needs.of([policy, *judges], [policy, *(judges or [policy])], copies), policy)
    with report.watch("PPO", run) as progress:
        result = train_policy(
            policy,
            judge.model,
            [prompt.tokens for prompt in data.train],
            sample,
            judge.score,
            config,
            run,
            eos_id=base.ends,
            pretraining=pretraining,
            progress=progress,
            measure=score if config.keep == "best" else None,
        )
    models = {"model": result.policy} | ({"ema": result.ema} if result.ema is not None else {})
    after = {}
    for name, trained in models.items():
        saved = _save(out, name, trained, base)
        after[name] = as_dict(judge.measure(saved, asked, max_answer, config.seed))
    shown = ("score", "kl", "length", "finished")
    measured = {
        "iterations": len(result.history),
        "iteration_kept": result.kept,
        "first": {name: result.history[0][name] for name in shown},
        "last": {name: result.history[-1][name] for name in shown},
        "held_out_score": {"before": as_dict(before), **after},
        "cost": _cost(base, policy, result.history),
    }
    return _finish(out, "ppo", base, config, {"prompts": data.summary()}, measured)


# What they take, and what they are measured by


def _say_needs(report: Report, needs: Needs, model: Any) -> None:
    """Say what a stage takes; nothing of models in shards, of which every process holds a part."""
    if not sharded():
        report.say(needs.describe(device(), getattr(model, "compute_dtype", torch.float32)))


def _lengths(rankings: Sequence[RankedPrompt]) -> list[tuple[int, list[int]]]:
    """Return the lengths of prompts and answers."""
    return [(len(ranking.prompt), [len(branch) for branch in ranking.branches]) for ranking in rankings]


# What they leave


def _load(base: Base, seed: int) -> tuple[Any, str]:
    """Load the language model, with its fingerprint, and seed what is drawn for it: a head, an adapter."""
    model = base.load()
    torch.manual_seed(seed)
    return model, fingerprint(model)


def _run(
    out: Path,
    stage: str,
    base: Base,
    start: str,
    model: Any,
    config: Any,
    data: Sequence[str],
    max_answer: int | None = None,
) -> Run:
    """Open a stage's run directory: what it starts from and learns from decides the result, and so belongs to it.

    `max_answer` is how long the answers it samples may be, None where it samples none.
    """
    origin = {"name": base.name, "fingerprint": start, "template": digest(base.chat.template)}
    about = {"stage": stage, "start": origin, "held": describe(model), "data": data, "config": asdict(config)}
    return Run(out, about if max_answer is None else {**about, "max_answer": max_answer})


def _finished(out: Path) -> dict[str, Any] | None:
    """Return the summary of a stage that is done."""
    file = out / SUMMARY
    return dict(read_json(file, any_number=True)) if file.is_file() else None


def adapter_folder(out: Path, name: str = "model") -> Path:
    """Return where a stage that trains adapters leaves that of one of its models."""
    return out / ("adapter" if name == "model" else f"{name}-adapter")


def _save(out: Path, name: str, model: Any, base: Base) -> Any:
    """Write a trained model and return what was written, loaded again: what the summary reports is measured on it."""
    _write(out, name, model, base)
    saved = (RewardModel.load if isinstance(model, RewardModel) else load_causal_lm)(out / name)
    return place(saved if sharded() else saved.to(device())).eval()


def _write(out: Path, name: str, model: Any, base: Base) -> None:
    """Write a trained model: whole, and with an adapter also that alone."""
    tokenizer = base.chat.tokenizer
    if has_adapter(model):
        save_adapter(model, adapter_folder(out, name), tokenizer)
        save_merged(model, adapter_folder(out, name), out / name, tokenizer)
    else:
        save(model, out / name, tokenizer)


def _finish(
    out: Path, stage: str, base: Base, config: Any, data: Mapping[str, Any], result: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a stage's summary, by which it is done."""
    summary = {
        "stage": stage,
        "started_from": base.name,
        **({"chat_date": base.chat.pinned_date.isoformat()} if base.chat.pinned_date else {}),
        "model": str(out / "model"),
        **({"adapter": str(adapter_folder(out))} if base.setup.adapter else {}),
        "data": dict(data),
        "result": dict(result),
        "config": asdict(config),
    }
    write_summary(out, summary)
    return summary


def write_summary(out: Path, summary: Mapping[str, Any]) -> None:
    """Write summary.json atomically, from one process."""
    if is_main_process():
        write_json(out / SUMMARY, summary, indent=1)


def _cost(base: Base, model: Any, history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what a run cost, and the share of the model's pretraining where that is known."""
    size = float(sum(parameter.numel() for parameter in model.parameters()))
    return costs.summary(history, (size, base.pretraining_tokens) if base.pretraining_tokens else None)


def as_dict(interval: Interval) -> dict[str, float | None] | None:
    """Return an interval as JSON can hold it: None without an estimate, None for ends that are not determined."""
    if math.isnan(interval.value):
        return None
    return {name: None if math.isnan(value) else value for name, value in asdict(interval).items()}
