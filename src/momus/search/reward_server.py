"""A reward model on a server as the reward of a search.

Servers of reward models agree on nothing but JSON. Four APIs are known, and tried in this order until one answers a
request of three short texts with a number for each:

    POST /classify  vLLM                       {"input": [[tokens], …]}       {"data": [{"index", "probs": [s]}, …]}
    POST /pooling   vLLM, scores of all tokens {"input": [[tokens], …]}       {"data": [{"index", "data": [[s], …]}, …]}
    POST /classify  SGLang                     {"input_ids": [[tokens], …]}   [{"embedding": [s]}, …]
    POST /predict   text-embeddings-inference  {"inputs": [[text, text], …]}  [[{"score": s}], …]

Of scores of all tokens the last is the reward. Raw scores are requested where the API has an option for that; a server
that ignores it answers with squashed ones (0 to 1), which keep the order but not the scale: measure modifiers and
thresholds with the server they are used with.

A reward model made from the critic reads the critic's tokens, exactly as the local one does (`reward.py`). One with
another tokenizer is given prompt and critique as a conversation of two turns, by its chat template. To
text-embeddings-inference prompt and critique go as a pair of texts, which its models, encoders, are trained on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from momus.errors import UnfitInputError, UserError
from momus.lm.codec import Codec
from momus.lm.engine import Engine
from momus.lm.remote.server import RefusedError, Server
from momus.lm.tree import Tokens

TEXTS_PER_REQUEST = 32
"""The most that text-embeddings-inference takes by default."""

_UNFIT = (400, 413, 422)  # how a working server refuses a text that it cannot read


class ScoredText(NamedTuple):
    """A text to score: a prompt and a critique of it, and both as the reward model's tokens."""

    prompt: str
    critique: str
    tokens: Tokens


class ScoringAPI(NamedTuple):
    """An API that scores texts.

    Attributes:
        path: Where requests go.
        body: Makes the body of a request.
        read: Reads each text's numbers off the response.
    """

    path: str
    body: Callable[[Sequence[ScoredText]], dict[str, object]]
    read: Callable[[Any], list[Any]]


class RemoteReward:
    """Scores critiques with a reward model on a server; a `RewardFunction` of the searches.

    Args:
        server: The server and its model, or its base URL, with or without /v1.
        critic: Whose tokens prompts and critiques are made of.
        tokenizer: The reward model's, with a chat template; None where it reads the critic's tokens.

    Raises:
        UserError: The server cannot be reached or scores texts by none of the known APIs, or the tokenizer has no
            chat template.

    Attributes:
        name: Model, URL and path of the API.
    """

    def __init__(self, server: Server | str, critic: Engine | Codec, tokenizer: Any = None) -> None:
        self._server = _connect(server) if isinstance(server, str) else server
        self._critic, self._tokenizer = critic, tokenizer
        if tokenizer is not None:
            check_chat_template(tokenizer)
        self._api = self._find_api()
        self.name = f"{self._server.model} at {self._server.url} by {self._api.path}".strip()

    def __call__(self, prompts: Sequence[Tokens], critiques: Sequence[Sequence[Tokens]]) -> list[list[float]]:
        """Score critiques, [prompt][critique]: result[prompt][critique].

        Raises:
            UnfitInputError: The server refuses one of them: as a rule it is too long.
            UserError: The server fails, or answers otherwise than at first.
        """
        texts = [
            self._encode(prompt, critique)
            for prompt, of_prompt in zip(prompts, critiques, strict=True)
            for critique in of_prompt
        ]
        try:
            scores = iter(self._score(self._api, texts))
        except RefusedError as error:
            if error.status in _UNFIT:
                raise UnfitInputError(str(error)) from error
            raise
        return [[next(scores) for _ in of_prompt] for of_prompt in critiques]

    def _encode(self, prompt: Tokens, critique: Tokens) -> ScoredText:
        texts = self._critic.decode(prompt), self._critic.decode(critique)
        if self._tokenizer is None:
            return ScoredText(*texts, (*prompt, *critique))
        turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), texts, strict=True)]
        tokens = self._tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
        return ScoredText(*texts, tuple(map(int, tokens)))

    def _find_api(self) -> ScoringAPI:
        """Try every known API on three texts, two of which are equal and must have equal scores."""
        one, other = (tuple(self._critic.encode(text, bos=False)) for text in ("x = 1\n", "Right.\n\nAnd so on."))
        texts = [self._encode(one, other), self._encode(other, one), self._encode(one, other)]
        problems, refused = list[str](), list[RefusedError]()
        for api in _known_apis(self._server.model):
            try:
                first, _, third = self._score(api, texts)
                if math.isclose(first, third, rel_tol=1e-2, abs_tol=1e-3):
                    return api
                problems.append(f"{api.path}: one text has two scores, {first:g} and {third:g}")
            except RefusedError as error:
                if error.status in (401, 403, 429):
                    raise
                refused.append(error)  # 500 and 501 too: vLLM answers so on paths that are not for this kind of model
                problems.append(f"{api.path}: {error.status}")
            except UserError as error:
                problems.append(f"{api.path}: {error}")
        failed = [error for error in refused if error.status >= 500]
        if failed and len(refused) == len(problems):
            raise failed[0]
        raise UserError(
            f"{self._server.url} does not score texts as vLLM, SGLang or text-embeddings-inference do: serve the "
            f"reward model with one of them ({'; '.join(problems)})"
        )

    def _score(self, api: ScoringAPI, texts: Sequence[ScoredText]) -> list[float]:
        """Return the score of every text, `TEXTS_PER_REQUEST` in a request."""
        parts = [texts[start : start + TEXTS_PER_REQUEST] for start in range(0, len(texts), TEXTS_PER_REQUEST)]
        answers = self._server.calls(api.path, [api.body(part) for part in parts])
        scores: list[float] = []
        for answer, part in zip(answers, parts, strict=True):
            try:
                of_part = [_read_score(numbers) for numbers in api.read(answer)]
            except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                shown = " ".join(repr(answer).split())[:100]
                raise UserError(
                    f"{self._server.url}{api.path} answers without a score for each text: {shown}"
                ) from error
            if len(of_part) != len(part):
                raise UserError(f"{self._server.url}{api.path} gives {len(of_part)} scores for {len(part)} texts")
            scores += of_part
        return scores


