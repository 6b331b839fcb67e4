"""Does assistance make better policies? One model, two reward models: from a labeler alone and from one with a critic.

    python benchmarks/assisted_policies.py rank mbpp.jsonl --policy 0.5B --labeler 1.5B --critic ADAPTER --out OUT
    momus train reward --model 0.5B --data OUT/alone.jsonl --out OUT/reward_alone            # and assisted, and tests
    momus train ppo --model 0.5B --reward OUT/reward_alone/model --data OUT/prompts.jsonl --out OUT/ppo_alone
    python benchmarks/assisted_policies.py measure mbpp.jsonl --policy start=0.5B --policy alone=OUT/ppo_alone/model
        --reward alone=OUT/reward_alone/model --out OUT/measured                             # one line

CriticGPT (arXiv 2407.00215, section 5) leaves open whether a critic beside the labelers is felt in the policy that is
trained on what they say. Here the labeler is a model that reads (`assisted_labeler.py`), answers are of MBPP's training
problems, and tests say which answers are right.

`rank` samples answers and puts a bug that fails a test into up to two right ones of each problem (the reference
solution, where none is right), as CriticGPT's contractors did. The critic reviews and the labeler judges each answer,
alone and with the critic's comments where it has some, and the answers of each problem are written in the order of the
labeler's verdicts: alone.jsonl and assisted.jsonl; and in the order of the tests, tests.jsonl, the best that any
labeler could do. Answers with the same code count once.

`measure` samples answers to test problems of every policy, and says how many pass; the first policy's are also ranked
by every reward model, and the one that it likes best is taken (best of n). Intervals: 95 %, problems resampled;
differences, of any two, are paired. Everything is kept in --out, and both go on where they were stopped; what is kept
of a model lapses with its weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations, islice
from pathlib import Path
from statistics import fmean
from typing import Any

from assisted_labeler import Answer, ask, comments_of, insert_bug, open_reviewer, prompt_of, write_critiques

from momus.cli.evaluate.benchmarks import reward_model
from momus.cli.shared.options import LocalOptions
from momus.cli.shared.output import weights_of
from momus.critics.scores.judged import Verdicts
from momus.critique import Critique
from momus.errors import UserError
from momus.evaluate.instruct.labelers import RewardLabeler
from momus.files import Ledger, write_json
from momus.lm.chats.open import open_chat
from momus.records import Origin, Prompt, Ranking, Task, write_jsonl
from momus.sandbox.testing import run_tests
from momus.stats.bootstrap import Interval, mean_interval
from momus.tamper.natural.answers import code_of, question
from momus.tamper.natural.problems import Problem, read_problems

TOGETHER = 64
"""Answers asked for at once: what a kill may cost."""
BUGGY = 2
"""Right answers to each problem that a bug is put into, at most."""
FENCED = "```python\n{code}```"
"""How a model answers."""
DETECTED = 2.8
"""Standard errors that a difference must have to be seen in four of five experiments, at 95 %."""

Answers = Mapping[Problem, Sequence[str]]
"""What was answered to each problem, one text a sample."""


def sample(problems: Sequence[Problem], model: str, samples: int, temperature: float, ledger: Ledger) -> Answers:
    """Return so many answers of a model to each problem."""
    asked = [(problem, i) for problem in problems for i in range(samples)]
    waiting = [(problem, i) for problem, i in asked if f"answer {problem.id}#{i}" not in ledger]
    chat = open_chat(model) if waiting else None
    for start in range(0, len(waiting), TOGETHER):
        part = waiting[start : start + TOGETHER]
        assert chat is not None
        given = chat.answer([question(problem, i, temperature, 0) for problem, i in part])
        ledger.add({f"answer {problem.id}#{i}": answer.text for (problem, i), answer in zip(part, given, strict=True)})
        print(f"{len(asked) - len(waiting) + start + len(part)}/{len(asked)} answers", flush=True)
    return {problem: [ledger[f"answer {problem.id}#{i}"] for i in range(samples)] for problem in problems}


def test(answers: Answers, ledger: Ledger) -> dict[Problem, list[bool]]:
    """Say of each answer whether it passes its problem's tests, in the cage."""
    for problem, texts in answers.items():
        for i, text in enumerate(texts):
            if (key := f"passes {problem.id}#{i}") not in ledger:
                ledger.add({key: run_tests(code_of(text), problem.tests, problem.setup).passed})
    return {
        problem: [ledger[f"passes {problem.id}#{i}"] for i in range(len(texts))] for problem, texts in answers.items()
    }


