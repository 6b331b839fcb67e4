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


def way_to_compare(embeddings: str | None, url: str | None) -> str:
    """Return how siblings are compared where it was not said: by what can be had.

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
    """Read a chat template; a missing file is told by its name."""
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"--chat-template {path}: not UTF-8 text") from error


def read_prompts(files: Sequence[str], given: Sequence[str], task: str, limit: int | None) -> list[Prompt | Task]:
    """Read what is to be answered; for critique, answers to review."""
    from itertools import chain, islice

    from momus.records import Prompt, Task

    read: Callable[[str], Iterator[Prompt | Task]] = _tasks if task == "critique" else _prompts
    found: list[Prompt | Task] = [
        Task(id="", question="", answer=text) if task == "critique" else Prompt(prompt=text) for text in given
    ]
    found += islice(chain.from_iterable(map(read, files)), limit)
    if not found:
        raise UserError(f"there are no prompts in {', '.join(files)}")
    return found


def _tasks(file: str) -> Iterator[Task]:
    from momus.critics.dataset import read_records
    from momus.records import Tamper

    for own in read_records(Path(file), Path(file).read_bytes()):
        yield own.task.model_copy(update={"answer": own.answer}) if isinstance(own, Tamper) else own


def _prompts(file: str) -> Iterator[Prompt]:
    from momus.data.convert import read, recognise
    from momus.data.sources import Problem
    from momus.records import Demonstration, Judgement, Prompt, Ranking

    for own in read(*recognise(file)):
        if isinstance(own, Problem):
            raise UserError(f"{own}: mend it, or convert the file with momus data convert --skip-bad")
        if isinstance(own, Prompt):
            yield own
        elif isinstance(own, Demonstration | Judgement | Ranking):
            yield Prompt(prompt=own.prompt, origin=own.origin)
