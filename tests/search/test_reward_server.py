"""A reward model on a server against the same one here, on every kind of server; and what is said when it fails."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from momus.cli import main
from momus.errors import UnfitInputError, UserError
from momus.lm.models import RewardModel
from momus.lm.remote.server import RefusedError
from momus.search.fsbs import FSBSConfig, force_sampling_beam_search
from momus.search.result import EncodedTask, RewardSource
from momus.search.reward import load_reward_function, reward_function
from momus.search.reward_export import export_classifier
from momus.search.reward_server import TEXTS_PER_REQUEST, RemoteReward
from support.reward_servers import RewardServer
from support.tiny import tiny_engine, tiny_model, tiny_tokenizer

ENGINE = tiny_engine()
KINDS = ["vllm", "vllm-tokens", "sglang", "tei"]


@lru_cache
def reward_model() -> RewardModel:
    torch.manual_seed(3)
    model = RewardModel.from_causal_lm(tiny_model(seed=3)).eval()
    model.bias.fill_(0.5)
    return model


def scores_of(text: Any) -> list[float]:
    """Score every token of a text, given as tokens, or as a pair of texts."""
    if isinstance(text[0], str):
        text = [1, *ENGINE.encode("".join(text), bos=False)]
    model = reward_model()
    with torch.inference_mode():
        states = model.backbone(torch.tensor([text])).last_hidden_state
        return model(states)[0].tolist()


PROMPTS = [tuple(ENGINE.encode(text, bos=True)) for text in ("total = 0\n", "return total\n")]
CRITIQUES = [
    [tuple(ENGINE.encode(text, bos=False)) for text in texts]
    for texts in (["Right.", "for x in items", "the first row is a header."] * 13, ["No problems found."])
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_server_scores_as_the_model_here(kind: str) -> None:
    made = RewardServer(kind, scores_of)
    reward = RemoteReward(made.server(), ENGINE)
    made.bodies.clear()
    expected = reward_function(reward_model())(PROMPTS, CRITIQUES)
    found = reward(PROMPTS, CRITIQUES)
    assert [len(scores) for scores in found] == [39, 1]
    for mine, its in zip(found, expected, strict=True):
        assert mine == pytest.approx(its, abs=1e-4)
    assert len(made.bodies) == -(-40 // TEXTS_PER_REQUEST), "many texts in a request"
    assert reward([], []) == [] and reward(PROMPTS[:1], [[]]) == [[]]
    assert len({round(score, 4) for scores in found for score in scores}) == 4


@pytest.mark.parametrize("status", [500, 501])
def test_failing_on_one_path_a_server_is_asked_on_the_others(status: int) -> None:
    """As vLLM does where a model has no classes: NotImplementedError, or whatever an older one stumbled over."""
    made = RewardServer("vllm-tokens", scores_of, elsewhere=status)
    assert RemoteReward(made.server(retries=0), ENGINE).name.endswith("by /pooling")
    other = RewardServer("vllm", scores_of, elsewhere=status, change=lambda answer: [])
    with pytest.raises(UserError, match=f"without a score.*/pooling: {status}"):  # what it did answer is the matter
        RemoteReward(other.server(retries=0), ENGINE)


def test_a_search_finds_the_same_with_either() -> None:
    subjects = [EncodedTask(PROMPTS[0], "total = 0\nfor x in items:\n    total += x")]
    config = FSBSConfig(n=2, k=1, d=2, max_tokens=12)
    remote = RemoteReward(RewardServer("vllm", scores_of).server(), ENGINE)
    one, other = (
        force_sampling_beam_search(tiny_engine(), reward, subjects, config, key=0)
        for reward in (remote, reward_function(reward_model()))
    )
    assert [c.text for c in one[0].candidates] == [c.text for c in other[0].candidates]
    assert [c.score for c in one[0].candidates] == pytest.approx([c.score for c in other[0].candidates], abs=1e-4)


def test_a_model_with_a_tokenizer_of_its_own_reads_a_conversation() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer().backend_tokenizer, bos_token="<|bos|>",
                                  eos_token="<|eos|>", pad_token="<|pad|>")  # fmt: skip
    made = RewardServer("sglang", scores_of)
    with pytest.raises(UserError, match="no chat template"):
        RemoteReward(made.server(), ENGINE, tokenizer)
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    reward = RemoteReward(made.server(), ENGINE, tokenizer)
    made.bodies.clear()
    reward([PROMPTS[0]], [[(*CRITIQUES[0][0], 2)]])
    (text,) = made.bodies[0]["input_ids"]
    assert tokenizer.decode(text) == "<user>total = 0\n<|eos|><assistant>Right.<|eos|>"


def one_line(caught: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda answer: {"data": answer["data"][1:]}, "2 scores for 3 texts"),
        (lambda answer: {"data": [item | {"probs": [0.1, 0.9]} for item in answer["data"]]}, "2 numbers a text"),
        (lambda answer: {"data": [item | {"probs": ["nan"]} for item in answer["data"]]}, "score of nan"),
        (
            lambda answer: {"data": [item | {"probs": [item["index"]]} for item in answer["data"]]},
            "two scores, 0 and 2",
        ),
        (lambda answer: [], "without a score"),
        (lambda answer: {"data": "so"}, "without a score"),
    ],
)
def test_what_does_not_score_is_refused_in_words(change: Any, message: str) -> None:
    with pytest.raises(UserError, match="vLLM, SGLang or text-embeddings-inference") as caught:
        RemoteReward(RewardServer("vllm", scores_of, change=change).server(), ENGINE)
    assert message in one_line(caught) and "/predict: 404" in str(caught.value)


def test_failures_are_tried_again_and_told() -> None:
    made = RewardServer("sglang", scores_of, most=100)
    reward = RemoteReward(made.server(retries=2), ENGINE)
    made.failures = [503, 429]
    assert len(reward(PROMPTS, CRITIQUES)[0]) == 39 and not made.failures
    made.failures = [500] * 3
    with pytest.raises(RefusedError, match=r"500: not now\) after 3 tries") as caught:
        reward(PROMPTS, [[CRITIQUES[0][0]], []])
    one_line(caught)
    with pytest.raises(UnfitInputError, match="at most 100 tokens"):
        reward(PROMPTS[:1], [[tuple(range(3, 120))]])
    with pytest.raises(RefusedError, match="failed"):
        RemoteReward(RewardServer("sglang", scores_of, failures=[500] * 9).server(retries=0), ENGINE)
    with pytest.raises(UserError, match="cannot reach"):
        load_reward_function(RewardSource(url="http://127.0.0.1:1/v1"), ENGINE)


def test_options_that_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="give one of them"):
        RewardSource(tmp_path, "http://x")
    with pytest.raises(UserError, match="--reward-url with it"):
        RewardSource(tmp_path, None, "y")
    assert not RewardSource() and load_reward_function(RewardSource(), ENGINE) is None
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text('{"id": "f", "question": "", "answer": "x = 1"}\n')
    code = tmp_path / "code.py"
    code.write_text("def f():\n    return 1\n")
    for command in (["critique", str(tasks), "--out", str(tmp_path / "out")], ["review", str(code)]):
        assert main([*command, "--reward-tokenizer", "y"]) == 2
    assert main(["calibrate", "--reward", "x", "--reward-url", "http://x"]) == 2
    assert main(["critique", str(tasks), "--out", str(tmp_path / "out"), "--method", "fsbs"]) == 2
    shown = capsys.readouterr().err
    assert shown.count("--reward-url with it") == 2 and "give one of them" in shown and "or --reward-url" in shown


def test_an_exported_model_scores_alike_less_the_bias(tmp_path: Path) -> None:
    model = reward_model()
    export_classifier(model, tiny_tokenizer(), tmp_path / "classifier")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "classifier").eval()
    text = [*PROMPTS[0], *CRITIQUES[0][2]]
    with torch.inference_mode():
        (score,) = loaded(torch.tensor([text])).logits[0].tolist()
    assert score == pytest.approx(scores_of(text)[-1] - float(model.bias), abs=1e-5)
