"""Token trees through six architectures: values and gradients are those of separate unpadded rows."""

import json
import time
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from momus.errors import UserError
from momus.lm import attention, forward, vocabulary_head
from momus.lm.attention import TREE_ATTENTION, TreeLayout
from momus.lm.forward import backbone_of, hidden_states, token_logprobs, tree_problem
from momus.lm.models import save_causal_lm
from momus.lm.tree import TokenTree, pack
from momus.lm.vocabulary_head import logit_transform

VOCAB = 48
SHAPE = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "initializer_range": 0.2,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
KINDS = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "llama": {},
    "mistral": {"sliding_window": 5},
    "gemma3_text": {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "qwen2": {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    "qwen3": {},
}  # fmt: skip


def build(kind: str, **changes):
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**{**SHAPE, **KINDS.get(kind, {}), **changes})
    attention = "eager" if kind in ("gemma2", "gpt_oss") else "sdpa"
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


MODELS = {kind: build(kind) for kind in KINDS}

tokens = st.integers(1, VOCAB - 1)
rows = st.lists(
    st.tuples(st.lists(tokens, min_size=1, max_size=8), st.lists(tokens, min_size=1, max_size=9)),
    min_size=1,
    max_size=5,
)


def grown(pairs, more):
    """Rows that share prefixes: some continue others."""
    pairs = [*pairs, *[((*prefix, *branch[:1]), [*branch[1:], 3]) for prefix, branch in pairs[:more]]]
    return [list(prefix) for prefix, _ in pairs], [list(branch) for _, branch in pairs]


def plain(model, prefix, branch):
    """Log-probabilities of a branch after its prefix, in a row of its own."""
    logits = model(torch.tensor([[*prefix, *branch]])).logits[0, len(prefix) - 1 : -1].float()
    return logits.log_softmax(-1).gather(-1, torch.tensor(branch)[:, None]).squeeze(-1)


def assert_equal_to_rows(model, prefixes, branches, fresh):
    """Compare values and gradients of trees with those of rows; `fresh` has never seen a tree."""
    trees = [TokenTree.from_prefixes(prefixes, branches), TokenTree.from_branches(prefixes[0], branches)]
    wanted = [*zip(prefixes, branches, strict=True), *((prefixes[0], branch) for branch in branches)]
    expected = torch.cat([plain(fresh, *pair) for pair in wanted])
    found = token_logprobs(model, trees).logprobs
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weights = torch.linspace(-1, 1, len(expected))
    for p in (model, fresh):
        p.zero_grad(set_to_none=True)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for (name, a), (_, b) in zip(model.named_parameters(), fresh.named_parameters(), strict=True):
        if b.grad is not None:
            assert a.grad is not None, name
            torch.testing.assert_close(a.grad, b.grad, atol=1e-5 * (1 + b.grad.abs().max().item()), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(pairs=rows, more=st.integers(0, 3), dense=st.booleans())
def test_trees_equal_rows(kind, pairs, more, dense) -> None:
    assert tree_problem(backbone_of(MODELS[kind])) == ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "DENSE", 10_000 if dense else 0)
        assert_equal_to_rows(MODELS[kind], *grown(pairs, more), build(kind))


def test_branches_that_share_nothing_keep_their_order() -> None:
    """A tree is sorted by token: what is predicted came back in that order, and was cut at other branches' lengths."""
    prefixes, branches = [[1, 2], [1, 2]], [[9, 4], [3, 5, 6]]
    tree = TokenTree.from_prefixes(prefixes, branches)
    assert tree.branches[0].min() > tree.branches[1].max()
    assert_equal_to_rows(MODELS["llama"], prefixes, branches, build("llama"))


