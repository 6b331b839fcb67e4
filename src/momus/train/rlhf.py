"""The three steps one after another, and steps 2 and 3 again (InstructGPT, arXiv 2203.02155, §3.1 and figure 2).

1. Fine-tune the model on demonstrations, as it is done before PPO (C.3).
2. Train a reward model on rankings of the policy's answers.
3. Train the policy against it with PPO.

Steps 2 and 3 are repeated: answers of the newest policy are ranked, a reward model is trained on all rankings so far,
and a policy against it. Every policy starts from the supervised model, and so does every reward model; the paper does
not say from what later rounds start.

Who ranks? In a round that is given rankings, whoever made those. Otherwise a *gold* reward model, if one is given: a
simulated labeler whose judgements define what is good, as in the literature on reward over-optimisation (arXiv
2210.10760), and named as such in every record and in the summary. With neither, the round's answers are written to
`answers.jsonl` for people to rank, all places tied, and the command ends; run again with them ranked it goes on.

Everything is under one directory: `sft/`, `round-1/reward/`, `round-1/ppo/`, `round-2/…`, each a separate run, and
`summary.json`, in which all policies are measured on the same held-out prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from momus.data.formats.base import ranks_of
from momus.errors import UserError
from momus.lm.chat import ChatFormat, Turn
from momus.lm.codec import read_tokenizer
from momus.lm.forward import score_trees
from momus.lm.local.engine import LocalEngine
from momus.lm.models import RewardModel
from momus.lm.tree import TokenTree
from momus.records import Origin, Ranking, write_jsonl
from momus.runtime.processes import device, on_main_process
from momus.runtime.runs import Run
from momus.stats.bootstrap import mean_interval
from momus.train.bases import Base
from momus.train.reward import RankedPrompt
from momus.train.sampling import prompt_indices
from momus.train.settings import LoopConfig, Steps, TextConfig
from momus.train.stages import MEASURED, Report, adapter_folder, as_dict, run_ppo, run_reward, run_sft, write_summary
from momus.train.texts import Gathered, TokenizedPrompt, Tokens, describe_rankings, keep_apart, rankings

if TYPE_CHECKING:
    from momus.train.rollout_server import Rollouts

ANSWERS = "answers.jsonl"
"""The answers of a round that people are to rank."""


@dataclass(frozen=True)
class Material:
    """What the loop learns from: `rankings` holds those of each round that is given some."""

    demonstrations: Gathered[tuple[Turn, ...]]
    rankings: Sequence[Gathered[RankedPrompt]]
    prompts: Gathered[TokenizedPrompt]
    pretraining: Sequence[Tokens] = ()


def read_given_rankings(file: str, number: int, base: Base, texts: TextConfig, out: Path) -> Gathered[RankedPrompt]:
    """Read the rankings that a round brings: of the answers that were written for people to rank, or of any others.

    Raises:
        UserError: As `rankings`.
        BadRowsError: As `rankings`.
    """
    if (out / f"round-{number}" / ANSWERS).is_file():
        return _read_sample_rankings(file, base, texts)
    return rankings([file], base.chat, texts)


class GoldLabeler:
    """A simulated labeler: ranks answers by the scores of a reward model, equal scores tied.

    Raises:
        UserError: There is no reward model in the directory.
    """

    def __init__(self, path: Path) -> None:
        self.name = f"simulated: gold reward model {path}"
        self._model = RewardModel.load(path).to(device()).eval()
        self._chat = ChatFormat(read_tokenizer(path))

    def score(self, asked: Iterable[tuple[Any, Sequence[str]]]) -> list[list[float]]:
        """Score answers in text to each prompt, laid out in the gold model's tokens."""
        trees = []
        for prompt, answers in asked:
            turns = [self._chat.turn(prompt, answer) for answer in answers]
            trees.append(TokenTree.from_branches(turns[0].prompt, [turn.answer for turn in turns]))
        return score_trees(self._model, trees)

    def rank(self, unranked: Sequence[Ranking]) -> list[Ranking]:
        """Put the answers of each ranking in order."""
        scored = self.score(
            (ranking.prompt, [str(candidate) for candidate in ranking.candidates]) for ranking in unranked
        )
        return [
            ranking.model_copy(update={"ranks": ranks_of(scores), "scores": tuple(scores), "labeler": self.name})
            for ranking, scores in zip(unranked, scored, strict=True)
        ]


