"""PPO with rollouts from a server: the policy is trained here, and sampled by vLLM or SGLang with the same weights.

Before every batch the policy is written to a folder that both machines see, and the server is told to load it:

* vLLM (tried: 0.32.0; started with VLLM_SERVER_DEV_MODE=1; 0.12 is too old): POST /collective_rpc, method
  `reload_weights`, with the folder as `weights_path`; then POST /reset_prefix_cache, so that nothing cached outlives
  the weights it came from;
* SGLang: POST /update_weights_from_disk, which forgets its cache itself.

Start the server with a folder that `save_for_server` wrote: vLLM (0.32) leaves a vocabulary head that is tied to the
embeddings as it was when it loads again, so the head is given weights of its own, at first and with every push.

Both serve whoever can reach them: keep them on a private network. The folder is a new one every time, for a server may
go on with what it has read under an old name. Whether the weights arrived shows in PPO's metric `sampler_gap`: the
trainer computes every log-probability itself and measures how far the server's are from it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn
from transformers import AutoConfig

from momus.errors import UserError
from momus.lm.engine import Engine
from momus.lm.models import load_causal_lm, save_causal_lm
from momus.lm.server import RefusedError, Server
from momus.train.processes import on_main
from momus.train.rollout import Drawn, Sample, Tokens, engine_sampler
from momus.train.sharding import save


class Weights(Protocol):
    """A way for a policy's weights to reach whatever samples from it."""

    def push(self, policy: Any, iteration: int) -> None:
        """Have the sampler hold the policy as it is now; every process calls it.

        Raises:
            UserError: It does not.
        """


def save_for_server(policy: Any, path: Path, tokenizer: Any = None) -> None:
    """Write a policy for a server that will be pushed newer ones; every process calls it.

    A head that is tied to the embeddings is written as one of its own.
    """
    save(policy, path, tokenizer)
    on_main(lambda: _untie(path, tokenizer))


class SavedWeights:
    """Weights that reach a server through a folder.

    Args:
        server: The server; it must have been started with what `save_for_server` wrote of the policy.
        folder: Where to write, seen by the server under the same path.
        kind: What kind of server it is.
        tokenizer: Written beside the weights.
    """

    def __init__(
        self, server: Server, folder: Path, kind: Literal["vllm", "sglang"] = "vllm", tokenizer: Any = None
    ) -> None:
        self._server, self._folder, self._kind, self._tokenizer = server, folder.resolve(), kind, tokenizer

    def push(self, policy: Any, iteration: int) -> None:
        """Write the policy, have the server load it, and drop what was written before."""
        path = self._folder / f"iteration-{iteration}"
        save_for_server(policy, path, self._tokenizer)
        on_main(lambda: self._load(path))

    def _load(self, path: Path) -> None:
        if self._kind == "vllm":
            self._call("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(path)}})
            self._call("/reset_prefix_cache", {})
        else:
            self._call("/update_weights_from_disk", {"model_path": str(path), "flush_cache": True})
        for other in self._folder.glob("iteration-*"):
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
    config = AutoConfig.from_pretrained(path)
    if config.tie_word_embeddings:
        model = load_causal_lm(path, config.dtype or torch.float32)
        head = model.get_output_embeddings()
        head.weight = nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
        save_causal_lm(model, path, tokenizer)


def pushing_sampler(engine: Engine, weights: Weights, max_tokens: int, temperature: float = 1.0) -> Sample:
    """Return a `Sample` that asks an engine elsewhere, after giving it the policy's weights."""
    draw = engine_sampler(engine, max_tokens, temperature)

    def sample(
        policy: Any, prompts: Sequence[Tokens], n: int, key: tuple[int, int]
    ) -> Sequence[Sequence[Tokens | Drawn]]:
        weights.push(policy, key[1])
        return draw(policy, prompts, n, key)

    return sample
