"""Branches of one prefix (`lm/branches.py`), written by a model on a server.

A branch that chooses among the likeliest tokens is chosen here, with the same random numbers as in the local engine,
from the likeliest next tokens that the server names: one token a round, branches that so far agree as one request, all
of them at once. A branch that may take any token is sampled by the server, with seeds made from its key: servers name
too few tokens to choose among all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from momus.errors import UserError
from momus.lm.branches import Branch, BranchPlan, BranchWriter
from momus.lm.remote.client import ModelClient, Settings
from momus.lm.remote.probe import lacks
from momus.lm.stop import StopStrings
from momus.lm.tree import Tokens

_NEEDED = ("token_prompts", "logprobs", "top_logprobs", "token_ids")
_WINDOW = 16
"""Tokens asked for at once of a branch that may end at any of them."""

Likeliest = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]
"""Log-probabilities of next tokens, the likeliest first, and the tokens: [k] each."""


class RemoteBranches:
    """Writes branches, and remembers what may follow which prefix.

    Args:
        client: The model.
        memory: Most prefixes that are remembered, the least recently used forgotten first; 0 for none.
    """

    def __init__(self, client: ModelClient, memory: int) -> None:
        self._client, self._most = client, memory
        self._known: OrderedDict[Tokens, Likeliest] = OrderedDict()

    def clear_cache(self) -> None:
        """Forget everything."""
        self._known.clear()

    def write(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        """Write branches of a prefix, one per plan, together.

        The log-probability of a branch that may take any token is nan.

        Raises:
            UserError: The server does not give what is needed, or fails.
        """
        self._check(plans)
        writers = [BranchWriter(plan, ends) for plan in plans]
        branches = {i: writer.branch for i, writer in enumerate(writers) if writer.plan.top_k is not None}
        free = [i for i, plan in enumerate(plans) if plan.top_k is None]
        sampled = dict(zip(free, self._sampled(prefix, [plans[i] for i in free], ends), strict=True))
        waiting = [writers[i] for i in branches]
        while waiting := [writer for writer in waiting if not writer.done]:
            prompts = [(*prefix, *writer.tokens) for writer in waiting]
            following = self._following(list(dict.fromkeys(prompts)))
            for writer, prompt in zip(waiting, prompts, strict=True):
                logprobs, tokens = following[prompt]
                writer.add(logprobs[: writer.plan.top_k], tokens[: writer.plan.top_k])
        return [sampled[i] if i in sampled else branches[i]() for i in range(len(plans))]

    def _following(self, prompts: Sequence[Tokens]) -> dict[Tokens, Likeliest]:
        """Return the likeliest next tokens of every prompt."""
        client, k = self._client, self._client.can.top_logprobs
        new = [prompt for prompt in prompts if prompt not in self._known]
        replies = client.ask([client.request(prompt, 1, logprobs=k) for prompt in new])
        likeliest = {prompt: self._known[prompt] for prompt in prompts if prompt in self._known}
        for prompt, reply in zip(new, replies, strict=True):
            # What was drawn may be beyond the likeliest; equal ones in the order of their numbers.
            named = sorted(client.named(reply).items(), key=lambda item: (-item[1], item[0]))[:k]
            if len(named) < min(k, len(client.codec.vocabulary)):
                raise UserError(f"{client.server.url} names {len(named)} next tokens where it was asked for {k}")
            tokens, logprobs = zip(*named, strict=True)
            likeliest[prompt] = np.array(logprobs, np.float64), np.array(tokens, np.int64)
        for prompt in prompts if self._most else ():
            self._known[prompt] = likeliest[prompt]
            self._known.move_to_end(prompt)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return likeliest

    def _sampled(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        return self._client.server.run([self._sample(prefix, plan, ends) for plan in plans])

    async def _sample(self, prefix: Tokens, plan: BranchPlan, ends: frozenset[int]) -> Branch:
        """Have the server write a branch, in parts: it does not know where the branch is to end."""
        client, tokens = self._client, list[int]()
        settings = Settings(
            max_tokens=plan.max_tokens,
            temperature=0.0 if plan.key is None else plan.temperature,
            top_p=1.0,
            ends=tuple(sorted(ends)),
            stops=StopStrings((), client.codec.vocabulary, client.codec.decode),
        )
        window = _WINDOW
        while len(tokens) < plan.max_tokens:
            size, key = min(window, plan.max_tokens - len(tokens)), (*(plan.key or ()), plan.sample, len(tokens))
            new, ended = await client.request_tokens([*prefix, *tokens], size, key, None, settings)
            for place, (token, _) in enumerate(new, 1):
                tokens.append(token)
                at_end = token in ends or (ended and place == len(new))
                if at_end or plan.should_stop(tokens):
                    return Branch(tuple(tokens), float("nan"), at_end)
            if not new:
                break  # a limit of the server's own
            window *= 2
        return Branch(tuple(tokens), float("nan"), False)

    def _check(self, plans: Sequence[BranchPlan]) -> None:
        client = self._client
        if client.chat:
            raise UserError("branches cannot be written through chat: there is no continuing what is begun")
        for name in _NEEDED:
            if not getattr(client.can, name):
                raise lacks(client.server.url, name, "writing branches (RAIN)")
        most = max((plan.top_k or 0 for plan in plans), default=0)
        if most > client.can.top_logprobs:
            raise UserError(
                f"{client.server.url} names {client.can.top_logprobs} next tokens at most, and {most} are to be chosen "
                "among: use a server that names more, or choose among fewer"
            )
