"""Engines: what search and training ask of a language model at generation time.

An engine samples continuations of token prefixes, scores given ones, and chooses between two labelled options
by next-token probability. Callers never see caches or batches: all randomness is a function of (key, prompt,
sample, step), so the same tokens come out however an engine groups the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from momus.errors import UserError
from momus.lm.constraint import Constraint, State, Vocabulary

Key = int | tuple[int, ...]
"""What a random stream is named by: non-negative integers."""


@dataclass(frozen=True)
class Sample:
    """One continuation of a prefix.

    `tokens` includes what ended it: an end-of-text or stop token, or the tokens of a stop string; `text` does not.
    `logprobs` are those of the model itself, in nats, before temperature, top-p and constraint. `finished` is False
    when the length limit cut it short. `stop` is the stop string that ended it, "" where its last token did.
    """

    tokens: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    finished: bool
    stop: str = ""


class Choice(NamedTuple):
    """How likely the first of two options is against the second, and the probability both have together.

    A `mass` near 0 means that the model was not answering the question; `probability` then says nothing.
    """

    probability: float
    mass: float


class Engine(Protocol):
    """A causal language model that continues, scores and chooses."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The bytes every token stands for; what constraints are made from."""

    def encode(self, text: str, bos: bool) -> list[int]:
        """Turn text into tokens; special tokens spelled out in the text stay text."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Turn tokens into text, without special tokens."""

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
        """Sample `n` continuations of every prefix: result[prefix][sample].

        Args:
            prefixes: Token sequences, none empty.
            n: Continuations per prefix.
            key: Names the randomness. One key serves all prefixes, which their index distinguishes; a list gives
                each prefix its own, so that its samples do not depend on what else is in the call.
            max_tokens: Longest continuation, in tokens.
            temperature: 0 takes the likeliest token.
            top_p: Keep the smallest set of tokens with at least this probability.
            stop_tokens: Tokens that end a continuation besides the model's own end-of-text tokens.
            stop: Strings that end a continuation; it ends before the first to be complete (`lm/stop.py`).
            constraints: One per prefix: which tokens may come next.

        Raises:
            UserError: An argument is out of range, or a prefix is empty or too long for the model.
        """

    def score(self, prefix: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the log-probability (nats) of each token of each continuation of one prefix."""

    def choose(self, prefixes: Sequence[Sequence[int]], options: tuple[str, str]) -> list[Choice]:
        """Compare two one-token options as the next token of each prefix.

        Raises:
            UserError: An option is not exactly one token after one of the prefixes, or both are the same.
        """


class SearchEngine(Engine, Protocol):
    """An engine that a rewinding search goes over: it says what it reads and what that cost, and can start afresh."""

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""

    @property
    def context_length(self) -> int | None:
        """Most tokens that the model reads, None for any number or where that is not known."""

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end a text of the model's."""

    @property
    def forwarded_tokens(self) -> int:
        """Tokens pushed through the model so far; of a model on a server, those sent to it and written by it."""

    def clear_cache(self, keep: tuple[int, ...] = ()) -> None:
        """Start as if nothing had been read but one sequence: what comes then depends on nothing before."""


def choose_in_both_orders(
    engine: Engine, questions: Sequence[tuple[Sequence[int], Sequence[int]]], options: tuple[str, str]
) -> list[Choice]:
    """Compare two candidates by labels, asked in both orders, so that a liking for a label or a place cancels out.

    Args:
        engine: Who is asked.
        questions: Pairs of prefixes: one where the first label names the first candidate, one where it names the
            second.
        options: The two labels, such as ``("A", "B")``.

    Returns:
        How likely the first candidate is, the mean of both orders; the mass is that of the worse-answered one.

    Raises:
        UserError: As `Engine.choose`.
    """
    answers = engine.choose([prefix for pair in questions for prefix in pair], options)
    both = zip(answers[::2], answers[1::2], strict=True)
    return [Choice((one.probability + 1 - other.probability) / 2, min(one.mass, other.mass)) for one, other in both]


def check_sampling(
    prefixes: Sequence[Sequence[int]], n: int, max_tokens: int, temperature: float, top_p: float
) -> None:
    """Refuse what no engine can sample.

    Raises:
        UserError: A setting is out of range, or a prefix is empty.
    """
    if n < 1 or max_tokens < 1:
        raise UserError(f"n and max_tokens must be at least 1, not {n} and {max_tokens}")
    if not temperature >= 0 or not 0 < top_p <= 1:  # nan is refused too
        raise UserError(f"temperature must be at least 0 and top_p in (0, 1], not {temperature} and {top_p}")
    for index, prefix in enumerate(prefixes):
        if not len(prefix):
            raise UserError(f"prefix {index} is empty: start it with the beginning-of-text token")


def constraint_per_prefix(
    constraints: Sequence[Constraint | None] | None, prefixes: Sequence[Sequence[int]]
) -> Sequence[Constraint | None]:
    """Give every prefix its constraint, or none.

    Raises:
        UserError: There is another number of them.
    """
    if constraints is None:
        return [None] * len(prefixes)
    if len(constraints) != len(prefixes):
        raise UserError(f"{len(constraints)} constraints for {len(prefixes)} prefixes: give one each")
    return constraints


def prompt_keys(key: Key | list[Key], prompts: int) -> list[tuple[int, ...]]:
    """Give every prompt its own key: the one listed for it, or the shared key followed by the prompt's index.

    Raises:
        UserError: The list has another length, or a key is negative.
    """
    if isinstance(key, list):
        if len(key) != prompts:
            raise UserError(f"{len(key)} keys for {prompts} prompts: give one each, or a single key for all")
        keys = [_as_tuple(part) for part in key]
    else:
        keys = [(*_as_tuple(key), index) for index in range(prompts)]
    if any(number < 0 for parts in keys for number in parts):
        raise UserError("random keys must be non-negative integers")
    return keys


def uniforms(key: tuple[int, ...], sample: int, steps: int) -> npt.NDArray[np.float64]:
    """Return the random numbers in [0, 1) of one sample of one prompt, one per step: [steps].

    The first numbers are the same for any `steps`.
    """
    seed = np.random.SeedSequence([len(key), *key, sample])  # which pads with zeros: the length tells keys apart
    return np.random.Generator(np.random.Philox(seed)).random(steps)


def apply_choice(constraint: Constraint | None, state: State, noise: float, temperature: float) -> tuple[State, float]:
    """Make the choice that a constraint asks for before the next token, if any; see `sample_by_log_odds`.

    Returns:
        The state after it, and the noise left for the token.
    """
    odds = constraint.choice_log_odds(state) if constraint else None
    if constraint is None or odds is None:
        return state, noise
    choice, left = sample_by_log_odds(odds, noise, temperature)
    return constraint.choose(state, choice), left


def sample_by_log_odds(odds: Sequence[float], noise: float, temperature: float) -> tuple[int, float]:
    """Choose by the logarithms of odds, over a temperature; 0 takes the best.

    Args:
        odds: One or more.
        noise: A random number in [0, 1).
        temperature: At least 0.

    Returns:
        The index, and what the choice left of the noise: again a random number in [0, 1), independent of it.
    """
    scores = np.asarray(odds, dtype=np.float64)
    if temperature == 0:
        return int(scores.argmax()), noise
    shares = np.exp((scores - scores.max()) / temperature)
    stops = shares.cumsum() / shares.sum()
    choice = min(int(np.searchsorted(stops, noise, side="right")), len(stops) - 1)
    start = stops[choice - 1] if choice else 0.0
    return choice, float(min((noise - start) / (stops[choice] - start), np.nextafter(1, 0)))


def option_tokens(engine: Engine, prefix: Sequence[int], options: tuple[str, str]) -> tuple[int, int]:
    """Resolve two options to the single tokens they are right after `prefix`.

    Raises:
        UserError: An option is several tokens there, merges with the text before it, or equals the other.
    """
    tail = engine.decode(prefix[-16:])
    context = engine.encode(tail, bos=False)
    tokens = []
    for option in options:
        joined = engine.encode(tail + option, bos=False)
        if joined[:-1] != context:  # by itself it may be another token: SentencePiece puts a space before it
            raise UserError(f"option {option!r} is not exactly one token after {tail[-20:]!r}: choose another label")
        tokens.append(joined[-1])
    if tokens[0] == tokens[1]:
        raise UserError(f"options {options[0]!r} and {options[1]!r} are the same token")
    return tokens[0], tokens[1]


def _as_tuple(key: Key) -> tuple[int, ...]:
    return key if isinstance(key, tuple) else (key,)
