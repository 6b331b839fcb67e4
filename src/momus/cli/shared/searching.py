"""What `momus rain` and `momus judge` read: prompts, chat templates, and models in this process or on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from momus.errors import UserError

if TYPE_CHECKING:
    from momus.cli.shared.options import EngineOptions
    from momus.records import Prompt, Task
    from momus.search.rain.dataset import Rain
    from momus.search.rain.models import Encoder, Writer
    from momus.search.rain.tasks import RainTask


def choose_embeddings(embeddings: str | None, url: str | None) -> str:
    """Return how siblings are compared: as asked, or by the best that is there.

    Raises:
        UserError: The model's values are asked for, which no server shows.
    """
    if url is None:
        return embeddings or "values"
    if embeddings == "values":
        raise UserError("--embeddings values needs the model in this process: a server does not show them")
    return embeddings or ("sentences" if find_spec("sentence_transformers") else "none")


def load_rain(options: EngineOptions, task: RainTask, template: Path | None = None, embeddings: str = "values") -> Rain:
    """Load the model, and put it together with the task."""
    from momus.search.rain.dataset import Rain
    from momus.search.rain.models import SentenceEncoder, attention_encoder

    def encoder(writer: Writer) -> Encoder | None:
        if embeddings == "none":
            return None
        return attention_encoder(writer) if embeddings == "values" else SentenceEncoder(writer.engine)

    return Rain.of(options.open(), task, template=read_template(template), encoder=encoder)


def read_template(path: Path | None) -> str | None:
    """Read a chat template; one that is not UTF-8 is refused by its name."""
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"--chat-template {path}: not UTF-8 text") from error


def read_prompts(files: Sequence[str], given: Sequence[str], task: str, limit: int | None) -> list[Prompt | Task]:
    """Read what is to be answered; for critique, answers to review."""
    from itertools import chain, islice

    from momus.records import Prompt, Task

    read: Callable[[str], Iterator[Prompt | Task]] = _tasks if task == "critique" else _prompts
    items: list[Prompt | Task] = [
        Task(id="", question="", answer=text) if task == "critique" else Prompt(prompt=text) for text in given
    ]
    items += islice(chain.from_iterable(map(read, files)), limit)
    if not items:
        raise UserError(f"there are no prompts in {', '.join(files)}")
    return items


def _tasks(file: str) -> Iterator[Task]:
    from momus.critics.run import read_records
    from momus.records import Tamper

    for record in read_records(Path(file), Path(file).read_bytes()):
        yield record.task.model_copy(update={"answer": record.answer}) if isinstance(record, Tamper) else record


def _prompts(file: str) -> Iterator[Prompt]:
    from momus.data.convert import read, recognise
    from momus.data.sources import Problem
    from momus.records import Demonstration, Judgement, Prompt, Ranking

    for record in read(*recognise(file)):
        if isinstance(record, Problem):
            raise UserError(f"{record}: mend it, or convert the file with momus data convert --skip-bad")
        if isinstance(record, Prompt):
            yield record
        elif isinstance(record, Demonstration | Judgement | Ranking):
            yield Prompt(prompt=record.prompt, origin=record.origin)
