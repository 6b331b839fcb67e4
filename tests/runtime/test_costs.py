"""Operations counted from shapes against those that torch counts while a model runs."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, GptOssConfig, MixtralConfig, PreTrainedConfig, Qwen2MoeConfig

from momus.lm.forward import token_logprobs, token_values, trees_from_rows
from momus.lm.models import RewardModel
from momus.lm.tree import TokenTree
from momus.runtime.costs import FlopMeter, Shape, Work, shape_of, summary, work_of
from support.tiny import VOCAB, gpt2, llama

LLAMA = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
QWEN = {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 24, "num_experts": 5, "num_experts_per_tok": 3}


def experts(config: PreTrainedConfig) -> nn.Module:
    model = AutoModelForCausalLM.from_config(config).eval()
    model.set_experts_implementation("eager")  # which torch can count
    return model


MODELS = {
    "llama": llama,
    "untied": lambda: llama(tied=False, kv_heads=4),
    "gpt2": gpt2,
    "mixtral": lambda: experts(MixtralConfig(**LLAMA, num_local_experts=4, num_experts_per_tok=2)),
    "qwen2_moe": lambda: experts(Qwen2MoeConfig(**LLAMA, **QWEN)),
    "gpt_oss": lambda: experts(GptOssConfig(**LLAMA, head_dim=8, num_local_experts=4, num_experts_per_tok=1)),
}
ATTENTION = ("bmm", "baddbmm", "scaled_dot_product", "flash", "flex")


def counted(action) -> tuple[int, int]:
    """Run something and return its operations: those of matrices, and those of attention."""
    with FlopCounterMode(display=False) as counter:
        action()
    actual = counter.get_flop_counts()["Global"]
    attention = sum(flops for kind, flops in actual.items() if any(name in str(kind) for name in ATTENTION))
    return sum(actual.values()) - attention, attention


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("train", [False, True])
def test_a_row_costs_what_torch_counts(name: str, train: bool) -> None:
    model, row = MODELS[name](), list(range(3, 27))
    model.set_attn_implementation("eager")
    n = len(row)

    def run() -> None:
        logits = model(torch.tensor([row])).logits
        if train:
            logits.sum().backward()

    with torch.set_grad_enabled(train):
        matrices, attention = counted(run)
    shape, passes = shape_of(model), 3 if train else 1
    # transformers predicts after every token, and attends to all pairs, masked or not.
    assert passes * shape.forward(Work(n, n, 0)) == pytest.approx(matrices, rel=1e-12)
    assert passes * shape.forward(Work(0, 0, n * n)) == pytest.approx(attention, rel=1e-12)
    assert work_of(trees_from_rows([row])) == (n, n - 1, n * (n + 1) // 2)


def test_a_tree_costs_its_distinct_tokens_and_the_predicted_ones() -> None:
    tree = TokenTree.from_branches([1, 5, 9, 4], [[7, 8, 2], [6, 2]])
    assert work_of([tree, tree]) == (18, 10, 2 * (1 + 2 + 3 + 4 + 5 + 6 + 7 + 5 + 6))
    model = llama()
    with torch.no_grad():
        matrices, _ = counted(lambda: token_logprobs(model, [tree]))
        assert shape_of(model).forward(Work(9, 5, 0)) == matrices
        value = RewardModel.from_causal_lm(model)
        matrices, _ = counted(lambda: token_values(value, [tree]))
        assert shape_of(value).forward(Work(9, 5, 0)) == matrices
    assert work_of([]) == (0, 0, 0)


def test_the_meter_adds_up_and_starts_again() -> None:
    model, trees, meter = llama(), trees_from_rows([[1, 5, 9]]), FlopMeter()
    one = shape_of(model).forward(work_of(trees))
    meter.forward(model, trees, 2)
    meter.train(model, trees)
    assert meter.read() == 5 * one
    assert meter.read() == 0


def test_the_papers_numbers() -> None:
    """InstructGPT's section 5.1 gives 3,640 petaflop/s-days for GPT-3, 4.9 for SFT and 60 for PPO-ptx at 175B."""
    gpt3 = (174.6e9, 300e9)  # parameters and tokens: arXiv 2005.14165, table D.1
    spent = summary([{"flops": 6 * gpt3[0] * gpt3[1]}], gpt3)
    assert spent["petaflop_s_days"] == pytest.approx(3640, rel=0.002)
    assert spent["share_of_pretraining"] == 1
    # SFT: 12,725 prompts (table 6), 16 epochs, each padded to a context of 2,048 tokens.
    sft = summary([{"flops": 6 * gpt3[0] * 12_725 * 2048 * 16}], gpt3)
    assert sft["petaflop_s_days"] == pytest.approx(4.9, rel=0.05)
    assert sft["share_of_pretraining"] < 0.0015


def test_attention_is_little_at_the_papers_size() -> None:
    gpt3 = Shape(matrices=174_000_000_000, head=0, width=96 * 12_288)
    tokens, pairs = Work(2048, 0, 0), Work(0, 0, 2048 * 2049 // 2)
    assert gpt3.forward(pairs) / gpt3.forward(tokens) == pytest.approx(0.014, abs=0.001)


def test_a_summary_leaves_out_what_it_does_not_know() -> None:
    assert summary([{"loss": 1.0}]) == {"flops": 0.0, "petaflop_s_days": 0.0}
