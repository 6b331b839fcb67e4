"""A random small Llama and a byte-level tokenizer that merges newlines and punctuation, for tests."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from momus.lm.local import LocalEngine

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CORPUS = ["def f(items):\n    total = 0\n    for x in items:\n        total += x\n    return total\n"] * 4 + [
    "This should be `range(1, n)`: the first row is a header.\n\nNo problems found.",
    "Right (A) or wrong (B)?\nA\nB\n",
]


@lru_cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|pad|>", "<|bos|>", "<|eos|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken("```", normalized=False, special=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", bos_token="<|bos|>", eos_token="<|eos|>"
    )


def tiny_model(kv_heads: int = 2, seed: int = 0, spread: float = 0.3) -> Any:
    """A Llama whose random weights are wide enough that attention matters."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer()),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=spread,
    )
    return LlamaForCausalLM(config).eval()


def tiny_engine(rows: int = 128, kv_heads: int = 2, memory: int = 2**29, spread: float = 0.3) -> LocalEngine:
    return LocalEngine(tiny_model(kv_heads, spread=spread), tiny_tokenizer(), rows=rows, memory=memory)
