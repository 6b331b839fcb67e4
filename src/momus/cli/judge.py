"""`momus judge`: a model as a judge, measured before it is trusted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional

from momus.cli.shared.options import FLAT, EngineOptions, RewardOptions
from momus.cli.shared.seed import Seed

if TYPE_CHECKING:
    from momus.evaluate.rain.comparison import AnswerReward
    from momus.evaluate.rain.judge import Pair
    from momus.lm.chat import ChatFormat
    from momus.records import Prompt
    from momus.search.rain.judge import JudgedBy, SelfJudge


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """Who judges, and by what."""

    engine: Annotated[EngineOptions, FLAT] = field(default_factory=EngineOptions)
    task: Literal["harmless", "adversarial", "truthful", "sentiment", "critique"] = "harmless"
    """What it judges by."""
    cases: int | None = None
    """Worked examples shown to it, at most."""
    chat_template: Path | None = None
    """A file with a Jinja chat template, in place of the tokenizer's own."""

    def judge(self, by: JudgedBy = "verdict") -> SelfJudge:
        """Load the model, or find it on its server."""
        from momus.cli.shared.searching import read_template
        from momus.lm.chat import PLAIN, ChatFormat
        from momus.search.rain.judge import SelfJudge
        from momus.search.rain.tasks import RAIN_TASKS

        criterion = RAIN_TASKS[self.task].with_cases(self.cases).criterion
        engine = self.engine.open()
        chat = ChatFormat(engine.tokenizer, read_template(self.chat_template), engine.context_length)
        return SelfJudge(engine, criterion, None if chat.template == PLAIN else chat, by=by)


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
        print(f"by log-odds in both orders, a liking for a label taken out: {verdict.by_log_odds:+.2f}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Calibrate(_Judge):
    """Ask a model to judge answers that people have judged: how often is it right, and does it like a label?"""

    file: Positional[str]
    """Rankings: a file in any format that momus data reads, such as pairs of hh-rlhf."""
    pairs: int = 200
    """Measure on so many pairs, drawn at random."""
    seed: Seed = 0
    """Decides which pairs."""
    out: Path | None = None
    """Also write the numbers there, as JSON."""

    def run(self) -> int:
        """Measure, and print a table."""
        from momus.cli.shared.judge_report import print_judge
        from momus.cli.shared.output import bar, check_file, say, weights_of
        from momus.errors import UserError
        from momus.evaluate.rain.judge import calibrate_judge
        from momus.files import write_json

        if self.out is not None:
            check_file(self.out)
        if self.pairs < 1:
            raise UserError(f"--pairs {self.pairs}: must be at least 1")
        pairs = self._pairs()
        judge = self.judge()
        with bar("Pairs") as progress:
            report = calibrate_judge(judge, pairs, lambda done: progress(done, len(pairs)))
        print_judge(report)
        say(f"{self.engine.model} as a judge of {self.task}: {report.advice}")
        if self.out is not None:
            who = {"model": weights_of(self.engine.model or ""), "url": self.engine.url}
            about = {"task": self.task, "file": self.file, "seed": self.seed}
            write_json(self.out, {**who, **about, **report.model_dump()}, indent=1)
        return 0

    def _pairs(self) -> list[Pair]:
        import random

        from momus.errors import UserError
        from momus.evaluate.instruct.feedback import of_kind, records_of
        from momus.evaluate.rain.judge import pairs_of
        from momus.records import Ranking

        pairs = list(pairs_of(of_kind(records_of([self.file]), Ranking)))
        if not pairs:
            raise UserError(f"{self.file} holds no pair of a better and a worse answer to something asked")
        return random.Random(self.seed).sample(pairs, min(self.pairs, len(pairs)))


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Answer prompts greedily, by sampling, by samples and self-evaluation, and by RAIN, and compare.

    With a reward model, also by the best of n samples; all that sample many do so until they have used as many tokens
    as RAIN did, or have 256. Stopped and run again it continues.
    """

    file: Positional[str]
    """Prompts, or records that have prompts, in any format that momus data reads."""
    out: Path
    """The file for all answers, as JSON Lines; until all are there, those done are in the same name with .ledger."""
    engine: Annotated[EngineOptions, FLAT] = field(default_factory=EngineOptions)
    grader: str | None = None
    """Directory or name of another model, whose judgement counts; by default the model grades itself."""
    reward: Annotated[RewardOptions, FLAT] = field(default_factory=RewardOptions)
    task: Literal["harmless", "adversarial", "truthful", "sentiment"] = "harmless"
    """What is judged by."""
    suffix: str = ""
    """Added to every prompt, such as an attack that makes models comply."""
    limit: int = 20
    """Answer at most so many prompts."""
    max_tokens: int = 64
    """Longest answer."""
    iterations: int | None = None
    """T: visits after which a token set is taken whatever its value."""
    judged_by: Literal["verdict", "log-odds"] = "verdict"
    """What an answer's value comes from: the paper's verdict in both orders, or how sure the judge is."""
    cases: int | None = None
    """Worked examples shown to the judges, at most."""
    seed: Seed = 0
    """Everything random follows from it."""

    def run(self) -> int:
        """Answer, print a table and write the answers."""
        from momus.cli.shared.judge_report import print_ways
        from momus.cli.shared.output import bar, check_file, say, weights_of
        from momus.cli.shared.searching import choose_embeddings, load_rain, read_prompts
        from momus.errors import UserError
        from momus.evaluate.rain.comparison import WayComparison, answer_all, summarise_ways
        from momus.files import Ledger
        from momus.records import Prompt, write_jsonl
        from momus.search.rain.tasks import RAIN_TASKS

        if min(self.limit, self.max_tokens) < 1:
            raise UserError("--limit and --max-tokens must be at least 1")
        if self.iterations is not None and self.iterations < 2:
            raise UserError(f"--iterations {self.iterations}: must be at least 2")
        check_file(self.out)
        chosen = RAIN_TASKS[self.task].with_settings(
            max_tokens=self.max_tokens, iterations=self.iterations, judged_by=self.judged_by
        )
        task = chosen.with_cases(self.cases)
        prompts = read_prompts([self.file], [], self.task, self.limit)
        embeddings = choose_embeddings(None, self.engine.url)
        rain = load_rain(self.engine, task, embeddings=embeddings)
        reward = self._reward(rain.chat)
        grader = None
        if self.grader is not None:
            other = replace(self.engine, model=self.grader, url=None, tokenizer=None)
            grader = Ask(engine=other, task=self.task, cases=self.cases, asked="", answer="").judge(self.judged_by)
        settings = {
            "model": weights_of(self.engine.model or ""),
            "url": self.engine.url,
            "tokenizer": self.engine.tokenizer,
            "grader": self.grader and weights_of(self.grader),
            "reward": reward and reward.name,
            "task": task.stored(),
            "embeddings": embeddings,
            "seed": self.seed,
        }
        ledger = Ledger(self.out.with_name(self.out.name + ".ledger"), settings)
        with ledger, bar("Prompts") as progress:
            asked = [with_suffix(prompt, self.suffix) for prompt in prompts if isinstance(prompt, Prompt)]
            answers, unfit = answer_all(WayComparison(rain, grader, self.seed, reward), asked, ledger, progress)
            if answers:
                write_jsonl(self.out, answers)
            ledger.remove()
        if not answers:
            raise UserError(f"none of the {unfit} prompts fits the model")
        print_ways(summarise_ways(answers), len(prompts) - unfit)
        say(f"graded by {self.grader or 'the model itself: a higher value is no evidence of better answers'}")
        say(f"{unfit} more prompts did not fit; the answers are {self.out}")
        return 0

    def _reward(self, chat: ChatFormat) -> AnswerReward | None:
        """Load the reward model, or find it on its server; `chat` is the answering model's layout."""
        from momus.evaluate.rain.comparison import AnswerReward
        from momus.lm.chat import ChatFormat
        from momus.lm.codec import Codec, read_tokenizer
        from momus.lm.models import RewardModel, load_tokenizer
        from momus.search.result import RewardSource
        from momus.search.reward import identify_reward, load_reward_function, reward_function

        source = self.reward.source()
        if not source:
            return None
        if source.folder is not None:
            model = RewardModel.load(source.folder)  # refuses one that only scores critiques
            return AnswerReward(
                reward_function(model), ChatFormat(load_tokenizer(source.folder)), identify_reward(source, None)
            )
        if source.tokenizer is not None:
            from momus.search.reward_server import check_chat_template

            tokenizer = read_tokenizer(source.tokenizer)
            check_chat_template(tokenizer)
            chat = ChatFormat(tokenizer)
        # What is laid out here is in the reward model's tokens already.
        reward = load_reward_function(RewardSource(url=source.url), Codec(chat.tokenizer))
        assert reward is not None
        return AnswerReward(reward, chat, identify_reward(source, reward))


def with_suffix(prompt: Prompt, suffix: str) -> Prompt:
    """Add a text to a prompt's last turn."""
    if isinstance(prompt.prompt, str):
        return prompt.model_copy(update={"prompt": prompt.prompt + suffix})
    *before, last = prompt.prompt
    changed = last.model_copy(update={"content": last.content + suffix})
    return prompt.model_copy(update={"prompt": (*before, changed)})


def command(action: Annotated[Calibrate | Ask | Compare, tyro.conf.arg(name="")]) -> int:
    """Measure a model as a judge of answers, its own or another's, and what its judgement is worth in a search."""
    from momus.cli.shared.output import bad_rows
    from momus.data.convert import BadRowsError

    try:
        return action.run()
    except BadRowsError as error:
        return bad_rows(error)
