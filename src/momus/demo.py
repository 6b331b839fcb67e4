"""The embedded loop, start to finish: real code, inserted bugs, a critic trained on judgements, search, report.

    1. answers       functions of this machine's standard library, some with bugs put in
    2. comparisons   critiques sampled from the shipped critic, rated by simulated contractors
    3. reward        a reward model on the overall rankings
    4. ppo           the critic trained against the reward model
    5. critiques     every critic on the same held-out answers, Force Sampling Beam Search among them
    6. report        measured against the truth, as one HTML file

Each step leaves its result in the run directory and is not done again: a run that was interrupted continues.
"""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from momus.critique import format_critique, parse_critique
from momus.data.functions import Size
from momus.data.stdlib import stdlib_tasks
from momus.evaluate.baselines import random_line, ruff
from momus.lm.forward import score_trees
from momus.lm.local import LocalEngine
from momus.lm.models import RewardModel, load_causal_lm, load_tokenizer, save_causal_lm
from momus.lm.prompts import prompt_of
from momus.lm.tiny import TINY
from momus.lm.tree import TokenTree
from momus.raters.contractor import Calibration, assign, calibrate, compare, panel
from momus.records import Comparison, Record, Split, Tamper, Task, read_jsonl, write_jsonl
from momus.report.html import write_report
from momus.report.loop import (
    FORCED,
    PERCENTILES,
    RL,
    SFT,
    LoopResult,
    best_of_name,
    fsbs_name,
    greedy_name,
    report_data,
)
from momus.search.best_of_n import best_of_n, single
from momus.search.fsbs import FSBSConfig, search
from momus.search.result import Reward, Subject, modifiers_at_percentiles, no_reward
from momus.tamper.insert import tamper as insert_bugs
from momus.train.ppo import PPOConfig, train_ppo
from momus.train.reward import RankedPrompt, RewardConfig, center, pair_accuracy, train_reward
from momus.train.rollout import engine_sampler, reward_scorer
from momus.train.runs import Run

GOLD = "gold"
"""The source of the critique that the author of the bugs wrote."""


@dataclass(frozen=True)
class Scale:
    """How much of everything a preset does."""

    size: Size = field(default_factory=lambda: Size(min_lines=6, max_lines=24, max_chars=700))
    """Which functions are answers."""
    bugs: tuple[float, ...] = (0.25, 0.5, 0.25)
    """Shares of answers with 0, 1, 2 … bugs."""
    training: int = 480
    """Answers whose critiques are compared and that PPO takes its prompts from."""
    kept_back: int = 48
    """Of these, answers the reward model is checked on and not trained on."""
    held_out: int = 100
    """Answers from held-out modules to measure on."""
    contractors: int = 5
    max_tokens: int = 100
    """Length limit of a sampled critique."""
    reward: RewardConfig = field(default_factory=RewardConfig.tiny)
    ppo: PPOConfig = field(default_factory=PPOConfig.tiny)
    fsbs: FSBSConfig = field(default_factory=lambda: FSBSConfig(max_tokens=100))


SCALES = {
    "standard": Scale(),
    "smoke": Scale(
        training=40,
        kept_back=8,
        held_out=16,
        max_tokens=60,
        ppo=PPOConfig.tiny(iterations=2, prompts_per_batch=8),
        fsbs=FSBSConfig(n=2, k=1, d=2, max_tokens=40),
    ),
}


@dataclass(frozen=True)
class DemoConfig:
    """What the user chooses; everything else follows from the preset."""

    out: Path = Path("runs/demo")
    preset: Literal["standard", "smoke"] = "standard"
    seed: int = 0
    tamper: bool = True
    """Whether tampered answers take part in the training; without them it is CriticGPT's ablation."""


class Ratings(Record):
    """What step 2 leaves: the rated comparisons and how the contractors' noise was set."""

    comparisons: tuple[Comparison, ...]
    noise: float
    agreement: float
    reached: bool


class Critiques(Record):
    """What step 5 leaves: for every critic its critique of every held-out answer, as text."""

    by_critic: dict[str, tuple[str, ...]]
    modifiers: tuple[float, ...]


