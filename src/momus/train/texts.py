"""Records to tokens: demonstrations, rankings, prompts and pretraining texts, by InstructGPT's limits.

Prompts of more than 1k tokens are left out and answers are at most 1k, together the 2k of the context (arXiv
2203.02155, C). What is left out is counted by reason, never silently: a long answer is not cut, for it would be
trained without its end; a ranking loses its long answers and stays while one that is left is preferred to another. K
answers stay together, ties stay ties, and rankings of one prompt by several labelers meet in `reward.by_prompt`.

Held out is what the records' split says, else a share of the owners (conversation tree, else whoever wrote
the prompt, else the prompt itself), chosen by their names as `momus data prompts` does: nothing of one owner is on
both sides. Neither is a prompt: what is held out of one that is trained on too, by another owner, is left out.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from transformers import PreTrainedTokenizerBase

from momus.data.convert import BadRowsError, Problems, read, recognise
from momus.data.prompts import PromptRules, plain, split_of
from momus.data.sources import Problem
from momus.errors import UnfitInputError, UserError
from momus.lm.chat import ChatFormat, Limits, Turn, trained_turns
from momus.lm.prompts import prompt_of
from momus.lm.text.encode import Encoder, TooLongError
from momus.lm.tree import TokenTree
from momus.records import Comparison, Content, Demonstration, Prompt, Ranking, Record, Tamper
from momus.train.reward import RankedPrompt
from momus.train.settings import TextConfig

Tokens = tuple[int, ...]
ItemT = TypeVar("ItemT")
DataSource = str | Path | Record
"""A file in any format that `momus data inspect` knows, or one record."""


@dataclass
class Gathered(Generic[ItemT]):
    """What was made of some files' records, and what was left out and why.

    `about` describes what is kept, by name; `tasks` names the task of each item to train on: its data set, or else the
    file it came from.
    """

    kind: str
    train: list[ItemT] = field(default_factory=list)
    held_out: list[ItemT] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    problems: Problems = field(default_factory=Problems)
    about: dict[str, Any] = field(default_factory=dict)
    tasks: list[str] = field(default_factory=list)

    def digest(self) -> str:
        """Return the SHA-256 of everything kept: what a run was trained on."""
        return digest((self.train, self.held_out))

    def summary(self) -> dict[str, Any]:
        """Return what is kept and left out, as JSON can hold it."""
        kept = {"trained": len(self.train), "held_out": len(self.held_out), **self.about}
        return {**kept, "left_out": dict(self.dropped.most_common()), "bad_rows": self.problems.count}


def digest(value: object) -> str:
    """Return the SHA-256 of how a value of numbers and texts is written in Python."""
    return hashlib.sha256(repr(value).encode()).hexdigest()


class _LeftOutError(Exception):
    """A record is not used, for the reason that is the message."""


def demonstrations(
    files: Sequence[DataSource], chat: ChatFormat, config: TextConfig, every_turn: bool = False
) -> Gathered[tuple[Turn, ...]]:
    """Read demonstrations; `every_turn` trains all of the assistant's turns of an answer, not only the last.

    Raises:
        UserError: A file cannot be read or holds none, or the chat template is at fault, or `every_turn` would change
            nothing.
        BadRowsError: There are bad rows and they are not to be skipped.
    """
    longest = 0

    def to_turns(record: Demonstration) -> tuple[Turn, ...]:
        """Return the turns that are trained on, in tokens."""
        nonlocal longest
        parts = trained_turns(record.prompt, record.answer, every_turn)
        longest = max(longest, len(parts))
        turns, reason = [], ""
        for prompt, answer in parts:
            try:
                turns.append(_turn(prompt, answer, chat, config))
            except TooLongError as error:
                reason = str(error)
        if not turns:
            raise _LeftOutError(reason)
        return tuple(turns)

    gathered: Gathered[tuple[Turn, ...]] = Gathered("demonstrations")
    _gather(files, Demonstration, to_turns, config, gathered)
    if every_turn and longest < 2:
        raise UserError(
            "--every-turn changes nothing here: no answer has several turns of the assistant (of a conversation tree "
            "each is a demonstration of its own): leave it out"
        )
    keep_apart(gathered, lambda turns: {turn.prompt for turn in turns})
    every = [turn for turns in gathered.train for turn in turns]
    gathered.about = {
        "prompts": len({turns[0].prompt for turns in gathered.train}),
        "tasks": len(set(gathered.tasks)),
        "answer_tokens": sum(len(turn.answer) for turn in every),
    }
    return gathered


def rankings(files: Sequence[DataSource], chat: ChatFormat, config: TextConfig) -> Gathered[RankedPrompt]:
    """Read rankings of K answers.

    Raises:
        UserError: As `demonstrations`.
        BadRowsError: As `demonstrations`.
    """
    gathered: Gathered[RankedPrompt] = Gathered("rankings")
    labelers: Counter[str] = Counter()

    def to_ranked_prompt(record: Ranking) -> RankedPrompt:
        ranking = ranked(record, chat, config, gathered.dropped)
        labelers[record.labeler] += 1
        return ranking

    _gather(files, Ranking, to_ranked_prompt, config, gathered)
    keep_apart(gathered, lambda ranking: {ranking.prompt})
    describe_rankings(gathered)
    gathered.about["labelers"] = len(set(labelers) - {""}) or "not stated"
    return gathered


def keep_apart(gathered: Gathered[ItemT], prompts_of: Callable[[ItemT], set[Tokens]]) -> None:
    """Leave out what is held out of a prompt that is trained on too: it would measure what was learnt by heart."""
    trained = {prompt for item in gathered.train for prompt in prompts_of(item)}
    apart = [item for item in gathered.held_out if trained.isdisjoint(prompts_of(item))]
    gathered.dropped += Counter({"held-out prompt that is trained on too": len(gathered.held_out) - len(apart)})
    gathered.held_out = apart


def describe_rankings(gathered: Gathered[RankedPrompt]) -> None:
    """Say in `about` how many prompts, pairs and ties there are, and rankings of how many answers."""
    sizes = Counter(len(ranking.branches) for ranking in gathered.train)
    gathered.about |= {
        "prompts": len({ranking.prompt for ranking in gathered.train}),
        "pairs": sum(len(ranking.pairs()) for ranking in gathered.train),
        "tied_pairs": sum(ranking.ties() for ranking in gathered.train),
        "of_answers": {str(k): sizes[k] for k in sorted(sizes)},
    }


def ranked(record: Ranking, chat: ChatFormat, config: TextConfig, dropped: Counter[str]) -> RankedPrompt:
    """Return one ranking in tokens; answers that are too long, and pairs of the same answer, are left out and counted.

    Raises:
        UnfitInputError: The chat template refuses the conversation, or the prompt is too long.
    """
    prompt: Tokens = ()
    kept: list[tuple[Tokens, float]] = []
    for candidate, rank in zip(record.candidates, record.ranks, strict=True):
        try:
            turn = _turn(record.prompt, candidate, chat, config)
        except TooLongError as error:
            if error.part == "prompt":
                raise
            dropped[f"answers of rankings: {error}"] += 1
        else:
            prompt = turn.prompt
            kept.append((turn.answer, rank))
    ranking = None
    if len(kept) > 1:
        ranking = RankedPrompt(prompt, tuple(answer for answer, _ in kept), tuple(float(rank) for _, rank in kept))
        itself = math.comb(len(kept), 2) - len(ranking.pairs()) - ranking.ties()
        dropped += Counter({"pairs of rankings: an answer preferred to itself": itself})
    if ranking is None or not ranking.pairs():
        raise _LeftOutError("no preference among the answers left")
    return ranking


class TokenizedPrompt(NamedTuple):
    """A prompt, as its record has it and in tokens.

    `owner` is by whose name it is held out or not, "" where its record states the split.
    """

    content: Content
    tokens: Tokens
    owner: str


def prompts(files: Sequence[DataSource], chat: ChatFormat, config: TextConfig) -> Gathered[TokenizedPrompt]:
    """Read the prompts of any records that have one; of equal prompts the first is kept.

    Raises:
        UserError: As `demonstrations`.
        BadRowsError: As `demonstrations`.
    """
    seen: set[Tokens] = set()

    def to_tokens(record: Prompt | Demonstration | Ranking) -> TokenizedPrompt:
        tokens = chat.prompt(record.prompt, config.max_prompt)
        if len(tokens) > config.max_prompt:
            raise _LeftOutError(f"prompt over {config.max_prompt} tokens")
        if tokens in seen:
            raise _LeftOutError("prompt seen before")
        seen.add(tokens)
        stated = isinstance(record, Prompt) and record.split != "train"
        return TokenizedPrompt(record.prompt, tokens, "" if stated else _owner(record))

    gathered: Gathered[TokenizedPrompt] = Gathered("prompts")
    _gather(files, Prompt | Demonstration | Ranking, to_tokens, config, gathered)
    gathered.about = {"prompt_tokens": sum(len(prompt.tokens) for prompt in gathered.train)}
    return gathered


def pretraining(files: Sequence[DataSource], chat: ChatFormat, config: TextConfig) -> Gathered[Tokens]:
    """Read pretraining texts and cut them into pieces, at most as long as the longest prompt and answer together.

    A `.txt` file is one document; of other files each row's text is one. A document begins with the
    beginning-of-text token, if there is one that does nothing else, and ends with the end-of-text token. A document of
    megabytes is tokenized in parts, cut at line ends.

    Raises:
        UserError: A file cannot be read, or holds nothing.
        BadRowsError: As `demonstrations`.
    """
    gathered: Gathered[Tokens] = Gathered("pretraining texts")
    length = config.max_prompt + config.max_answer
    start, end = _document_start(chat), chat.tokenizer.eos_token_id
    for document in _documents(files, config, gathered):
        tokens = chain.from_iterable(chat.encoder.encode_in_parts(document))
        whole = [t for t in (start, *tokens, end) if t is not None]
        pieces = (tuple(whole[at : at + length]) for at in range(0, len(whole), length))
        gathered.train += [piece for piece in pieces if len(piece) > 1]
    _refuse_bad_rows(gathered, config)
    if not gathered.train:
        raise UserError(f"{_names(files)}: no text in it")
    gathered.about = {"tokens": sum(map(len, gathered.train))}
    return gathered


def _document_start(chat: ChatFormat) -> int | None:
    """Return the token that documents begin with: none where the tokenizer's opens every message of a chat (ChatML)."""
    start: int | None = chat.tokenizer.bos_token_id
    turn = chat.turn("a", "b")
    return None if (*turn.prompt, *turn.answer).count(start) > 1 else start


