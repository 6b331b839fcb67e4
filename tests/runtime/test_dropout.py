"""Residual dropout: on what is added to the residual stream, in every architecture, or refused."""

import pytest
import torch
import transformers
from torch import nn

from momus.errors import UserError
from momus.lm.forward import token_logprobs, trees_from_rows
from momus.runtime.dropout import residual_dropout
from momus.runtime.settings import LoRA, Setup
from momus.runtime.sharding import blocks_of, prepare
from momus.train.sft import demonstration_trees
from support.stages import demonstrations
from support.tiny import VOCAB, gpt2, llama

pytestmark = pytest.mark.filterwarnings("ignore:token trees run as plain rows")
SMALL = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = {**SMALL, "num_key_value_heads": 4, "intermediate_size": 64}
OPT = {**SMALL, "ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 64, "dropout": 0.3}
MOE = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
CONFIGS = {
    "Llama": {**LLAMA, "attention_dropout": 0.3},
    "Qwen2": {**LLAMA, "attention_dropout": 0.3},
    "Mixtral": {**LLAMA, "num_local_experts": 4},
    "Qwen2Moe": {**LLAMA, **MOE, "shared_expert_intermediate_size": 16},
    "Granite": {**LLAMA, "residual_multiplier": 0.22},
    "Gemma2": {**LLAMA, "head_dim": 8},
    "Olmo2": LLAMA,
    "Cohere": LLAMA,
    "Phi": {**LLAMA, "resid_pdrop": 0.3},
    "GPT2": {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "resid_pdrop": 0.3},
    "GPTJ": {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "resid_pdrop": 0.3},
    "GPTNeo": {
        "vocab_size": VOCAB, "hidden_size": 32, "num_layers": 2, "num_heads": 4,
        "attention_types": [[["global", "local"], 1]], "resid_dropout": 0.3,
    },
    "GPTNeoX": {**SMALL, "intermediate_size": 64, "hidden_dropout": 0.3},
    "OPT": OPT,
    "Bloom": {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": 2, "n_head": 4, "hidden_dropout": 0.3},
    "Mpt": {"vocab_size": VOCAB, "d_model": 32, "n_layers": 2, "n_heads": 4},
    "Falcon": {**SMALL, "hidden_dropout": 0.3, "attention_dropout": 0.3},
}  # fmt: skip


def built(name: str, **settings: object) -> nn.Module:
    """A tiny random model that dropout is on in, in training mode."""
    torch.manual_seed(0)
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = getattr(transformers, f"{name}Config")(**special, **settings)
    return transformers.AutoModelForCausalLM.from_config(config).train()


def read(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Read a row; return the log-probabilities of its tokens, and what every layer added: [layers, 1, tokens, d]."""
    rows, added = trees_from_rows([torch.arange(3, 63).tolist()]), []

    def keep(block: nn.Module, arguments: tuple, output: object) -> None:
        after = output[0] if isinstance(output, tuple) else output
        added.append(after - arguments[0])

    hooks = [block.register_forward_hook(keep) for block in blocks_of(model)]
    with torch.no_grad():
        logprobs = token_logprobs(model, rows).logprobs
    for hook in hooks:
        hook.remove()
    return logprobs, torch.stack(added[-len(hooks) :])  # before them, the model may have been tried on trees


@pytest.mark.parametrize("name", CONFIGS)
def test_every_layer_adds_what_is_left_and_the_stream_itself_stays(name: str) -> None:
    """Each of the two parts that a layer adds is dropped once: all of it, half of it, or nothing."""
    model = built(name, **CONFIGS[name])
    quiet = read(model.eval())[0]
    model.train()
    with residual_dropout(model, 0.0):
        assert torch.equal(read(model)[0], quiet), "some dropout of the model's own is on"
    with residual_dropout(model, 1.0):
        assert not read(model)[1].any()
    with residual_dropout(model, 0.5):
        assert (read(model)[1] == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)
    assert torch.equal(read(model.eval())[0], quiet)


def test_an_adapter_changes_nothing_of_where_it_is() -> None:
    """Neither does recomputing layers; what an adapter drops of its own stays on."""
    model = prepare(llama(), Setup(gradient_checkpointing=True, adapter=LoRA(rank=2, dropout=0.3))).train()
    with residual_dropout(model, 1.0):
        assert not read(model)[1].any()
    with residual_dropout(model, 0.0):
        assert {item.p for path, item in model.named_modules() if path.endswith("lora_dropout.default")} == {0.3}


def test_the_stream_may_change_its_type_and_scale_on_its_way() -> None:
    """As where it is kept in more precision than layers compute in."""
    model = llama().train()
    for block in blocks_of(model):
        block.forward = lambda states, *rest, item=block.forward, **named: item(
            states.double().float() * 1.0, *rest, **named
        )
    with residual_dropout(model, 1.0):
        assert not read(model)[1].any()


def test_a_layer_that_does_not_add_is_refused() -> None:
    """One with a norm after the sum, as in OPT of 350M."""
    model = built("OPT", **OPT, do_layer_norm_before=False)
    with pytest.raises(UserError, match="set dropout to 0"), residual_dropout(model, 0.2):
        pass
    assert model.training and not any(item._forward_hooks for item in model.modules())
    with residual_dropout(model, 0.0):
        assert torch.equal(read(model)[0], read(model)[0])


@pytest.mark.parametrize("make", [llama, lambda: gpt2(dropout=0.5)])
def test_dropout_is_on_the_residual_stream_alone_and_only_meanwhile(make) -> None:
    model, trees = make(), demonstration_trees(demonstrations(2))
    item = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    quiet = token_logprobs(model.eval(), trees).logprobs
    with residual_dropout(model, 0.0):
        assert torch.equal(token_logprobs(model.train(), trees).logprobs, quiet)
    with residual_dropout(model, 0.2):
        assert torch.equal(token_logprobs(model.eval(), trees).logprobs, quiet)
        noisy = token_logprobs(model.train(), trees).logprobs
        assert not torch.equal(noisy, quiet) and not torch.equal(token_logprobs(model, trees).logprobs, noisy)
    assert item == [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    assert torch.equal(token_logprobs(model.eval(), trees).logprobs, quiet)


def test_dropout_drops_as_often_as_it_says() -> None:
    model = llama().train()
    seen = []
    with residual_dropout(model, 0.2):
        watch = model.model.layers[0].mlp.register_forward_hook(lambda _m, _a, output: seen.append(output))
        token_logprobs(model, demonstration_trees(demonstrations(40, prompts=40)))
        watch.remove()
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)
