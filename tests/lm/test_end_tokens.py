"""All tokens that end a text, whoever names them: in engines, in training, and in what is saved."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.lm.chat import PLAIN, ChatFormat
from momus.lm.end_tokens import end_tokens, read_end_tokens
from momus.lm.local.engine import LocalEngine
from momus.lm.models import load_causal_lm, save_causal_lm
from momus.lm.token_set import TokenSet
from momus.runtime.settings import Setup
from momus.train.bases import open_base
from momus.train.settings import TextConfig
from support.tiny import tiny_model, tiny_tokenizer

TURN_END, OTHER, LAST = "<|turn_end|>", "<|other|>", "<|last|>"
CHAT = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}<|turn_end|>{% endfor %}[assistant]"
BROKEN = "{{ nothing("
TEMPLATES = {None: None, PLAIN: "<|eos|>", CHAT: TURN_END, BROKEN: None}
LISTS = (None, TURN_END, OTHER, [], [OTHER], ["<|eos|>", OTHER], [OTHER, LAST, TURN_END])


def of_kind(template: str | None, listed: str | list[str] | None) -> tuple[Any, Any, set[int]]:
    """A model, its tokenizer and all its end tokens, which its makers name in one way or another."""
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.add_special_tokens({"additional_special_tokens": [TURN_END, OTHER, LAST]})
    tokenizer.chat_template = template
    model = tiny_model()
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    ids = tokenizer.convert_tokens_to_ids
    model.generation_config.eos_token_id = ids(listed) if listed is not None else None
    names = {"<|eos|>", TEMPLATES[template], *([listed] if isinstance(listed, str) else listed or [])}
    return model, tokenizer, {ids(name) for name in names if name}


class Only:
    """A constraint to one token."""

    def __init__(self, token: int) -> None:
        self.token = token

    def start(self) -> None:
        return None

    def allowed(self, state: object) -> TokenSet:
        return TokenSet([self.token], self.token + 1)

    def choice_log_odds(self, state: object) -> None:
        return None

    def choose(self, state: object, choice: int) -> None:
        return None

    def advance(self, state: object, token: int) -> None:
        return None


def ending(engine: LocalEngine, tokens: Sequence[int]) -> set[int]:
    """Those of some tokens that end a sample."""
    samples = engine.sample([[1]] * len(tokens), key=0, max_tokens=2, constraints=[Only(token) for token in tokens])
    return {token for token, (sample,) in zip(tokens, samples, strict=True) if sample.finished}


@settings(max_examples=len(TEMPLATES) * len(LISTS))
@given(st.sampled_from(list(TEMPLATES)), st.sampled_from(LISTS))
def test_an_engine_stops_at_every_token_that_anyone_names(template: str | None, listed: str | list[str] | None) -> None:
    model, tokenizer, expected = of_kind(template, listed)
    assert end_tokens(tokenizer, model.generation_config) == expected
    engine = LocalEngine(model, tokenizer)
    assert engine.end_tokens == expected
    assert ending(engine, range(len(tokenizer) - 8, len(tokenizer))) | {2} == expected


@pytest.mark.parametrize("listed", LISTS, ids=str)
@pytest.mark.parametrize("template", [None, PLAIN, CHAT], ids=["none", "plain", "chat"])
def test_trained_and_saved_models_keep_every_end_token(
    template: str | None, listed: str | list[str] | None, tmp_path: Path
) -> None:
    model, tokenizer, expected = of_kind(template, listed)
    save_causal_lm(model, tmp_path / "base", tokenizer)
    assert read_end_tokens(tmp_path / "base", tokenizer) == expected
    base = open_base(str(tmp_path / "base"), TextConfig(max_prompt=64, max_answer=64), Setup())
    assert base.ends == expected
    save_causal_lm(base.load(), tmp_path / "trained", base.chat.tokenizer)
    trained = load_causal_lm(tmp_path / "trained")
    assert set(trained.generation_config.eos_token_id) == expected
    assert LocalEngine(trained, base.chat.tokenizer).end_tokens == expected
    assert base.chat.turn("Hello?", "Hello.").answer[-1] in expected


def test_models_without_a_list_end_where_their_configuration_says(tmp_path: Path) -> None:
    model, tokenizer, _ = of_kind(CHAT, OTHER)
    other = tokenizer.convert_tokens_to_ids(OTHER)
    model.config.eos_token_id = other
    save_causal_lm(model, tmp_path / "base", tokenizer)
    (tmp_path / "base" / "generation_config.json").unlink()
    expected = {2, ChatFormat(tokenizer).end_id, other}
    assert read_end_tokens(tmp_path / "base", tokenizer) == expected
    assert LocalEngine(load_causal_lm(tmp_path / "base"), tokenizer).end_tokens == expected


def test_end_tokens_are_of_the_vocabulary() -> None:
    model, tokenizer, _ = of_kind(None, None)
    model.generation_config.eos_token_id = [50256, 2, -1, {"a": 1}, [2], "2", None, 1.5]
    assert end_tokens(tokenizer, model.generation_config) == {2}


def test_an_adapter_that_says_nothing_ends_texts_as_its_base(tmp_path: Path) -> None:
    model, tokenizer, ends = of_kind(CHAT, [OTHER, LAST, TURN_END])
    save_causal_lm(model, tmp_path / "base", tokenizer)
    (tmp_path / "adapter").mkdir()
    config = json.dumps({"base_model_name_or_path": str(tmp_path / "base")})
    (tmp_path / "adapter" / "adapter_config.json").write_text(config)
    assert read_end_tokens(tmp_path / "adapter", tokenizer) == ends
