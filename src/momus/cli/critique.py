"""`momus critique`: critiques for a whole data set."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, NO_CHAT, AnyCriticOptions, AskingOptions
from momus.cli.shared.seed import Seed
from momus.errors import UserError

if TYPE_CHECKING:
    from momus.critics.dataset import Runner
    from momus.critics.prompted import PromptedConfig
    from momus.critics.run import BadLinesError, Progress
    from momus.critics.shard import CritiqueConfig
    from momus.lm.local.load import Precision

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """How critiques are written."""

    method: Literal["sample", "fsbs", "best-of-n"] = "sample"
    """Keep n samples, or search: Force Sampling Beam Search or the best of n by reward."""
    n: int | None = None
    """Samples of each answer (by default 1, of best-of-n 28), or from each beam of fsbs (4). One by a model that chats
    is at temperature 0."""
    modifier: float = 0.0
    """What each highlight adds to a score when the best critique is chosen: higher misses less, lower claims less."""
    max_tokens: int | None = None
    """Length limit of one sample: by default 120, of a model that chats 900."""
    paper: bool = False
    """Do not keep quotes to lines of the answer: the paper only forces a quote to begin."""
    prompt: Literal["code", "answer"] = "code"
    """What a model that chats is asked to review: code, or answers in general."""

    @property
    def searches(self) -> bool:
        """Whether critiques are searched for, and not sampled alone."""
        return self.method != "sample"

    def config(self, critic: AnyCriticOptions, seed: int, threads: int) -> CritiqueConfig:
        """Return everything that decides the critiques of a critic that Momus trained, or that is searched with.

        Raises:
            UserError: The options do not go together.
        """
        from momus.critics.shard import CritiqueConfig
        from momus.lm.tiny import TINY

        self._check_score(critic)
        source, prompted = critic.source(), None
        if critic.is_prompted():
            if critic.url is not None:
                raise UserError("--method is for models of this process: on a server there is no search")
            prompted = self._prompted(critic, None)
        length = 120 if self.max_tokens is None else self.max_tokens
        return CritiqueConfig(
            model=critic.model or TINY,
            reward=source.folder,
            reward_url=source.url,
            reward_tokenizer=source.tokenizer,
            method=self.method,
            n=self.n,
            modifier=self.modifier,
            max_tokens=length if prompted is None else prompted.max_tokens,
            verbatim=not self.paper,
            seed=seed,
            threads=threads,
            device=critic.device,
            precision=critic.precision or _usual_precision(critic, prompted is not None),
            prompted=prompted,
            scored=critic.score is not None,
        )

    def prompting(self, critic: AnyCriticOptions, seed: int) -> PromptedConfig:
        """Return how a model that chats is asked for samples.

        Raises:
            UserError: There is something that only a search can do, or a critic trained by Momus.
        """
        from dataclasses import replace

        if critic.source():
            raise UserError("a reward model is for a search: give --method fsbs or best-of-n with it")
        if self.modifier or self.paper:
            raise UserError(
                "--modifier is for a search (--method fsbs or best-of-n), and --paper for critics that Momus trained; "
                "this one is prompted"
            )
        if self.n is not None and self.n < 1:
            raise UserError(f"--n {self.n}: must be at least 1")
        self._check_score(critic)
        return replace(self._prompted(critic, self.n), seed=seed)

    def _prompted(self, critic: AnyCriticOptions, samples: int | None) -> PromptedConfig:
        from dataclasses import replace

        from momus.cli.shared.prompting import read_prompting
        from momus.critics.prompted import PromptedConfig

        config = replace(read_prompting(critic.rules, samples) or PromptedConfig(), prompt=self.prompt)
        return config if self.max_tokens is None else replace(config, max_tokens=self.max_tokens)

    def _check_score(self, critic: AnyCriticOptions) -> None:
        if critic.score == "samples" and self.method == "sample" and (self.n or 1) < 2:
            raise UserError("--score samples needs several of an answer: --n 8, for one")


@dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """How the work is cut up and where it runs.

    Raises:
        UserError: The options do not go together.
    """

    shard: int = 32
    """Tasks written to disk together, rounded up to a multiple of 8."""
    threads: int = 1
    """Threads of each process; other numbers may change the last digits of a score."""
    ray: bool = False
    """Share the work out on Ray: the cluster RAY_ADDRESS names or that runs here, else a local one."""
    workers: int | None = None
    """Processes on Ray; by default as many as it has CPUs for."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}: must be at least 1")
        if self.workers is not None and not self.ray:
            raise UserError("--workers is for Ray: give --ray with it")

    def runner(self) -> Runner:
        """Return what runs shards: this process, or Ray."""
        from momus.critics.dataset import in_process
        from momus.critics.on_ray import on_ray

        return partial(on_ray, workers=self.workers) if self.ray else in_process


def _usual_precision(critic: AnyCriticOptions, chats: bool) -> Precision:
    """Return what a model is computed in where no option says: of one that chats what is faster and loses nothing."""
    if not chats or critic.model is None:
        return "fp32"
    from momus.lm.local.load import choose_device, choose_precision

    return choose_precision(critic.model, choose_device(critic.device))


