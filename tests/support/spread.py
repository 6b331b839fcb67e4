"""Stages for any number of processes: run by `test_processes.py` in its own process, and in several of their own."""

import json
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import torch

from momus.errors import UserError
from momus.lm.chat import Turn
from momus.lm.local.engine import LocalEngine
from momus.lm.models import RewardModel
from momus.runtime.processes import (
    all_reduce,
    fail_together,
    gather_json,
    is_main_process,
    on_main_process,
    rank,
    share,
    sum_metrics,
    world_size,
)
from momus.runtime.runs import Run
from momus.runtime.settings import LoRA, Setup
from momus.runtime.sharding import prepare, save
from momus.train.ppo import train_policy
from momus.train.reward import RankedPrompt, train_reward_model
from momus.train.rollout import engine_sampler, reward_scorer
from momus.train.settings import PPOConfig, RewardConfig, SFTConfig
from momus.train.sft import fine_tune
from support import forked
from support.tiny import VOCAB, gpt2, llama, tiny_model, tiny_tokenizer

SHARDS = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


def rankings(count: int, answers: int = 3, seed: int = 0) -> list[RankedPrompt]:
    rng = np.random.default_rng(seed)
    return [
        RankedPrompt(
            tuple(map(int, (1, *rng.integers(3, VOCAB, 2 + 3 * index)))),
            tuple(tuple(map(int, (*rng.integers(3, VOCAB, 2 + place), 2))) for place in range(answers)),
            tuple(map(float, rng.permutation(answers))),
        )
        for index in range(count)
    ]


def reward(
    folder: Path, setup: Setup, prompts: int = 5, batch: int = 3, dropout: float = 0.0, kill: int = 0, **changes
) -> None:
    """Train a reward model: batches of 3 and 2 prompts, one a forward pass, by default; `kill` is a step."""

    def progress(step: int, total: int, metrics: object) -> None:
        assert run.history()[-1]["step"] == step  # asked by the first process alone, as monitors do
        if step == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    model = RewardModel.from_causal_lm(gpt2(dropout) if dropout else llama())
    config = RewardConfig.tiny(prompts_per_batch=batch, epochs=2, token_budget=1, save_every=2, **changes)
    prepare(model, setup)
    run = Run(folder / "run", config)
    train_reward_model(model, rankings(prompts), config, run, progress)
    save(model, folder / "model")


def sft(folder: Path, setup: Setup, demonstrations: int = 5, batch: int = 3, **changes) -> None:
    rng = np.random.default_rng(1)
    turns = [
        [Turn(tuple(map(int, rng.integers(3, VOCAB, 2 + place))), (*map(int, rng.integers(3, VOCAB, 3 + place)), 2))]
        for place in range(demonstrations)
    ]
    config = SFTConfig.tiny(demonstrations_per_batch=batch, epochs=2, token_budget=1, save_every=2, **changes)
    model = prepare(llama(), setup)
    held_out = turns[:1]
    fine_tune(model, turns, config, Run(folder / "run", config), held_out=held_out)
    save(model, folder / "model")


def ppo(folder: Path, setup: Setup, iterations: int = 2, engine: bool = True) -> None:
    """Minibatches of one prompt, so that of two processes one has nothing to do."""
    policy, judge = prepare(tiny_model(), setup), prepare(RewardModel.from_causal_lm(tiny_model(seed=5)), setup)
    tokenizer = tiny_tokenizer()
    prompts = [tokenizer.encode(text) for text in ("def f(items):", "for x in", "total")]
    texts = [tokenizer.encode(text) for text in ("return total", "This should be the first row is a header.", "A")]
    config = PPOConfig.tiny(
        iterations=iterations, prompts_per_batch=3, rollouts_per_prompt=2, minibatches=3, save_every=1,
        ptx_coefficient=0.5, token_budget=1, policy_learning_rate=1e-4, warmup_iterations=0,
    )  # fmt: skip
    sampler = engine_sampler(LocalEngine(policy, tokenizer), 6)
    found = train_policy(
        policy, judge, prompts, sampler, reward_scorer(judge), config, Run(folder / "run", config),
        eos_id=tokenizer.eos_token_id, pretraining=texts,
    )  # fmt: skip
    for name, model in (("model", policy), ("ema", found.ema), ("value", found.value)):
        save(model, folder / name)


