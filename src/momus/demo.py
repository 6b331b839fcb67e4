"""The embedded loop, start to finish: real code, inserted bugs, a critic trained on judgements, search, report.

    1. answers       functions of this machine's standard library, some with bugs put in
    2. comparisons   critiques sampled from the shipped critic, rated by simulated contractors
    3. reward        a reward model on the overall rankings, with the critic's pointer
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from momus.critique import Critique, format_critique, parse_critique
from momus.data.functions import Size
from momus.data.stdlib import stdlib_tasks
from momus.errors import UserError
from momus.evaluate.critics.lineup import PERCENTILES, CriticModel, LineUp, fsbs_name, line_up
from momus.files import write_json
from momus.lm.local.engine import LocalEngine
from momus.lm.models import RewardModel, load_causal_lm, load_tokenizer, save_causal_lm
from momus.lm.pointers.pointer import Pointer, PointerNetwork
from momus.lm.pointers.reward import PointerRewardModel
from momus.lm.prompts import POINTER_FILE
from momus.lm.tiny import TINY
from momus.raters.contractor import panel
from momus.raters.study import SLOTS, Ratings, rate_samples
from momus.records import Comparison, Split, Tamper, Task, read_jsonl, write_jsonl
from momus.report.html import write_report
from momus.report.loop import LoopResult, report_data
from momus.runtime.runs import Run
from momus.search.fsbs import FSBSConfig
from momus.search.reward import reward_function
from momus.stats.bootstrap import Interval
from momus.tamper.insert import tamper_tasks
from momus.train.ppo import train_policy
from momus.train.reward import center, pair_accuracy, train_reward_model
from momus.train.rollout import engine_sampler, reward_scorer
from momus.train.settings import PPOConfig, RewardConfig
from momus.train.texts import CritiqueTokens
from momus.train.worth import learn_worth

_AT_ONCE = 40
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Preset:
    """How much of everything a preset does."""

    size: Size = field(default_factory=lambda: Size(min_lines=6, max_lines=24, max_chars=700))
    """Which functions are answers."""
    bugs: tuple[float, ...] = (0.25, 0.5, 0.25)
    """Shares of answers with 0, 1, 2 … bugs."""
    training: int = 320
    """Answers whose critiques are compared."""
    kept_back: int = 40
    """Of these, answers the reward model is checked on; neither it nor PPO is trained on them."""
    held_out: int = 60
    """Answers from held-out modules to measure on."""
    contractors: int = 5
    max_tokens: int = 100
    """Length limit of a sampled critique."""
    reward: RewardConfig = field(default_factory=lambda: RewardConfig.tiny(epochs=1))
    ppo: PPOConfig = field(
        default_factory=lambda: PPOConfig.tiny(iterations=20, policy_learning_rate=3e-4, value_learning_rate=1e-3)
    )
    """So few iterations need larger steps; chosen on functions of the validation split."""
    fsbs: FSBSConfig = field(default_factory=lambda: FSBSConfig(max_tokens=100))


PRESETS = {
    "standard": Preset(),
    "smoke": Preset(
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
        self.config, self.preset, self.out = config, PRESETS[config.preset], config.out
        self.console = Console(stderr=True)
        self.reward_config = replace(self.preset.reward, seed=config.seed)
        self.ppo_config = replace(self.preset.ppo, seed=config.seed)
        self.run = Run(self.out, {"seed": config.seed, "tamper": config.tamper, "scale": asdict(self.preset)})
        self.tokenizer = load_tokenizer(TINY)
        self.tokens = CritiqueTokens(self.tokenizer)
        self.critic = load_causal_lm(TINY)

    def answers(self) -> dict[Split, list[Tamper]]:
        """Step 1: put bugs into functions of the standard library, training and held-out modules apart."""
        path = self.out / "answers.jsonl"
        if not path.exists():
            with self._step("answers", "putting bugs into the standard library") as advance:
                tasks = stdlib_tasks(self.preset.size)
                train = self.preset.bugs if self.config.tamper else (1.0,)
                made = self._tampers([t for t in tasks if t.split == "train"], self.preset.training, train, advance)
                made += self._tampers(
                    [t for t in tasks if t.split == "test"], self.preset.held_out, self.preset.bugs, advance
                )
                write_jsonl(path, made)
        stored = list(read_jsonl(path, Tamper))
        return {split: [t for t in stored if t.task.split == split] for split in ("train", "test")}

    def _tampers(
        self, tasks: list[Task], count: int, shares: Sequence[float], advance: Callable[[float], None]
    ) -> list[Tamper]:
        """Tamper with up to `count` random tasks of one split."""
        split = tasks[0].split if tasks else "training or held-out"
        rng = random.Random(f"{self.config.seed} {split}")
        rng.shuffle(tasks)
        made = []
        for tamper in islice(tamper_tasks(tasks, shares, rng), count):
            made.append(tamper)
            advance(len(made) / count)
        if len(made) < count:
            raise UserError(
                f"this Python's standard library has only {len(made)} functions for the {count} that preset "
                f"{self.config.preset!r} needs of its {split} modules: use another Python, or --preset smoke"
            )
        return made

    def ratings(self, tampers: list[Tamper]) -> Ratings:
        """Step 2: sample critiques of the training answers and have them rated."""
        path = self.out / "ratings.jsonl"
        if not path.exists():
            with self._step("comparisons", "sampling critiques and rating them") as advance:
                written: list[list[str]] = []
                engine = LocalEngine(self.critic, self.tokenizer)
                for start in range(0, len(tampers), _AT_ONCE):
                    prompts = [self.tokens.prompt(tamper) for tamper in tampers[start : start + _AT_ONCE]]
                    samples = engine.sample(
                        prompts,
                        SLOTS,
                        key=[(self.config.seed, 2, start + i) for i in range(len(prompts))],
                        max_tokens=self.preset.max_tokens,
                    )
                    written += [[sample.text for sample in drawn] for drawn in samples]
                    advance(len(written) / len(tampers))
                write_jsonl(path, [rate_samples(tampers, written, self.preset.contractors, self.config.seed)])
        return next(read_jsonl(path, Ratings))

    def reward(self, comparisons: Sequence[Sequence[Comparison]]) -> tuple[RewardModel, tuple[Interval, int]]:
        """Step 3: train the reward model on the overall rankings, and check it on answers kept back."""
        folder, result = self.out / "reward" / "model", self.out / "reward" / "accuracy.json"
        model: PointerRewardModel | None = None
        if not result.exists():
            with self._step("reward", "training the reward model") as advance:
                import torch

                trained_on = self._trained_on(comparisons)
                kept_back = comparisons[len(trained_on) :]
                torch.manual_seed(self.config.seed)
                pointer = PointerNetwork.load(TINY / POINTER_FILE)
                model = PointerRewardModel.from_critic(self.critic, pointer, self.tokenizer)
                rankings = [self.tokens.ranking(comparison) for comparison in chain.from_iterable(trained_on)]
                learn_worth(model, rankings)
                train_reward_model(
                    model,
                    rankings,
                    self.reward_config,
                    Run(self.out / "reward", self.reward_config),
                    lambda done, total, _: advance(done / total),
                )
                gold = [(c.tamper, format_critique(c.tamper.gold_critique())) for c, *_ in trained_on]
                center(model, [self.tokens.tree(tamper, critique) for tamper, critique in gold])
                model.save(folder)
                accuracy, pairs = pair_accuracy(model, [self.tokens.ranking(c) for c in chain.from_iterable(kept_back)])
                write_json(result, [asdict(accuracy), pairs])
        accuracy, pairs = json.loads(result.read_text())
        # The one just trained has read its prompts already.
        return model or PointerRewardModel.load(folder), (_interval(accuracy), pairs)

    def ppo(self, tampers: list[Tamper], reward: RewardModel) -> Any:
        """Step 4: train the critic against the reward model, on the answers that model was trained on."""
        folder = self.out / "ppo" / "model"
        if not folder.exists():
            with self._step("ppo", "training the critic with PPO") as advance:
                policy = copy.deepcopy(self.critic)
                train_policy(
                    policy,
                    reward,
                    [self.tokens.prompt(tamper) for tamper in self._trained_on(tampers)],
                    engine_sampler(LocalEngine(policy, self.tokenizer, cache_bytes=0), self.preset.max_tokens),
                    reward_scorer(reward),
                    self.ppo_config,
                    Run(self.out / "ppo", self.ppo_config),
                    eos_id=self.tokenizer.eos_token_id,
                    progress=lambda done, total, _: advance(done / total),
                )
                # The pointer reads the answer by itself: the shipped critic's serves this one too.
                pointer = PointerNetwork.load(TINY / POINTER_FILE)
                save_causal_lm(policy, folder, self.tokenizer, pointer=pointer, critic=True)
        return load_causal_lm(folder)

    def critiques(self, tampers: list[Tamper], policy: Any, reward: RewardModel) -> LineUp:
        """Step 5: have every critic write about the held-out answers."""
        path = self.out / "critiques.jsonl"
        if not path.exists():
            with self._step("critiques", "searching held-out answers") as advance:
                written = line_up(
                    tampers,
                    self._with_pointer(self.critic, TINY),
                    self._with_pointer(policy, self.out / "ppo" / "model"),
                    reward_function(reward),
                    self.preset.fsbs,
                    max_tokens=self.preset.max_tokens,
                    seed=self.config.seed,
                    progress=advance,
                )
                write_jsonl(path, [written])
        return next(read_jsonl(path, LineUp))

    def report(
        self, tampers: list[Tamper], ratings: Ratings, accuracy: tuple[Interval, int], critiques: LineUp
    ) -> Path:
        """Step 6: measure every critic against the truth and write the report."""
        with self._step("report", "measuring and writing the report"):
            result = LoopResult(
                tampers=tampers,
                critiques=_parsed(critiques.by_critic, tampers),
                samples=[_parsed(by_critic, tampers) for by_critic in critiques.samples],
                modifiers=dict(zip(map(fsbs_name, PERCENTILES), critiques.modifiers, strict=True)),
                comparisons=[compared[0] for compared in ratings.comparisons],
                rated=sum(map(len, ratings.comparisons)),
                kept_back=len(ratings.comparisons) - len(self._trained_on(ratings.comparisons)),
                contractors=panel(self.preset.contractors, ratings.noise, seed=self.config.seed),
                noise=ratings.noise,
                agreement=ratings.agreement,
                reached=ratings.reached,
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

    def _with_pointer(self, model: Any, folder: Path) -> CriticModel:
        engine = LocalEngine(model, self.tokenizer)
        return CriticModel(engine, Pointer.load_if_present(folder, model, engine.vocabulary))

    def _trained_on(self, compared: Sequence[_Item]) -> Sequence[_Item]:
        """Return the compared answers, or their comparisons, without those kept back: the last."""
        return compared[: max(1, len(compared) - self.preset.kept_back)]

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
        write_json(self.out / "seconds.json", {**self._seconds(), name: time.monotonic() - started})


def _interval(stored: Mapping[str, float | None]) -> Interval:
    """Return a stored interval; null stands for what is not determined."""
    return Interval(**{name: float("nan") if value is None else value for name, value in stored.items()})


def _parsed(written: Mapping[str, Sequence[str]], tampers: Sequence[Tamper]) -> dict[str, list[Critique]]:
    """Parse what every critic wrote about every answer."""
    return {
        name: [parse_critique(text, tamper.answer) for text, tamper in zip(texts, tampers, strict=True)]
        for name, texts in written.items()
    }