_SHIPPED, _ONE_SAMPLE, _HERE, _FREELY = AnyCriticOptions(), MethodOptions(), WorkOptions(), AskingOptions()


def command(
    tasks: Positional[Path],
    out: Path,
    critic: Annotated[AnyCriticOptions, FLAT] = _SHIPPED,
    how: Annotated[MethodOptions, FLAT] = _ONE_SAMPLE,
    seed: Seed = 0,
    work: Annotated[WorkOptions, FLAT] = _HERE,
    cost: Annotated[AskingOptions, FLAT] = _FREELY,
) -> int:
    """Write critiques of every task of a data set, in this process, on Ray, or by a model on a server.

    Interrupted and started again with the same options, it continues where it was. The critiques do not depend on
    --shard, --ray or --workers. With --score, what several samples of an answer say is put together to one critique,
    each comment with its score; a search goes by the sum of its comments' log-odds.

    Args:
        tasks: JSON Lines of Task or Tamper records.
        out: The run directory; the critiques are its critiques.jsonl.
        critic: Who writes; fsbs and best-of-n need a reward model, in a folder or on a server, or a score. Of a model
            that chats they search its JSON, its lines drawn by its pointer where it has one.
        how: How critiques are written.
        seed: Everything random follows from it.
        work: How the work is cut up and where it runs.
        cost: What a model that chats may cost, and whether its answers are kept.
    """
    from momus.cli.shared.output import bar
    from momus.critics.run import BadLinesError

    write = _prompted if critic.is_prompted() and not how.searches else _trained
    try:
        with bar("Critiques") as progress:
            path = write(tasks, out, critic, how, seed, work, cost, progress)
    except BadLinesError as error:
        return _print_bad_lines(error, tasks)
    _print_outcome(path)
    return 0


def _trained(
    tasks: Path,
    out: Path,
    critic: AnyCriticOptions,
    how: MethodOptions,
    seed: int,
    work: WorkOptions,
    cost: AskingOptions,
    progress: Progress,
) -> Path:
    """Have a critic write that Momus trained, or search with any of this process."""
    if critic.rules is not None and not critic.is_prompted():
        raise UserError("--rules are for a model that is prompted, and this one was trained: see --kind")
    from momus.cli.shared.costs import print_cost
    from momus.critics.dataset import critique_dataset
    from momus.critics.refine import Refiner

    config, refined, asking = how.config(critic, seed, work.threads), critic.refined(), cost.asking()
    if refined and work.ray:
        raise UserError("--score and --second-opinion ask a model of this process: leave out --ray")
    refiner = Refiner(refined, asking=asking) if refined else None
    if cost.has_limits and not asking.asks:
        raise UserError(NO_CHAT)
    path = critique_dataset(
        tasks, out, config, shard_size=work.shard, refiner=refiner, runner=work.runner(), progress=progress
    )
    print_cost(asking)
    return path


def _prompted(
    tasks: Path,
    out: Path,
    critic: AnyCriticOptions,
    how: MethodOptions,
    seed: int,
    work: WorkOptions,
    cost: AskingOptions,
    progress: Progress,
) -> Path:
    """Have a model write that chats, and say what it costs."""
    from momus.cli.shared.costs import print_cost, print_estimate, print_fallen
    from momus.critics.prompted import PromptedCritic
    from momus.critics.prompted_dataset import prompt_dataset
    from momus.critics.refine import refine
    from momus.lm.chats.open import open_chat

    config, refined, asking = how.prompting(critic, seed), critic.refined(), cost.asking()
    if work.ray or work.threads != 1:
        raise UserError("--ray and --threads are for critics that Momus trained; this one is prompted")
    chat = open_chat(critic.model, critic.url, device=critic.device, precision=critic.precision)
    prompted = PromptedCritic(asking.around(chat), config)
    writer = refine(prompted, refined, asking) if refined else prompted
    path = prompt_dataset(
        tasks,
        out,
        writer,
        model=None if critic.url else critic.model,
        shard_size=work.shard,
        progress=progress,
        before=lambda waiting: print_estimate(asking, writer, lambda: waiting, cost),
    )
    print_fallen(writer)
    print_cost(asking)
    return path


def _print_bad_lines(error: BadLinesError, tasks: Path) -> int:
    """Print which lines cannot be read; returns the exit code."""
    for problem in error.problems[:_SHOWN]:
        print("momus: error:", problem, file=sys.stderr)
    if len(error.problems) > _SHOWN:
        print(f"momus: error: {len(error.problems) - _SHOWN} more bad lines in {tasks}", file=sys.stderr)
    return error.exit_code


def _print_outcome(path: Path) -> None:
    """Print where the critiques are, and how many tasks have none and why.

    Raises:
        UserError: None has one.
    """
    from momus.critics.run import TaskCritiques
    from momus.records import read_jsonl

    tasks = list(read_jsonl(path, TaskCritiques))
    skipped = [task for task in tasks if task.skipped]
    if skipped:
        first = skipped[0]
        if len(skipped) == len(tasks):
            raise UserError(f"no task has a critique; the first of {len(tasks)}, {first.id!r}: {first.skipped}")
        print(f"{len(skipped)} tasks have no critique; the first, {first.id!r}: {first.skipped}", file=sys.stderr)
    print(f"The critiques are {path}", file=sys.stderr)