def _documents(files: Sequence[DataSource], config: TextConfig, gathered: Gathered[Tokens]) -> Iterator[str]:
    for source in files:
        if not isinstance(source, Record) and str(source).endswith(".txt"):
            try:
                yield Path(source).read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"{source}: not UTF-8 text") from error
            continue
        for record in _records([source], config, gathered.problems):
            if isinstance(record, Demonstration):
                yield "\n".join(text for text in (plain(record.prompt), plain(record.answer)) if text)
            elif isinstance(record, Prompt):
                yield plain(record.prompt)
            else:
                gathered.dropped[f"records of another kind ({type(record).__name__})"] += 1


def _gather(
    files: Sequence[DataSource],
    kind: Any,
    convert: Callable[[Any], ItemT],
    config: TextConfig,
    gathered: Gathered[ItemT],
) -> None:
    """Make an item of every record of a kind, and count what cannot be one."""
    others: Counter[str] = Counter()
    for record in _records(files, config, gathered.problems):
        if not isinstance(record, kind):
            others[type(record).__name__] += 1
            continue
        split = _split(record, config)
        if split == "test":
            gathered.dropped["of the test split"] += 1
            continue
        try:
            item = convert(record)
        except (_LeftOutError, UnfitInputError) as reason:
            gathered.dropped[str(reason)] += 1
        else:
            (gathered.train if split == "train" else gathered.held_out).append(item)
            if split == "train":
                gathered.tasks.append(record.origin.dataset or record.origin.place.rpartition(":")[0])
    _refuse_bad_rows(gathered, config)
    gathered.dropped.update({f"records of another kind ({name})": count for name, count in others.items()})
    if not gathered.train:
        why = "; ".join(f"{count} {reason}" for reason, count in gathered.dropped.most_common(3)) or "no records"
        raise UserError(f"{_names(files)}: no {gathered.kind} to train on: {why}")