def adapted(kind: str):
    """A model with a random adapter, the same every time."""
    target = ["c_attn"] if kind == "gpt2" else ["q_proj", "v_proj", "down_proj"]
    model = get_peft_model(build(kind), LoraConfig(r=2, target_modules=target))
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=3, deadline=None)
@given(pairs=rows, more=st.integers(0, 3), dense=st.booleans())
def test_with_lora_and_gradient_checkpointing(kind, pairs, more, dense) -> None:
    model, fresh = adapted(kind), adapted(kind)
    model.get_base_model().gradient_checkpointing_enable()
    model.enable_input_require_grads()
    model.train()
    again = []
    norm = next(m for n, m in model.named_modules() if n.endswith(("layers.0.input_layernorm", "h.0.ln_1")))
    norm.register_forward_pre_hook(lambda *_: again.append(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "DENSE", 10_000 if dense else 0)
        assert_equal_to_rows(model, *grown(pairs, more), fresh)
    assert len(again) > 1, "nothing was computed again in the backward pass: nothing was checkpointed"
    assert any(parameter.grad is not None for parameter in model.parameters())


@given(rows, st.integers(0, 4))
def test_the_layout_is_the_mask(pairs, more) -> None:
    """What the blocks let a token see is what the one-line rule says, for any window; each pair of tokens once."""
    tree = TokenTree.joined(
        [TokenTree.from_prefixes(*grown(pairs, more)), TokenTree.from_branches([1, 2], [[3], [4, 5]])]
    )
    layout = TreeLayout(tree, torch.device("cpu"))
    for window in (None, 1, 3):
        seen = np.zeros((len(tree), len(tree)), int)
        for block, _ in layout.blocks:
            mask = block.mask(window)
            causal = torch.ones(block.queries.shape[1], block.keys.shape[1], dtype=torch.bool).tril()
            for row in range(len(block.queries)):
                visible = causal if mask is None else mask[row, 0]
                for q in np.flatnonzero(block.real[row]):
                    np.add.at(seen[block.queries[row, q]], block.keys[row][visible[q]].numpy(), 1)
        expected = tree.mask()
        if window is not None:
            expected = expected & (tree.depth[:, None] - tree.depth[None, :] < window)
        np.testing.assert_array_equal(seen, expected.astype(int))
    queries = torch.cat([block.queries.flatten() for block, _ in layout.blocks])
    real = torch.cat([block.real.flatten() for block, _ in layout.blocks])
    assert real[layout.order].all() and queries[layout.order].tolist() == list(range(len(tree)))


@given(rows, st.integers(0, 4))
def test_a_tree_holds_each_distinct_prefix_once(pairs, more) -> None:
    prefixes, branches = grown(pairs, more)
    tree = TokenTree.from_prefixes(prefixes, branches)
    sequences = [tuple(prefix + branch) for prefix, branch in zip(prefixes, branches, strict=True)]
    assert len(tree) == len({row[:n] for row in sequences for n in range(1, len(row) + 1)})
    for sequence, branch, indices in zip(sequences, branches, tree.branches, strict=True):
        assert tree.tokens[indices].tolist() == branch
        path, node = [], indices[-1]
        while node >= 0:
            path.append(int(tree.tokens[node]))
            node = tree.parent[node]
        assert tuple(reversed(path)) == sequence
    assert {tuple(tree.tokens[path]) for path in tree.paths()} <= set(sequences)
    # Preorder: a token's descendants are those between it and its end.
    for node in range(len(tree)):
        below = {i for i in range(len(tree)) if tree.mask()[i, node]}
        assert below == set(range(node, int(tree.end[node])))


@given(st.lists(st.integers(1, 50), min_size=1), st.integers(1, 120))
def test_pack(lengths, budget) -> None:
    packed = pack(lengths, budget)
    assert sorted(i for row in packed for i in row) == list(range(len(lengths)))
    for row in packed:
        assert len(row) == 1 or sum(lengths[i] for i in row) <= budget
    expected = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):  # first fit, the longest first
        fitting = [row for row in expected if sum(lengths[i] for i in row) + lengths[index] <= budget]
        if fitting:
            fitting[0].append(index)
        else:
            expected.append([index])
    assert packed == expected


def test_packing_is_quick_when_everything_needs_a_row_of_its_own() -> None:
    began = time.perf_counter()
    assert len(pack([600] * 50_000, 1000)) == 50_000
    assert time.perf_counter() - began < 10, "the square of the rows is in it again"


def test_what_a_step_allocates_does_not_grow_with_the_blocks(monkeypatch) -> None:
    """Every block once had a gradient as large as the whole row: a fifth of a training step's time."""

    class Cells(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor) and not func.is_view:
                self.count += made.numel()
            return made

    monkeypatch.setattr(attention, "DENSE", 0)
    counts = []
    for sizes in ([17] * 16, [2**n for n in range(8)] + [2] * 8):  # as many tokens, in few blocks and in many
        trees = [TokenTree.from_branches([1] * (2 * n), [[2] * n, [3] * n]) for n in sizes]
        with Cells() as cells:
            hidden_states(MODELS["llama"].model, trees).sum().backward()
        counts.append(cells.count / sum(map(len, trees)))
    MODELS["llama"].zero_grad(set_to_none=True)
    assert counts[1] < 1.3 * counts[0]