def run_rlhf(
    base: Base,
    material: Material,
    steps: Steps,
    loop: LoopConfig,
    texts: TextConfig,
    out: Path,
    report: Report,
    gold: Path | None = None,
    rollouts: Rollouts | None = None,
) -> dict[str, Any]:
    """Do the three steps and `loop.rounds` - 1 times the last two again, continuing where they were left.

    Returns:
        The summary; its "waiting_for" is not empty where answers have to be ranked by people first.

    Raises:
        UserError: As the steps, or nobody is there to rank.
    """
    labeler = GoldLabeler(gold) if gold else None
    asked = {"answers": loop.answers, "prompts_to_rank": loop.prompts_to_rank, "seed": loop.seed}  # rounds may be added
    lengths = {"max_prompt": texts.max_prompt, "max_answer": texts.max_answer}
    run = Run(out, {"stage": "rlhf", "start": base.name, "gold": str(gold or ""), **asked, **lengths})
    demonstrations = material.demonstrations.train
    options: dict[str, Any] = {"pretraining": material.pretraining, "max_answer": texts.max_answer}
    report.say("Step 1: supervised fine-tuning")
    summaries: dict[str, Any] = {
        "sft": run_sft(base, material.demonstrations, steps.sft, out / "sft", report, **options)["result"]
    }
    continued = adapter_folder if base.setup.adapter else (lambda folder: folder / "model")
    supervised = replace(base, name=str(continued(out / "sft")))
    policies, known, waiting, sources = {"sft": supervised}, Gathered[RankedPrompt]("rankings"), "", []
    model = str(out / "sft" / "model")
    for number in range(1, loop.rounds + 1):
        name = f"round-{number}"
        given = material.rankings[number - 1] if number <= len(material.rankings) else None
        fresh = given or _rank_answers(
            policies[list(policies)[-1]], material.prompts, loop, texts, out / name, number, labeler, report
        )
        if fresh is None:
            waiting = str(out / name / ANSWERS)
            break
        sources.append("as given" if given else labeler.name if labeler else "")
        known = _join(known, fresh)
        report.say(f"Step 2, round {number}: reward model, {len(known.train)} rankings")
        folder = out / name / "reward"
        rewarded = run_reward(supervised, known, steps.reward, folder, report, demonstrations=demonstrations)
        report.say(f"Step 3, round {number}: PPO")
        judge, into = continued(folder), out / name / "ppo"
        done = run_ppo(supervised, judge, material.prompts, steps.ppo, into, report, rollouts=rollouts, **options)
        summaries[name] = {"reward": rewarded["result"], "ppo": done["result"]}
        policies[name], model = replace(base, name=str(continued(into))), done["model"]
    summary = {
        "stage": "rlhf",
        "started_from": base.name,
        "rankings_by": sources,
        "waiting_for": waiting and f"rankings of {waiting}",
        "model": model,
        "gold_score_on_held_out_prompts": _gold_scores(policies, material.prompts, loop, texts, labeler),
        "steps": summaries,
        "config": {"loop": asdict(loop), "texts": asdict(texts)},
    }
    write_summary(run.path, summary)  # up to here the directory is held
    return summary