def distinct(answers: Answers, passed: Mapping[Problem, Sequence[bool]]) -> dict[Problem, dict[str, Answer]]:
    """Return each problem's answers by their text, the first of those with the same code."""
    found: dict[Problem, dict[str, Answer]] = {}
    for problem, texts in answers.items():
        seen: set[str] = set()
        found[problem] = {}
        for i, (text, right) in enumerate(zip(texts, passed[problem], strict=True)):
            code = code_of(text)
            if code.strip() and code not in seen:
                task = Task(id=f"{problem.id}#{i}", question=problem.text, answer=code, module=problem.id)
                found[problem][text] = Answer(task, right)
            seen.add(code)
    return found


def add_inserted(found: dict[Problem, dict[str, Answer]], ledger: Ledger) -> None:
    """Add to each problem's answers up to two right ones with a bug that fails a test.

    Where none is right that is the reference solution, which is added as well.
    """
    for problem, answers in found.items():
        right = [(text, one.task) for text, one in answers.items() if one.right][:BUGGY]
        if not right:
            text = FENCED.format(code=problem.code.rstrip("\n") + "\n")
            task = Task(id=problem.id, question=problem.text, answer=code_of(text), module=problem.id)
            right = [(text, task)]
            answers[text] = Answer(task, True)
        for _, task in right:
            if (key := f"inserted {task.id}") not in ledger:
                made = insert_bug(task, problem, 0)
                ledger.add({key: made and made.answer})
            if code := ledger[key]:
                wrong = task.model_copy(update={"id": f"{task.id} inserted", "answer": code})
                answers.setdefault(FENCED.format(code=code), Answer(wrong, False))


def judge(
    answers: Sequence[Answer], critiques: Mapping[str, Critique], labeler: str, ledger: Ledger
) -> dict[str, dict[str, float]]:
    """Return how likely the labeler holds each answer to be right: alone, and with comments where there are some."""
    said = {one.name: comments_of(critiques[one.name], one.task.answer) for one in answers}
    asked = {f"alone {one.name}": prompt_of(one.task, "") for one in answers}
    asked |= {f"critique {one.name}": prompt_of(one.task, said[one.name]) for one in answers if said[one.name]}
    if any(name not in ledger for name in asked):
        ask(asked, Verdicts(open_chat(labeler)), ledger)
    alone = {one.name: ledger[f"alone {one.name}"] for one in answers}
    return {"alone": alone, "assisted": {name: ledger.get(f"critique {name}", alone[name]) for name in alone}}


def rankings(found: Mapping[Problem, Mapping[str, Answer]], worth: Mapping[str, float], labeler: str) -> list[Ranking]:
    """Return each problem's answers in the order of what they are worth; a problem without an order is left out."""
    made = []
    for problem, answers in found.items():
        scores = [worth[one.name] for one in answers.values()]
        places = sorted(set(scores), reverse=True)
        if len(places) > 1:
            made.append(
                Ranking(
                    prompt=asked_of(problem),
                    candidates=tuple(answers),
                    ranks=tuple(places.index(score) + 1 for score in scores),
                    scores=tuple(scores),
                    labeler=labeler,
                    origin=Origin(dataset="mbpp", id=problem.id, group=problem.id),
                )
            )
    return made


def asked_of(problem: Problem) -> str:
    """Return what a model is asked of a problem."""
    text = question(problem, 0, 0.0, 0).messages[-1].content
    assert isinstance(text, str)
    return text


