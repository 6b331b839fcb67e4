"""A GGUF file is a model like any other: the same tokens and template, trained and saved; or one line says why."""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from momus.errors import UserError
from momus.lm import gguf
from momus.lm.chat import ChatFormat
from momus.lm.local.engine import LocalEngine
from momus.lm.models import load_causal_lm, load_tokenizer, model_digest, save_causal_lm
from support.gguf import TEMPLATE, qwen2, write_gguf
from support.gguf import tokenizer as tiny_tokenizer

TEXT = "def f(items):\n    total = 0\n"


@pytest.fixture(scope="module")
def model() -> Any:
    return qwen2(len(tiny_tokenizer()))


@pytest.fixture(scope="module")
def file(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path, model, tiny_tokenizer(), quantised=False)
    return path


def greedy(model: Any, tokenizer: Any) -> str:
    engine = LocalEngine(model, tokenizer)
    return engine.sample([engine.encode(TEXT, bos=True)], key=0, max_tokens=24, temperature=0.0)[0][0].text


def test_model_of_a_gguf_file_writes_what_the_model_in_it_does(
    model: Any, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded, tokenizer = load_causal_lm(file), load_tokenizer(file)
    assert "%|" not in capfd.readouterr().err, "a progress bar"
    assert loaded.dtype == torch.float32 and not loaded.training
    assert greedy(loaded, tokenizer) == greedy(model, tiny_tokenizer()) != ""


def test_tokenizer_of_a_gguf_file_has_its_special_tokens_and_template(file: Path) -> None:
    ours, theirs = tiny_tokenizer(), load_tokenizer(str(file))
    assert theirs.get_vocab() == ours.get_vocab()
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(theirs, name) == getattr(ours, name)
    assert theirs.encode(TEXT, add_special_tokens=False) == ours.encode(TEXT, add_special_tokens=False)
    assert ChatFormat(theirs).template == TEMPLATE
    assert load_causal_lm(file).generation_config.eos_token_id == ours.eos_token_id


def test_quantised_weights_are_unpacked_near_to_what_they_were(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "tiny-q8.gguf"
    write_gguf(path, model, tiny_tokenizer(), quantised=True)
    loaded = load_causal_lm(path, torch.bfloat16)
    assert loaded.dtype == torch.bfloat16
    for (name, expected), got in zip(model.named_parameters(), loaded.parameters(), strict=True):
        torch.testing.assert_close(got.float(), expected, rtol=0, atol=0.02, msg=name)


def test_model_of_a_gguf_file_is_trained_and_saved_like_any_other(file: Path, tmp_path: Path) -> None:
    loaded = load_causal_lm(file)
    loaded(input_ids=torch.tensor([[1, 5, 7]])).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())
    save_causal_lm(loaded, tmp_path / "saved", load_tokenizer(file))
    again = load_causal_lm(tmp_path / "saved")
    assert greedy(again, load_tokenizer(tmp_path / "saved")) == greedy(loaded, load_tokenizer(file))
    assert not hasattr(again.config, "quantization_config")


def test_memory_needed_is_told_first(model: Any, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert gguf.read_header(file).weights == weights
    with caplog.at_level(logging.WARNING):
        gguf.check_memory(file, 4)
    assert caplog.messages == [f"{file}: 0 million weights take 0.0 GiB of memory unpacked"]


def test_a_file_that_does_not_fit_is_refused_with_the_way_out(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "available_memory", lambda: 1000)
    with pytest.raises(UserError, match=rf"0.0 GiB are free: let llama-server run it \(llama-server -m {file}\)"):
        load_causal_lm(file)
    monkeypatch.setattr(gguf, "available_memory", lambda: None)
    load_causal_lm(file)


@pytest.mark.parametrize(
    "entry",
    [
        struct.pack("<Q", 2**50) + b"a text longer than the file",
        struct.pack("<Q1sIIQ", 1, b"a", 9, 4, 2**62),
        struct.pack("<Q1s", 1, b"a") + struct.pack("<IIQ", 9, 9, 1)[:4] + struct.pack("<IQ", 9, 1) * 5000,
        struct.pack("<Q1sI", 1, b"a", 99),
    ],
)
def test_a_header_whose_lengths_are_damaged_is_one_line_without_reading_that_much(tmp_path: Path, entry: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + entry)
    with pytest.raises(UserError, match=r"m\.gguf: not a GGUF file, or cut off"):
        gguf.read_header(path)


def test_a_tensor_of_endless_dimensions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(struct.pack("<4sIQQQ1sI", b"GGUF", 3, 1, 0, 1, b"a", 2**32 - 1))
    with pytest.raises(UserError, match=r"m\.gguf: not a GGUF file, or cut off"):
        gguf.read_header(path)


def test_free_memory_is_known_on_linux() -> None:
    free = gguf.available_memory()
    assert free is None or 0 < free < 2**50


def test_what_is_no_gguf_file_is_refused_in_one_line(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_causal_lm(tmp_path / "gone.gguf")
    bad = tmp_path / "bad.gguf"
    for data in (b"", b"{}" * 100, file.read_bytes()[:2000], struct.pack("<4sIQQ", b"GGUF", 1, 0, 0)):
        bad.write_bytes(data)
        with pytest.raises(UserError, match="not a GGUF file"):
            load_causal_lm(bad)


@given(st.integers(1, 2**64 - 1), st.integers(0, 2**20), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tensors_that_are_not_where_they_are_said_to_be_are_one_line(
    file: Path, tmp_path: Path, offset: int, cut: int, moves: bool
) -> None:
    data, name = file.read_bytes(), b"blk.0.attn_q.weight"
    place = data.index(name) + len(name) + 4 + 2 * 8 + 4  # dimensions, their sizes, the type
    if moves:
        assume(struct.unpack_from("<Q", data, place)[0] != offset)
        bad = data[:place] + struct.pack("<Q", offset) + data[place + 8 :]
    else:
        bad = data[: -1 - cut % 100_000]
    (tmp_path / "bad.gguf").write_bytes(bad)
    for load in (load_causal_lm, load_tokenizer):
        with pytest.raises(UserError, match=r"damaged|cut off") as caught:
            load(tmp_path / "bad.gguf")
        assert "\n" not in str(caught.value)


def test_one_part_of_several_is_refused(tmp_path: Path) -> None:
    key = b"split.count"
    path = tmp_path / "m-00001-of-00002.gguf"
    path.write_bytes(struct.pack(f"<4sIQQQ{len(key)}sIH", b"GGUF", 3, 0, 1, len(key), key, 2, 2))
    with pytest.raises(UserError, match="one part of a model in several"):
        load_causal_lm(path)


def test_digest_of_a_gguf_file_names_it_wherever_it_lies(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other.gguf"
    copy.write_bytes(file.read_bytes())
    assert model_digest(copy) == model_digest(file)
