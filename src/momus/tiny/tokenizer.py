"""The embedded model's tokenizer: a byte-level BPE of our own, made for code and critiques of it.

Text is cut before merging so that a word is the same token wherever it stands: a newline with the indentation
after it, a word with at most one space before it, a digit, and a run of punctuation are separate pieces. A
fence is always one token. So the tokens of a quoted line are those of the line in the answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from momus.critique import FENCE

PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|eos|>"
_PIECES = r"\n *| ?[\p{L}_]+|\p{N}| ?[^\s\p{L}\p{N}_]+|\s+"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train the byte-level BPE on `texts`; ids 0, 1 and 2 are pad, begin and end of sequence."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocab_size - 1,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(FENCE, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        clean_up_tokenization_spaces=False,
    )
