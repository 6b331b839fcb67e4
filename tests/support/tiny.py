"""Tiny random models for tests, and a byte-level tokenizer that merges newlines and punctuation."""

from functools import lru_cache

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from momus.lm.local.engine import LocalEngine

VOCAB = 64
"""Vocabulary of the models that read no text."""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CORPUS = ["def f(items):\n    total = 0\n    for x in items:\n        total += x\n    return total\n"] * 4 + [
    "This should be `range(1, n)`: the first row is a header.\n\nNo problems found.",
    "Right (A) or wrong (B)?\nA\nB\n",
]


def llama(
    seed: int = 0,
    attention: str = "sdpa",
    vocab: int = VOCAB,
    kv_heads: int = 2,
    spread: float = 0.2,
    tied: bool = True,
) -> LlamaForCausalLM:
    """A Llama whose random weights are wide enough that attention matters."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        initializer_range=spread,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation=attention,
    )
    return LlamaForCausalLM(config).eval()


def gpt2(dropout: float = 0.0, vocab: int = VOCAB, positions: int = 64) -> GPT2LMHeadModel:
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=vocab, n_embd=32, n_layer=2, n_head=4, n_positions=positions, initializer_range=0.2,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
        resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


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


def tiny_model(kv_heads: int = 2, seed: int = 0, spread: float = 0.3) -> LlamaForCausalLM:
    """A Llama that reads and writes text of the tokenizer."""
    return llama(seed, vocab=len(tiny_tokenizer()), kv_heads=kv_heads, spread=spread, tied=False)


def tiny_engine(rows: int = 128, kv_heads: int = 2, cache_bytes: int = 2**29, spread: float = 0.3) -> LocalEngine:
    return LocalEngine(tiny_model(kv_heads, spread=spread), tiny_tokenizer(), rows=rows, cache_bytes=cache_bytes)
