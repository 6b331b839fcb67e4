"""`momus evaluate`: how good instruction models, reward models and critics are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import Positional, subcommand

from momus.cli.evaluate.benchmarks import Labelers, Public, Reward, Tax, reward_model
from momus.cli.evaluate.critics import Critics
from momus.cli.shared.options import FLAT, LocalOptions
from momus.cli.shared.output import bad_rows, bar, say, show, weights_of
from momus.cli.shared.seed import Seed
from momus.errors import UserError
from momus.files import write_json

if TYPE_CHECKING:
    from momus.evaluate.instruct.labelers import Labeler

_ANSWERS, _LINE_UP = "answers.jsonl", "systems.json"


@dataclass(frozen=True)
class Sample:
    """Have every system of a line-up answer the same prompts; stopped and run again it continues."""

    prompts: Positional[str]
    """Prompts, or records that have prompts, in any known format."""
    systems: Path
    """The line-up: a TOML file with a table for each system (docs/guides/evaluation.md)."""
    out: Path
    """The run directory; the answers are its answers.jsonl."""
    limit: int | None = None
    """The first so many prompts only."""
    seed: Seed = 0
    """Names the randomness of systems with a temperature above 0."""
    local: Annotated[LocalOptions, FLAT] = field(default_factory=LocalOptions)

    def run(self) -> int:
        """Sample, and write the answers as demonstrations."""
        from dataclasses import asdict

        from momus.evaluate.instruct.chats import tell_answers
        from momus.evaluate.instruct.feedback import prompts_in, records_of
        from momus.evaluate.instruct.systems import answer_key, answer_prompts, answers_in, open_engine, read_systems
        from momus.files import Ledger
        from momus.records import write_jsonl

        if self.limit is not None and self.limit < 1:
            raise UserError(f"--limit {self.limit}: must be at least 1")
        systems = read_systems(self.systems)
        self.local.check_used(any(not system.url for system in systems))
        prompts = prompts_in(records_of([self.prompts]))[: self.limit]
        if not prompts:
            raise UserError(f"{self.prompts}: no prompts in it")
        for system in systems:
            if system.layout == "few-shot":
                say(f"{system.name} is asked behind this prefix:\n{system.prefix}")
        line_up = {system.name: {**asdict(system), "weights": weights_of(system.model)} for system in systems}
        answers = self.out / _ANSWERS
        # Where a model lies decides nothing, its weights do.
        settings = {name: {k: v for k, v in entry.items() if k != "model"} for name, entry in line_up.items()}
        with Ledger(
            self.out / "samples.jsonl", {"systems": settings, "seed": self.seed, **self.local.settings()}
        ) as ledger:
            write_json(self.out / _LINE_UP, line_up, indent=1)
            for system in systems:
                if all(answer_key(system, prompt.prompt) in ledger for prompt in prompts):
                    continue
                with bar(system.name) as progress:
                    engine = open_engine(system, self.local.device, self.local.precision)
                    answer_prompts(system, engine, prompts, ledger, seed=self.seed, progress=progress)
            write_jsonl(answers, answers_in(ledger, systems, prompts))
            tell_answers(systems, ledger, prompts, answers, say)
        return 0


@dataclass(frozen=True)
class Rank:
    """Have a model rank answers: a reward model, or a language model that chooses between two in both orders."""

    answers: Positional[tuple[str, ...]]
    """Answers by named systems: what `momus evaluate sample` wrote, or demonstrations with authors."""
    out: Path
    """The file of rankings to write."""
    reward: str | None = None
    """A reward model's folder."""
    judge: str | None = None
    """A language model's folder, or its name on the hub."""
    plain: bool = False
    """Ask the judge in plain text, not through its chat template."""
    tie: float = 0.0
    """A pair that the judge finds at most so far from even is a tie."""
    local: Annotated[LocalOptions, FLAT] = field(default_factory=LocalOptions)

    def run(self) -> int:
        """Rank, and say how sure the labeler was."""
        import numpy as np

        from momus.evaluate.instruct.feedback import of_kind, records_of
        from momus.evaluate.instruct.labelers import rank_answers, rankings_in
        from momus.evaluate.instruct.systems import by_prompt
        from momus.files import Ledger
        from momus.records import Demonstration, write_jsonl

        model = self.reward or self.judge
        if model is None or (self.reward and self.judge):
            raise UserError("give one labeler: --reward FOLDER or --judge MODEL")
        if not 0 <= self.tie < 0.5:
            raise UserError(f"--tie {self.tie}: must be at least 0 and below 0.5")
        groups = by_prompt(of_kind(records_of(self.answers), Demonstration))
        settings = {"model": weights_of(model), "kind": "reward" if self.reward else "judge", "plain": self.plain}
        ledger_path = self.out.with_name(self.out.name + ".done")
        with Ledger(ledger_path, {**settings, "tie": self.tie, **self.local.settings()}) as ledger:
            with bar("Ranking") as progress:
                rank_answers(groups, self._labeler(), ledger, progress)
            rankings, skipped = rankings_in(ledger, groups)
        if not rankings:
            raise UserError(f"{model}: could rank nothing: {skipped[0]}")
        write_jsonl(self.out, rankings)
        say(f"{len(rankings)} rankings by {rankings[0].labeler} in {self.out}")
        if skipped:
            say(f"{len(skipped)} prompts not ranked; the first: {skipped[0]}")
        masses = [ranking.confidence for ranking in rankings if ranking.confidence is not None]
        if masses:
            say(f"A and B had {np.mean(masses):.1%} of the probability on average, {min(masses):.1%} at least")
            if np.mean(masses) < 0.5:
                say("The judge was mostly not answering the question: do not trust these rankings")
        return 0

    def _labeler(self) -> Labeler:
        from momus.evaluate.instruct.labelers import JudgeLabeler, RewardLabeler
        from momus.lm.chat import ChatFormat
        from momus.lm.local.load import load_local_engine

        if self.reward:
            model, chat = reward_model(self.reward, self.local)
            return RewardLabeler(f"reward model {self.reward}", model, chat)
        engine: Any = load_local_engine(str(self.judge), self.local.device, self.local.precision or "fp32")
        chat_format = None if self.plain else ChatFormat(engine.tokenizer, limit=engine.context_length)
        return JudgeLabeler(f"judge {self.judge}", engine, chat_format, self.tie)


