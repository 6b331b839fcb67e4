"""RAIN for many prompts: a run directory that can be continued, and its searches as training data.

config.json             everything that decides the answers
searches/000012.jsonl   one prompt's search, written when it is done
answers.jsonl           all of them, in the order of the input, once none is missing
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from momus.errors import UnfitInputError, UserError
from momus.files import CONFIG, changed, open_run_directory, plain
from momus.lm.chat import PLAIN, ChatFormat
from momus.lm.local.engine import LocalEngine
from momus.lm.prompts import prompt_of
from momus.lm.tree import Tokens
from momus.records import Content, Demonstration, Prompt, Ranking, Record, Task, is_whole, join_jsonl, write_jsonl
from momus.search.rain.answer import AnswerReader, EncodedPrompt
from momus.search.rain.judge import SelfJudge, encode_plain, last_question
from momus.search.rain.models import BranchingEngine, Encoder, Writer, attention_encoder, make_writer
from momus.search.rain.result import Budget, RainResult
from momus.search.rain.search import search_answer
from momus.search.rain.tasks import RainTask
from momus.search.rain.tree import JudgedAnswer

RESULT = "answers.jsonl"

NEXT_TURN = "\n\nUser:"
"""How the user's next turn would begin in the layout of a model without a chat template."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JudgedText(_Part):
    """A judged answer, possibly cut short at a pause, and its value from -1 to 1."""

    text: str
    value: float


class SearchedSet(_Part):
    """One token set of an answer.

    Attributes:
        text: The answer up to its end.
        value: Its node's mean value.
        visits: Its node's visits.
        iterations: How many iterations it took.
        met: Whether it reached the threshold.
        best: The highest-valued answer judged below it.
        rejected: The lowest-valued answer judged below each visited sibling.
    """

    text: str
    value: float
    visits: int
    iterations: int
    met: bool
    best: JudgedText
    rejected: tuple[JudgedText, ...]