def accuracy(found: Mapping[Problem, Mapping[str, Answer]], chances: Mapping[str, float]) -> dict[str, list[float]]:
    """Return by problem how many verdicts are right, and how many pairs of a right and a wrong answer are in order."""
    sides, pairs = [], []
    for answers in found.values():
        both = list(answers.values())
        if both:
            sides.append(fmean((chances[one.name] > 0.5) == one.right for one in both))
        mixed = [(a, b) if a.right else (b, a) for a, b in combinations(both, 2) if a.right != b.right]
        if mixed:
            held = [(chances[right.name], chances[wrong.name]) for right, wrong in mixed]
            pairs.append(fmean((right > wrong) + (right == wrong) / 2 for right, wrong in held))
    return {"verdicts": sides, "pairs": pairs}


def rank(chosen: argparse.Namespace) -> None:
    """Write the rankings, and print how good the labeler is with and without the critic."""
    problems = [problem for problem in read_problems(chosen.problems) if problem.split == "train"]
    drawn = list(islice(problems, chosen.limit))
    settings: dict[str, Any] = {"policy": weights_of(chosen.policy), "temperature": chosen.temperature}
    with Ledger(chosen.out / "answers.jsonl", settings) as ledger:
        answers = sample(drawn, chosen.policy, chosen.samples, chosen.temperature, ledger)
        found = distinct(answers, test(answers, ledger))
        add_inserted(found, ledger)
    every = [one for own in found.values() for one in own.values()]
    with Ledger(chosen.out / "critiques.jsonl", {**settings, "critic": chosen.critic}) as ledger:
        missing = any(f"critique {one.name}" not in ledger for one in every)
        critiques = write_critiques(every, open_reviewer(chosen.critic) if missing else None, ledger)
    settings |= {"critic": chosen.critic, "labeler": weights_of(chosen.labeler)}
    with Ledger(chosen.out / "verdicts.jsonl", settings) as ledger:
        said = judge(every, critiques, chosen.labeler, ledger)
    worth = {**said, "tests": {one.name: float(one.right) for one in every}}
    for name, chances in worth.items():
        made = rankings(found, chances, name)
        write_jsonl(chosen.out / f"{name}.jsonl", made)
        print(f"{name}: {len(made)} of {len(found)} problems have an order")
    write_jsonl(chosen.out / "prompts.jsonl", [Prompt(prompt=asked_of(problem)) for problem in problems])
    for kind, few in kinds_of(found).items():
        of = [one for own in few.values() for one in own.values()]
        for right in (True, False):
            flags = [bool(critiques[one.name].comments) for one in of if one.right == right]
            print(f"{kind}: the critic comments on {sum(flags)} of {len(flags)} {'right' if right else 'wrong'} ones")
        rows = {name: accuracy(few, chances) for name, chances in said.items()}
        for what in ("verdicts", "pairs"):
            alone, assisted = rows["alone"][what], rows["assisted"][what]
            change = mean_interval([b - a for a, b in zip(alone, assisted, strict=True)])
            shown = f"{percent(mean_interval(alone))} alone, {percent(mean_interval(assisted))} assisted"
            print(f"{kind}: {what} that are right, of {len(alone)} problems: {shown}, change {percent(change)}")


def kinds_of(found: Mapping[Problem, Mapping[str, Answer]]) -> dict[str, dict[Problem, dict[str, Answer]]]:
    """Return all answers, and those alone that the policy wrote."""
    kinds: dict[str, dict[Problem, dict[str, Answer]]] = {"all answers": {}, "the policy's own": {}}
    for problem, answers in found.items():
        kinds["all answers"][problem] = dict(answers)
        own = {text: one for text, one in answers.items() if "#" in one.task.id and "inserted" not in one.task.id}
        kinds["the policy's own"][problem] = own
    return kinds


def best_of(answers: Answers, model: str, ledger: Ledger) -> list[int]:
    """Return which of each problem's answers a reward model likes best, the first of equals."""
    waiting = [problem for problem in answers if problem.id not in ledger]
    if waiting:
        labeler = RewardLabeler(model, *reward_model(model, LocalOptions(precision="bf16")))
        for problem in waiting:
            texts = {str(i): text for i, text in enumerate(answers[problem])}
            scores = labeler.rank(asked_of(problem), texts)[0].scores
            ledger.add({problem.id: scores.index(max(scores))})
    return [ledger[problem.id] for problem in answers]


