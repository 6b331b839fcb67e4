"""Rollouts from a server that is given new weights: one in this process, with vLLM's and SGLang's interfaces."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from momus.errors import UserError
from momus.lm.codec import read_tokenizer
from momus.lm.local.engine import LocalEngine
from momus.lm.models import load_causal_lm
from momus.runtime.runs import Run
from momus.train.ppo import PPOResult, train_policy
from momus.train.rollout import engine_sampler
from momus.train.rollout_server import LogprobGapWatch, SavedWeights, pushing_sampler, save_for_server
from support.openai_server import OpenAIServer
from support.reloading import Reloading
from support.stages import SMALL, same
from support.tiny import tiny_engine, tiny_model, tiny_tokenizer

CONFIG = dataclasses.replace(SMALL, policy_learning_rate=3e-3, warmup_iterations=0)


def score(prompts, responses):
    """Pay for small token numbers."""
    return [[-sum(response) / 400 for response in item] for item in responses]


def train(folder: Path, server: OpenAIServer, sampler: Any) -> PPOResult:
    tokenizer = tiny_tokenizer()
    prompts = [server.engine.encode(text, bos=True) for text in ("def f(items):", "total", "for x in items:")]
    return train_policy(
        tiny_model(), None, prompts, sampler, score, CONFIG, Run(folder, CONFIG), eos_id=tokenizer.eos_token_id
    )


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_the_server_samples_from_the_policy_as_it_is(tmp_path: Path, kind: str) -> None:
    server = Reloading()
    weights = SavedWeights(server.server(), tmp_path / "weights", kind, tiny_tokenizer())
    result = train(tmp_path / "run", server, pushing_sampler(server.remote(), weights, 6))
    assert [line["sampler_gap"] for line in result.history] == pytest.approx([0, 0, 0], abs=1e-4)
    assert result.history[-1]["kl"] != 0
    paths = [path for path, _ in server.calls]
    each = ["/collective_rpc", "/reset_prefix_cache"] if kind == "vllm" else ["/update_weights_from_disk"]
    assert paths == each * CONFIG.iterations
    # Every time another folder, of which the last stays: a model that transformers loads.
    (last,) = (tmp_path / "weights").iterdir()
    assert last.name.startswith(f"iteration-{CONFIG.iterations - 1}-")
    assert same(load_causal_lm(last), server.engine.model)
    loaded = {str(body.get("model_path") or body["kwargs"]["weights_path"]) for _, body in server.calls if body}
    assert len(loaded) == CONFIG.iterations


def test_in_a_shared_folder_a_run_drops_what_it_wrote_and_nothing_else(tmp_path: Path) -> None:
    shared, server, policy = tmp_path / "shared", Reloading().server(), tiny_model()
    (shared / "iteration-notes-of-mine").mkdir(parents=True)

    def started(name: str) -> SavedWeights:
        return SavedWeights(server, shared, run=Run(tmp_path / name, CONFIG))

    one, other = started("one"), started("other")
    for iteration in range(2):
        one.push(policy, iteration)
        other.push(policy, iteration)
    started("one").push(policy, 1)  # as after a kill
    left = sorted(folder.name for folder in shared.iterdir())
    assert left[-1] == "iteration-notes-of-mine" and len(left) == 3
    assert len({name.split("-")[2] for name in left[:2]}) == 2 and all(
        name.startswith("iteration-1-") for name in left[:2]
    )


def test_the_gap_shows_weights_that_did_not_arrive(tmp_path: Path) -> None:
    server = Reloading()
    result = train(tmp_path, server, engine_sampler(server.remote(), 6))
    gaps = [line["sampler_gap"] for line in result.history]
    assert gaps[0] < 1e-4 < 1e-2 < gaps[1] < gaps[2]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_server_that_keeps_old_weights_ends_the_run(tmp_path: Path, temperature: float) -> None:
    """Before anything is learnt of what it drew, and at any temperature; one that takes them does not."""
    pushes = SavedWeights(Reloading().server(), tmp_path)  # to another one

    def drawn(server: OpenAIServer, seed: int, watching: LogprobGapWatch) -> None:
        sampler = pushing_sampler(server.remote(), pushes, 5, temperature, watch=watching)
        sampler(tiny_model(seed=seed), [[1, 5], [1, 6, 9]], 4, (0, 0))

    near, server = tiny_model(), Reloading()
    with torch.no_grad():
        near.get_output_embeddings().weight.mul_(1.03)  # a little training
    watching = LogprobGapWatch("http://here", 0.1)
    drawn(server, 0, watching)
    server.engine.model.load_state_dict(near.state_dict())
    with pytest.raises(
        UserError, match=r"does not draw from the policy.*in the first batch.*kept old weights"
    ) as caught:
        drawn(server, 0, watching)
    assert "\n" not in str(caught.value)
    drawn(
        server, 0, LogprobGapWatch("http://here", 0.1)
    )  # of a first batch as much is rounding that low precision may do
    drawn(Reloading(), 0, LogprobGapWatch("http://here", 0.1, Run(tmp_path / "run", CONFIG)))
    with pytest.raises(UserError, match="in the first batch"):  # nor is it forgotten when the run is continued
        drawn(server, 0, LogprobGapWatch("http://here", 0.1, Run(tmp_path / "run", CONFIG)))
    with pytest.raises(UserError, match="does not draw from the policy"):
        drawn(server, 4, LogprobGapWatch("http://here", 0.1))  # another model


def test_a_server_that_says_no_log_probabilities_cannot_be_trusted_with_weights(tmp_path: Path) -> None:
    server = OpenAIServer(tiny_engine(), top=0)
    pushes = SavedWeights(Reloading().server(), tmp_path)
    sampler = pushing_sampler(server.remote(), pushes, 5, watch=LogprobGapWatch("http://here", 0.1))
    with pytest.raises(UserError, match="says no log-probabilities"):
        sampler(tiny_model(), [[1, 5]], 2, (0, 0))


def test_a_push_brings_the_very_weights(tmp_path: Path) -> None:
    """What the server says of its draws is what the policy here would say of them."""
    server, policy = Reloading(), tiny_model(seed=4)
    prompt = server.engine.encode("def", bos=True)
    weights = SavedWeights(server.server(), tmp_path)
    remote = pushing_sampler(server.remote(), weights, 5)(policy, [prompt], 3, (0, 7))
    assert same(server.engine.model, policy)
    engine = LocalEngine(policy, tiny_tokenizer())
    for drawn in remote[0]:
        expected = engine.score(prompt, [drawn.tokens])[0]
        torch.testing.assert_close(torch.tensor(drawn.logprobs), torch.tensor(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("refuse", "message"),
    [(404, "VLLM_SERVER_DEV_MODE=1"), (400, "refused the request"), (200, "shapes differ")],
)
def test_a_server_that_takes_no_weights_is_one_line(tmp_path: Path, refuse: int, message: str) -> None:
    server = Reloading(refuse)
    sampler = pushing_sampler(server.remote(), SavedWeights(server.server(retries=0), tmp_path), 5)
    with pytest.raises(UserError, match="did not take new weights") as caught:
        sampler(tiny_model(), [[1, 5]], 1, (0, 0))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tied_head_is_written_as_one_of_its_own(tmp_path: Path) -> None:
    """vLLM does not load a tied head again: what is pushed must not rely on it."""
    policy = tiny_model(seed=4)
    policy.config.tie_word_embeddings = True
    policy.tie_weights()
    save_for_server(policy, tmp_path / "m", tiny_tokenizer())
    stored = load_file(tmp_path / "m" / "model.safetensors")
    assert torch.equal(stored["lm_head.weight"], policy.get_input_embeddings().weight)
    served = load_causal_lm(tmp_path / "m")
    assert not served.config.tie_word_embeddings
    tokens = torch.tensor([[1, 5, 7]])
    torch.testing.assert_close(served(tokens).logits, policy(tokens).logits)
    assert read_tokenizer(tmp_path / "m").get_vocab() == tiny_tokenizer().get_vocab()
