"""How likely held-out texts are: what training costs, in nats per token, at any size of model.

InstructGPT (arXiv 2203.02155, §4.2) measures the alignment tax by F1 and BLEU, which say nothing of a model that is on
the floor there. PPO-ptx holds the likelihood of pretraining texts (equation 2), so that is measured too: of texts that
nothing was trained on, and of reference answers behind their questions. ::

    nats per token = - log p(text | what stands before it) / tokens

averaged over texts. Texts are laid out bare, without a chat template, as pretraining has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from momus.data.prompts import plain
from momus.errors import UserError
from momus.evaluate.instruct.feedback import records_of
from momus.evaluate.instruct.questions import Likelihood
from momus.evaluate.instruct.results import TaskResult
from momus.records import Demonstration, Prompt

TEXTS = "texts"
NATS = "nats per token"

_PASSAGE = 1500
"""Characters, at least, of a passage of a long text: some 400 tokens."""


class Passage(NamedTuple):
    """A text and its name; `before` is its question, `group` the document that several passages are of."""

    name: str
    text: str
    before: str = ""
    group: str = ""


def read_passages(path: Path) -> list[Passage]:
    """Read texts, long ones cut into passages at blank lines.

    A `.txt` file is one document; of other files each record is one, a demonstration's answer behind its prompt.

    Raises:
        UserError: There is no text in it, or it cannot be read.
    """
    passages = list(_documents(path))
    if not passages:
        raise UserError(f"{path}: no text in it")
    return passages


def _documents(path: Path) -> Iterator[Passage]:
    if path.suffix == ".txt":
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 text") from error
        yield from (Passage(str(i), part) for i, part in enumerate(_cut(text)))
        return
    for number, record in enumerate(records_of([str(path)])):
        if isinstance(record, Demonstration):
            before, text = f"{plain(record.prompt)}\n", plain(record.answer)
        elif isinstance(record, Prompt):
            before, text = "", plain(record.prompt)
        else:
            continue
        parts = _cut(text)
        for i, part in enumerate(parts):
            yield Passage(f"{number}.{i}", part, before if i == 0 else "", str(number) if len(parts) > 1 else "")


def _cut(text: str) -> list[str]:
    """Return the passages of a text: its paragraphs, as many together as make one; of an endless paragraph, parts."""
    passages: list[str] = []
    for paragraph in filter(str.strip, re.split(r"\n(?:[ \t]*\n)+", text)):
        if passages and len(passages[-1]) < _PASSAGE:
            passages[-1] += "\n\n" + paragraph[:_PASSAGE]
        else:
            passages.append(paragraph[:_PASSAGE])
        passages += [paragraph[at : at + _PASSAGE] for at in range(_PASSAGE, len(paragraph), _PASSAGE)]
    return passages


def text_results(
    passages: Sequence[Passage], likelihoods: Sequence[Likelihood], *, prefix: str = "", source: str = ""
) -> list[TaskResult]:
    """Return the result from each passage's log-probability."""
    return [
        TaskResult(
            task=TEXTS, metric=NATS, better="low", prompt=prefix, source=source,
            items={p.name: -each.logprob / each.tokens for p, each in zip(passages, likelihoods, strict=True)},
            groups={passage.name: passage.group for passage in passages if passage.group},
        )
    ]  # fmt: skip