def run_demo(config: DemoConfig) -> Path:
    """Run whatever of the loop is not done yet and return the path of the report.

    Raises:
        UserError: The run directory holds a run with other settings, or the disk is full.
    """
    demo = _Demo(config)
    answers = demo.answers()
    ratings = demo.ratings(answers["train"])
    reward, accuracy = demo.reward(ratings.comparisons)
    policy = demo.ppo(answers["train"], reward)
    critiques = demo.critiques(answers["test"], policy, reward)
    return demo.report(answers["test"], ratings, accuracy, critiques)


class _Demo:
    """The run directory and the models at hand; every public method is one step."""

    def __init__(self, config: DemoConfig) -> None:
        self.config, self.scale, self.out = config, SCALES[config.preset], config.out
        self.console = Console(stderr=True)
        self.reward_config = replace(self.scale.reward, seed=config.seed)
        self.ppo_config = replace(self.scale.ppo, seed=config.seed)
        self.run = Run(self.out, {"seed": config.seed, "tamper": config.tamper, "scale": asdict(self.scale)})
        self.tokenizer = load_tokenizer(TINY)
        self.critic = load_causal_lm(TINY)

    def answers(self) -> dict[Split, list[Tamper]]:
        """Step 1: put bugs into functions of the standard library, training and held-out modules apart."""
        path = self.out / "answers.jsonl"
        if not path.exists():
            with self._step("answers", "putting bugs into the standard library") as advance:
                tasks = stdlib_tasks(self.scale.size)
                made = [
                    tamper
                    for split, count in (("train", self.scale.training), ("test", self.scale.held_out))
                    for tamper in self._tamper([t for t in tasks if t.split == split], count, advance)
                ]
                write_jsonl(path, made)
        made = list(read_jsonl(path, Tamper))
        return {split: [t for t in made if t.task.split == split] for split in ("train", "test")}

    def _tamper(self, tasks: list[Task], count: int, advance: Callable[[float], None]) -> Iterator[Tamper]:
        rng = random.Random(f"{self.config.seed} {tasks[0].split}")
        rng.shuffle(tasks)
        done = 0
        for task in tasks:
            bugs = rng.choices(range(len(self.scale.bugs)), self.scale.bugs)[0]
            if task.split == "train" and not self.config.tamper:
                bugs = 0
            tamper = insert_bugs(task, bugs, rng)
            if tamper is not None:
                yield tamper
                done += 1
                advance(done / count)
                if done == count:
                    return

    def ratings(self, tampers: list[Tamper]) -> Ratings:
        """Step 2: sample critiques and have them rated; four of a clean answer, three and gold of a tampered one."""
        path = self.out / "ratings.jsonl"
        if not path.exists():
            with self._step("comparisons", "sampling critiques and rating them") as advance:
                written: list[list[str]] = []
                engine = LocalEngine(self.critic, self.tokenizer)
                for number, chunk in _chunks(tampers, 40):
                    written += [
                        [sample.text for sample in samples]
                        for samples in engine.sample(
                            [self._prompt(tamper) for tamper in chunk],
                            4,
                            key=[(self.config.seed, 2, number + i) for i in range(len(chunk))],
                            max_tokens=self.scale.max_tokens,
                        )
                    ]
                    advance(len(written) / len(tampers))
                write_jsonl(path, [self._rate(tampers, written)])
        return next(read_jsonl(path, Ratings))

    def _rate(self, tampers: list[Tamper], written: list[list[str]]) -> Ratings:
        noise: Calibration = calibrate(self._compare(tampers, written, 1.0), seed=self.config.seed)
        return Ratings(comparisons=tuple(self._compare(tampers, written, noise.noise)), **noise._asdict())

    def _compare(self, tampers: list[Tamper], written: list[list[str]], noise: float) -> list[Comparison]:
        """Have every answer's critiques rated at one noise; the author of the gold critique never rates it."""
        contractors = panel(self.scale.contractors, noise, seed=self.config.seed)
        made = []
        for number, (tamper, texts) in enumerate(zip(tampers, written, strict=True)):
            rng = np.random.default_rng([self.config.seed, 22, number])
            critiques, sources, authors = texts, [f"sample {i}" for i in range(4)], set[str]()
            if tamper.bugs:
                author = contractors[number % len(contractors)].name
                critiques = [*texts[:3], format_critique(tamper.gold_critique())]
                sources, authors = [*sources[:3], GOLD], {author}
            rater = assign(contractors, rng, authors=authors)
            made.append(compare(tamper, critiques, sources, rater, rng, authors=authors))
        return made

    def reward(self, comparisons: Sequence[Comparison]) -> tuple[RewardModel, tuple[float, int]]:
        """Step 3: train the reward model on the overall rankings, and check it on answers kept back."""
        folder, result = self.out / "reward" / "model", self.out / "reward" / "accuracy.json"
        if not result.exists():
            with self._step("reward", "training the reward model") as advance:
                import torch

                ranked = [self._ranking(comparison) for comparison in comparisons]
                cut = len(ranked) - self.scale.kept_back
                torch.manual_seed(self.config.seed)
                model = RewardModel.from_causal_lm(self.critic)
                train_reward(
                    model,
                    ranked[:cut],
                    self.reward_config,
                    Run(self.out / "reward", self.reward_config),
                    lambda done, total, _: advance(done / total),
                )
                gold = [self._tree(c.tamper, format_critique(c.tamper.gold_critique())) for c in comparisons[:cut]]
                center(model, gold)
                model.save(folder)
                _write_json(result, pair_accuracy(model, ranked[cut:]))
        accuracy, pairs = json.loads(result.read_text())
        return RewardModel.load(folder), (accuracy, pairs)

    def ppo(self, tampers: list[Tamper], reward: RewardModel) -> Any:
        """Step 4: train the critic against the reward model, on the prompts of the compared answers."""
        folder = self.out / "ppo" / "model"
        if not folder.exists():
            with self._step("ppo", "training the critic with PPO") as advance:
                policy = copy.deepcopy(self.critic)
                train_ppo(
                    policy,
                    reward,
                    [self._prompt(tamper) for tamper in tampers],
                    engine_sampler(LocalEngine(policy, self.tokenizer), self.scale.max_tokens),
                    reward_scorer(reward),
                    self.ppo_config,
                    Run(self.out / "ppo", self.ppo_config),
                    eos_id=self.tokenizer.eos_token_id,
                    progress=lambda done, total, _: advance(done / total),
                )
                save_causal_lm(policy, folder, self.tokenizer)
        return load_causal_lm(folder)

    def critiques(self, tampers: list[Tamper], policy: Any, reward: RewardModel) -> Critiques:
        """Step 5: have every critic write about the held-out answers."""
        path = self.out / "critiques.jsonl"
        if not path.exists():
            with self._step("critiques", "searching held-out answers") as advance:
                write_jsonl(path, [self._criticise(tampers, policy, reward, advance)])
        return next(read_jsonl(path, Critiques))

    def _criticise(
        self, tampers: list[Tamper], policy: Any, model: RewardModel, advance: Callable[[float], None]
    ) -> Critiques:
        sft, rl = LocalEngine(self.critic, self.tokenizer), LocalEngine(policy, self.tokenizer)
        forced = replace(self.scale.fsbs, n=1, k=1, d=1, temperature=0.0)
        count, limit, reward = self.scale.fsbs.candidates, self.scale.max_tokens, reward_of(model)
        texts: dict[str, list[str]] = {
            "random line": [format_critique(c) for c in random_line(tampers, self.config.seed)],
            "ruff": [format_critique(c) for c in ruff(tampers)],
            SFT: [],
            greedy_name(SFT): [],
            FORCED: [],
            RL: [],
            greedy_name(RL): [],
            best_of_name(count): [],
        }
        found = []
        for number, chunk in _chunks(tampers, 20):
            subjects = [Subject(tuple(self._prompt(tamper)), tamper.answer) for tamper in chunk]
            keys: list[int | tuple[int, ...]] = [(self.config.seed, 5, number + i) for i in range(len(chunk))]
            written = {
                SFT: single(sft, subjects, key=keys, temperature=1.0, max_tokens=limit, verbatim=False),
                greedy_name(SFT): single(sft, subjects, max_tokens=limit, verbatim=False),
                FORCED: search(sft, no_reward, subjects, forced, key=0),
                RL: single(rl, subjects, key=keys, temperature=1.0, max_tokens=limit, verbatim=False),
                greedy_name(RL): single(rl, subjects, max_tokens=limit, verbatim=False),
                best_of_name(count): best_of_n(rl, reward, subjects, count, key=keys, max_tokens=limit),
            }
            for name, results in written.items():
                texts[name] += [result.best().text for result in results]
            found += search(rl, reward, subjects, self.scale.fsbs, key=keys)
            advance(len(found) / len(tampers))
        modifiers = modifiers_at_percentiles(found, PERCENTILES)
        for percentile, modifier in zip(PERCENTILES, modifiers, strict=True):
            texts[fsbs_name(percentile)] = [result.best(modifier).text for result in found]
        return Critiques(by_critic={n: tuple(t) for n, t in texts.items()}, modifiers=tuple(modifiers))

    def report(
        self, tampers: list[Tamper], ratings: Ratings, accuracy: tuple[float, int], critiques: Critiques
    ) -> Path:
        """Step 6: measure every critic against the truth and write the report."""
        with self._step("report", "measuring and writing the report"):
            result = LoopResult(
                tampers=tampers,
                critiques={
                    name: [parse_critique(text, t.answer) for text, t in zip(texts, tampers, strict=True)]
                    for name, texts in critiques.by_critic.items()
                },
                modifiers=dict(zip(map(fsbs_name, PERCENTILES), critiques.modifiers, strict=True)),
                comparisons=ratings.comparisons,
                contractors=panel(self.scale.contractors, ratings.noise, seed=self.config.seed),
                noise=ratings.noise,
                agreement=ratings.agreement,
                reward_accuracy=accuracy,
                ppo=Run(self.out / "ppo", self.ppo_config).history(),
                tampered_training=self.config.tamper,
                seed=self.config.seed,
                seconds=self._seconds(),
                config=self.run.config,
                command=self._command(),
            )
            path = write_report(report_data(result), self.out)
        self.console.print(f"The report is [bold]{path}[/bold]")
        return path

    def _prompt(self, tamper: Tamper) -> list[int]:
        bos: int = self.tokenizer.bos_token_id
        return [bos, *self._encode(prompt_of(tamper))]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return ids

    def _tree(self, tamper: Tamper, *critiques: str) -> TokenTree:
        return TokenTree.from_branches(self._prompt(tamper), [self._critique(text) for text in critiques])

    def _critique(self, text: str) -> list[int]:
        return [*self._encode(text), self.tokenizer.eos_token_id]

    def _ranking(self, comparison: Comparison) -> RankedPrompt:
        return RankedPrompt(
            prompt=tuple(self._prompt(comparison.tamper)),
            branches=tuple(tuple(self._critique(text)) for text in comparison.critiques),
            ranks=tuple(-rating.overall for rating in comparison.ratings),
        )

    def _command(self) -> str:
        config = self.config
        parts = ["momus demo", f"--preset {config.preset}", f"--seed {config.seed}"]
        return " ".join(parts + ([] if config.tamper else ["--no-tamper"]))

    def _seconds(self) -> dict[str, float]:
        path = self.out / "seconds.json"
        return json.loads(path.read_text()) if path.exists() else {}

    @contextmanager
    def _step(self, name: str, description: str) -> Iterator[Callable[[float], None]]:
        """Show a progress bar, and keep how long the step took, interrupted attempts not counted."""
        started = time.monotonic()
        columns = (TextColumn("{task.description:<45}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            bar = progress.add_task(description, total=1.0)
            yield lambda share: progress.update(bar, completed=share)
            progress.update(bar, completed=1.0)
        _write_json(self.out / "seconds.json", {**self._seconds(), name: time.monotonic() - started})


def reward_of(model: RewardModel, branches: int = 6) -> Reward:
    """Return the reward that reads a reward model at each critique's last token.

    A tree holds at most `branches` critiques: on a CPU the attention mask is dense, so that the branches of a
    large tree would pay for each other.
    """

    def score(prompts: Sequence[Sequence[int]], critiques: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        trees = [
            TokenTree.from_branches(prompt, own[start : start + branches])
            for prompt, own in zip(prompts, critiques, strict=True)
            for start in range(0, len(own), branches)
        ]
        scores = iter(score for tree in score_trees(model, trees) for score in tree)
        return [[next(scores) for _ in own] for own in critiques]

    return score


def _chunks(tampers: list[Tamper], size: int) -> Iterator[tuple[int, list[Tamper]]]:
    for start in range(0, len(tampers), size):
        yield start, tampers[start : start + size]


def _write_json(path: Path, value: Any) -> None:
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(json.dumps(value) + "\n")
    partial.replace(path)
