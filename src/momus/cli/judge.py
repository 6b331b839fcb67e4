"""`momus judge`: a model as a judge, measured before it is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from momus.evaluate.judge import JudgeReport, Pair
    from momus.evaluate.rain import WayReport
    from momus.records import Prompt
    from momus.search.rain_judge import SelfJudge


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """Who judges, and by what."""

    model: str
    """Directory or name of a causal language model; with --url, its name on the server."""
    task: Literal["harmless", "adversarial", "truthful", "sentiment", "critique"] = "harmless"
    """What it judges by."""
    cases: int | None = None
    """Worked examples shown to it, at most."""
    chat_template: Path | None = None
    """A file with a Jinja chat template, in place of the tokenizer's own."""
    url: str | None = None
    """The base URL of an OpenAI-compatible server that runs the model."""
    tokenizer: str | None = None
    """With --url: directory or name of the model's tokenizer, if it is not the model's name."""
    device: str = "cpu"
    """Where the model runs, such as cuda."""

    def judge(self) -> SelfJudge:
        """Load the model, or find it on its server."""
        from momus.cli.rain import engine_of, read_template
        from momus.lm.chat import PLAIN, ChatFormat
        from momus.search.rain_judge import SelfJudge
        from momus.search.rain_models import FastJudge
        from momus.search.rain_tasks import TASKS

        criterion = TASKS[self.task].with_cases(self.cases).criterion
        template = read_template(self.chat_template)
        if self.url is not None:
            from momus.lm.codec import read_tokenizer
            from momus.lm.remote import RemoteEngine
            from momus.lm.server import Server

            tokenizer = read_tokenizer(self.tokenizer or self.model)
            chat = ChatFormat(tokenizer, template)
            remote = RemoteEngine(Server(self.url, self.model), tokenizer)
            return SelfJudge(remote, criterion, None if chat.template == PLAIN else chat)
        engine = engine_of(self.model, device=self.device)
        chat = ChatFormat(engine.tokenizer, template)
        return FastJudge(engine, criterion, None if chat.template == PLAIN else chat)