JOBS = {
    "uneven": lambda folder: reward(folder, Setup()),
    "idle": lambda folder: reward(folder, Setup(), prompts=3, batch=1),
    "killed": lambda folder: reward(folder, Setup(), prompts=9, kill=3),
    "resumed": lambda folder: reward(folder, Setup(), prompts=9),
    "dropout": lambda folder: reward(folder, Setup(), dropout=0.3),
    "recomputed": lambda folder: reward(folder, Setup(gradient_checkpointing=True)),
    "adapter": lambda folder: reward(folder, Setup(adapter=LoRA(rank=2, dropout=0.1))),
    "sft": lambda folder: sft(folder, Setup(), dropout=0.1),
    "sft-adapter": lambda folder: sft(folder, Setup(adapter=LoRA(rank=2), gradient_checkpointing=True)),
    "ppo": lambda folder: ppo(folder, Setup()),
    "ppo-adapter": lambda folder: ppo(folder, Setup(adapter=LoRA(rank=2), gradient_checkpointing=True)),
    "bf16": lambda folder: reward(folder, Setup(precision="bf16", gradient_checkpointing=True)),
}


def do(folder: Path, jobs: list[str]) -> None:
    for job in jobs:
        torch.manual_seed(0 if is_main_process() else 99)  # heads start at random
        JOBS[job](folder / job)


def ranks(shards: bool = False, processes: int = 2, **env: str) -> list[dict[str, str]]:
    """What launchers put into the environment of each of several processes: its rank, and where they meet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", **(SHARDS if shards else {}), **env}
    return [
        {**shared, "RANK": str(number), "LOCAL_RANK": str(number), "LOCAL_WORLD_SIZE": str(processes)}
        for number in range(processes)
    ]


def start(folder: Path, jobs: list[str], shards: bool = False) -> list[tuple[ForkServerProcess, Path]]:
    """Do jobs by two processes; returns each with the file of what it says."""
    folder.mkdir(parents=True, exist_ok=True)
    said = [folder / f"said-{number}" for number in range(2)]
    return [
        (forked.start(do_as, own, folder, jobs, stderr=file), file)
        for own, file in zip(ranks(shards), said, strict=True)
    ]


@fail_together()
def meet(how: str) -> None:
    """Exchange everything that processes exchange; then all end well, or badly in one of four ways."""
    me, several = rank(), world_size()
    assert all_reduce(torch.tensor([me, 1.0])).tolist() == [several * (several - 1) / 2, several]
    assert sum_metrics({"a": 0.5, "b": me}) == {"a": 0.5 * several, "b": several * (several - 1) / 2}
    everyone = [{"rank": each, "text": "\u00e9" * each} for each in range(several)]
    assert gather_json({"rank": me, "text": "\u00e9" * me}) == everyone
    assert on_main_process(lambda: [me, None]) == [0, None]
    try:
        on_main_process(lambda: (_ for _ in ()).throw(UserError("refused")))
    except UserError as error:
        assert str(error) == "refused"
    else:
        raise AssertionError("what the first process is refused, all are")
    with warnings.catch_warnings(record=True) as warned:
        mine = list(share("abcde"))
        assert mine == [("abcde"[each], 1.0) for each in range(me, 5, several)], mine
        assert list(share("a")) == ([("a", 1.0)] if me == 0 else [])
    assert len(warned) == (me == 0)
    if how == "all":
        raise UserError("bad data")
    if how == "host" and me == 0:
        raise UserError("bad luck")
    if me == 1:
        if how == "one":
            raise UserError("bad luck")
        if how == "stuck":
            time.sleep(600)
    all_reduce(torch.zeros(1))


def do_as(own: dict[str, str], folder: Path, jobs: list[str]) -> int:
    """Do jobs as one of several processes."""
    return _as(own, lambda: do(folder, jobs))


def meet_as(own: dict[str, str], how: str) -> int:
    """Meet the others as one of several processes."""
    return _as(own, lambda: meet(how))


def _as(own: dict[str, str], work: Callable[[], None]) -> int:
    os.environ.update(own)
    torch.set_num_threads(1)
    try:
        work()
    except UserError as error:  # as the command line does
        print(error, file=sys.stderr)
        return 2
    return 0


def result(folder: Path) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """Read what a job left: its metrics and its weights."""
    from safetensors.torch import load_file

    lines = (folder / "run/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], load_file(folder / "model/model.safetensors")
