"""A reward model on a server as the reward of a search.

Servers of reward models agree on nothing but JSON. Four ways are known, and tried in this order until one answers a
question of two short texts with a number for each:

    POST /classify  vLLM                       {"input": [[tokens], …]}       {"data": [{"index", "probs": [s]}, …]}
    POST /pooling   vLLM, scores of all tokens {"input": [[tokens], …]}       {"data": [{"index", "data": [[s], …]}, …]}
    POST /classify  SGLang                     {"input_ids": [[tokens], …]}   [{"embedding": [s]}, …]
    POST /predict   text-embeddings-inference  {"inputs": [[text, text], …]}  [[{"score": s}], …]

Of scores of all tokens the last is the reward. Raw scores are asked for where there is a way to; a server that does not
know it answers with squashed ones (0 to 1), which keep the order but not the scale: measure modifiers and thresholds
with the server they are used with.

A reward model made from the critic reads the critic's own tokens, exactly as the local one does (`reward.py`). One with
a tokenizer of its own is given prompt and critique as a conversation of two turns, by its chat template. To text-
embeddings-inference prompt and critique go as a pair of texts: its models are encoders, which are trained on those.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from momus.errors import UnfitInputError, UserError
from momus.lm.codec import Codec
from momus.lm.engine import Engine
from momus.lm.remote.server import RefusedError, Server
from momus.search.result import Tokens

AT_ONCE = 32
"""Texts in one request: the most that text-embeddings-inference takes by default."""

_UNFIT = (400, 413, 422)  # what a server that has answered before says to what it cannot read


class Row(NamedTuple):
    """What is scored: a prompt and a critique of it as text, and both as the reward model's tokens."""

    prompt: str
    critique: str
    tokens: Tokens


class Way(NamedTuple):
    """One way to ask: where, with which body, and how the numbers are read off the answer (each text's own list)."""

    path: str
    body: Callable[[Sequence[Row]], dict[str, object]]
    read: Callable[[Any], list[Any]]


