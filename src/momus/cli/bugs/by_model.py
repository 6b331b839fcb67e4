"""`momus tamper --by MODEL --tests PROBLEMS`: bugs that a model puts into right answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from momus.cli.shared.output import bar, say, show
from momus.cli.shared.seed import Seed
from momus.errors import UserError

if TYPE_CHECKING:
    from momus.records import Tamper


def tamper(
    by: str,
    tests: Path,
    out: Path,
    url: str | None = None,
    critic: str | None = None,
    temperature: float = 0.8,
    limit: int | None = None,
    seed: Seed = 0,
) -> int:
    """Let a model put a subtle bug into each right solution, and describe it as a reviewer would.

    A bug is kept where the solution passes its tests, the tampered one fails at least one, few lines changed, and the
    description names the place; with --critic only where the critic misses it in at least one of three samples. Run
    again, the command goes on where it stopped.

    Args:
        by: Who puts the bugs in: a folder, a name on the hub or a GGUF file; with --url its name on that server.
        tests: Problems with solutions and tests, in MBPP's format: JSON Lines with text, code, test_list and task_id.
        out: The directory to write: tampers.jsonl, counts.json, and answers.jsonl, from which it goes on.
        url: A server that has the model, with an OpenAI-compatible or Anthropic-style API.
        critic: A model that is prompted as a critic, and has to miss the bug.
        temperature: Of the model that puts the bugs in.
        limit: At most so many problems.
        seed: Other seeds, other bugs.
    """
    from momus.files import Ledger, write_json
    from momus.lm.chats.open import open_chat
    from momus.records import write_jsonl
    from momus.sandbox import require_cage
    from momus.tamper.by_model import tamper_by_model
    from momus.tamper.natural.problems import read_problems

    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: must be at least 1")
    if temperature < 0:
        raise UserError(f"--temperature {temperature}: must not be negative")
    problems = read_problems(tests)[:limit]
    require_cage()
    chat = open_chat(by, url)
    settings = {"model": dict(chat.identity()), "critic": critic, "temperature": temperature, "seed": seed}
    misses = None if critic is None else lambda tampers: _misses(critic, tampers)
    with Ledger(out / "answers.jsonl", settings) as ledger, bar("problems") as progress:
        tampers, counts = tamper_by_model(problems, chat, ledger, misses, progress, temperature=temperature, seed=seed)
    write_jsonl(out / "tampers.jsonl", tampers)
    write_json(out / "counts.json", counts, 2)
    for name, count in counts.items():
        show(f"{count:6} {name}")
    say(f"{len(tampers)} tampered answers in {out / 'tampers.jsonl'}")
    return 0


def _misses(critic: str, tampers: Sequence[Tamper]) -> list[bool]:
    """Say of each tamper whether the critic misses the bug in at least one of its samples; unreadable ones miss it."""
    from momus.critics.open import open_critic
    from momus.critics.prompted import PromptedConfig
    from momus.tamper.by_model import CRITIC_SAMPLES
    from momus.tamper.truth import judge

    opened = open_critic(critic, prompted=PromptedConfig(samples=CRITIC_SAMPLES))
    written = opened.write([tamper.task.model_copy(update={"answer": tamper.answer}) for tamper in tampers])
    return [
        sum(judge(each.critique, tamper).located > 0 for each in result.candidates) < CRITIC_SAMPLES
        for result, tamper in zip(written, tampers, strict=True)
    ]
