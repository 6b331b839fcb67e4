"""One contender of the SFT benchmark in a process of its own: Momus, or TRL's SFTTrainer, packed or padded.

    python benchmarks/sft_contenders.py momus|trl-packed|trl-padded SETTINGS

SETTINGS is the JSON of `Settings`; one line of JSON comes back. All train a random Llama, or with `model` the one in
that folder, from the same weights in float32 on the same texts for two epochs, AdamW of the same settings, sdpa
attention, no dropout; the second epoch is timed. Off are, with TRL: bf16 and gradient checkpointing (both slow it down
here), saving, progress bars, reports; with Momus: saving.

A step takes `passes` forward passes of up to `length` tokens: TRL accumulates packed rows, Momus cuts a batch by its
token budget. An epoch has as many steps for all: Momus, and the padded batches, are told how many texts a step has;
when TRL packs, their number varies.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import ppo_contenders
import torch
from ppo_contenders import count_tokens, llama, memory, now
from transformers import LlamaForCausalLM

from momus.lm.chat import Turn
from momus.lm.tiny import TINY

BETAS = (0.9, 0.95)


@dataclass(frozen=True)
class Settings:
    """What all contenders are told."""

    texts: int = 96
    longest: int = 512
    """Tokens of the longest text; the lengths are log-normal."""
    spread: float = 0.8
    """Standard deviation of their logarithms."""
    prompt: float = 0.4
    """Share of a text that is the prompt, which is not trained."""
    length: int = 1024
    """Most tokens in one forward pass; TRL's default."""
    passes: int = 2
    """Forward passes in one step."""
    width: int = 256
    layers: int = 4
    vocabulary: int = 2048
    model: str = ""
    """Folder of a Llama, in place of the small random one."""
    steps: int = 0
    """Optimizer steps of an epoch: as many as TRL's packed rows make."""
    learning_rate: float = 1e-5
    threads: int = 2
    seed: int = 0


def model_of(settings: Settings) -> LlamaForCausalLM:
    """Return the model that all train."""
    torch.manual_seed(settings.seed)
    if settings.model:
        own: Any = {"dtype": torch.float32, "attn_implementation": "sdpa"}
        return LlamaForCausalLM.from_pretrained(settings.model, **own)
    config = llama(settings, max_position_embeddings=settings.length, attn_implementation="sdpa")
    return LlamaForCausalLM(config)


def texts_of(settings: Settings) -> list[Turn]:
    """Return texts of random tokens, no prompt like another."""
    rng = np.random.default_rng(settings.seed)
    lengths = rng.lognormal(sigma=settings.spread, size=settings.texts)
    found = []
    for size in np.maximum(4, np.rint(lengths * settings.longest / lengths.max()).astype(int)):
        tokens = tuple(rng.integers(3, settings.vocabulary, size).tolist())
        cut = max(2, int(size * settings.prompt))
        found.append(Turn(tokens[:cut], tokens[cut:]))
    return found


def packed_rows(settings: Settings) -> int:
    """Return into how many rows of `length` tokens TRL packs the texts; without it, as few as there could be."""
    if not find_spec("trl"):
        return math.ceil(sum(len(turn.prompt) + len(turn.answer) for turn in texts_of(settings)) / settings.length)
    from datasets import Dataset
    from trl import pack_dataset

    data = Dataset.from_dict({"input_ids": [[*turn.prompt, *turn.answer] for turn in texts_of(settings)]})
    return len(pack_dataset(data, settings.length, "bfd"))


class Marks:
    """Time, processor time and tokens computed at the ends of epochs."""

    def __init__(self) -> None:
        self.found: list[tuple[float, float, int]] = []

    def mark(self) -> None:
        """Note them."""
        self.found.append((*now(), ppo_contenders.computed))

    def second(self) -> dict[str, float]:
        """Return what the second epoch took."""
        first, last = self.found[-2], self.found[-1]
        return dict(
            zip(("seconds", "cpu_seconds", "tokens"), (b - a for a, b in zip(first, last, strict=True)), strict=True)
        )


def momus(settings: Settings) -> tuple[Any, Marks]:
    """Return a training with Momus, and where its epochs are marked."""
    from momus.runtime.runs import Run
    from momus.train.settings import SFTConfig
    from momus.train.sft import fine_tune

    class Unsaved(Run):
        """A run that writes metrics only, as TRL is told to."""

        def save(self, *_: Any, **__: Any) -> Path:
            """Write nothing."""
            return self.path

    model, marks = model_of(settings), Marks()
    count_tokens(model.model)
    config = SFTConfig(
        epochs=2,
        demonstrations_per_batch=math.ceil(settings.texts / settings.steps),
        learning_rate=settings.learning_rate,
        final_fraction=1.0,
        dropout=0.0,
        betas=BETAS,
        keep="last",
        token_budget=settings.length,
        seed=settings.seed,
    )
    texts = [(turn,) for turn in texts_of(settings)]
    per_epoch = math.ceil(settings.texts / config.demonstrations_per_batch)

    def progress(step: int, total: int, metrics: Any) -> None:
        if step % per_epoch == 0:
            marks.mark()

    def train() -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            history = fine_tune(model, texts, config, Unsaved(Path(folder) / "run", config), progress)
        return [line["loss"] for line in history]

    return train, marks


def trl(settings: Settings, packing: bool) -> tuple[Any, Marks]:
    """Return a training with TRL, and where its epochs are marked."""
    from datasets import Dataset
    from transformers import AutoTokenizer, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    marks = Marks()

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Marks the ends of epochs."""

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            marks.mark()

    size = 1 if packing else math.ceil(settings.texts / settings.steps / settings.passes)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            num_train_epochs=2,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=settings.passes,
            packing=packing,
            packing_strategy="bfd",
            max_length=settings.length,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="constant",
            adam_beta1=BETAS[0],
            adam_beta2=BETAS[1],
            weight_decay=0.0,
            max_grad_norm=1.0,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=settings.seed,
        )
    turns = texts_of(settings)
    data = {
        "input_ids": [[*turn.prompt, *turn.answer] for turn in turns],
        "labels": [[-100] * len(turn.prompt) + list(turn.answer) for turn in turns],
    }
    model: Any = model_of(settings)
    count_tokens(model.model)
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(data),
        processing_class=AutoTokenizer.from_pretrained(TINY),
        callbacks=[Clock()],
    )
    trainer.remove_callback(PrinterCallback)

    def train() -> list[float]:
        trainer.train()
        return [line["loss"] for line in trainer.state.log_history if "loss" in line]

    return train, marks


def main() -> None:
    """Be one contender."""
    settings = Settings(**json.loads(sys.argv[2]))
    torch.set_num_threads(settings.threads)
    train, marks = {
        "momus": lambda: momus(settings),
        "trl-packed": lambda: trl(settings, packing=True),
        "trl-padded": lambda: trl(settings, packing=False),
    }[sys.argv[1]]()
    before = memory("VmRSS")
    losses = train()
    real = sum(len(turn.prompt) + len(turn.answer) for turn in texts_of(settings))
    result = {**marks.second(), "real_tokens": real, "steps": len(losses) / 2, "losses": losses}
    memories = {"peak_kib": memory("VmHWM"), "before_kib": before}
    print(json.dumps({**result, **memories, "settings": asdict(settings)}))


if __name__ == "__main__":
    main()
