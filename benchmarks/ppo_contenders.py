"""One contender of the PPO benchmarks in a process of its own: Momus, or TRL's PPOTrainer (1.12.0, the last with one).

    python benchmarks/ppo_contenders.py momus|trl SETTINGS

SETTINGS is the JSON of `Settings`; one line of JSON comes back. Both train a random Llama, with three more of its size
(reference, value, reward), from the same weights in float32 on the same prompts, with AdamW of the same settings at a
constant rate and one pass over each batch; with `model` it is a Llama from a folder, such as SmolLM2-135M. TRL's
process needs no Momus. Off are, with TRL: bf16 and gradient checkpointing (both slow it down here), saving, progress
bars, reports and sample generations; with Momus: the averaged weights, which TRL does not keep.
"""

from __future__ import annotations

import copy
import gc
import json
import math
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from time import perf_counter, process_time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

PAD, BOS, EOS = 0, 1, 2
FIRST, LAST = 3, 255
"""The tokens that the toy task pays for: an eighth of the vocabulary, found in no prompt."""
KL_COEFFICIENT, CLIP, LAMBDA, VALUE_WEIGHT = 0.05, 0.2, 0.95, 0.1


@dataclass(frozen=True)
class Settings:
    """What both contenders are told."""

    prompts: int = 16
    rollouts: int = 1
    """Responses to each prompt of a batch."""
    prompt: int = 64
    """Longest prompt; with `skew` the others are shorter."""
    response: int = 32
    skew: bool = False
    """Prompt lengths evenly spread from an eighth of the longest to it."""
    minibatches: int = 1
    iterations: int = 4
    width: int = 256
    layers: int = 4
    vocabulary: int = 2048
    learning_rate: float = 3e-6
    model: str = ""
    """Folder of a Llama that is the policy, and all the others with a random head; by default a random one."""
    lora: bool = False
    """Train adapters of rank 16 in all linear layers but the vocabulary head, instead of all weights."""
    toy: bool = False
    """Pay for the count of some tokens instead of a reward model's score."""
    threads: int = 2
    seed: int = 0

    @property
    def batch(self) -> int:
        """Episodes of an iteration."""
        return self.prompts * self.rollouts


computed = 0
"""Tokens that backbones computed, padding included."""


def count_tokens(*backbones: Any) -> None:
    """Count them at the first feed-forward block of some backbones, and of all copies made of them later."""
    for backbone in backbones:
        backbone.layers[0].mlp.register_forward_pre_hook(_count)


