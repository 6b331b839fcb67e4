"""An adapter on a real model: what bfloat16 training learns is in what is saved, and the defaults suit the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from momus.lm.chat import ChatFormat
from momus.lm.codec import read_tokenizer
from momus.lm.models import load_causal_lm
from momus.runtime.settings import LoRA, Setup
from momus.train.bases import Base, open_base
from momus.train.from_files import train_sft
from momus.train.settings import SFTConfig, TextConfig
from momus.train.sft import mean_loss
from momus.train.texts import demonstrations as read_demonstrations
from momus.train.texts import pretraining

LENGTHS = TextConfig(max_prompt=128, max_answer=64, held_out=0.1)


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "demonstrations.jsonl"
    rows = ({"prompt": f"How many are {n} and {n}?", "completion": f"Aye, {2 * n} they be!"} for n in range(60))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def demonstration_loss(model: Path, base: Base, file: Path) -> float:
    """Return a model's loss on the demonstrations held out, in float32."""
    return mean_loss(load_causal_lm(model), read_demonstrations([file], base.chat, LENGTHS).held_out)


@pytest.mark.timeout(3600)
def test_bf16_training_of_an_adapter_survives_being_saved(small: Path, demonstrations: Path, tmp_path: Path) -> None:
    base = open_base(str(small), LENGTHS, Setup(precision="bf16", adapter=LoRA()))  # which pads with its end token
    config = SFTConfig(epochs=2, demonstrations_per_batch=4, token_budget=2048, learning_rate=9.65e-6, keep="last")
    result = train_sft(base, [demonstrations], tmp_path / "sft", config, lengths=LENGTHS)["result"]
    assert result["dropout"] == 0
    tensors = load_file(tmp_path / "sft/adapter/adapter_model.safetensors")
    before, after = load_causal_lm(small).state_dict(), load_causal_lm(tmp_path / "sft/model").state_dict()
    kept = size = 0.0
    for name, a in tensors.items():
        if name.endswith(".lora_A.weight"):
            weight = name.removeprefix("base_model.model.").replace(".lora_A", "")
            update = LoRA().alpha / LoRA().rank * tensors[name.replace("lora_A", "lora_B")] @ a
            kept += ((after[weight] - before[weight]) * update).sum().item()
            size += (update * update).sum().item()
    assert size > 0 and kept / size == pytest.approx(1, abs=0.01)  # 0.1 when the sum was rounded to bfloat16
    # What is saved is measured in float32. In bfloat16, as in training, sums of activations lose a part of the update.
    held_out = demonstration_loss(tmp_path / "sft/adapter", base, demonstrations)
    assert result["saved"]["valid_loss"] == pytest.approx(held_out, rel=1e-4)
    assert held_out < demonstration_loss(small, base, demonstrations)


def test_texts_do_not_begin_with_a_chat_header_and_the_end_is_trained(small: Path, tmp_path: Path) -> None:
    tokenizer = read_tokenizer(small)
    (tmp_path / "text.txt").write_text("Once upon a time.", encoding="utf-8")
    (piece,) = pretraining([str(tmp_path / "text.txt")], ChatFormat(tokenizer), LENGTHS).train
    assert piece[0] == tokenizer.encode("Once", add_special_tokens=False)[0] != tokenizer.bos_token_id
    model = open_base(str(small), LENGTHS, Setup()).load()
    end = tokenizer.eos_token_id
    model(torch.tensor([[end, *piece]])).logits.logsumexp(-1).sum().backward()
    assert model.get_input_embeddings().weight.grad[end].any()