def _rank_answers(
    policy: Base,
    prompts: Gathered[TokenizedPrompt],
    loop: LoopConfig,
    texts: TextConfig,
    folder: Path,
    number: int,
    labeler: GoldLabeler | None,
    report: Report,
) -> Gathered[RankedPrompt] | None:
    """Have answers of the newest policy ranked; None if that is for people to do.

    Those to held-out prompts too, by which the reward model is measured: they keep their owners, by whose names
    rankings fall on the same side as prompts do.
    """
    file = folder / ("rankings.jsonl" if labeler else ANSWERS)
    if not on_main_process(file.exists):  # which the first process may write before another looks
        report.say(f"Round {number}: {loop.answers} answers to each prompt, to be ranked")
        known = prompts.train + [prompt for prompt in prompts.held_out if prompt.owner]
        size = min(loop.prompts_to_rank, len(known))
        chosen = [known[i] for i in prompt_indices(len(known), size, (loop.seed, number))]
        unranked = _sample_unranked(policy, chosen, loop.answers, texts.max_answer, (loop.seed, number))
        if not unranked:
            raise UserError("the policy gives the same answer every time: there is nothing to rank")
        records = labeler.rank(unranked) if labeler else unranked
        on_main_process(lambda: write_jsonl(file, records))
    if labeler is None:
        return None
    return _read_sample_rankings(str(file), policy, replace(texts, format="momus"))


def _read_sample_rankings(file: str, policy: Base, texts: TextConfig) -> Gathered[RankedPrompt]:
    """Read rankings of what a policy sampled, which as text can be more tokens: they need not be the usual ones."""
    room = policy.positions - texts.max_prompt if policy.positions else 2 * texts.max_answer
    return rankings([file], policy.chat, replace(texts, max_answer=room))


def _sample_unranked(
    policy: Base, asked: Sequence[TokenizedPrompt], answers: int, max_answer: int, key: tuple[int, int]
) -> list[Ranking]:
    """Sample answers to prompts, in text, all places tied; a prompt without two different ones is left out.

    One that reaches the limit leaves room for the end that it gets in a ranking.
    """
    engine = LocalEngine(policy.load().to(device()), policy.chat.tokenizer, cache_bytes=0)
    drawn = engine.sample(
        [prompt.tokens for prompt in asked],
        answers,
        key=key,
        max_tokens=max(1, max_answer - 1),
        stop_tokens=sorted(policy.ends),
    )
    unranked = []
    for prompt, samples in zip(asked, drawn, strict=True):
        different = tuple(dict.fromkeys(policy.chat.text(sample.tokens) for sample in samples))
        if len(different) > 1:
            authors = (policy.name,) * len(different)
            ranks = (1,) * len(different)
            origin = Origin(group=prompt.owner)
            unranked.append(
                Ranking(prompt=prompt.content, candidates=different, ranks=ranks, authors=authors, origin=origin)
            )
    return unranked


def _join(one: Gathered[RankedPrompt], other: Gathered[RankedPrompt]) -> Gathered[RankedPrompt]:
    """Return all rankings so far."""
    both = Gathered("rankings", one.train + other.train, one.held_out + other.held_out, one.dropped + other.dropped)
    both.tasks = one.tasks + other.tasks
    both.problems.count = one.problems.count + other.problems.count
    keep_apart(both, lambda ranking: {ranking.prompt})
    describe_rankings(both)
    return both


def _gold_scores(
    policies: dict[str, Base],
    prompts: Gathered[TokenizedPrompt],
    loop: LoopConfig,
    texts: TextConfig,
    gold: GoldLabeler | None,
) -> dict[str, Any] | None:
    """Measure every policy by the gold model, one sampled answer to each held-out prompt."""
    asked = prompts.held_out[:MEASURED]
    if gold is None or not asked:
        return None
    measured = {}
    for name, policy in policies.items():
        engine = LocalEngine(policy.load().to(device()), policy.chat.tokenizer, cache_bytes=0)
        drawn = engine.sample(
            [prompt.tokens for prompt in asked], 1, key=(loop.seed, 0), max_tokens=texts.max_answer,
            stop_tokens=sorted(policy.ends),
        )  # fmt: skip
        answers = [(p.content, [policy.chat.text(samples[0].tokens)]) for p, samples in zip(asked, drawn, strict=True)]
        measured[name] = as_dict(mean_interval([scores[0] for scores in gold.score(answers)]))
    return measured