class RemoteReward:
    """Scores critiques with a reward model on a server; a `Reward` of the searches.

    Args:
        server: The server and its model, or its base URL, with or without /v1.
        critic: Whose tokens prompts and critiques are made of.
        tokenizer: The reward model's own, with a chat template; None where it reads the critic's tokens.

    Raises:
        UserError: The server cannot be reached or scores texts in none of the known ways, or the tokenizer has no
            chat template.

    Attributes:
        name: What was found: URL, model and the path that scores.
    """

    def __init__(self, server: Server | str, critic: Engine | Codec, tokenizer: Any = None) -> None:
        self._server = _at(server) if isinstance(server, str) else server
        self._critic, self._tokenizer = critic, tokenizer
        if tokenizer is not None:
            check_layout(tokenizer)
        self._way = self._found()
        self.name = f"{self._server.model} at {self._server.url} by {self._way.path}".strip()

    def __call__(self, prompts: Sequence[Tokens], critiques: Sequence[Sequence[Tokens]]) -> list[list[float]]:
        """Score critiques [prompt][critique], `AT_ONCE` in a request.

        Raises:
            UnfitInputError: The server does not take one of them: as a rule it is too long.
            UserError: It fails, or answers otherwise than when it was first asked.
        """
        rows = [self._row(prompt, own) for prompt, group in zip(prompts, critiques, strict=True) for own in group]
        try:
            scores = iter(self._scores(self._way, rows))
        except RefusedError as error:
            if error.status in _UNFIT:
                raise UnfitInputError(str(error)) from error
            raise
        return [[next(scores) for _ in group] for group in critiques]

    def _row(self, prompt: Tokens, critique: Tokens) -> Row:
        texts = self._critic.decode(prompt), self._critic.decode(critique)
        if self._tokenizer is None:
            return Row(*texts, (*prompt, *critique))
        turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), texts, strict=True)]
        tokens = self._tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
        return Row(*texts, tuple(map(int, tokens)))

    def _found(self) -> Way:
        """Ask in every known way about two texts, one of them twice: equal texts must have equal scores."""
        one, other = (tuple(self._critic.encode(text, bos=False)) for text in ("x = 1\n", "Right.\n\nAnd so on."))
        rows = [self._row(one, other), self._row(other, one), self._row(one, other)]
        problems, refused = list[str](), list[RefusedError]()
        for way in _ways(self._server.model):
            try:
                first, _, third = self._scores(way, rows)
                if math.isclose(first, third, rel_tol=1e-2, abs_tol=1e-3):
                    return way
                problems.append(f"{way.path}: one text has two scores, {first:g} and {third:g}")
            except RefusedError as error:
                if error.status in (401, 403, 429):
                    raise
                refused.append(error)  # with 500 or 501 too: vLLM says so of a path that the model is not for
                problems.append(f"{way.path}: {error.status}")
            except UserError as error:
                problems.append(f"{way.path}: {error}")
        failed = [error for error in refused if error.status >= 500]
        if failed and len(refused) == len(problems):
            raise failed[0]
        raise UserError(
            f"{self._server.url} does not score texts as vLLM, SGLang or text-embeddings-inference do: serve the "
            f"reward model with one of them ({'; '.join(problems)})"
        )

    def _scores(self, way: Way, rows: Sequence[Row]) -> list[float]:
        parts = [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
        answers = self._server.calls(way.path, [way.body(part) for part in parts])
        found: list[float] = []
        for answer, part in zip(answers, parts, strict=True):
            try:
                numbers = [_reward(own) for own in way.read(answer)]
            except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                shown = " ".join(repr(answer).split())[:100]
                raise UserError(
                    f"{self._server.url}{way.path} answers without a score for each text: {shown}"
                ) from error
            if len(numbers) != len(part):
                raise UserError(f"{self._server.url}{way.path} gives {len(numbers)} scores for {len(part)} texts")
            found += numbers
        return found


def check_layout(tokenizer: Any) -> None:
    """Refuse a reward model's tokenizer that does not say how a conversation is laid out.

    Raises:
        UserError: It has no chat template.
    """
    if not tokenizer.chat_template:
        raise UserError("the reward model's tokenizer has no chat template to lay out prompt and answer by")


def _ways(model: str) -> tuple[Way, ...]:
    def tokens(rows: Sequence[Row]) -> list[list[int]]:
        return [list(row.tokens) for row in rows]

    def vllm(rows: Sequence[Row]) -> dict[str, object]:
        return {"model": model, "input": tokens(rows), "use_activation": False}

    def sglang(rows: Sequence[Row]) -> dict[str, object]:
        return {"model": model, "input_ids": tokens(rows)}

    def embeddings(rows: Sequence[Row]) -> dict[str, object]:
        return {"inputs": [[row.prompt, row.critique] for row in rows], "raw_scores": True, "truncate": False}

    return (
        Way("/classify", vllm, lambda answer: [own["probs"] for own in _in_order(answer)]),
        Way("/pooling", vllm, lambda answer: [own["data"] for own in _in_order(answer)]),
        Way("/classify", sglang, lambda answer: [own["embedding"] for own in answer]),
        Way("/predict", embeddings, lambda answer: [[label["score"] for label in own] for own in answer]),
    )


def _in_order(answer: Mapping[str, Any]) -> list[Any]:
    return sorted(answer["data"], key=lambda own: int(own["index"]))


def _reward(numbers: Any) -> float:
    """Return one text's reward: its only number, or, where every token has one, the last token's."""
    if isinstance(numbers, list):
        if len(numbers) > 1 and not isinstance(numbers[0], list):
            raise UserError(f"the model gives {len(numbers)} numbers a text: a reward model gives one")
        return _reward(numbers[-1])
    score = float(numbers)
    if not math.isfinite(score):
        raise UserError(f"the reward model gave a score of {score}: its training diverged or its precision is too low")
    return score


def _at(url: str) -> Server:
    try:
        return Server(url)
    except RefusedError as error:
        if error.status != 404:
            raise
        return Server(url, "")  # which lists no models, and has but one
