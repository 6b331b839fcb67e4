"""RAIN for many prompts: one directory that can be gone on with, and its searches as training data.

config.json             everything that decides the answers, and where it was read from
searches/000012.jsonl   one prompt's search, written when it is done
answers.jsonl           all of them, in the order of the input, once none is missing
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from momus.errors import UnfitInputError, UserError
from momus.lm.chat import PLAIN, ChatFormat
from momus.lm.local.engine import LocalEngine
from momus.lm.prompts import prompt_of
from momus.records import Content, Demonstration, Prompt, Ranking, Record, Task, read_jsonl, write_jsonl
from momus.search.rain.answer import Answers, Subject
from momus.search.rain.judge import SelfJudge, last_asked, plain_tokens
from momus.search.rain.models import (
    BranchingEngine,
    Encoder,
    PlainJudge,
    Writer,
    own_values,
    writer_of,
)
from momus.search.rain.result import Budget, RainResult
from momus.search.rain.search import search
from momus.search.rain.tasks import RainTask
from momus.search.rain.tree import Heard
from momus.search.result import Tokens
from momus.search.run_directory import CONFIG, started_with

RESULT = "answers.jsonl"

NEXT_TURN = "\n\nUser:"
"""How the asker's next turn would begin in the layout of a model without a chat template."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Said(_Part):
    """A judged answer, possibly cut short at a pause, and its value."""

    text: str
    value: float


class SearchedSet(_Part):
    """One token set of an answer: `text` is the answer up to its end, `value` and `visits` those of its node.

    `best` is the highest judged answer that begins like this, `rejected` the lowest of each visited sibling; `met` is
    False where the set was taken without reaching the threshold.
    """

    text: str
    value: float
    visits: int
    iterations: int
    met: bool
    best: Said
    rejected: tuple[Said, ...]


class RainAnswer(Record):
    """One prompt's search. Where there is none, `skipped` says why.

    `stopped` is "end", "length" or the budget that ran out; `met` that every set reached the threshold and the answer
    its end; `forwarded` counts tokens that went through the model.
    """

    index: int
    prompt: Content
    answer: str = ""
    stopped: str = ""
    met: bool = False
    sets: tuple[SearchedSet, ...] = ()
    iterations: int = 0
    judged: int = 0
    abstained: int = 0
    disagreed: int = 0
    forwarded: int = 0
    embedding: str = ""
    skipped: str = ""


@dataclass(frozen=True)
class Rain:
    """A model with all it needs to answer prompts by one task's criterion."""

    task: RainTask
    writer: Writer
    judge: SelfJudge
    encoder: Encoder | None
    chat: ChatFormat

    @classmethod
    def of(
        cls,
        engine: LocalEngine | BranchingEngine,
        task: RainTask,
        *,
        template: str | None = None,
        encoder: Callable[[Writer], Encoder | None] | None = None,
        reference: bool = False,
    ) -> Rain:
        """Put a model and a task together.

        Args:
            engine: The model; without memory for `reference`.
            task: Settings and criterion.
            template: A chat template, in place of the tokenizer's own.
            encoder: Makes what embeds, or None; by default the model's own values, where they can be seen.
            reference: Do everything plainly.

        Raises:
            UserError: The model cannot judge, or the template is at fault.
        """
        chat = ChatFormat(engine.tokenizer, template)
        writer = writer_of(engine, reference)
        judging = None if chat.template == PLAIN else chat
        judge = (PlainJudge if reference else SelfJudge)(engine, task.criterion, judging)
        return cls(task, writer, judge, (encoder or own_values)(writer), chat)

    def subject(self, prompt: Prompt | Task) -> Subject:
        """Lay out what is to be answered: a conversation, or code to review.

        Raises:
            UserError: The chat template refuses it.
        """
        engine, ends = self.writer.engine, self.writer.engine.ends
        if isinstance(prompt, Task):
            return Subject(plain_tokens(engine, prompt_of(prompt)), prompt.answer, ends)
        markers = (NEXT_TURN,) if self.chat.template == PLAIN else ()
        return Subject(self.chat.prompt(prompt.prompt), last_asked(prompt.prompt), ends | {self.chat.end_id}, markers)

    def answer(
        self,
        index: int,
        prompt: Prompt | Task,
        seed: int,
        budget: Budget | None = None,
        progress: Callable[[str, int], None] | None = None,
    ) -> RainAnswer:
        """Search the answer to one prompt; one that does not fit the model is skipped, in words.

        Of what was read for other prompts only the beginning of the judge's questions is kept, so that the answer, and
        what it costs, are the same wherever in a run it is searched.
        """
        self.writer.engine.forget(but=self.judge.beginning())
        content = prompt_of(prompt) if isinstance(prompt, Task) else prompt.prompt
        try:
            subject = self.subject(prompt)
            result = search(
                self.writer,
                self.judge,
                subject,
                self.task.config,
                encoder=self.encoder,
                key=(seed, index),
                budget=budget,
                progress=progress,
            )
        except UnfitInputError as error:
            return RainAnswer(index=index, prompt=content, skipped=str(error))
        answers = Answers(subject, self.writer.engine, self.task.config.max_tokens)
        return RainAnswer(
            index=index,
            prompt=content,
            answer=result.text.strip(),
            stopped=result.stopped,
            met=result.met,
            sets=tuple(_sets(result, answers)),
            iterations=result.iterations,
            judged=result.judged,
            abstained=result.abstained,
            disagreed=result.disagreed,
            forwarded=result.forwarded,
            embedding=result.embedding,
        )


