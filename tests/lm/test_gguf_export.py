"""Models written as GGUF files: loaded again they are the same, tokenizer and chat template too."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from tokenizers import Regex, pre_tokenizers

from momus.cli import main
from momus.errors import UserError
from momus.lm import gguf_export
from momus.lm.codec import read_tokenizer
from momus.lm.gguf_export import write_gguf
from momus.lm.models import load_causal_lm, save_causal_lm
from momus.lm.tiny import TINY
from support.gguf import TEMPLATE, qwen2
from support.gguf import tokenizer as qwen_tokenizer
from support.tiny import gpt2, llama, tiny_model, tiny_tokenizer

TEXT = "def f(x):\n    return x + 42  # ünïcode 그래 <|eos|>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = TEMPLATE
    save_causal_lm(qwen2(len(tokenizer)), tmp_path / "qwen", tokenizer)
    return tmp_path


def logits(path: Path) -> torch.Tensor:
    with torch.no_grad():
        made: torch.Tensor = load_causal_lm(path)(torch.tensor([[5, 9, 3, 7, 11]])).logits
    return made


@pytest.mark.parametrize(("weights", "near"), [("f32", 1e-5), ("f16", 2e-2), ("q8_0", 0.3)])
def test_a_model_loaded_again_is_the_same(folder: Path, weights, near: float) -> None:
    write_gguf(folder / "qwen", folder / "made.gguf", weights)
    assert (logits(folder / "qwen") - logits(folder / "made.gguf")).abs().max() < near
    ours, theirs = read_tokenizer(folder / "qwen"), read_tokenizer(folder / "made.gguf")
    assert ours.encode(TEXT) == theirs.encode(TEXT) and theirs.chat_template == TEMPLATE
    assert (ours.eos_token, ours.pad_token) == (theirs.eos_token, theirs.pad_token)


@pytest.mark.parametrize("kv_heads", [2, 4])
def test_llama_keeps_its_rotation(tmp_path: Path, kv_heads: int) -> None:
    save_causal_lm(tiny_model(kv_heads), tmp_path / "llama", _byte_level())
    write_gguf(tmp_path / "llama", tmp_path / "made.gguf", "f32")
    assert (logits(tmp_path / "llama") - logits(tmp_path / "made.gguf")).abs().max() < 1e-5


def _byte_level():
    """The tiny tokenizer, cut as GPT-2's cuts."""
    made = copy.deepcopy(tiny_tokenizer())
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made


def test_the_command_scores_both(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(folder / "qwen"), str(folder / "made.gguf"), "--weights", "f32"]) == 0
    err = capsys.readouterr().err
    assert "Loaded again it scores " in err and "no token differs by more than 0.0000" in err


def test_what_is_not_written_is_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_causal_lm(gpt2(), tmp_path / "gpt2", tiny_tokenizer())
    with pytest.raises(UserError, match="gpt2 models are not written as GGUF here"):
        write_gguf(tmp_path / "gpt2", tmp_path / "made.gguf")
    other = _byte_level()
    split = pre_tokenizers.Split(Regex("a+"), "isolated")
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel()])
    save_causal_lm(llama(), tmp_path / "other", other)
    with pytest.raises(UserError, match="no name for how its tokenizer cuts texts"):
        write_gguf(tmp_path / "other", tmp_path / "made.gguf")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "x"}))
    with pytest.raises(UserError, match="is an adapter: name the merged model"):
        write_gguf(tmp_path / "adapter", tmp_path / "made.gguf")
    assert not (tmp_path / "made.gguf").exists()
    for words, message in (
        ([str(folder / "qwen"), str(tmp_path / "x.bin")], "ends in .gguf"),
        ([str(folder / "qwen"), str(tmp_path)], "it is a directory"),
        (["/no/where", str(tmp_path / "x.gguf")], "cannot load a language model from /no/where"),
        ([str(TINY), str(tmp_path / "x.gguf")], "llama.cpp has no name"),
        ([str(folder / "qwen"), str(tmp_path / "x.gguf"), "--text", "/no/where"], "No such file"),
    ):
        assert main(["export", *words]) == 2
        assert message in capsys.readouterr().err


def test_what_cannot_be_loaded_again_is_not_left(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gguf_export, "_add_tensor", lambda *given: None)
    (tmp_path / "x.gguf").write_text("as it was")
    assert main(["export", str(folder / "qwen"), str(tmp_path / "x.gguf")]) == 2
    assert "x.gguf: not written, for what was made cannot be loaded again: " in capsys.readouterr().err
    assert [(file.name, file.read_text()) for file in tmp_path.glob("x*")] == [("x.gguf", "as it was")]
