"""Critiques in tokens: what the reward model and PPO are trained on."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from momus.lm.prompts import prompt_of
from momus.lm.tree import TokenTree
from momus.records import Comparison, Tamper
from momus.train.reward import RankedPrompt


class CritiqueTokens:
    """Encodes answers and their critiques with one tokenizer; special tokens spelled out in a text stay text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer

    def prompt(self, tamper: Tamper) -> list[int]:
        """Return what a critique of the tampered answer continues, from the beginning-of-text token on."""
        return [self._tokenizer.bos_token_id, *self._encode(prompt_of(tamper))]

    def critique(self, text: str) -> list[int]:
        """Return a finished critique: its text and the end-of-text token."""
        return [*self._encode(text), self._tokenizer.eos_token_id]

    def tree(self, tamper: Tamper, *critiques: str) -> TokenTree:
        """Return a prompt with finished critiques as branches."""
        return TokenTree.from_branches(self.prompt(tamper), [self.critique(text) for text in critiques])

    def ranking(self, comparison: Comparison) -> RankedPrompt:
        """Return a comparison as a ranking by the overall attribute, equal ratings tied."""
        return RankedPrompt(
            prompt=tuple(self.prompt(comparison.tamper)),
            branches=tuple(tuple(self.critique(text)) for text in comparison.critiques),
            ranks=tuple(-rating.overall for rating in comparison.ratings),
        )

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return ids
