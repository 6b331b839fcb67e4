"""The reward step and who can take it: Momus, K padded rows in plain torch, and TRL's RewardTrainer.

One step is forward, backward, clipping and AdamW for a few prompts of K ranked answers each, from the same weights
and the same tokens. K ranked answers are K * (K - 1) / 2 pairs: Momus and the rows score each answer once; TRL is given
the pairs, as its data format asks, and so computes every answer K - 1 times and the prompt twice for every pair.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, LlamaConfig, LlamaModel

from momus.lm.forward import leaf_scores
from momus.lm.models import RewardModel
from momus.lm.tiny import TINY
from momus.runtime.runs import Run
from momus.train.reward import RankedPrompt, ranking_loss, train_reward_model
from momus.train.settings import RewardConfig

VOCABULARY = 2048  # momus-tiny's, whose tokenizer TRL is given
PAD = 0
TRL_DEFAULT_PAIRS = 8  # per_device_train_batch_size of transformers' TrainingArguments

Scores = Callable[[RewardModel, Sequence[Any]], torch.Tensor]  # of `RankedPrompt`s or `PromptRankings`


@dataclass(frozen=True)
class Shape:
    """One step's data: `prompts` prompts of `prompt` tokens with `k` answers of `answer` tokens each."""

    prompt: int
    answer: int
    k: int
    prompts: int = 1

    def __str__(self) -> str:
        return f"P={self.prompt} R={self.answer} K={self.k} x{self.prompts}"

    @property
    def pairs(self) -> int:
        """Pairs of all prompts together."""
        return self.prompts * self.k * (self.k - 1) // 2


def build_model(quick: bool, seed: int = 0, folder: str | None = None) -> RewardModel:
    """Return a random Llama of 4 layers and width 256 (2 and 32 if quick), float32, with a reward head.

    With a folder, the Llama that lies there in its place.
    """
    torch.manual_seed(seed)
    if folder is not None:
        backbone = AutoModel.from_pretrained(folder, dtype=torch.float32)
        backbone.config.pad_token_id = PAD
        return RewardModel(backbone).train()
    width = 32 if quick else 256
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=2 if quick else 4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        pad_token_id=PAD,
        bos_token_id=1,
        eos_token_id=2,
    )
    return RewardModel(LlamaModel(config)).train()


def build_rankings(shape: Shape, seed: int = 0) -> list[RankedPrompt]:
    """Return random tokens (never padding) in random order of rank, without ties."""
    rng = np.random.default_rng(seed)

    def tokens(size: int) -> tuple[int, ...]:
        return tuple(rng.integers(3, VOCABULARY, size).tolist())

    return [
        RankedPrompt(
            tokens(shape.prompt),
            tuple(tokens(shape.answer) for _ in range(shape.k)),
            tuple(rng.permutation(shape.k).astype(float).tolist()),
        )
        for _ in range(shape.prompts)
    ]


def tree_scores(model: RewardModel, rankings: Sequence[RankedPrompt]) -> torch.Tensor:
    """Score all answers with one token tree per prompt: float32 [prompts * K]."""
    return leaf_scores(model, [ranking.tree() for ranking in rankings])


def row_scores(model: RewardModel, rankings: Sequence[RankedPrompt]) -> torch.Tensor:
    """Score all answers as padded rows, prompt and answer each: float32 [prompts * K]."""
    rows = [torch.tensor(ranking.prompt + branch) for ranking in rankings for branch in ranking.branches]
    lengths = torch.tensor([len(row) for row in rows])
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    seen = torch.arange(tokens.shape[1])[None, :] < lengths[:, None]
    output = model.backbone(input_ids=tokens, attention_mask=seen.long(), use_cache=False)
    scores: torch.Tensor = model(output.last_hidden_state[torch.arange(len(rows)), lengths - 1])
    return scores


def mean_loss(scores: torch.Tensor, rankings: Sequence[RankedPrompt]) -> torch.Tensor:
    """InstructGPT's equation 1, averaged over prompts."""
    parts = torch.split(scores, [len(ranking.branches) for ranking in rankings])
    return torch.stack([ranking_loss(p, r.pairs()) for p, r in zip(parts, rankings, strict=True)]).mean()


def gradients(scores: Scores, model: RewardModel, rankings: Sequence[RankedPrompt]) -> tuple[float, list[torch.Tensor]]:
    """Return the loss and the gradients of all parameters."""
    model = copy.deepcopy(model)
    loss = mean_loss(scores(model, rankings), rankings)
    return loss.item(), list(torch.autograd.grad(loss, list(model.parameters())))