@pytest.mark.parametrize("window", [None, 3])
def test_flex_attention_sees_the_same(window) -> None:
    """The rule given to FlexAttention, on the CPU's reference implementation (it has no backward pass there)."""
    tree = TokenTree.joined([TokenTree.from_prefixes([[1, 2, 3], [1, 2]], [[4, 5, 6, 7], [9, 9]])] * 2)
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, len(tree), 8)
    layout = TreeLayout(tree, torch.device("cpu"))
    mask = torch.from_numpy(tree.mask())
    if window:
        mask &= torch.from_numpy(tree.depth[:, None] - tree.depth[None] < window)
    with torch.no_grad():
        found = flex_attention(q, k, v, block_mask=layout.flex_mask(window))
    torch.testing.assert_close(found, torch.nn.functional.scaled_dot_product_attention(q, k, v, mask))


@pytest.mark.slow
def test_block_masks_are_compiled_for_all_lengths_at_once(monkeypatch) -> None:
    """As on a GPU, less the kernels: traced once for the first length and once for all, for each kind of window."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(create_block_mask, backend=counter)
    monkeypatch.setattr(attention, "_block_mask", lambda: compiled)
    for size in (100, 300, 301, 517, 640):
        layout = TreeLayout(TokenTree.from_branches([1] * size, [[2] * size, [3] * 50]), torch.device("cpu"))
        for window in (None, 7):
            found = layout.flex_mask(window)
            plain = create_block_mask(found.mask_mod, None, None, *found.seq_lengths, device="cpu")
            assert torch.equal(found.to_dense(), plain.to_dense())
    assert counter.frame_count <= 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_flex_attention_on_a_gpu(kind, dtype) -> None:
    model, fresh = [
        build(kind, head_dim=16, **({"n_embd": 64} if kind == "gpt2" else {})).to("cuda", dtype) for _ in "ab"
    ]
    prefixes, branches = [list(range(3, 40))] * 6, [[i + 3] * 9 + [2] for i in range(6)]
    tree = TokenTree.from_prefixes(prefixes, branches)
    found = token_logprobs(model, [tree]).logprobs
    rows_ = [torch.tensor([p + b], device="cuda") for p, b in zip(prefixes, branches, strict=True)]
    expected = torch.cat([
        fresh(row).logits[0, len(p) - 1 : -1].float().log_softmax(-1).gather(-1, row[0, len(p) :, None])[:, 0]
        for row, p in zip(rows_, prefixes, strict=True)
    ])  # fmt: skip
    torch.testing.assert_close(found, expected, atol=1e-3 if dtype == torch.float32 else 0.15, rtol=0.02)


def test_what_trees_cannot_serve_runs_as_rows_with_one_warning(monkeypatch) -> None:
    monkeypatch.setattr(forward, "_warned", set())
    recurrent = AutoModelForCausalLM.from_config(
        CONFIG_MAPPING["mamba"](
            vocab_size=VOCAB, hidden_size=16, num_hidden_layers=1, state_size=4, pad_token_id=0, eos_token_id=2
        )
    ).eval()
    alibi = AutoModelForCausalLM.from_config(
        CONFIG_MAPPING["bloom"](vocab_size=VOCAB, hidden_size=32, n_layer=2, n_head=4, pad_token_id=0, eos_token_id=2)
    ).eval()
    prefixes, branches = [[5, 6, 7], [5, 6, 7], [5, 9]], [[3, 4], [8, 2, 2], [3]]
    for model in (recurrent, alibi):
        with pytest.warns(UserWarning, match="plain rows"):
            found = token_logprobs(model, [TokenTree.from_prefixes(prefixes, branches)]).logprobs
        expected = torch.cat([plain(model, p, b) for p, b in zip(prefixes, branches, strict=True)])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            token_logprobs(model, [TokenTree.from_prefixes(prefixes, branches)])


def test_an_unknown_architecture_proves_itself_or_runs_as_rows(monkeypatch) -> None:
    assert tree_problem(backbone_of(build("olmo2"))) == ""
    assert tree_problem(backbone_of(build("starcoder2", sliding_window=30))) == ""
    silent = build("phimoe", num_local_experts=2, num_experts_per_tok=2, sliding_window=30)  # only its masks know
    assert "window" in tree_problem(backbone_of(silent))
    broken = backbone_of(build("olmo2"))
    monkeypatch.setattr(attention, "DENSE", 0)
    monkeypatch.setattr(TokenTree, "segments", lambda tree: [])  # attention that sees nothing
    assert "does not take them" in tree_problem(broken)
    gemma = build("gemma2", attn_logit_softcapping=20.0, final_logit_softcapping=None)
    assert "changes its attention scores" in tree_problem(backbone_of(gemma))


def test_a_model_that_fails_the_trial_runs_as_it_did_before(monkeypatch) -> None:
    """GPT-OSS has attention sinks, which sdpa would leave out in silence."""
    monkeypatch.setattr(forward, "_warned", set())
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    model = build("gpt_oss", num_local_experts=2, num_experts_per_tok=1, sliding_window=5, layer_types=kinds)
    for name, parameter in model.named_parameters():
        if name.endswith("sinks"):
            torch.nn.init.normal_(parameter, std=2.0)
    prefix, branches = [5, 6, 7, 8, 9, 4], [[3, 4, 5], [8, 2]]
    expected = torch.cat([plain(model, prefix, branch) for branch in branches])
    with pytest.warns(UserWarning, match="plain rows"):
        found = token_logprobs(model, [TokenTree.from_branches(prefix, branches)]).logprobs
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    after = torch.cat([plain(model, prefix, branch) for branch in branches])
    torch.testing.assert_close(after, expected, atol=0, rtol=0)


CHANGED = {
    "gemma2": {"final_logit_softcapping": 5.0, "attn_logit_softcapping": 20.0},  # whose attention falls back to rows
    "gemma3_text": {"final_logit_softcapping": 5.0},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 4.0},
    "falcon_h1": {"lm_head_multiplier": 0.25, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8},
    "llama": {},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:token trees run as plain rows")
@pytest.mark.parametrize("kind", CHANGED)
def test_logits_changed_after_the_head_are_the_models_own(kind, monkeypatch) -> None:
    monkeypatch.setattr(vocabulary_head, "CELLS", {"cpu": 40})  # a few columns at a time
    model, fresh = [build(kind, **CHANGED[kind]) for _ in range(2)]
    assert_equal_to_rows(model, [[5, 6, 7], [5, 6, 7], [5, 9]], [[3, 4, 9], [8, 2, 2], [3, 5]], fresh)
    change = logit_transform(model)
    tried = torch.tensor([-9.0, 0.5, 30.0])
    assert torch.equal(change(tried), tried) == (kind == "llama")


def test_a_change_of_logits_that_is_not_known_is_refused(monkeypatch) -> None:
    model = build("olmo2")
    assert torch.equal(logit_transform(model)(torch.tensor([7.0])), torch.tensor([7.0]))
    odd, forward_ = build("olmo2"), type(model).forward
    monkeypatch.setattr(
        type(model), "forward", lambda self, *a, **k: Changed(forward_(self, *a, **k).logits.sign()), raising=True
    )
    with pytest.raises(UserError, match="olmo2 models change their logits") as caught:
        token_logprobs(odd, [TokenTree.from_branches([1], [[2]])])
    assert "\n" not in str(caught.value)


class Changed(NamedTuple):
    logits: torch.Tensor


def test_without_a_tree_the_model_is_unchanged(tmp_path) -> None:
    for kind, model in MODELS.items():
        hidden_states(backbone_of(model), [TokenTree.from_branches([1, 2], [[3, 4], [5]])])
        row = torch.tensor([[1, 5, 6, 7, 8, 9, 3, 4, 0, 0], [1, 2, 3, 4, 5, 6, 7, 8, 9, 5]])
        mask = (row > 0).long()
        with torch.no_grad():
            ours, theirs = model(row, attention_mask=mask).logits, build(kind)(row, attention_mask=mask).logits
        torch.testing.assert_close(ours[mask > 0], theirs[mask > 0], atol=1e-6, rtol=1e-5)
    save_causal_lm(MODELS["llama"], tmp_path / "m")
    assert TREE_ATTENTION not in (tmp_path / "m" / "config.json").read_text()
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model_type"] == "llama"


def test_a_prefix_needs_a_token() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        TokenTree.from_prefixes([[1], []], [[2], [3]])
