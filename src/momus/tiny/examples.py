"""Training examples of the embedded model: fresh tampers of one function, as token trees with loss weights.

Each example is one answer (tampered, or clean) with several branches that share it:

* the gold critique, its comments in random order, which is what the model learns to write;
* some of its lines as quotes, trained only from where the line is determined: copying, without choosing;
* now and then two claims about the answer, one right and one wrong, to be judged A or B, and each once more written
  as a critique, whose end is to know whether it is right: what a reward model of critiques starts from.

Wrong claims are made three ways: a right comment under another line's quote, a claim that correct code should
be what a mutation would make of it, and a wrong repair of the line that does hold the bug.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from momus.critique import FENCE, Comment, Critique, Span, format_critique
from momus.lm.prompts import OPEN_QUOTE, RIGHT, WRONG, critique_prompt, judge_suffix
from momus.lm.tree import TokenTree, common_prefix
from momus.records import Tamper, Task
from momus.tamper.edits import Edit
from momus.tamper.insert import insert

FloatArray = npt.NDArray[np.float32]

OPENING = 3
"""Tokens at the start of a line to be remembered at its end: most lines differ in them."""

_REPAIR = re.compile(r"^Should be `([^`]+)`")


class CorpusFunction(NamedTuple):
    """A function with every mutation that could be made in it."""

    question: str
    answer: str
    edits: tuple[Edit, ...]


class TrainingExample(NamedTuple):
    """A token tree with, per token [n]: the weight of predicting it, and whether a bug has been read in its line.

    `buggy` is 1 from the first token of a bug to the end of its line, its newline included, 0 on the answer's other
    tokens and -1 elsewhere. `line` [n, OPENING] holds, at the newline that ends a line of the answer, the tokens that
    the line begins with, and -1 elsewhere. `source` is, where a critique chooses a line, the place of the newline that
    ends it, and -1 elsewhere. `right` is, at the fence that closes a quote, whether a bug is in the line quoted, at the
    end of a critique whether all its comments are right, and -1 elsewhere. `options` [m, 3] names all that can be
    chosen where a line is: the place of the choice, the next token of a line that begins with what has been chosen so
    far and has not been quoted yet, and the place of the newline that ends that line.
    """

    tree: TokenTree
    weight: FloatArray
    buggy: npt.NDArray[np.int8]
    line: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    right: npt.NDArray[np.int8]
    options: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mixture:
    """What the examples are made of."""

    bugs: tuple[float, ...] = (0.12, 0.48, 0.28, 0.12)
    """Shares of answers with 0, 1, 2, ... bugs; never more than one to two lines."""
    question: float = 0.7
    """Share of answers shown with their question."""
    claims: float = 0.15
    """Share of answers with two claims to judge."""
    code_weight: float = 0.2
    """Loss weight of the question's and answer's tokens, bugs excepted (weight 0); a critique's weigh 1."""
    quotes: int = 1
    """Lines of every answer to be copied."""
    quote_weight: float = 0.5
    """Loss weight of a copied token."""
    choice_weight: float = 10.0
    """Loss weight of the tokens of a critique that choose which line to quote: few, and what matters most."""
    label_weight: float = 3.0
    """Loss weight of the judgement of a claim; its text has none."""


def draw_tamper(function: CorpusFunction, count: int, rng: random.Random) -> Tamper | None:
    """Put `count` fresh bugs into a function, or return None when it has no room for them."""
    task = Task(id="", question=function.question, answer=function.answer)
    if count == 0:
        return Tamper(task=task, answer=function.answer)
    made = insert(function.answer, list(function.edits), count, rng)
    return Tamper(task=task, answer=made[0], bugs=made[1]) if made else None