@dataclass(frozen=True)
class Preferences:
    """Win rates, Likert scores and the eleven yes-or-no shares of judgements, and how far labelers agree."""

    files: Positional[tuple[str, ...]]
    """Rankings, comparisons and judgements, in any known format."""
    baseline: str | None = None
    """The system all others are compared with; without one a rate is over all games."""
    equal_length: bool = False
    """Also the rate there would be if answers were equally long."""
    out: Path | None = None
    """A JSON file for the numbers."""

    def run(self) -> int:
        """Print the tables."""
        from dataclasses import asdict

        from momus.evaluate.instruct.feedback import SIMULATED, of_kind, records_of
        from momus.evaluate.instruct.preferences import elo_of, games_of, labeler_agreement, preference_rows, scales
        from momus.records import Judgement, Ranking
        from momus.report.terminal import percent, preference_table, scale_table
        from momus.stats.elo import UNDETERMINED_NOTE

        records = records_of(self.files)
        rankings, judgements = of_kind(records, Ranking), of_kind(records, Judgement)
        if not rankings and not judgements:
            raise UserError(f"{', '.join(self.files)}: neither rankings nor judgements in it")
        parts: list[Any] = []
        if simulated := sum(ranking.comment == SIMULATED for ranking in rankings):
            parts.append(f"{simulated} of {len(rankings)} rankings are by simulated contractors, not by people")
        numbers: dict[str, Any] = {}
        games, unnamed = games_of(rankings)
        if unnamed:
            say(f"{unnamed} rankings do not say who wrote the answers: no win rates of them")
        if games:
            rows = preference_rows(games, baseline=self.baseline, equal_length=self.equal_length)
            elo = elo_of(games, baseline=self.baseline)
            parts.append(preference_table(rows, elo, self.baseline))
            if elo.has_undetermined:
                parts.append(UNDETERMINED_NOTE)
            numbers |= {"preferences": [asdict(row) for row in rows], "elo": asdict(elo), "baseline": self.baseline}
        elif self.baseline:
            raise UserError("--baseline: there are no games between named systems")
        elif unnamed < len(rankings):
            say("No ranking compares two systems: no win rates")
        agreement, pairs, labelers = labeler_agreement(rankings)
        if pairs:
            parts.append(
                f"Two labelers prefer the same of two answers: {percent(agreement)} % of {pairs} times, ties half"
                if math.isfinite(agreement.value)
                else f"Two labelers' agreement is not determined: in none of {pairs} pairs do both prefer one"
            )
            numbers["agreement"] = {**asdict(agreement), "pairs": pairs, "labelers": labelers}
        if judgements:
            table = scales(judgements)
            parts.append(scale_table(table))
            numbers["scales"] = [asdict(row) for row in table]
        show(*parts, *(["In brackets: 95 % intervals, prompts resampled."] if numbers else []))
        if self.out:
            write_json(self.out, numbers, indent=1)
        return 0


_Action = (
    Annotated[Sample, subcommand("sample")]
    | Annotated[Rank, subcommand("rank")]
    | Annotated[Preferences, subcommand("preferences")]
    | Annotated[Reward, subcommand("reward")]
    | Annotated[Labelers, subcommand("labelers")]
    | Annotated[Critics, subcommand("critics")]
    | Annotated[Public, subcommand("public")]
    | Annotated[Tax, subcommand("tax")]
)


def command(action: Annotated[_Action, tyro.conf.arg(name="")]) -> int:
    """Measure instruction models, reward models and critics (docs/guides/evaluation.md)."""
    from momus.data.convert import BadRowsError

    try:
        return action.run()
    except BadRowsError as error:
        return bad_rows(error)
