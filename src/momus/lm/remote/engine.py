"""The remote engine: a model behind an OpenAI-compatible server (vLLM, SGLang, llama.cpp, hosted ones).

Tokens are the model's own: its tokenizer is loaded here, prefixes travel as token numbers where the server takes
them, and what comes back is turned into tokens by number or by exact text. `lm/remote/probe.py`
finds what a server cannot do, which is refused in words; a log-probability that it does not give is nan, never 0.

Randomness is keyed like everywhere: every request has one sample and a seed of its own, made from the key, so results
do not depend on how requests are batched, where the server honours seeds.

**Constraints** are kept exactly, without the server knowing them. It continues freely; the first token that is not
allowed is drawn again, by itself, with a `logit_bias` that leaves only the allowed ones; from there it continues
freely. To draw, and to draw again among the allowed if the first was not, is to draw among the allowed with the
model's own proportions: p(t) + p(not allowed) p(t) / p(allowed) = p(t) / p(allowed).

**Stop strings** are found here, in the tokens that come back, by the rule of `lm/stop.py`. A server that shows the
tokens of a stop string is asked to stop there; any other is asked for small parts, and what follows is dropped.

Where a server takes only text, a prefix is sent as its text, which the server cuts into tokens anew and starts with
its own beginning-of-text token: a prefix that ends inside a word, or special tokens spelled out in it, are then not
what was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from momus.errors import UnfitInputError, UserError
from momus.lm.branches import Branch, BranchPlan, check_length
from momus.lm.codec import ServerCodec, read_server_tokenizer
from momus.lm.constraint import Constraint, Vocabulary
from momus.lm.engine import Choice, Key, Sample, check_sampling, constraint_per_prefix, option_tokens, prompt_keys
from momus.lm.remote.branches import RemoteBranches
from momus.lm.remote.client import ModelClient, Settings, Token, known
from momus.lm.remote.probe import CAPABILITIES, FORCE, lacks, probe
from momus.lm.remote.server import Server
from momus.lm.remote.wire import Reply, Request
from momus.lm.stop import StopStrings
from momus.lm.text.encode import Encoder

_WINDOW = 16
"""Tokens asked for at once where some may not be kept, doubled as long as all are."""


class RemoteEngine:
    """Samples from, and scores with, a model on an OpenAI-compatible server.

    Args:
        server: The server and its model, or the base URL of a server with only one.
        tokenizer: The model's fast tokenizer, or its name or folder; by default the one that this machine has of the
            model's name on the server.
        chat: Send every prefix as a user's message and take the reply for its continuation. Only for whole replies:
            there is no continuing what is already begun.
        cache_size: Prefixes whose likeliest next tokens are kept, for searches that come back to them; 0 for none.

    Raises:
        UserError: The server cannot be reached or lacks what any use needs, or the tokenizer is another model's.

    Attributes:
        capabilities: What the server showed it can do.
        context_length: Most tokens that the model reads, None where the server does not say.
    """

    def __init__(
        self, server: Server | str, tokenizer: Any = None, *, chat: bool = False, cache_size: int = 10_000
    ) -> None:
        self._server, self._chat = Server(server) if isinstance(server, str) else server, chat
        if tokenizer is None:
            tokenizer = read_server_tokenizer(self._server.model, self._server.url)
        self._codec = ServerCodec(tokenizer)
        self.capabilities = probe(self._server, chat)
        self._client = ModelClient(self._server, self._codec, self.capabilities, chat)
        self._branches = RemoteBranches(self._client, cache_size)
        self.context_length = self._codec.context_length = self._server.context_length()
        api = "chat" if chat else "completions"
        if not getattr(self.capabilities, api):
            other = "" if chat else "; chat=True takes whole replies instead"
            raise UserError(f"{lacks(self._server.url, api, 'this engine')}{other}")
        if not chat:  # a chat template comes between
            self._check_tokenizer()

    @property
    def name(self) -> str:
        """The model's name on the server, and the server's URL."""
        return f"{self._server.model} at {self._server.url}"

    @property
    def vocabulary(self) -> Vocabulary:
        """The bytes every token stands for."""
        return self._codec.vocabulary

    def encode(self, text: str, bos: bool) -> list[int]:
        """Turn text into tokens; see `Codec.encode`."""
        return self._codec.encode(text, bos)

    def decode(self, tokens: Sequence[int]) -> str:
        """Turn tokens into text, without special tokens."""
        return self._codec.decode(tokens)

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._codec.tokenizer

    @property
    def encoder(self) -> Encoder:
        """Counts and cuts texts by the tokenizer."""
        return self._codec.encoder

    @property
    def end_tokens(self) -> frozenset[int]:
        """The token that ends a text, by the tokenizer; the server may know more."""
        return self._codec.ends

    @property
    def forwarded_tokens(self) -> int:
        """Tokens sent to the server and written by it so far; how many it remembered is not known."""
        return self._client.tokens_passed

    def clear_cache(self, keep: tuple[int, ...] = ()) -> None:
        """Forget the server's answers kept here; its own cache only decides how long things take."""
        self._branches.clear_cache()

    def write(self, prefix: tuple[int, ...], plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        """Write branches of a prefix, one per plan; see `RemoteBranches.write`."""
        check_length(self.context_length, prefix, plans)
        return self._branches.write(prefix, plans, ends)

    def sample(
        self,
        prefixes: Sequence[Sequence[int]],
        n: int = 1,
        *,
        key: Key | list[Key],
        max_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        stop_tokens: Sequence[int] = (),
        stop: Sequence[str] = (),
        constraints: Sequence[Constraint | None] | None = None,
    ) -> list[list[Sample]]:
        """Sample `n` continuations of every prefix; see `Engine.sample`.

        Log-probabilities are nan where the server does not say those of the model itself: for all tokens (no
        log-probabilities, altered by temperature and top-p, or of tokens whose text is part of a character, which
        are then those of the usual way to cut the text), or for an end-of-text token it leaves out.

        Raises:
            UserError: Also when the server cannot keep to a constraint, or fails.
        """
        check_sampling(prefixes, n, max_tokens, temperature, top_p)
        self._check_lengths(prefixes, max_tokens)
        rules = constraint_per_prefix(constraints, prefixes)
        if any(rule is not None for rule in rules):
            self._check_constrained(temperature, top_p)
        stops = StopStrings(stop, self.vocabulary, self.decode)
        settings = Settings(max_tokens, temperature, top_p, tuple(stop_tokens), stops)
        keys = prompt_keys(key, len(prefixes))
        work = [
            self._write(prefix, (*prompt_key, j), rule, settings)
            for prefix, prompt_key, rule in zip(prefixes, keys, rules, strict=True)
            for j in range(n)
        ]
        samples = self._server.run(work)
        return [samples[start : start + n] for start in range(0, len(samples), n)]

    def score(self, prefix: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the log-probability (nats) of each token of each continuation of one prefix.

        Raises:
            UserError: The server gives no log-probabilities of given text, or cuts the text into other tokens.
        """
        if not self.capabilities.echo:
            raise lacks(self._server.url, "echo", "scoring given text")
        check_sampling([prefix], 1, 1, 1.0, 1.0)
        self._check_lengths([prefix], max(map(len, continuations), default=0) + 1)
        nonempty = [continuation for continuation in continuations if continuation]
        replies = self._client.ask(
            [self._client.request([*prefix, *continuation], 1, logprobs=1, echo=True) for continuation in nonempty]
        )
        scored = iter(
            [self._echoed_logprobs(reply, continuation) for reply, continuation in zip(replies, nonempty, strict=True)]
        )
        return [next(scored) if continuation else [] for continuation in continuations]

    def choose(self, prefixes: Sequence[Sequence[int]], options: tuple[str, str]) -> list[Choice]:
        """Compare two one-token options as the next token of each prefix; see `Engine.choose`.

        Raises:
            UserError: Also when the server does not name an option: it is not among the likeliest tokens.
        """
        if not self.capabilities.top_logprobs:
            raise lacks(self._server.url, "top_logprobs", f"choosing between {options[0]!r} and {options[1]!r}")
        check_sampling(prefixes, 1, 1, 1.0, 1.0)
        self._check_lengths(prefixes, 1)
        pairs = [option_tokens(self, prefix, options) for prefix in prefixes]
        can = self.capabilities
        replies = self._client.ask([self._client.request(prefix, 1, logprobs=can.top_logprobs) for prefix in prefixes])
        named = [self._client.named(reply) for reply in replies]
        missing = [(i, token) for i, pair in enumerate(pairs) for token in pair if token not in named[i]]
        if can.logit_bias and can.raw_logprobs:  # forced to draw it, the server still gives its probability
            forced = self._client.ask(
                [self._client.request(prefixes[i], 1, logprobs=1, bias={token: FORCE}) for i, token in missing]
            )
            for (i, token), reply in zip(missing, forced, strict=True):
                named[i].update({t: logprob for t, logprob in self._client.named(reply).items() if t == token})
        return [self._choice(*each, options, i) for i, each in enumerate(zip(named, pairs, strict=True))]

    async def _write(
        self, prefix: Sequence[int], key: tuple[int, ...], rule: Constraint | None, settings: Settings
    ) -> Sample:
        """Write one sample to its end, drawing again what a constraint does not allow."""
        written: list[Token] = []
        state = rule.start() if rule else None
        # What may have to be thrown away is asked for in small parts; through chat there is but one.
        in_small_parts = rule is not None or (settings.stops.strings and not self.capabilities.stop and not self._chat)
        window = _WINDOW if in_small_parts else settings.max_tokens
        only: Collection[int] | None = None  # what the next token must be one of
        while len(written) < settings.max_tokens:
            size = 1 if only is not None else min(window, settings.max_tokens - len(written))
            prompt = [*prefix, *(token for token, _ in written)]
            tokens, ended = await self._client.request_tokens(prompt, size, (*key, len(written)), only, settings)
            again: Collection[int] | None = None
            for place, one in enumerate(tokens, 1):
                if rule and rule.choice_log_odds(state) is not None:
                    raise UserError("a model on a server cannot have its quotes drawn by a pointer")
                allowed = rule.allowed(state) if rule else None
                if allowed is not None and one.token not in allowed:
                    again = allowed
                    break
                written.append(one)
                if one.token in self._codec.ends or one.token in settings.ends or (ended and place == len(tokens)):
                    return self._sample(written, finished=True)
                if at_stop := settings.stops.completed([token for token, _ in written]):
                    return self._sample(written, True, *at_stop)
                state = rule.advance(state, one.token) if rule else None
            if again is not None and only is not None:
                raise UserError(f"{self._server.url} does not keep to logit_bias, which verbatim quotes need")
            if not tokens or (self._chat and len(tokens) < size):
                break  # a limit of the server's own
            window, only = (_WINDOW if again is not None else 2 * window), again
        return self._sample(written, finished=False)

    def _echoed_logprobs(self, reply: Reply, continuation: Sequence[int]) -> list[float]:
        """Read the log-probabilities of a continuation off the prompt that came back with it at its end."""
        # One more token was asked for; if the prompt's length is not given, it is the last.
        end = reply.prompt_tokens if reply.prompt_tokens is not None else len(reply.pieces) - 1
        pieces = reply.pieces[:end][-len(continuation) :]
        if self._codec.identify(pieces) != list(continuation):
            raise UserError(
                f"{self._server.url} cuts the text to score into other tokens: use a server that takes prompts as "
                f"tokens ({CAPABILITIES['token_prompts'].found_in})"
            )
        logprobs = [known(piece.logprob) for piece in pieces]
        if any(map(math.isnan, logprobs)):
            raise UserError(f"{self._server.url} left out log-probabilities of the text to score")
        return logprobs

    def _choice(self, named: dict[int, float], pair: tuple[int, int], options: tuple[str, str], index: int) -> Choice:
        for token, option in zip(pair, options, strict=True):
            if token not in named:
                raise UserError(
                    f"option {option!r} is not among the {len(named)} likeliest tokens after prefix {index}, all that "
                    f"{self._server.url} names: the model is not answering the question, or the labels are wrong"
                )
        first, second = named[pair[0]], named[pair[1]]
        return Choice(1 / (1 + math.exp(min(second - first, 700.0))), math.exp(first) + math.exp(second))

    def _sample(self, written: Sequence[Token], finished: bool, text: str | None = None, stop: str = "") -> Sample:
        """Make a sample of its tokens; its text is theirs, less the one that ended it, unless a stop string did."""
        tokens = tuple(token for token, _ in written)
        if text is None:
            text = self.decode(tokens[:-1] if finished else tokens)
        return Sample(tokens, text, tuple(logprob for _, logprob in written), finished, stop)

    def _check_lengths(self, prefixes: Sequence[Sequence[int]], more: int) -> None:
        for index, prefix in enumerate(prefixes):
            if self.context_length is not None and len(prefix) + more > self.context_length:
                raise UnfitInputError(
                    f"prefix {index} of {len(prefix)} tokens and {more} new ones exceed the {self.context_length} that "
                    f"the model at {self._server.url} reads"
                )

    def _check_constrained(self, temperature: float, top_p: float) -> None:
        if self._chat:
            raise UserError("quotes cannot be kept verbatim through chat: there is no continuing what is begun")
        for name in ("token_prompts", "logprobs", "logit_bias"):
            if not getattr(self.capabilities, name):
                raise lacks(self._server.url, name, "keeping quotes verbatim")
        if top_p < 1 and temperature > 0:
            raise UserError("a server cannot cut at top_p what a constraint allows: use top_p = 1")

    def _check_tokenizer(self) -> None:
        """Compare the tokenizer with the server's, as far as it shows.

        Raises:
            UserError: They are different.
        """
        text, logprobs = "def f(x):\n    return x + 1  # plus one\n", 1 if self.capabilities.logprobs else None
        (reply,) = self._client.ask([Request(text, 8, logprobs=logprobs, seed=0, extra=self.capabilities.extra)])
        count = len(self.encode(text, bos=False))
        if reply.prompt_tokens not in (None, count, count + 1):  # one more at the beginning of the text
            raise UserError(self._mismatch(f"it cuts a text into {count} tokens, not {reply.prompt_tokens}"))
        odd = [piece.text for piece in reply.pieces if not self._codec.has(piece)]
        if odd:
            raise UserError(self._mismatch(f"it has no token {odd[0]!r}"))
        decoded = self.decode([token for token, _ in self._client.tokens(reply)])
        if "\N{REPLACEMENT CHARACTER}" not in decoded + reply.text and decoded.strip() != reply.text.strip():
            raise UserError(self._mismatch(f"it reads {decoded[:30]!r} where the server wrote {reply.text[:30]!r}"))

    def _mismatch(self, why: str) -> str:
        return f"the tokenizer is not that of {self._server.model} at {self._server.url}: {why}"