def _count(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    global computed
    computed += inputs[0].numel() // inputs[0].shape[-1]


def llama(settings: Any, **more: Any) -> LlamaConfig:
    """Return the architecture that benchmarks train: `settings` says its vocabulary, width and layers."""
    return LlamaConfig(
        vocab_size=settings.vocabulary,
        hidden_size=settings.width,
        intermediate_size=8 * settings.width // 3,
        num_hidden_layers=settings.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        **more,
    )


def config_of(settings: Settings, **more: Any) -> LlamaConfig:
    """Return the architecture of all four networks."""
    return llama(settings, max_position_embeddings=1024, initializer_range=0.2 if settings.toy else 0.02, **more)


def networks(settings: Settings) -> tuple[LlamaForCausalLM, LlamaForSequenceClassification]:
    """Return the policy, and the reward model that the value network starts as."""
    torch.manual_seed(settings.seed)
    if settings.model:
        policy = LlamaForCausalLM.from_pretrained(settings.model, dtype=torch.float32)
        own: Any = {"num_labels": 1, "pad_token_id": PAD, "dtype": torch.float32}
        return policy.eval(), LlamaForSequenceClassification.from_pretrained(settings.model, **own).eval()
    policy = LlamaForCausalLM(config_of(settings))
    reward = LlamaForSequenceClassification(config_of(settings, num_labels=1))
    if settings.toy:  # both start from the policy with a head of zeros
        reward.model.load_state_dict(policy.model.state_dict())
        nn.init.zeros_(reward.score.weight)
    return policy.eval(), reward.eval()


def prompts_of(settings: Settings) -> list[list[int]]:
    """Return the prompts of all iterations, of random tokens, none of them special or wanted."""
    rng = np.random.default_rng(settings.seed)
    low = settings.prompt // 8 if settings.skew else settings.prompt
    lengths = np.linspace(max(2, low), settings.prompt, settings.prompts * settings.iterations).astype(int)
    return [[BOS, *rng.integers(LAST + 1, settings.vocabulary, int(size) - 1).tolist()] for size in lengths]


def now() -> tuple[float, float]:
    """Return the time, and the processor time of this process."""
    return perf_counter(), process_time()


class Held:
    """Bytes of all models, of what is trained, its gradients and the optimizers, most of them at once.

    They are counted after every optimizer's first step, which is in the first iteration, and not timed.
    """

    def __init__(self) -> None:
        self.bytes = dict.fromkeys(("models", "trained", "gradients", "optimizers"), 0)
        self._optimizers: dict[int, torch.optim.Optimizer] = {}

    def look(self, optimizer: Any) -> None:
        """Count every storage once, whoever holds it."""
        if id(optimizer) in self._optimizers:
            return
        self._optimizers[id(optimizer)] = optimizer
        models = [own for own in gc.get_objects() if isinstance(own, nn.Parameter)]
        groups = [group for own in self._optimizers.values() for group in own.param_groups]
        now = {
            "models": models,
            "trained": [own for group in groups for own in group["params"] if own.requires_grad],
            "gradients": [own.grad for own in models if own.grad is not None],
            "optimizers": [
                value
                for own in self._optimizers.values()
                for state in own.state.values()
                for value in state.values()
                if isinstance(value, torch.Tensor)
            ],
        }
        for name, tensors in now.items():
            storages = {own.untyped_storage().data_ptr(): own.untyped_storage().nbytes() for own in tensors}
            self.bytes[name] = max(self.bytes[name], sum(storages.values()))


def measured(action: Any, ends: list[tuple[float, float]]) -> dict[str, Any]:
    """Run a training and return the seconds of its iterations, the first (warm-up) and the last left out."""
    steps, held = 0, Held()

    def count(optimizer: Any, *_: Any) -> None:
        nonlocal steps
        steps += 1
        held.look(optimizer)

    register_optimizer_step_post_hook(count)
    before = memory("VmRSS")
    result = action()
    wall, cpu = ([after[i] - start[i] for start, after in pairwise(ends)][:-1] for i in range(2))
    return {
        "seconds": wall,
        "cpu_seconds": cpu,
        "steps": steps,
        "peak_kib": memory("VmHWM"),
        "before_kib": before,
        "bytes": held.bytes,
        **result,
    }


def memory(field: str) -> int:
    """Return a size from this process's status, in KiB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0


def momus(settings: Settings) -> dict[str, Any]:
    """Train with Momus."""
    from momus.lm.local.engine import LocalEngine
    from momus.lm.models import RewardModel, load_tokenizer
    from momus.lm.tiny import TINY
    from momus.runtime.runs import Run
    from momus.train.ppo import train_policy
    from momus.train.rollout import engine_sampler, reward_scorer
    from momus.train.settings import PPOConfig

    policy, classifier = networks(settings)
    reward = RewardModel(classifier.model)
    reward.head.load_state_dict(classifier.score.state_dict())
    if settings.lora:
        from momus.runtime.settings import LoRA, Setup
        from momus.runtime.sharding import prepare

        policy, reward = (prepare(model, Setup(adapter=LoRA())) for model in (policy, reward))
    config = PPOConfig(
        iterations=settings.iterations,
        prompts_per_batch=settings.prompts,
        rollouts_per_prompt=settings.rollouts,
        minibatches=settings.minibatches,
        policy_learning_rate=settings.learning_rate,
        value_learning_rate=settings.learning_rate,
        warmup_iterations=0,
        betas=(0.9, 0.999),
        max_grad_norm=math.inf,
        kl_coefficient=KL_COEFFICIENT,
        clip=CLIP,
        gae_lambda=LAMBDA,
        kl_limit=None,
        ema_decay=None,
        seed=settings.seed,
        save_every=settings.iterations,
    )
    ends: list[tuple[float, float]] = []
    engine = LocalEngine(policy, load_tokenizer(TINY), cache_bytes=0)
    score: Any = (
        reward_scorer(reward)
        if not settings.toy
        else lambda _, responses: [
            [float(sum(FIRST <= token <= LAST for token in response)) for response in own] for own in responses
        ]
    )
    count_tokens(policy.model, reward.backbone)

    def train() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            history = train_policy(
                policy, reward, prompts_of(settings), engine_sampler(engine, settings.response), score, config,
                Run(Path(folder) / "run", config), eos_id=EOS, progress=lambda *_: ends.append(now()),
            ).history  # fmt: skip
        return {"scores": [line["score"] for line in history], "kl": [line["kl"] for line in history]}

    result = measured(train, ends)
    # Two optimizers step together here, TRL has one for both networks.
    return {**result, "steps": result["steps"] / 2, "tokens": computed / settings.iterations}


class CountingReward(nn.Module):
    """What TRL takes for a reward model and is none: it pays for the wanted tokens."""

    base_model_prefix = "model"

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Identity()

    def model(self, input_ids: torch.Tensor, **_: Any) -> Any:
        """Return, as a last hidden state, how many there were so far."""
        return SimpleNamespace(
            hidden_states=[((input_ids >= FIRST) & (input_ids <= LAST)).cumsum(1)[..., None].float()]
        )


def trl(settings: Settings) -> dict[str, Any]:
    """Train with TRL."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from datasets import Dataset
    from transformers import AutoTokenizer, PrinterCallback, TrainerCallback
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    policy, classifier = networks(settings)
    adapter = None
    if settings.lora:
        from peft import LoraConfig

        adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    ends: list[tuple[float, float]] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(now())

    lines: list[dict[str, float]] = []
    rows = [prompt for prompt in prompts_of(settings) for _ in range(settings.rollouts)]
    size = settings.batch // settings.minibatches
    with tempfile.TemporaryDirectory() as folder:
        arguments = PPOConfig(
            output_dir=folder,
            total_episodes=settings.batch * settings.iterations,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=settings.minibatches,
            num_mini_batches=settings.minibatches,
            num_ppo_epochs=1,
            local_rollout_forward_batch_size=settings.batch,
            response_length=settings.response,
            stop_token="eos",
            temperature=1.0,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="constant",
            adam_beta1=0.9,
            adam_beta2=0.999,
            weight_decay=0.0,
            kl_coef=KL_COEFFICIENT,
            cliprange=CLIP,
            cliprange_value=CLIP,
            vf_coef=VALUE_WEIGHT,
            lam=LAMBDA,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            num_sample_generations=0,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=settings.seed,
        )
        trainer = PPOTrainer(
            args=arguments,
            processing_class=AutoTokenizer.from_pretrained(os.environ["MOMUS_TOKENIZER"], padding_side="left"),
            model=policy,
            ref_model=None if settings.lora else copy.deepcopy(policy),
            peft_config=adapter,
            reward_model=CountingReward() if settings.toy else copy.deepcopy(classifier),
            value_model=classifier,
            train_dataset=Dataset.from_dict({"input_ids": rows}),
            callbacks=[Clock()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.log = lambda line, *_: lines.append(line)
        count_tokens(policy.model, *([trainer.ref_model.model] if trainer.ref_model else []), classifier.model)
        if not settings.toy:
            count_tokens(trainer.reward_model.model)

        def train() -> dict[str, Any]:
            trainer.train()
            return {"scores": [own["objective/scores"] for own in lines], "kl": [own["objective/kl"] for own in lines]}

        result = measured(train, ends)
    return {**result, "tokens": computed / settings.iterations, "trl_version": version("trl")}


def main() -> None:
    """Be one contender."""
    settings = Settings(**json.loads(sys.argv[2]))
    torch.set_num_threads(settings.threads)
    result = {"momus": momus, "trl": trl}[sys.argv[1]](settings)
    print(json.dumps({**result, "settings": asdict(settings)}))


if __name__ == "__main__":
    main()