def draw_bugs(function: CorpusFunction, shares: Sequence[float], rng: random.Random) -> Tamper | None:
    """Put 0, 1, 2, ... fresh bugs into a function with given chances, never more than one to two lines.

    Where there is no room for as many as were drawn there are fewer; None where there is none for any.
    """
    wanted = rng.choices(range(len(shares)), shares)[0]
    most = max(1, sum(bool(line.strip()) for line in function.answer.split("\n")) // 2)
    counts = range(min(wanted, most), 0, -1) if wanted else [0]
    return next(filter(None, (draw_tamper(function, count, rng) for count in counts)), None)


def draw_example(
    function: CorpusFunction, mixture: Mixture, tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> TrainingExample | None:
    """Draw one training example from a function, or None when the tamper drawn did not work out."""
    tamper = draw_bugs(function, mixture.bugs, rng)
    if tamper is None:
        return None
    question = function.question if rng.random() < mixture.question else ""
    claims: list[tuple[Comment, str]] = []
    if rng.random() < mixture.claims:
        claims = _claims(function, tamper, rng)
    return _example(question, tamper, claims, mixture, tokenizer, rng)


def _claims(function: CorpusFunction, tamper: Tamper, rng: random.Random) -> list[tuple[Comment, str]]:
    gold = tamper.gold_critique().comments
    claims = [(rng.choice(gold), RIGHT)] if gold else []
    wrong = rng.choice([_other_line, _inverted, _other_repair])(function, tamper, rng) or _other_line(
        function, tamper, rng
    )
    return [*claims, (wrong, WRONG)] if wrong else claims


def _other_line(function: CorpusFunction, tamper: Tamper, rng: random.Random) -> Comment | None:
    """Return a comment true of one line (or of none) under the quote of a line without a bug."""
    quoted = {line for c in tamper.gold_critique().comments for line in c.highlight.split("\n")}
    lines = [line.strip() for line in tamper.answer.split("\n")[1:]]
    lines = [line for line in lines if line and line not in quoted and not line.startswith("#")]
    texts = [bug.description for bug in tamper.bugs] or [e.description for e in function.edits[:20]]
    if not lines or not texts:
        return None
    return Comment(highlight=rng.choice(lines), text=rng.choice(texts))


def _inverted(function: CorpusFunction, tamper: Tamper, rng: random.Random) -> Comment | None:
    """Return a claim that a correct line should be what an unused mutation would have made of it."""
    for edit in rng.sample(function.edits, min(6, len(function.edits))):
        repair = _REPAIR.match(edit.description)
        line_start = function.answer.rfind("\n", 0, edit.start) + 1
        line = function.answer[line_start : function.answer.find("\n", edit.start) % (len(function.answer) + 1)]
        if not repair or line not in tamper.answer.split("\n"):
            continue
        at = function.answer.find(repair[1], line_start)
        if not at <= edit.start <= edit.stop <= at + len(repair[1]):
            continue
        wrong = function.answer[at : edit.start] + edit.replacement + function.answer[edit.stop : at + len(repair[1])]
        if "\n" in wrong or not wrong.strip():
            continue
        return Comment(highlight=line.strip(), text=edit.description.replace(repair[1], wrong, 1))
    return None


def _other_repair(function: CorpusFunction, tamper: Tamper, rng: random.Random) -> Comment | None:
    """Return the quote of a line that does hold a bug with a repair that belongs elsewhere."""
    gold = tamper.gold_critique().comments
    if not gold or not function.edits:
        return None
    comment, edit = rng.choice(gold), rng.choice(function.edits)
    if edit.description == comment.text:
        return None
    return Comment(highlight=comment.highlight, text=edit.description)


def _line_quotes(lines: Sequence[str], backend: Tokenizer) -> dict[tuple[int, ...], int]:
    """Return distinct lines as the tokens of quotes, and how many of them each shares with another."""
    quotes = [tuple(backend.encode(f"{OPEN_QUOTE}{line}\n{FENCE}").ids) for line in lines]
    return {
        quote: max((common_prefix(quote, other) for other in quotes if other is not quote), default=0)
        for quote in quotes
    }


def _choices(tokens: Sequence[int], quotes: dict[tuple[int, ...], int]) -> Iterator[tuple[slice, int]]:
    """Yield, for every quote in a critique, where its line is still open, and which of `quotes` it is."""
    fence = next(iter(quotes))[0] if quotes else -1
    fences = [i for i, token in enumerate(tokens) if token == fence]
    for start, stop in zip(fences[::2], fences[1::2], strict=False):
        quote = tuple(tokens[start : stop + 1])
        if quote in quotes:
            yield slice(start + 2, start + quotes[quote] + 1), list(quotes).index(quote)  # after the fence's newline


def _without_indent(span: Span, answer: str) -> tuple[int, int]:
    """Return where a span starts and stops, less the indentation it may start with, whose token is the newline's."""
    text = answer[span.start : span.end]
    return span.start + len(text) - len(text.lstrip()), span.end


def _faulty(tamper: Tamper) -> set[str]:
    """Return the lines in which there are bugs, without their indentation."""
    text, found = tamper.answer + "\n", set[str]()
    for span in (span for bug in tamper.bugs for span in bug.spans):
        first, last = _without_indent(span, tamper.answer)
        found.update(text[text.rfind("\n", 0, first) + 1 : text.find("\n", max(first, last - 1))].split("\n"))
    return {line.strip() for line in found}


def _options(
    tokens: Sequence[int], chosen: Sequence[tuple[slice, int]], quotes: Sequence[tuple[int, ...]]
) -> Iterator[tuple[int, int, int]]:
    """Yield all that could come next where a critique chooses a line: the place, the token, and which of `quotes`."""
    before = set[int]()
    for place, number in chosen:
        start = place.start - 2  # the fence
        for at in range(place.start, place.stop):
            for other, quote in enumerate(quotes):
                if other not in before and quote[: at - start] == tuple(tokens[start:at]):
                    yield at, quote[at - start], other
        before.add(number)


class _Branch(NamedTuple):
    """The tokens of a branch with, for each, its weight and `TrainingExample.right`."""

    ids: Sequence[int]
    weight: FloatArray
    right: npt.NDArray[np.int8]


def _verdicts(ids: Sequence[int], highlights: Sequence[str], faulty: set[str], right: int) -> npt.NDArray[np.int8]:
    """Return, for a critique or a quote: at the fences that close quotes whether bugs are there, at its end `right`."""
    made = np.full(len(ids), -1, np.int8)
    closings = np.flatnonzero(np.array(ids) == ids[0])[1::2]
    if highlights and len(closings) == len(highlights):
        made[closings] = [any(line.strip() in faulty for line in highlight.split("\n")) for highlight in highlights]
    if right >= 0:
        made[-1] = right
    return made


def _branches(
    tamper: Tamper,
    claims: Sequence[tuple[Comment, str]],
    lines: Sequence[str],
    mixture: Mixture,
    tokenizer: PreTrainedTokenizerFast,
    rng: random.Random,
) -> tuple[list[_Branch], list[tuple[slice, int]], list[tuple[int, int, int]]]:
    """Return the branches, the gold critique first, where that chooses which of the distinct lines, and `_options`."""
    backend, faulty = tokenizer.backend_tokenizer, _faulty(tamper)

    def written(comments: Sequence[Comment], right: int) -> _Branch:
        text = format_critique(Critique(comments=tuple(comments)))
        ids = [*backend.encode(text).ids, tokenizer.eos_token_id]
        return _Branch(
            ids, np.ones(len(ids), np.float32), _verdicts(ids, [c.highlight for c in comments], faulty, right)
        )

    gold = tamper.gold_critique().comments
    critique, quotes = written(rng.sample(gold, len(gold)), 1 if gold else -1), _line_quotes(lines, backend)
    chosen = list(_choices(critique.ids, quotes))
    for place, _ in chosen:
        critique.weight[place] = mixture.choice_weight
    made = [critique]
    for number in rng.sample(range(len(lines)), min(mixture.quotes, len(lines))):
        ids, shared = list(quotes.items())[number]
        weight = np.where(np.arange(len(ids)) > shared, mixture.quote_weight, 0).astype(np.float32)
        made.append(_Branch(ids, weight, _verdicts(ids, [lines[number]], faulty, -1)))
    for comment, label in claims:
        ids = backend.encode(judge_suffix(comment.highlight, comment.text) + label).ids
        weight = np.zeros(len(ids), np.float32)
        weight[-1] = mixture.label_weight
        claim = written([comment], int(label == RIGHT))
        made += [_Branch(ids, weight, np.full(len(ids), -1, np.int8)), claim._replace(weight=0 * claim.weight)]
    return made, chosen, list(_options(critique.ids, chosen, list(quotes)))


def _example(
    question: str,
    tamper: Tamper,
    claims: Sequence[tuple[Comment, str]],
    mixture: Mixture,
    tokenizer: PreTrainedTokenizerFast,
    rng: random.Random,
) -> TrainingExample:
    text = critique_prompt(question, tamper.answer)
    encoded = tokenizer.backend_tokenizer.encode(text)
    prompt = [tokenizer.bos_token_id, *encoded.ids]
    lines = [part.strip() for part in tamper.answer.split("\n") if part.strip()]
    distinct = list(dict.fromkeys(lines))
    branches, chosen, options = _branches(tamper, claims, distinct, mixture, tokenizer, rng)
    prompt_weight = np.full(len(prompt), mixture.code_weight, np.float32)
    prompt_weight[0] = 0
    buggy = np.full(len(prompt), -1, np.int8)
    start = len(text) - len(tamper.answer) - len("\n```\n")
    stop = start + len(tamper.answer)
    spans = [_without_indent(span, tamper.answer) for bug in tamper.bugs for span in bug.spans]
    for i, (a, b) in enumerate(encoded.offsets, 1):
        if start <= a <= stop:
            here = [(start + first, start + last) for first, last in spans if start + first < b]
            buggy[i] = any(a <= text.find("\n", max(first, last - 1)) for first, last in here)
            if any(a < last for _, last in here):
                prompt_weight[i] = 0
    tree = TokenTree.from_branches(prompt, [branch.ids for branch in branches])
    line, answers = np.full((len(tree), OPENING), -1, np.int64), np.flatnonzero(buggy >= 0)
    ends = [i for i in answers if "\n" in text[slice(*encoded.offsets[i - 1])]]
    for before, end in zip([answers[0] - 1, *ends], ends, strict=False):
        opening = prompt[before + 1 : end][:OPENING]
        line[end, : len(opening)] = opening
    nowhere, source = np.full(len(prompt), -1, np.int8), np.full(len(tree), -1, np.int64)
    buggy = np.concatenate([buggy, np.full(len(tree) - len(prompt), -1, np.int8)])
    own_end = [ends[lines.index(own)] for own in distinct]  # of lines that read alike the first is quoted
    for place, number in chosen:
        source[tree.branches[0][place]] = own_end[number]
    choices = [(tree.branches[0][at], token, own_end[number]) for at, token, number in options]
    weight = np.concatenate([prompt_weight, *(branch.weight for branch in branches)])
    right = np.concatenate([nowhere, *(branch.right for branch in branches)])
    return TrainingExample(tree, weight, buggy, line, source, right, np.array(choices, np.int64).reshape(-1, 3))