class PlainLoop:
    """A bare training loop: what differs between two of them is how the scores are computed."""

    def __init__(self, scores: Scores, model: RewardModel, rankings: Sequence[RankedPrompt]) -> None:
        self.scores, self.model, self.rankings = scores, copy.deepcopy(model), rankings
        config = RewardConfig()
        self.max_norm = config.max_grad_norm
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=0.0
        )

    def step(self) -> None:
        """Take one optimizer step."""
        self.optimizer.zero_grad()
        mean_loss(self.scores(self.model, self.rankings), self.rankings).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
        self.optimizer.step()

    def seconds(self, steps: int) -> float:
        """Return the seconds of one step, averaged over `steps`."""
        start = perf_counter()
        for _ in range(steps):
            self.step()
        return (perf_counter() - start) / steps


def momus_seconds(model: RewardModel, rankings: Sequence[RankedPrompt], steps: int) -> float:
    """Run `train_reward_model` and return the seconds of one of its steps, averaged over `steps`.

    Its own loop, metrics written at every step; the first step (warm-up) and the last (which saves a checkpoint;
    TRL is told not to) are not counted.
    """
    ends: list[float] = []
    config = RewardConfig(epochs=steps + 2, prompts_per_batch=len(rankings), save_every=steps + 2)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run", config)
        train_reward_model(copy.deepcopy(model), rankings, config, run, lambda *_: ends.append(perf_counter()))
    return (ends[steps] - ends[0]) / steps


def trl_batches(shape: Shape) -> list[int]:
    """Return the micro-batches worth trying, in pairs: TRL's default (or the divisor below it), and all at once."""
    default = max(size for size in range(1, TRL_DEFAULT_PAIRS + 1) if shape.pairs % size == 0)
    return sorted({default, shape.pairs})


def trl_trainer(
    model: RewardModel,
    rankings: Sequence[RankedPrompt],
    steps: int,
    batch: int,
    folder: str,
    *,
    checkpointing: bool = False,
) -> Any:
    """Return TRL's RewardTrainer on all pairs of the rankings, the same pairs at every step.

    Everything that would slow it without belonging to the step is off: evaluation, saving, progress bars, logging
    after the first step. float32 and the optimizer's settings are those of the other contenders.

    Args:
        model: The weights to start from.
        rankings: The prompts of one step.
        steps: Optimizer steps that `train()` takes.
        batch: Pairs in a micro-batch; gradients are accumulated over all pairs.
        folder: Where TRL may write.
        checkpointing: Recompute activations in the backward pass: TRL's default, slower and smaller.
    """
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, PrinterCallback
    from trl import RewardConfig as TrlConfig
    from trl import RewardTrainer

    backbone: Any = model.backbone
    config = copy.deepcopy(backbone.config)
    config.num_labels = 1
    classifier = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    classifier.model.load_state_dict(backbone.state_dict())
    classifier.score.load_state_dict(model.head.state_dict())
    pairs = [
        (ranking.prompt + ranking.branches[better], ranking.prompt + ranking.branches[worse])
        for ranking in rankings
        for better, worse in ranking.pairs()
    ]
    assert len(pairs) == sum(1 for ranking in rankings for _ in combinations(ranking.branches, 2))
    settings = RewardConfig()
    arguments = TrlConfig(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=len(pairs) // batch,
        gradient_checkpointing=checkpointing,
        bf16=False,
        use_cpu=True,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        weight_decay=0.0,
        max_grad_norm=settings.max_grad_norm,
        train_sampling_strategy="sequential",
        max_length=None,
        logging_first_step=True,
        logging_steps=steps + 1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    data = {
        name: [list(pair[side]) for pair in pairs] * steps for side, name in enumerate(("chosen_ids", "rejected_ids"))
    }
    assert arguments.gradient_checkpointing == checkpointing
    trainer = RewardTrainer(
        model=classifier,
        args=arguments,
        train_dataset=Dataset.from_dict(data),
        processing_class=AutoTokenizer.from_pretrained(TINY),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def trl_seconds(trainer: Any, repeats: int, steps: int, between: Callable[[], None]) -> list[float]:
    """Run TRL's training loop and return the seconds of one step, `repeats` times averaged over `steps`.

    The first step is the warm-up. The other contenders take their turns in `between`, on the trainer's callback,
    so that TRL keeps its own loop. The trainer must have been made for `1 + repeats * steps` steps.
    """
    from transformers import TrainerCallback

    seconds: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        started = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            now, done = perf_counter(), state.global_step - 1
            if done % steps:
                return
            if done:
                seconds.append((now - self.started) / steps)
            if len(seconds) < repeats:
                between()
            self.started = perf_counter()

    trainer.add_callback(Clock())
    trainer.train()
    return seconds
