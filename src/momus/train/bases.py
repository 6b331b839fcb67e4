"""What a stage starts from: a model by name, its tokenizer and chat format, checked before anything long begins."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig

from momus.errors import Notice, UserError
from momus.lm.chat import ChatFormat
from momus.lm.codec import read_tokenizer
from momus.lm.end_tokens import read_end_tokens
from momus.lm.gguf import pretrained
from momus.lm.local.adapter_base import base_name, is_adapter
from momus.lm.models import RewardModel, check_end, load_causal_lm
from momus.runtime.settings import Setup
from momus.train.settings import TextConfig


@dataclass(frozen=True)
class Base:
    """A model to start from, by name, with its chat format, how it is to be held, and the longest text it reads."""

    name: str
    chat: ChatFormat
    setup: Setup
    positions: int | None
    ends: frozenset[int]
    """The tokens that end an answer: the template's, the tokenizer's, and all that the model lists."""
    pretraining_tokens: float | None = None
    """On how many tokens it was trained before, if that is known."""

    def load(self) -> Any:
        """Load the language model, as every stage begins from it.

        Raises:
            UserError: It cannot be loaded, or is not of its tokenizer.
        """
        model = load_causal_lm(self.name)
        if len(self.chat.tokenizer) > model.get_input_embeddings().weight.shape[0]:
            raise UserError(
                f"{self.name}: the tokenizer has {len(self.chat.tokenizer)} tokens, more than the model: "
                "they do not belong together, or the model lacks resize_token_embeddings"
            )
        model.generation_config.eos_token_id = sorted(self.ends)
        pad = self.chat.tokenizer.pad_token_id
        if pad is not None:
            model.config.pad_token_id = model.generation_config.pad_token_id = pad
            if pad not in self.ends:
                model.get_input_embeddings().padding_idx = pad
        self._keep_what_can_be_saved(model)
        return model

    def _keep_what_can_be_saved(self, model: Any) -> None:
        """Leave out settings of generation that transformers would refuse to write when the training is done."""
        settings = model.generation_config
        try:
            settings.validate(strict=True)
        except ValueError as error:
            named = {kind: getattr(settings, kind) for kind in ("bos_token_id", "eos_token_id", "pad_token_id")}
            real = {kind: token for kind, token in named.items() if isinstance(token, list) or (token or 0) >= 0}
            model.generation_config = GenerationConfig(**real)
            warnings.warn(
                f"of {self.name}'s generation_config.json only the tokens are kept, for the rest cannot be written "
                f"again: {' '.join(str(error).split())[:160]}",
                Notice,
                stacklevel=2,
            )


def open_base(
    name: str,
    config: TextConfig,
    setup: Setup,
    template: Path | None = None,
    pad_token: str | None = None,
    pretraining_tokens: float | None = None,
) -> Base:
    """Open a model's tokenizer and settings, without its weights, and check that they can be trained with.

    Args:
        name: A folder with a model or an adapter, a name on the hub or a GGUF file.
        config: The lengths there are to be room for.
        setup: How the model will be held.
        template: A file with a Jinja chat template, in place of the tokenizer's own.
        pad_token: A token of the vocabulary for the saved model to pad with; nothing is padded in training.
        pretraining_tokens: On how many tokens the model was trained before, if that is known.

    Raises:
        UserError: Something is missing or does not fit.
    """
    tokenizer = read_tokenizer(name)
    if pad_token is not None:
        if pad_token not in tokenizer.get_vocab():
            raise UserError(f"--pad-token {pad_token!r}: no token of {name}: name one that is, and that no text uses")
        tokenizer.pad_token = pad_token
    check_end(tokenizer, name)
    try:
        text = template.read_text(encoding="utf-8") if template else None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--chat-template {template}: cannot be read: {error}") from error
    chat = ChatFormat(tokenizer, text)
    tokenizer.chat_template = chat.template  # is saved with what is trained
    source, options = pretrained(base_name(Path(name))[0] if is_adapter(name) else name)
    try:
        positions = getattr(
            AutoConfig.from_pretrained(source, trust_remote_code=False, **options), "max_position_embeddings", None
        )
    except Exception as error:  # whatever transformers makes of settings of the wrong types
        raise UserError(f"cannot read the settings of {name}: {' '.join(str(error).split())[:200]}") from error
    if positions is not None and config.max_prompt + config.max_answer > positions:
        raise UserError(
            f"--max-prompt {config.max_prompt} and --max-answer {config.max_answer} are more than the {positions} "
            f"tokens that {name} reads: lower them"
        )
    return Base(name, chat, setup, positions, read_end_tokens(name, tokenizer), pretraining_tokens)


def load_reward_for_policy(path: Path, base: Base) -> RewardModel:
    """Load a reward model that reads what a policy writes.

    Raises:
        UserError: There is none, or it reads other tokens or another layout.
    """
    model = RewardModel.load(path)
    tokenizer = read_tokenizer(path)
    base.chat.check_reward(tokenizer, path, base.name)
    return model