def measure(chosen: argparse.Namespace) -> None:
    """Print what share of answers to test problems pass, of every policy and of the best of the first one's."""
    problems = [problem for problem in read_problems(chosen.problems) if problem.split == "test"][: chosen.limit]
    policies = dict(named.split("=", 1) for named in chosen.policy)
    rewards = dict(named.split("=", 1) for named in chosen.reward)
    written: dict[str, Answers] = {}
    passed: dict[str, dict[Problem, list[bool]]] = {}
    for name, model in policies.items():
        settings: dict[str, Any] = {"policy": weights_of(model), "temperature": chosen.temperature}
        with Ledger(chosen.out / f"{name}.jsonl", settings) as ledger:
            written[name] = sample(problems, model, chosen.samples, chosen.temperature, ledger)
            passed[name] = test(written[name], ledger)
    first, start = next(iter(policies.items()))
    answers, right = written[first], passed[first]
    shares = {name: [fmean(own[problem]) for problem in problems] for name, own in passed.items()}
    spread = [share * (1 - share) / max(chosen.samples - 1, 1) for share in shares[first]]
    error = (2 * sum(spread)) ** 0.5 / len(problems)
    print(f"{len(problems)} problems, {chosen.samples} answers each")
    print(
        f"The smallest difference of two policies that four of five such experiments see: {100 * DETECTED * error:.1f}"
    )
    for name, model in rewards.items():
        settings = {"reward": weights_of(model), "policy": weights_of(start), "samples": chosen.samples}
        with Ledger(chosen.out / f"best_{name}.jsonl", settings) as ledger:
            picked = best_of(answers, model, ledger)
        name = f"best of {chosen.samples}, {name}"
        shares[name] = [float(right[problem][at]) for problem, at in zip(problems, picked, strict=True)]
    oracle = [float(any(right[problem])) for problem in problems]
    rows = {name: mean_interval(own) for name, own in shares.items()}
    rows[f"any of {chosen.samples}"] = mean_interval(oracle)
    for name, row in rows.items():
        print(f"{name:24}{percent(row)}")
    changes = {}
    for one, other in combinations(shares, 2):
        changes[f"{other}, less {one}"] = mean_interval(
            [b - a for a, b in zip(shares[one], shares[other], strict=True)]
        )
    for name, row in changes.items():
        print(f"{name:48}{percent(row)}")
    write_json(chosen.out / "measured.json", {**rows, **changes}, indent=1)


def percent(interval: Interval) -> str:
    """Return a share and its interval, in percent."""
    ends = f" ({100 * interval.low:.1f} to {100 * interval.high:.1f})" if interval.has_ends else ""
    return f"{100 * interval.value:.1f}{ends}"


def main() -> None:
    """Read what to do, and do it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = options.add_subparsers(required=True)
    ranks = commands.add_parser("rank", help="sample, review, judge and rank answers to training problems")
    ranks.add_argument("--policy", required=True, help="the model that answers")
    ranks.add_argument("--labeler", required=True, help="the model that judges")
    ranks.add_argument("--critic", required=True, help="the model that writes critiques")
    ranks.set_defaults(run=rank)
    measures = commands.add_parser("measure", help="how many answers to test problems pass")
    measures.add_argument("--policy", action="append", required=True, help="NAME=MODEL, the one to start from first")
    measures.add_argument("--reward", action="append", default=[], help="NAME=FOLDER of a reward model")
    measures.set_defaults(run=measure)
    for command in (ranks, measures):
        command.add_argument("problems", type=Path, help="problems with tests, in MBPP's format")
        command.add_argument("--limit", type=int, default=120 if command is ranks else 500, help="problems")
        command.add_argument("--samples", type=int, default=4, help="answers to each")
        command.add_argument("--temperature", type=float, default=1.0)
        command.add_argument("--out", type=Path, required=True, help="folder of all that is kept")
    chosen = options.parse_args()
    chosen.run(chosen)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from error
