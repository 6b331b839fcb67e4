"""Forward passes over token trees equal separate unpadded rows, in value and in gradient."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from momus.errors import UserError
from momus.lm import vocabulary_head
from momus.lm.forward import (
    branch_logprobs,
    leaf_scores,
    score_trees,
    token_logprobs,
    token_values,
    trees_from_rows,
)
from momus.lm.models import (
    RewardModel,
    load_causal_lm,
    load_tokenizer,
    save_causal_lm,
)
from momus.lm.tree import TokenTree
from support.tiny import VOCAB, gpt2, llama, tiny_tokenizer

MODELS = {"llama": llama(), "llama-eager": llama(attention="eager"), "gpt2": gpt2()}
TREES = [
    TokenTree.from_branches([1, 5, 9, 2, 7], [[4, 4, 2], [8, 2], [6, 3, 3, 9, 2]]),
    TokenTree.from_branches([1], [[11, 12, 13, 14, 2]]),
    TokenTree.from_branches([1, 3, 3, 3, 3, 3, 3, 3], [[2], [7, 7]]),
]


def rows_of(tree: TokenTree) -> list[tuple[list[int], list[int]]]:
    prompt = tree.tokens[: tree.branches[0][0]].tolist()
    return [(prompt, tree.tokens[branch].tolist()) for branch in tree.branches]


def plain_logprobs(model: torch.nn.Module, prompt: list[int], response: list[int], temperature: float) -> torch.Tensor:
    logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None]).squeeze(-1)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_logprobs_equal_plain_rows(name: str, budget: int) -> None:
    model = MODELS[name]
    with torch.no_grad():
        result = branch_logprobs(model, TREES, temperature=0.7, token_budget=budget)
        for tree, branches in zip(TREES, result, strict=True):
            for (prompt, response), found in zip(rows_of(tree), branches, strict=True):
                torch.testing.assert_close(found, plain_logprobs(model, prompt, response, 0.7), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_gradients_equal_plain_rows_even_in_chunks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS[name]
    weights = [torch.linspace(-1, 1, len(branch)) for tree in TREES for branch in tree.branches]
    plain = sum(
        (plain_logprobs(model, *row, 1.0) * weight).sum()
        for row, weight in zip((row for tree in TREES for row in rows_of(tree)), weights, strict=True)
    )
    expected = torch.autograd.grad(plain, list(model.parameters()))
    monkeypatch.setattr(vocabulary_head, "CELLS", {"cpu": 40})  # a few columns at a time
    found = torch.autograd.grad((token_logprobs(model, TREES).logprobs * torch.cat(weights)).sum(), model.parameters())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_entropies() -> None:
    model = MODELS["llama"]
    with torch.no_grad():
        found = token_logprobs(model, TREES[1:2], temperature=2.0).entropies
        logits = model(torch.tensor([TREES[1].tokens.tolist()])).logits[0, :-1] / 2.0
    torch.testing.assert_close(found, torch.distributions.Categorical(logits=logits).entropy(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_scores_at_the_last_token_and_values_at_the_parents(name: str) -> None:
    torch.manual_seed(3)
    model = RewardModel.from_causal_lm(MODELS[name]).eval()
    with torch.no_grad():
        scores, values = leaf_scores(model, TREES), token_values(model, TREES)
        rows = [row for tree in TREES for row in rows_of(tree)]
        plain = [model(model.backbone(torch.tensor([p + r])).last_hidden_state[0]) for p, r in rows]
    torch.testing.assert_close(scores, torch.stack([own[-1] for own in plain]), atol=1e-5, rtol=0)
    parents = [own[len(p) - 1 : -1] for own, (p, _) in zip(plain, rows, strict=True)]
    torch.testing.assert_close(values, torch.cat(parents), atol=1e-5, rtol=0)
    regrouped = [score for tree in score_trees(model, TREES, token_budget=12) for score in tree]
    np.testing.assert_allclose(regrouped, scores.numpy(), atol=1e-5)


def test_empty_branch_has_no_score() -> None:
    model = RewardModel.from_causal_lm(MODELS["llama"])
    with pytest.raises(ValueError, match="empty branch"):
        leaf_scores(model, [TokenTree.from_branches([1, 2], [[3], []])])


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(3, VOCAB - 1), min_size=1, max_size=9),
            st.lists(st.lists(st.integers(2, VOCAB - 1), min_size=1, max_size=6), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_else_is_in_the_batch_does_not_matter(items: list[tuple[list[int], list[list[int]]]]) -> None:
    model = MODELS["llama"]
    trees = [TokenTree.from_branches(*item) for item in items]
    with torch.no_grad():
        together = token_logprobs(model, trees).logprobs
        alone = torch.cat([token_logprobs(model, [tree]).logprobs for tree in trees])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)


def test_reward_head_is_initialised_as_the_paper_says_and_round_trips(tmp_path) -> None:
    torch.manual_seed(0)
    model = RewardModel.from_causal_lm(MODELS["llama"]).eval()
    heads = torch.cat([RewardModel(model.backbone).head.weight for _ in range(100)])
    assert heads.std().item() == pytest.approx(33**-0.5, rel=0.05)
    assert model.bias.item() == 0
    model.bias += 0.5
    model.save(tmp_path / "rm")
    model.save(tmp_path / "rm")  # replaces the directory
    again = RewardModel.load(tmp_path / "rm").eval()
    with torch.no_grad():
        assert torch.equal(leaf_scores(model, TREES), leaf_scores(again, TREES))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rm"]
    with pytest.raises(UserError, match="does not hold a reward model"):
        RewardModel.load(tmp_path)


def test_the_bias_stays_exact_whatever_the_weights_are_cast_to() -> None:
    """In bfloat16 a mean of 10.03 would be taken off as 10."""
    causal = llama().to(torch.bfloat16)
    model = RewardModel.from_causal_lm(causal)
    model.bias -= 10.03
    for cast in (model, model.to(torch.bfloat16), model.half(), copy.deepcopy(model).to("cpu", torch.bfloat16)):
        assert cast.bias.dtype == torch.float32 and cast.bias.item() == pytest.approx(-10.03, abs=1e-6)
        assert dict(cast.named_buffers())["bias"] is cast.bias
        assert cast.state_dict()["bias"].dtype == torch.float32
    assert model.head.weight.dtype == torch.float16


def test_causal_lm_round_trips(tmp_path) -> None:
    save_causal_lm(MODELS["llama"], tmp_path / "lm")
    again = load_causal_lm(tmp_path / "lm")
    tokens = torch.tensor([[1, 5, 6]])
    with torch.no_grad():
        assert torch.equal(again(tokens).logits, MODELS["llama"](tokens).logits)
    with pytest.raises(UserError, match="cannot load a language model"):
        load_causal_lm(tmp_path / "nowhere")


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_that_lacks_any_tensor_is_refused(tmp_path, tied: bool) -> None:
    save_causal_lm(llama(tied=tied), tmp_path)
    assert load_causal_lm(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    for name, tensor in tensors.items():
        save_file({other: own for other, own in tensors.items() if other != name}, file, {"format": "pt"})
        with pytest.raises(UserError, match=r"no whole language model: it lacks . .* such as"):
            load_causal_lm(tmp_path)
        save_file({**tensors, name: torch.cat([tensor, tensor])}, file, {"format": "pt"})
        with pytest.raises(UserError, match=r"is of shape .* in the weights, where its config.json asks for"):
            load_causal_lm(tmp_path)


def test_what_is_named_in_place_of_a_model_is_said(tmp_path) -> None:
    RewardModel.from_causal_lm(llama()).save(tmp_path / "reward")
    with pytest.raises(UserError, match="holds a reward model: name a language model"):
        load_causal_lm(tmp_path / "reward")
    save_causal_lm(llama(), tmp_path / "run" / "model")
    for load in (load_causal_lm, load_tokenizer, RewardModel.load):
        with pytest.raises(UserError, match=r"run is a run directory: name the model in it, .*run/model$"):
            load(tmp_path / "run")


def test_a_tokenizer_needs_an_end_of_text_token_and_no_other_padding(tmp_path) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).pad_token_id == tokenizer.eos_token_id
    tokenizer.pad_token = tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"no end-of-text token: set tokenizer.eos_token"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("pad", [None, 0, 2])
def test_every_token_has_a_gradient_whatever_the_model_pads_with(tmp_path, pad: int | None) -> None:
    made = llama()
    made.config.pad_token_id = pad
    save_causal_lm(made, tmp_path / "model")
    reward = RewardModel.from_causal_lm(made)
    reward.save(tmp_path / "reward")
    model = load_causal_lm(tmp_path / "model")
    token_logprobs(model, trees_from_rows([[1, 5, 2, 0, 7, 2]])).logprobs.sum().backward()
    assert model.get_input_embeddings().weight.grad[[1, 5, 2, 0, 7]].any(1).all()
    value = RewardModel.load(tmp_path / "reward")
    token_values(value, [TokenTree.from_branches([1, 2, 5], [[0, 7, 2]])]).sum().backward()
    assert value.backbone.get_input_embeddings().weight.grad[[1, 2, 0, 7]].any(1).all()