def check_chat_template(tokenizer: Any) -> None:
    """Refuse a reward model's tokenizer that does not say how a conversation is laid out.

    Raises:
        UserError: It has no chat template.
    """
    if not tokenizer.chat_template:
        raise UserError("the reward model's tokenizer has no chat template to lay out prompt and answer by")


def _known_apis(model: str) -> tuple[ScoringAPI, ...]:
    def tokens(texts: Sequence[ScoredText]) -> list[list[int]]:
        return [list(text.tokens) for text in texts]

    def vllm(texts: Sequence[ScoredText]) -> dict[str, object]:
        return {"model": model, "input": tokens(texts), "use_activation": False}

    def sglang(texts: Sequence[ScoredText]) -> dict[str, object]:
        return {"model": model, "input_ids": tokens(texts)}

    def embeddings(texts: Sequence[ScoredText]) -> dict[str, object]:
        return {"inputs": [[text.prompt, text.critique] for text in texts], "raw_scores": True, "truncate": False}

    return (
        ScoringAPI("/classify", vllm, lambda answer: [item["probs"] for item in _in_order(answer)]),
        ScoringAPI("/pooling", vllm, lambda answer: [item["data"] for item in _in_order(answer)]),
        ScoringAPI("/classify", sglang, lambda answer: [item["embedding"] for item in answer]),
        ScoringAPI("/predict", embeddings, lambda answer: [[label["score"] for label in item] for item in answer]),
    )


def _in_order(answer: Mapping[str, Any]) -> list[Any]:
    return sorted(answer["data"], key=lambda item: int(item["index"]))


def _read_score(numbers: Any) -> float:
    """Return one text's score: its only number, or, where every token has one, the last token's."""
    if isinstance(numbers, list):
        if len(numbers) > 1 and not isinstance(numbers[0], list):
            raise UserError(f"the model gives {len(numbers)} numbers a text: a reward model gives one")
        return _read_score(numbers[-1])
    score = float(numbers)
    if not math.isfinite(score):
        raise UserError(f"the reward model gave a score of {score}: its training diverged or its precision is too low")
    return score


def _connect(url: str) -> Server:
    try:
        return Server(url)
    except RefusedError as error:
        if error.status != 404:
            raise
        return Server(url, "")  # a server that lists no models has only one
