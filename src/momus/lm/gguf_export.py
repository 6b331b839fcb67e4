"""Writing a model as a GGUF file, for llama.cpp, Ollama and LM Studio: what is trained here goes out as well.

Weights keep their values, but for rounding to the type that is asked for; norms and biases stay 32-bit floats, as
llama.cpp's own converter has them. Llama's queries and keys are put into the order that its rotation takes there.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from momus.errors import UserError
from momus.files import atomic_file, scratch_directory
from momus.lm.codec import read_tokenizer
from momus.lm.local.adapter_base import is_adapter
from momus.lm.models import load_causal_lm

Weights = Literal["f32", "f16", "q8_0"]

_ARCHITECTURES = ("llama", "qwen2", "qwen3")
_QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4


def write_gguf(
    model: str | Path, out: Path, weights: Weights = "f16", check: Callable[[Path], None] = lambda made: None
) -> None:
    """Write a model with its tokenizer and chat template as a GGUF file, whole or not at all.

    Args:
        model: Its folder, a name on the hub or a GGUF file; Llama, Qwen2 or Qwen3, with a byte-level tokenizer.
        out: The file.
        weights: What matrices are written in; q8_0 are blocks of 8 bits.
        check: Called with the file before it is put in place; what it raises keeps it from there.

    Raises:
        UserError: It cannot be loaded, is an adapter, or its architecture or tokenizer is none that is written here.
    """
    if is_adapter(model):
        raise UserError(f"{model} is an adapter: name the merged model, OUT/model beside OUT/adapter")
    with scratch_directory() as folder:
        made = folder / "model.gguf"
        _fill(made, model, weights)  # the model is let go with it: `check` may load another
        check(made)
        with made.open("rb") as source, atomic_file(out) as target:
            while piece := source.read(1 << 24):
                target.write(piece)


def _fill(made: Path, model: str | Path, weights: Weights) -> None:
    """Load a model and write it into a file."""
    import gguf

    loaded, tokenizer = load_causal_lm(model), read_tokenizer(model)
    config = loaded.config
    if config.model_type not in _ARCHITECTURES:
        raise UserError(
            f"{model}: {config.model_type} models are not written as GGUF here ({', '.join(_ARCHITECTURES)} are): take "
            "llama.cpp's convert_hf_to_gguf.py"
        )
    writer: Any = gguf.GGUFWriter(None, config.model_type)
    _add_settings(writer, config, str(model))
    _add_tokenizer(writer, tokenizer, config.vocab_size, str(model))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[config.model_type.upper()], config.num_hidden_layers)
    for name, tensor in loaded.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        _add_tensor(writer, names.get_name(name, (".weight", ".bias")), _ordered(name, tensor, config), weights)
    writer.write_header_to_file(made)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_settings(writer: Any, config: Any, name: str) -> None:
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") != "default":
        raise UserError(f"{name}: rotary positions of the kind {rope['rope_type']} are not written as GGUF here")
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_name(Path(name).name)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _add_tokenizer(writer: Any, tokenizer: Any, size: int, name: str) -> None:
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_tokenizer(described, name))
    added = tokenizer.added_tokens_decoder
    if len(tokenizer) > size:
        raise UserError(f"{name}: the tokenizer has more tokens than the model: they do not belong together")
    tokens = [f"[PAD{index}]" for index in range(size)]
    kinds = [_USER_DEFINED] * size
    for text, index in tokenizer.get_vocab().items():
        tokens[index] = text
        kinds[index] = _NORMAL if index not in added else _CONTROL if added[index].special else _USER_DEFINED
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    pairs = described["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in pairs])
    for kind in ("bos", "eos", "unk", "pad"):
        if (index := getattr(tokenizer, f"{kind}_token_id")) is not None:
            getattr(writer, f"add_{kind}_token_id")(index)
    writer.add_add_bos_token(False)  # chat templates write it
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.get_chat_template())


def _pre_tokenizer(described: Any, name: str) -> str:
    """Return llama.cpp's name for how a byte-level tokenizer cuts texts before it merges."""
    before = json.dumps(described["pre_tokenizer"])
    if described["model"]["type"] != "BPE" or '"ByteLevel"' not in before:
        raise UserError(f"{name}: only byte-level tokenizers are written as GGUF here: take llama.cpp's converter")
    for pattern, known in ((_QWEN, "qwen2"), (_LLAMA3, "llama-bpe")):
        if json.dumps(pattern)[1:-1] in before:
            return known
    if '"Split"' in before:
        raise UserError(f"{name}: llama.cpp has no name for how its tokenizer cuts texts: it cannot be a GGUF file")
    return "smollm" if '"Digits"' in before else "gpt-2"


def _ordered(name: str, tensor: torch.Tensor, config: Any) -> torch.Tensor:
    """Return a tensor as the file has it: Llama's queries and keys with the halves of each head interleaved."""
    projections = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    heads = next((count for part, count in projections.items() if f".{part}." in name), None)
    if config.model_type != "llama" or heads is None:
        return tensor
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _add_tensor(writer: Any, name: str | None, tensor: torch.Tensor, weights: Weights) -> None:
    import gguf

    if name is None:
        raise UserError("a tensor of the model has no name in GGUF files: take llama.cpp's convert_hf_to_gguf.py")
    data = tensor.detach().float().numpy()
    if data.ndim != 2 or weights == "f32":
        writer.add_tensor(name, data)
        return
    small = weights == "f16" or data.shape[1] % 32 != 0  # which blocks of 32 do not divide
    kind = gguf.GGMLQuantizationType.F16 if small else gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)
