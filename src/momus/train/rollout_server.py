"""PPO with rollouts from a server: the policy is trained here, and sampled by vLLM or SGLang with the same weights.

Before every batch the policy is written to a folder that both machines see, and the server is asked to load it:

* vLLM (tried: 0.32.0; started with VLLM_SERVER_DEV_MODE=1; 0.12 is too old): POST /collective_rpc, method
  `reload_weights`, with the folder as `weights_path`; then POST /reset_prefix_cache, so that nothing cached outlives
  the weights it came from;
* SGLang: POST /update_weights_from_disk, which forgets its cache itself.

Start the server with a folder that `save_for_server` wrote: vLLM (0.32) leaves a vocabulary head that is tied to the
embeddings as it was when it loads again, so the head is untied, at first and with every push.

Both serve whoever can reach them: keep them on a private network. The folder is a new one every time, for a server may
go on with what it has read under an old name. Older ones of the same run go; other runs may write beside them.

Whether the weights arrived is seen in the log-probabilities that the server says of what it drew: those of some
responses are computed here too (`LogprobGapWatch`), and a server that has other weights ends the run. PPO's metric
`sampler_gap` is the same difference over the whole batch.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig

from momus.errors import UserError
from momus.lm.engine import Engine
from momus.lm.engine import Sample as EngineSample
from momus.lm.forward import branch_logprobs
from momus.lm.models import fingerprint, load_causal_lm, save_causal_lm
from momus.lm.remote.engine import RemoteEngine
from momus.lm.remote.server import RefusedError, Server, UnreachableError
from momus.lm.tree import TokenTree
from momus.runtime.processes import on_main_process
from momus.runtime.runs import Run
from momus.runtime.sharding import save
from momus.train.rollout import Response, SampleCheck, Sampler, TokenIds, engine_sampler
from momus.train.settings import ServerConfig

WATCHED = 16
"""Prompts of a batch whose responses are compared."""
FIRST_GAP = "first-gap"
"""Where in a run's directory the difference of its first batch is."""
PUSHED_AS = "pushed-as"
"""Where in a run's directory is what it calls itself in the names of its folders of weights."""


class Weights(Protocol):
    """A way for a policy's weights to reach whatever samples from it."""

    def push(self, policy: Any, iteration: int) -> None:
        """Have the sampler hold the policy as it is now; every process calls it.

        Raises:
            UserError: It does not.
        """


def save_for_server(policy: Any, path: Path, tokenizer: Any = None) -> None:
    """Write a policy for a server that will be pushed newer ones; every process calls it.

    A head that is tied to the embeddings is written untied.
    """
    save(policy, path, tokenizer)
    on_main_process(lambda: _untie(path, tokenizer))