class RainAnswer(Record):
    """One prompt's answer and how it was searched; the counts are those of `RainResult`.

    Attributes:
        index: The prompt's place in the input, from 0.
        prompt: What was answered.
        answer: The answer's text; empty where there is none.
        stopped: "end", "length" or the budget that ran out.
        met: Whether every token set reached the threshold and the answer ended by itself.
        sets: Its token sets.
        embedding: How siblings were compared; "none" if they were not.
        skipped: Why there is no answer; empty where there is one.
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
    """A model with all it needs to answer prompts by one task's criterion.

    Attributes:
        task: The search's settings and the criterion.
        writer: Writes with the model.
        judge: The model as its own judge.
        encoder: Embeds what was written; None where siblings are not compared.
        chat: Lays out conversations.
    """

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
    ) -> Rain:
        """Put a model and a task together.

        Args:
            engine: The model.
            task: Settings and criterion.
            template: A chat template, in place of the tokenizer's.
            encoder: Makes the encoder, or None; by default the one by the model's attention values, where they can be
                read.

        Raises:
            UserError: The model cannot judge, or the template is at fault.
        """
        chat = ChatFormat(engine.tokenizer, template, engine.context_length)
        writer = make_writer(engine)
        judge = SelfJudge(engine, task.criterion, None if chat.template == PLAIN else chat, by=task.config.judged_by)
        return cls(task, writer, judge, (encoder or attention_encoder)(writer), chat)

    def encode_prompt(self, prompt: Prompt | Task) -> EncodedPrompt:
        """Lay out what is to be answered: a conversation, or code to review.

        Raises:
            UserError: The chat template refuses it.
        """
        engine, end_tokens = self.writer.engine, self.writer.engine.end_tokens
        if isinstance(prompt, Task):
            return EncodedPrompt(encode_plain(engine, prompt_of(prompt)), prompt.answer, end_tokens)
        return EncodedPrompt(
            self.chat.prompt(prompt.prompt),
            last_question(prompt.prompt),
            end_tokens | {self.chat.end_id},
            (NEXT_TURN,) if self.chat.template == PLAIN else (),
        )

    def answer(
        self,
        index: int,
        prompt: Prompt | Task,
        seed: int,
        budget: Budget | None = None,
        progress: Callable[[str, int], None] | None = None,
    ) -> RainAnswer:
        """Search the answer to one prompt; `skipped` says why a prompt has none that does not fit the model.

        Of what the engine read for other prompts, only the beginning of the judge's prompts is kept, so that the answer
        and its cost are the same wherever in a run it is searched.

        Args:
            index: The prompt's place in the input; with the seed it names the randomness.
            prompt: What is to be answered.
            seed: Everything random follows from it.
            budget: What the search may use.
            progress: Called after each iteration with the answer so far and the number of iterations.
        """
        self.writer.engine.clear_cache(keep=self.judge.shared_prefix())
        content = prompt_of(prompt) if isinstance(prompt, Task) else prompt.prompt
        try:
            encoded = self.encode_prompt(prompt)
            result = search_answer(
                self.writer,
                self.judge,
                encoded,
                self.task.config,
                encoder=self.encoder,
                key=(seed, index),
                budget=budget,
                progress=progress,
            )
        except UnfitInputError as error:
            return RainAnswer(index=index, prompt=content, skipped=str(error))
        reader = AnswerReader(encoded, self.writer.engine, self.task.config.max_tokens)
        return RainAnswer(
            index=index,
            prompt=content,
            answer=result.text.strip(),
            stopped=result.stopped,
            met=result.met,
            sets=tuple(_searched_sets(result, reader)),
            iterations=result.iterations,
            judged=result.judged,
            abstained=result.abstained,
            disagreed=result.disagreed,
            forwarded=result.forwarded,
            embedding=result.embedding,
        )


def _searched_sets(result: RainResult, reader: AnswerReader) -> Iterator[SearchedSet]:
    answer: Tokens = ()
    for commit in result.commits:
        answer += commit.chosen.tokens
        yield SearchedSet(
            text=reader.text(answer).strip(),
            value=commit.chosen.value,
            visits=commit.chosen.visits,
            iterations=commit.iterations,
            met=commit.met,
            best=_judged_text(commit.chosen.best, reader),
            rejected=tuple(_judged_text(sibling.worst, reader) for sibling in commit.rejected),
        )


def _judged_text(answer: JudgedAnswer, reader: AnswerReader) -> JudgedText:
    return JudgedText(text=reader.text(answer.tokens).strip(), value=answer.value)


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
    digest = hashlib.sha256("".join(prompt.model_dump_json() for prompt in prompts).encode()).hexdigest()
    config = plain({**settings, "prompts": digest})
    files = [out / "searches" / f"{index:06}.jsonl" for index in range(len(prompts))]
    with open_run_directory(out, config, lambda stored: _refuse_other(out, stored, config)):
        for index, (prompt, file) in enumerate(zip(prompts, files, strict=True)):
            if not is_whole(file, RainAnswer, 1):
                write_jsonl(file, [answer(index, prompt)])
            progress(index + 1, len(prompts))
        join_jsonl(files, out / RESULT)
    return out / RESULT


def _refuse_other(out: Path, stored: Any, config: Mapping[str, Any]) -> None:
    """Refuse a directory that holds another command's run, a damaged one, or one of other settings."""
    if stored is None:
        if (out / RESULT).exists():
            raise UserError(f"{out / RESULT} is there, but no {CONFIG} that says what it is: name another --out")
    elif not isinstance(stored, dict) or not isinstance(stored.get("prompts"), str):
        raise UserError(f"{out} is not a run of momus rain, or its {CONFIG} is damaged: name another --out")
    elif differences := changed(stored, config):
        raise UserError(f"{out} was started with other settings ({differences}): use the same, or name another --out")


def preferences(answers: Sequence[RainAnswer], labeler: str) -> Iterator[Ranking]:
    """Turn searches into rankings: one for every token set whose siblings led to something worse.

    The first candidate is the best answer judged below the chosen set, the others are the worst below each rejected
    one, as long as they are worse. All were cut at a pause, in the same way.
    """
    for answer in answers:
        for searched in answer.sets:
            worse = {judged.text: judged for judged in searched.rejected if judged.value < searched.best.value}
            worse.pop(searched.best.text, None)
            candidates = [searched.best, *worse.values()]
            if worse and all(judged.text for judged in candidates):
                scores = tuple(judged.value for judged in candidates)
                order = sorted(set(scores), reverse=True)
                yield Ranking(
                    prompt=answer.prompt,
                    candidates=tuple(judged.text for judged in candidates),
                    ranks=tuple(order.index(score) + 1 for score in scores),
                    scores=scores,
                    labeler=labeler,
                )


def demonstrations(answers: Sequence[RainAnswer], author: str) -> Iterator[Demonstration]:
    """Turn the answers that ended by themselves and, judged whole, met the threshold into demonstrations.

    The last set's value is that of the whole answer. An earlier set's is the mean over everything tried below it,
    rejected answers included: where few answers are good, it says more about the model than about this answer.
    """
    for answer in answers:
        if answer.stopped == "end" and answer.sets and answer.sets[-1].met and answer.answer.strip():
            yield Demonstration(prompt=answer.prompt, answer=answer.answer, author=author)