@dataclass(frozen=True, kw_only=True)
class Ask(_Judge):
    """Ask a model about one answer, in both orders."""

    asked: str
    """What was asked."""
    answer: str
    """What was answered."""

    def run(self) -> int:
        """Print the verdict and what it was read from."""
        judge = self.judge()
        verdict = judge(self.asked, self.answer)
        statements = (judge.criterion.good, judge.criterion.bad)
        for choice, (a, b) in zip((verdict.first, verdict.second), (statements, statements[::-1]), strict=True):
            print(f"A: {a}  B: {b}")
            print(f"    A {choice.probability:.1%} against B; both together {choice.mass:.1%} of all probability")
        what = {1: statements[0], -1: statements[1]}.get(int(verdict.value), "undecided: the orders contradict")
        print(f"value {verdict.value:+.0f}: {'it abstains: hardly any probability' if verdict.abstained else what}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Calibrate(_Judge):
    """Ask a model to judge answers that people have judged: how often is it right, and does it like a label?"""

    file: Positional[str]
    """Rankings: a file in any format that momus data reads, such as pairs of hh-rlhf."""
    pairs: int = 200
    """Measure on so many pairs, drawn at random."""
    seed: int = 0
    """Decides which pairs."""
    out: Path | None = None
    """Also write the numbers there, as JSON."""

    def run(self) -> int:
        """Measure, and print a table."""
        from momus.cli._telling import bar, say, weights_of, write_json
        from momus.errors import UserError
        from momus.evaluate.judge import calibrate

        if self.pairs < 1:
            raise UserError(f"--pairs {self.pairs}: must be at least 1")
        pairs = self._pairs()
        judge = self.judge()
        with bar("Pairs") as tell:
            found = calibrate(judge, pairs, lambda done: tell(done, len(pairs)))
        _print(found)
        say(f"{self.model} as a judge of {self.task}: {found.advice}")
        if self.out is not None:
            about = {"model": weights_of(self.model), "task": self.task, "file": self.file, "seed": self.seed}
            write_json(self.out, {**about, **found.model_dump()})
        return 0

    def _pairs(self) -> list[Pair]:
        import random

        from momus.data.convert import read, recognise
        from momus.errors import UserError
        from momus.evaluate.judge import pairs_of
        from momus.records import Ranking

        pairs = list(pairs_of(own for own in read(*recognise(self.file)) if isinstance(own, Ranking)))
        if not pairs:
            raise UserError(f"{self.file} holds no pair of a better and a worse answer to something asked")
        return random.Random(self.seed).sample(pairs, min(self.pairs, len(pairs)))


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Answer prompts greedily, by sampling, by samples and self-evaluation, and by RAIN, and compare."""

    file: Positional[str]
    """Prompts, or records that have prompts, in any format that momus data reads."""
    model: str
    """Directory or name of the causal language model that answers."""
    out: Path
    """The file for all answers, as JSON Lines."""
    grader: str | None = None
    """Directory or name of another model, whose judgement counts; by default the model grades itself."""
    task: Literal["harmless", "adversarial", "truthful", "sentiment"] = "harmless"
    """What is judged by."""
    suffix: str = ""
    """Added to every prompt, such as an attack that makes models comply."""
    limit: int = 20
    """Answer at most so many prompts."""
    max_tokens: int = 64
    """Longest answer."""
    cases: int | None = None
    """Worked examples shown to the judges, at most."""
    seed: int = 0
    """Everything random follows from it."""

    def run(self) -> int:
        """Answer, print a table and write the answers."""
        from momus.cli._telling import bar, say
        from momus.cli.rain import loaded, read_prompts
        from momus.errors import UnfitInputError, UserError
        from momus.evaluate.rain import Answered, Comparison, summarise
        from momus.records import Prompt, write_jsonl
        from momus.search.rain_runs import with_settings
        from momus.search.rain_tasks import TASKS

        if min(self.limit, self.max_tokens) < 1:
            raise UserError("--limit and --max-tokens must be at least 1")
        task = with_settings(TASKS[self.task], max_tokens=self.max_tokens).with_cases(self.cases)
        prompts = read_prompts([self.file], [], self.task, self.limit)
        rain = loaded(self.model, task)
        grader = None
        if self.grader is not None:
            grader = Ask(model=self.grader, task=self.task, cases=self.cases, asked="", answer="").judge()
        compared, found, unfit = Comparison(rain, grader, self.seed), list[Answered](), 0
        with bar("Prompts") as tell:
            for index, prompt in enumerate(prompts):
                assert isinstance(prompt, Prompt)
                try:
                    found += compared.answers(index, with_suffix(prompt, self.suffix))
                except UnfitInputError:
                    unfit += 1
                tell(index + 1, len(prompts))
        if not found:
            raise UserError(f"none of the {unfit} prompts fits the model")
        write_jsonl(self.out, found)
        _print_ways(summarise(found), len(prompts) - unfit)
        say(f"graded by {self.grader or 'the model itself: a higher value is no evidence of better answers'}")
        say(f"{unfit} more prompts did not fit; the answers are {self.out}")
        return 0


def with_suffix(prompt: Prompt, suffix: str) -> Prompt:
    """Add a text to a prompt's last turn."""
    if isinstance(prompt.prompt, str):
        return prompt.model_copy(update={"prompt": prompt.prompt + suffix})
    *before, last = prompt.prompt
    changed = last.model_copy(update={"content": last.content + suffix})
    return prompt.model_copy(update={"prompt": (*before, changed)})


def _print_ways(found: Sequence[WayReport], prompts: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{prompts} prompts; values from -1 to 1, 95% intervals")
    table.add_column("")
    for name in ("own value", "graded", "gain over greedy", "tokens", "× greedy", "seconds", "samples"):
        table.add_column(name, justify="right")
    for own in found:
        values = (own.own, own.graded, own.gain)
        table.add_row(
            own.way,
            *(f"{value.value:+.2f} ({value.low:+.2f} to {value.high:+.2f})" for value in values),
            f"{own.tokens:.0f}",
            f"{own.tokens / found[0].tokens:.1f}",
            f"{own.seconds:.2f}",
            f"{own.samples:.1f}",
        )
    Console(width=140).print(table)


def _print(found: JudgeReport) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{found.measured} pairs" + (f", {found.unfit} more did not fit" if found.unfit else ""))
    table.add_column("")
    for name in ("share", "95% interval"):
        table.add_column(name, justify="right")
    rows = {
        "the better of two answers is preferred (ties half)": found.pairs,
        "… by probability instead of verdict": found.soft,
        "a single answer is told right (undecided half)": found.answers,
        "    better answers": found.better,
        "    worse answers": found.worse,
        "both orders agree": found.decided,
        "probability of the first label (no bias: 50%)": found.first_label,
        "probability of both labels together": found.mass,
        "abstained": found.abstained,
    }
    for name, share in rows.items():
        table.add_row(name, f"{share.value:.1%}", f"{share.low:.1%} to {share.high:.1%}")
    Console().print(table)


def command(action: Annotated[Calibrate | Ask | Compare, tyro.conf.arg(name="")]) -> int:
    """Measure a model as a judge of answers, its own or another's, and what its judgement is worth in a search."""
    return action.run()
