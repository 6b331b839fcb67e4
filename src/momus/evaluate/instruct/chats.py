"""Answers to a file of prompts by models that chat, on servers too that do nothing else (`momus chat --prompts`).

They go into the same kind of ledger as those of a line-up (`systems`), with the same randomness, and come out as
demonstrations: whatever compares answers takes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from momus.errors import UserError
from momus.evaluate.instruct.systems import BATCH, Progress, System, answer_key, sample_key
from momus.files import Ledger
from momus.lm.chats.protocol import Answer, Chat, Question
from momus.records import Content, Message, Prompt


def behind_system(prompt: Prompt, system: str) -> Prompt:
    """Return a prompt behind a system's message; one that has its own, or where there is none to add, as it is."""
    messages = _messages(prompt.prompt)
    if not system or messages[0].role == "system":
        return prompt
    return prompt.model_copy(update={"prompt": (Message(role="system", content=system), *messages)})


def ask_chat(
    system: System,
    opened: Callable[[], Chat],
    prompts: Sequence[Prompt],
    ledger: Ledger,
    *,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> None:
    """Write a chat's answer to every prompt into the ledger, those already in it excepted.

    Args:
        system: Its name, and how it is asked.
        opened: Opens it; not called where everything is in the ledger.
        prompts: The prompts.
        ledger: Where the answers go. A prompt without one gets an entry that says why.
        seed: Names the randomness.
        progress: Told how many are done, and of how many.

    Raises:
        UserError: It cannot be asked at all.
    """
    waiting = [prompt for prompt in prompts if answer_key(system, prompt.prompt) not in ledger]
    if not waiting:
        return
    chat = opened()
    for start in range(0, len(waiting), BATCH):
        batch = waiting[start : start + BATCH]
        progress(len(prompts) - len(waiting) + start, len(prompts))
        answers = chat.answer([_question(system, prompt, seed) for prompt in batch])
        pairs = zip(batch, answers, strict=True)
        ledger.add({answer_key(system, prompt.prompt): _entry(answer) for prompt, answer in pairs})


def tell_answers(
    systems: Sequence[System], ledger: Ledger, prompts: Sequence[Prompt], path: Path, say: Callable[[str], None]
) -> None:
    """Say how many answers each system gave, why some prompts have none, and where the answers are.

    Raises:
        UserError: A system answered no prompt.
    """
    silent = ""
    for system in systems:
        rows = [ledger[answer_key(system, prompt.prompt)] for prompt in prompts]
        cut = sum("answer" in row and not row["finished"] for row in rows)
        skipped = [row["skipped"] for row in rows if "skipped" in row]
        say(f"{system.name}: {len(rows) - len(skipped)} answers, {cut} of them cut at {system.max_tokens} tokens")
        if skipped:
            say(f"{system.name}: {len(skipped)} prompts not answered; the first: {skipped[0]}")
        if len(skipped) == len(rows):
            silent = silent or (
                f"{system.name} answered none of {len(rows)} prompts (it is not asked again while {ledger.path} is "
                f"there); the first: {skipped[0]}"
            )
    say(f"The answers are {path}")
    if silent:
        raise UserError(silent)


def _question(system: System, prompt: Prompt, seed: int) -> Question:
    key = sample_key(system, prompt, seed)
    return Question(_messages(prompt.prompt), system.max_tokens, system.temperature, system.top_p, key)


def _entry(answer: Answer) -> dict[str, Any]:
    if not answer.whole.strip():
        return {"skipped": answer.problem or "the answer is empty"}
    return {"answer": answer.text.strip(), "finished": not answer.cut}


def _messages(content: Content) -> tuple[Message, ...]:
    return (Message(role="user", content=content),) if isinstance(content, str) else tuple(content)