def _records(files: Sequence[DataSource], config: TextConfig, problems: Problems) -> Iterator[Record]:
    for source in files:
        if isinstance(source, Record):
            yield source
            continue
        for item in read(*recognise(str(source), config.format)):
            if isinstance(item, Problem):
                problems.add(item)
            else:
                yield item


def _names(files: Sequence[DataSource]) -> str:
    names = ("records given" if isinstance(source, Record) else str(source) for source in files)
    return ", ".join(dict.fromkeys(names)) or "no file given"


def _refuse_bad_rows(gathered: Gathered[Any], config: TextConfig) -> None:
    if gathered.problems.count and not config.skip_bad:
        raise BadRowsError(gathered.problems.first, gathered.problems.count)


def _split(record: Prompt | Demonstration | Ranking, config: TextConfig) -> str:
    if isinstance(record, Prompt) and record.split != "train":
        return record.split
    return split_of(_owner(record), PromptRules(valid=config.held_out, test=0.0))


def _owner(record: Prompt | Demonstration | Ranking) -> str:
    return record.origin.group or record.origin.user or plain(record.prompt)


def _turn(prompt: Content, answer: Content, chat: ChatFormat, config: TextConfig) -> Turn:
    """Return a turn that is not too long; what certainly is, is not tokenized.

    Raises:
        TooLongError: The prompt or the answer is.
    """
    limits = (config.max_prompt, config.max_answer)
    turn = chat.turn(prompt, answer, Limits(*limits))
    for part, tokens, limit in zip(("prompt", "answer"), turn, limits, strict=True):
        if len(tokens) > limit:
            raise TooLongError(len(tokens), f"{part} over {limit} tokens", part)
    return turn


class CritiqueTokens:
    """Encodes answers and their critiques with one tokenizer; special tokens spelled out in a text stay text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer, self._encoder = tokenizer, Encoder(tokenizer)

    def prompt(self, tamper: Tamper) -> list[int]:
        """Return what a critique of the tampered answer continues, from the beginning-of-text token on."""
        return [self._tokenizer.bos_token_id, *self._encoder.encode(prompt_of(tamper))]

    def critique(self, text: str) -> list[int]:
        """Return a finished critique: its text and the end-of-text token."""
        return [*self._encoder.encode(text), self._tokenizer.eos_token_id]

    def tree(self, tamper: Tamper, *critiques: str) -> TokenTree:
        """Return a prompt with finished critiques as branches."""
        return TokenTree.from_branches(self.prompt(tamper), [self.critique(text) for text in critiques])

    def ranking(self, comparison: Comparison) -> RankedPrompt:
        """Return a comparison as a ranking by the overall attribute, equal ratings tied."""
        return RankedPrompt(
            prompt=tuple(self.prompt(comparison.tamper)),
            branches=tuple(tuple(self.critique(text)) for text in comparison.critiques),
            ranks=tuple(-rating.overall for rating in comparison.ratings),
        )