def _sets(result: RainResult, answers: Answers) -> Iterator[SearchedSet]:
    said: Tokens = ()
    for commit in result.commits:
        said += commit.chosen.tokens
        yield SearchedSet(
            text=answers.text(said).strip(),
            value=commit.chosen.value,
            visits=commit.chosen.visits,
            iterations=commit.iterations,
            met=commit.met,
            best=_said(commit.chosen.best, answers),
            rejected=tuple(_said(option.worst, answers) for option in commit.rejected),
        )


def _said(heard: Heard, answers: Answers) -> Said:
    return Said(text=answers.text(heard.tokens).strip(), value=heard.value)


def run(
    prompts: Sequence[Prompt | Task],
    out: Path,
    settings: Mapping[str, Any],
    answer: Callable[[int, Prompt | Task], RainAnswer],
    progress: Callable[[int, int], None],
) -> Path:
    """Answer all prompts, those done before excepted; returns the file with all answers.

    Args:
        prompts: What is to be answered.
        out: The run directory.
        settings: Everything else that decides the answers; a directory of other settings or prompts is refused.
        answer: Searches one.
        progress: Told how many are done, of how many.

    Raises:
        UserError: The directory holds another run, or something else.
    """
    digest = hashlib.sha256("".join(own.model_dump_json() for own in prompts).encode()).hexdigest()
    wanted = json.loads(json.dumps({**settings, "prompts": digest}))
    config = out / CONFIG
    if (known := started_with(out, "rain", RESULT, "prompts", str)) is not None:
        if changed := sorted(name for name in wanted if known.get(name) != wanted[name]):
            raise UserError(f"{out} was started with other {', '.join(changed)}: use the same, or name another --out")
    else:
        (out / "searches").mkdir(parents=True, exist_ok=True)
        partial = config.with_name(CONFIG + ".tmp")
        partial.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        partial.replace(config)
    files = [out / "searches" / f"{index:06}.jsonl" for index in range(len(prompts))]
    for index, (own, file) in enumerate(zip(prompts, files, strict=True)):
        if not file.exists():
            write_jsonl(file, [answer(index, own)])
        progress(index + 1, len(prompts))
    write_jsonl(out / RESULT, chain.from_iterable(read_jsonl(file, RainAnswer) for file in files))
    return out / RESULT


def preferences(answers: Sequence[RainAnswer], labeler: str) -> Iterator[Ranking]:
    """Turn searches into rankings: one for every set whose siblings led to something worse.

    The first candidate is the best that was judged below the chosen set, the others are the worst below each rejected
    one, as long as they are worse. All were cut at a pause, in the same way.
    """
    for own in answers:
        for searched in own.sets:
            worse = {said.text: said for said in searched.rejected if said.value < searched.best.value}
            worse.pop(searched.best.text, None)
            candidates = [searched.best, *worse.values()]
            if worse and all(said.text for said in candidates):
                scores = tuple(said.value for said in candidates)
                order = sorted(set(scores), reverse=True)
                yield Ranking(
                    prompt=own.prompt,
                    candidates=tuple(said.text for said in candidates),
                    ranks=tuple(order.index(score) + 1 for score in scores),
                    scores=scores,
                    labeler=labeler,
                )


def demonstrations(answers: Sequence[RainAnswer], author: str) -> Iterator[Demonstration]:
    """Turn the answers that ended by themselves and, judged whole, met the threshold into demonstrations.

    That is what the last set's value is of. An earlier one's is the mean of what was tried below it, answers that were
    rejected among them: where few answers are good, it says more of the model than of this answer.
    """
    for own in answers:
        if own.stopped == "end" and own.sets and own.sets[-1].met and own.answer.strip():
            yield Demonstration(prompt=own.prompt, answer=own.answer, author=author)


def with_settings(task: RainTask, **changed: Any) -> RainTask:
    """Change a task's settings where a value is given."""
    given = {name: value for name, value in changed.items() if value is not None}
    return replace(task, config=replace(task.config, **given))