class SavedWeights:
    """Weights that reach a server through a folder.

    Args:
        server: The server; it must have been started with what `save_for_server` wrote of the policy.
        folder: Where to write, seen by the server under the same path.
        kind: What kind of server it is.
        tokenizer: Written beside the weights.
        run: By which what was written is known when it is continued, and dropped; every process makes it.
    """

    def __init__(
        self,
        server: Server,
        folder: Path,
        kind: Literal["vllm", "sglang"] = "vllm",
        tokenizer: Any = None,
        run: Run | None = None,
    ) -> None:
        self._server, self._folder, self._kind, self._tokenizer = server, folder.resolve(), kind, tokenizer
        self._start = secrets.token_hex(4)  # the same iteration before a kill was another
        self._own = run.get(PUSHED_AS) if run else None
        if self._own is None:
            self._own = secrets.token_hex(4)
            if run:
                run.put(PUSHED_AS, self._own)

    def push(self, policy: Any, iteration: int) -> None:
        """Write the policy, have the server load it, and drop what this run wrote before."""
        path = self._folder / f"iteration-{iteration}-{self._own}-{self._start}"
        save_for_server(policy, path, self._tokenizer)
        on_main_process(lambda: self._load(path))

    def _load(self, path: Path) -> None:
        if self._kind == "vllm":
            self._call("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(path)}})
            self._call("/reset_prefix_cache", {})
        else:
            self._call("/update_weights_from_disk", {"model_path": str(path), "flush_cache": True})
        for other in self._folder.glob(f"iteration-*-{self._own}-*"):
            if other != path:
                shutil.rmtree(other, ignore_errors=True)

    def _call(self, path: str, body: Mapping[str, Any]) -> None:
        try:
            answer = self._server.call(path, body)
        except RefusedError as error:
            hint = " (is VLLM_SERVER_DEV_MODE=1 set where it runs?)" if error.status == 404 else ""
            raise UserError(f"{self._server.url} did not take new weights: {path}: {error}{hint}") from error
        if isinstance(answer, Mapping) and answer.get("success") is False:
            raise UserError(f"{self._server.url} did not take new weights: {path}: {answer.get('message', answer)}")


def _untie(path: Path, tokenizer: Any) -> None:
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    if config.tie_word_embeddings:
        model = load_causal_lm(path, config.dtype or torch.float32)
        head = model.get_output_embeddings()
        head.weight = nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
        save_causal_lm(model, path, tokenizer)


class LogprobGapWatch:
    """Checks that a server samples from the policy, by the log-probabilities it returns with its samples.

    Args:
        url: The server, for error messages.
        limit: Most that they may differ from the policy's, in nats per token, mean absolute difference. Once they were
            nearer, a tenth of it is allowed, or four times the difference of the first batch.
        run: Where the first batch's difference is kept, for when the run is continued; every process makes it.
    """

    def __init__(self, url: str, limit: float, run: Run | None = None) -> None:
        self._url, self._limit, self._run = url, limit, run
        self._first: float | None = run.get(FIRST_GAP) if run else None

    @torch.no_grad()
    def __call__(self, policy: Any, prompts: Sequence[TokenIds], drawn: Sequence[Sequence[EngineSample]]) -> None:
        """Compare some of what was drawn.

        Raises:
            UserError: The server has other weights, or returns no log-probabilities.
        """
        if not prompts:  # more processes than prompts
            return
        pairs = list(zip(prompts, drawn, strict=True))[:WATCHED]
        trees = [TokenTree.from_branches(prompt, [sample.tokens for sample in samples]) for prompt, samples in pairs]
        ours = torch.cat([branch for branches in branch_logprobs(policy, trees) for branch in branches]).cpu().numpy()
        theirs = np.array([value for _, samples in pairs for sample in samples for value in sample.logprobs])
        known = np.isfinite(theirs)
        if not known.any():
            raise UserError(
                f"{self._url} says no log-probabilities of the model itself, so whether it took new weights cannot be "
                "seen: use a server that does (docs/guides/servers.md), or temperature 1"
            )
        gap = float(np.abs(ours - theirs)[known].mean())
        nearer = self._limit if self._first is None else max(self._limit / 10, 4 * self._first)
        if gap > min(self._limit, nearer):
            before = "" if self._first is None else f" ({self._first:.2g} in the first batch)"
            raise UserError(
                f"{self._url} does not draw from the policy: the log-probabilities it says are {gap:.2g} nats per "
                f"token from the policy's{before}. It kept old weights, serves another model, or computes too coarsely "
                "(gap_limit). Nothing was learnt from this batch"
            )
        if self._first is None:
            self._first = gap
            if self._run is not None:
                self._run.put(FIRST_GAP, gap)


def pushing_sampler(
    engine: Engine,
    weights: Weights,
    max_tokens: int,
    temperature: float = 1.0,
    stop_tokens: Sequence[int] = (),
    watch: SampleCheck | None = None,
) -> Sampler:
    """Return a sampler that asks an engine elsewhere, after giving it the policy's weights; see `engine_sampler`."""
    draw = engine_sampler(engine, max_tokens, temperature, stop_tokens, watch)

    def sample(
        policy: Any, prompts: Sequence[TokenIds], n: int, key: tuple[int, int]
    ) -> Sequence[Sequence[TokenIds | Response]]:
        weights.push(policy, key[1])
        return draw(policy, prompts, n, key)

    return sample


@dataclass(frozen=True)
class Rollouts:
    """Rollouts from a server: its base URL, the folder for weights, and how it takes them."""

    url: str
    folder: Path
    settings: ServerConfig = field(default_factory=ServerConfig)

    def engine(self, tokenizer: Any, load: Callable[[], Any]) -> RemoteEngine:
        """Connect and ask what the server can do; where there is none yet, write what to start it with and say so.

        Args:
            tokenizer: The policy's.
            load: Loads what the policy begins as.

        Raises:
            UserError: There is no server, or it lacks what rollouts need, or its tokenizer is another.
        """
        try:
            return RemoteEngine(self._server(), tokenizer)
        except UnreachableError as error:
            policy = load()
            # Written once, under a name that nothing else has: a server that takes long to start may be reading it.
            start = self.folder.resolve() / f"start-{fingerprint(policy)[:8]}"
            if not on_main_process(start.exists):
                save_for_server(policy, start, tokenizer)
            command = f"VLLM_SERVER_DEV_MODE=1 vllm serve {start}"
            if self.settings.kind == "sglang":
                command = f"python -m sglang.launch_server --model-path {start}"
            raise UserError(f"{error}. Start the server ({command} …), then run this command again") from error

    def sampler(
        self,
        tokenizer: Any,
        load: Callable[[], Any],
        max_tokens: int,
        temperature: float,
        ends: Collection[int],
        run: Run,
    ) -> Sampler:
        """Return a sampler that pushes the policy to the server, asks it, and sees that it drew from the policy.

        Raises:
            UserError: As `engine`.
        """
        engine, watch = self.engine(tokenizer, load), LogprobGapWatch(self.url, self.settings.gap_limit, run)
        weights = SavedWeights(self._server(), self.folder, self.settings.kind, tokenizer, run)
        return pushing_sampler(engine, weights, max_tokens, temperature, sorted(ends), watch)

    def _server(self) -> Server:
        return Server(self.url, self.settings.model)
