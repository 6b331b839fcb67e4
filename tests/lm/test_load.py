"""In what precision a model is loaded: bfloat16 by itself only where it is faster and loses nothing of the weights."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

import momus.lm.local.load as load
from momus.lm.chats.open import open_chat
from momus.lm.local.load import load_local_engine
from momus.lm.models import save_causal_lm
from support.tiny import tiny_model, tiny_tokenizer


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
def test_precision_is_chosen_by_speed_and_by_what_is_stored(
    stored: torch.dtype, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save_causal_lm(tiny_model().to(stored), tmp_path / "model", tiny_tokenizer())
    monkeypatch.setattr(load, "multiplies_bfloat16", lambda device: fast)
    with caplog.at_level(logging.WARNING):
        engine = load_local_engine(tmp_path / "model", "cpu", None)
    expected = torch.bfloat16 if fast and stored != torch.float32 else torch.float32
    assert engine.model.dtype == expected
    assert ("bfloat16" in caplog.text) == (expected == torch.bfloat16)
    assert load_local_engine(tmp_path / "model", "cpu").model.dtype == torch.float32
    chat = open_chat(str(tmp_path / "model"))
    assert ("bfloat16" in chat.identity()["digest"]) == (expected == torch.bfloat16)
