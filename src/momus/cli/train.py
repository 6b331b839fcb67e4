"""`momus train`: InstructGPT's three steps, each by itself or all one after another.

What trains is imported where it is called: the settings are enough for --help.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import tyro
from tyro.conf import arg, subcommand

from momus.cli.shared.pointer_training import Pointer
from momus.cli.shared.truth import judged_by
from momus.errors import UserError
from momus.runtime.settings import LoRA, Setup
from momus.train.settings import (
    DPOConfig,
    LoopConfig,
    PPOConfig,
    RewardConfig,
    ServerConfig,
    SFTConfig,
    Steps,
    TextConfig,
    for_adapter,
)

if TYPE_CHECKING:
    from momus.cli.shared.train_report import Report
    from momus.train.bases import Base
    from momus.train.rollout_server import Rollouts

_CONFIGS = (SFTConfig, RewardConfig, DPOConfig, PPOConfig)


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """What all steps have in common."""

    model: str
    """The model to start from: a folder, a name on the hub or a GGUF file; an adapter is continued with --lora."""
    out: Path
    """The run directory; run again with the same options it continues."""
    chat_template: Path | None = None
    """A file with a Jinja chat template; by default the tokenizer's own, or without one "User: …, Assistant: …"."""
    pad_token: str | None = None
    """A token of the vocabulary that the saved model pads with. Training pads nothing, and does without."""
    track: tuple[str, ...] = ()
    """Where metrics go besides the terminal and metrics.jsonl: tensorboard, wandb, trackio."""
    pretraining_tokens: float | None = None
    """Tokens the model was pretrained on, to say in the summary what share of that this costs."""
    device: str | None = None
    """Where it trains, such as cpu or cuda:1; by default on a GPU if there is one, of several processes on one each."""
    precision: Literal["fp32", "bf16"] | None = None
    """What is computed in; weights that are trained stay float32. By default what accelerate launch says, or fp32."""
    gradient_checkpointing: bool = False
    """Compute layers again in the backward pass: less memory, same results."""
    lora: bool = False
    """Train an adapter of low rank instead of all weights, at ten times the rate by default. OUT/adapter holds it,
    to be continued as --model, and OUT/model both merged."""
    adapter: Annotated[LoRA, arg(name="lora")] = field(default_factory=LoRA)
    texts: Annotated[TextConfig, arg(name="")] = field(default_factory=TextConfig)

    @classmethod
    def presets(cls) -> dict[str, Callable[[], dict[str, Any]]]:
        """Return what each preset sets."""
        raise NotImplementedError

    def opened(self) -> Base:
        """Open and check the model's tokenizer and settings."""
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"--out {self.out}: is a file: name a directory")
        if not self.lora and self.adapter != LoRA():
            raise UserError("--lora.… is for an adapter: give --lora with it")
        from momus.train.bases import open_base

        setup = Setup(self.precision, self.gradient_checkpointing, self.adapter if self.lora else None)
        return open_base(self.model, self.texts, setup, self.chat_template, self.pad_token, self.pretraining_tokens)


@dataclass(frozen=True, kw_only=True)
class _Sampling(_Stage):
    """What the steps with PPO have in common."""

    rollouts: str | None = None
    """URL of a vLLM or SGLang server to sample from; it gets the policy's weights before every batch."""
    server: Annotated[ServerConfig, arg(name="rollouts")] = field(default_factory=ServerConfig)

    def sampled_from(self, base: Base) -> Rollouts | None:
        """Return the server that rollouts come from, after seeing that it is there; None where there is none."""
        if self.rollouts is None:
            if self.server != ServerConfig():
                raise UserError("--rollouts.… is for a server: give --rollouts URL with it")
            return None
        from momus.train.rollout_server import Rollouts
        from momus.train.stages import SUMMARY

        made = Rollouts(self.rollouts, self.server.weights or self.out / "weights", self.server)
        if not (self.out / SUMMARY).is_file():
            made.engine(base.chat.tokenizer, base.load)
        return made


@dataclass(frozen=True, kw_only=True)
class Sft(_Stage):
    """Step 1: fine-tune a model on demonstrations."""

    data: tuple[str, ...]
    """Files with demonstrations, in any format that `momus data inspect` knows."""
    reward: Literal["truth"] | Path | None = None
    """A reward model: the epoch whose answers to held-out prompts it scores best is kept, as in the paper. Or truth, of
    a critic: --data are answers with known bugs, and bugs caught minus false comments choose the epoch."""
    pretraining: tuple[str, ...] = ()
    """Texts for --pretraining-share: .txt files, or any known format."""
    every_turn: bool = False
    """Train all of the assistant's turns of a conversation, not only the last."""
    preset: Literal["paper", "before-ppo", "mixture", "tiny"] = "paper"
    """Settings to start from: the paper's (C.1), its model before PPO (C.3), on FLAN or T0 (C.5), a small machine's."""
    config: Annotated[SFTConfig, arg(name="")] = field(default_factory=SFTConfig)

    @classmethod
    def presets(cls) -> dict[str, Callable[[], dict[str, Any]]]:
        """Return what each preset sets."""
        return {
            "paper": lambda: {"config": SFTConfig()},
            "before-ppo": lambda: {"config": SFTConfig.for_ppo()},
            "mixture": lambda: {"config": SFTConfig.for_mixture()},
            "tiny": lambda: {"config": SFTConfig.tiny(), "texts": TextConfig.tiny()},
        }

    def run(self, report: Report) -> dict[str, Any]:
        """Check everything, show an example, train."""
        from momus.train.from_files import train_sft

        base = self.opened()
        data, reward = judged_by(self.reward, self.data, base.chat)
        return train_sft(
            base,
            data,
            self.out,
            self.config,
            lengths=self.texts,
            reward=reward,
            pretraining=self.pretraining,
            every_turn=self.every_turn,
            report=report,
        )


@dataclass(frozen=True, kw_only=True)
class Reward(_Stage):
    """Step 2: train a reward model on rankings, from a fine-tuned or a base model."""

    data: tuple[str, ...]
    """Files with rankings, in any format that `momus data inspect` knows."""
    demonstrations: tuple[str, ...] = ()
    """Files with demonstrations, whose mean score becomes 0 (§3.5)."""
    mix: tuple[str, ...] = ()
    """Files with other rankings to learn from beside --data, which alone is measured on: general preferences, of a
    critic's reward model."""
    shares: tuple[float, ...] = ()
    """What part of the rankings are of --mix; of several the one that is best on held-out rankings is kept. By default
    all of them."""
    preset: Literal["paper", "tiny"] = "paper"
    """Settings to start from: the paper's, or a small machine's."""
    config: Annotated[RewardConfig, arg(name="")] = field(default_factory=RewardConfig)

    @classmethod
    def presets(cls) -> dict[str, Callable[[], dict[str, Any]]]:
        """Return what each preset sets."""
        return {
            "paper": lambda: {"config": RewardConfig()},
            "tiny": lambda: {"config": RewardConfig.tiny(), "texts": TextConfig.tiny()},
        }

    def run(self, report: Report) -> dict[str, Any]:
        """Check everything, show an example, train."""
        from momus.train.from_files import train_reward

        return train_reward(
            self.opened(),
            self.data,
            self.out,
            self.config,
            lengths=self.texts,
            demonstrations=self.demonstrations,
            mix=self.mix,
            shares=self.shares,
            report=report,
        )


@dataclass(frozen=True, kw_only=True)
class Dpo(_Stage):
    """Beside steps 2 and 3: train a policy on rankings directly (DPO, arXiv 2305.18290), without a reward model."""

    data: tuple[str, ...]
    """Files with rankings, in any format that `momus data inspect` knows."""
    preset: Literal["paper", "tiny"] = "paper"
    """Settings to start from: the DPO paper's, or a small machine's."""
    config: Annotated[DPOConfig, arg(name="")] = field(default_factory=DPOConfig)

    @classmethod
    def presets(cls) -> dict[str, Callable[[], dict[str, Any]]]:
        """Return what each preset sets."""
        return {
            "paper": lambda: {"config": DPOConfig()},
            "tiny": lambda: {"config": DPOConfig.tiny(), "texts": TextConfig.tiny()},
        }

    def run(self, report: Report) -> dict[str, Any]:
        """Check everything, show an example, train."""
        from momus.train.from_files import train_dpo

        return train_dpo(self.opened(), self.data, self.out, self.config, lengths=self.texts, report=report)


@dataclass(frozen=True, kw_only=True)
class Ppo(_Sampling):
    """Step 3: train a policy against a reward model with PPO, or PPO-ptx."""

    data: tuple[str, ...]
    """Files with prompts, or with records that have prompts."""
    reward: Literal["truth"] | Path
    """The reward model, which must read the policy's tokens. Or truth, of a critic: --data are answers with known bugs,
    and the reward is bugs caught minus false comments, by what is known of them."""
    pretraining: tuple[str, ...] = ()
    """Texts for --ptx-coefficient: .txt files, or any known format."""
    preset: Literal["paper", "tiny"] = "paper"
    """Settings to start from: the paper's, or a small machine's."""
    config: Annotated[PPOConfig, arg(name="")] = field(default_factory=PPOConfig)

    @classmethod
    def presets(cls) -> dict[str, Callable[[], dict[str, Any]]]:
        """Return what each preset sets."""
        return {
            "paper": lambda: {"config": PPOConfig()},
            "tiny": lambda: {"config": PPOConfig.tiny(), "texts": TextConfig.tiny()},
        }

    def run(self, report: Report) -> dict[str, Any]:
        """Check everything, show a prompt, train."""
        from momus.train.from_files import train_ppo

        base = self.opened()
        data, reward = judged_by(self.reward, self.data, base.chat)
        return train_ppo(
            base,
            reward,
            data,
            self.out,
            self.config,
            lengths=self.texts,
            pretraining=self.pretraining,
            rollouts=self.sampled_from,
            report=report,
        )


@dataclass(frozen=True, kw_only=True)
class Rlhf(_Sampling):
    """All three steps, and the last two again for every further round."""

    demonstrations: tuple[str, ...]
    """Files with demonstrations, for step 1."""
    prompts: tuple[str, ...]
    """Files with prompts, for step 3 and for answers to be ranked."""
    rankings: tuple[str, ...] = ()
    """Files with rankings: the first is for the first round, the second for the second."""
    gold: Path | None = None
    """A reward model that ranks the policy's answers where a round has no rankings: a simulated labeler."""
    pretraining: tuple[str, ...] = ()
    """Texts to mix in before and during PPO: .txt files, or any known format."""
    preset: Literal["paper", "tiny"] = "paper"
    """Settings to start from: the paper's, or a small machine's."""
    loop: Annotated[LoopConfig, arg(name="")] = field(default_factory=LoopConfig)
    sft: SFTConfig = field(default_factory=SFTConfig.for_ppo)
    reward: RewardConfig = field(default_factory=RewardConfig)
    ppo: PPOConfig = field(default_factory=lambda: PPOConfig(ptx_coefficient=27.8))

    @classmethod
    def presets(cls) -> dict[str, Callable[[], dict[str, Any]]]:
        """Return what each preset sets."""
        return {
            "paper": dict,
            "tiny": lambda: {
                "sft": SFTConfig.tiny(epochs=2),
                "reward": RewardConfig.tiny(),
                "ppo": PPOConfig.tiny(),
                "loop": LoopConfig(prompts_to_rank=100),
                "texts": TextConfig.tiny(),
            },
        }

    def run(self, report: Report) -> dict[str, Any]:
        """Check everything, show an example, do all steps."""
        from momus.train.from_files import read_pretraining
        from momus.train.rlhf import Material, read_given_rankings, run_rlhf
        from momus.train.texts import demonstrations, prompts

        if len(self.rankings) > self.loop.rounds:
            raise UserError(f"--rankings names {len(self.rankings)} files for --rounds {self.loop.rounds}: one a round")
        base = self.opened()
        needed = {
            "--sft.pretraining-share": self.sft.pretraining_share,
            "--ppo.ptx-coefficient": self.ppo.ptx_coefficient,
        }
        texts = read_pretraining(self.pretraining, base, self.texts, needed, report)
        material = Material(
            report.read("demonstrations", lambda: demonstrations(self.demonstrations, base.chat, self.texts)),
            [
                report.read("rankings", partial(read_given_rankings, file, number, base, self.texts, self.out))
                for number, file in enumerate(self.rankings, 1)
            ],
            report.read("prompts", lambda: prompts(self.prompts, base.chat, self.texts)),
            texts,
        )
        first = material.demonstrations.train[0][-1]
        report.example("One demonstration, what is trained in green", base.chat.shown(first))
        steps = Steps(self.sft, self.reward, self.ppo)
        rollouts = self.sampled_from(base)
        return run_rlhf(base, material, steps, self.loop, self.texts, self.out, report, self.gold, rollouts)


def command_for(arguments: Sequence[str]) -> Callable[..., int]:
    """Return the command, its defaults those of the preset that the arguments name, and of adapters with --lora."""
    preset, lora = _preset(arguments), "--lora" in arguments
    commands = tuple(
        Annotated[kind, subcommand(kind.__name__.lower(), default=_defaults(kind, preset, lora))]
        for kind in (Sft, Reward, Dpo, Ppo, Rlhf, Pointer)
    )

    def command(action: Any) -> int:
        """Train a model by InstructGPT's steps, or a pointer to a critic's lines (docs/guides/training.md)."""
        from momus.cli.shared.train_report import Report
        from momus.runtime.processes import fail_together, is_main_process, on_device

        with fail_together(), on_device(action.device), _out_of_memory_in_one_line():
            summary = action.run(Report(getattr(action, "track", ())))
        if is_main_process():
            print(json.dumps(summary.get("result", summary), indent=1))
            print(summary.get("waiting_for") or _where(summary))
        return 0

    command.__annotations__["action"] = Annotated[Union[commands], arg(name="")]  # noqa: UP007
    return command


def _where(summary: Mapping[str, Any]) -> str:
    return f"The pointer is {summary['pointer']}" if "pointer" in summary else f"The model is {summary['model']}"


@contextmanager
def _out_of_memory_in_one_line() -> Iterator[None]:
    """Say in one line what to do where memory runs out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        from momus.lm.out_of_memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        raise UserError(
            "out of memory: run again with a lower --token-budget (of rlhf --sft.token-budget and so on) or with "
            "--gradient-checkpointing, and it continues; or take --precision bf16, in another --out"
        ) from error


@dataclass(frozen=True)
class _Preset:
    preset: str = "paper"


def _preset(arguments: Sequence[str]) -> str:
    """Read --preset before the rest: the other defaults follow from it. A wrong one is refused with the rest."""
    chosen, _ = tyro.cli(_Preset, args=arguments, return_unknown_args=True, add_help=False)
    return chosen.preset


def _defaults(kind: type[_Stage] | type[Pointer], preset: str, lora: bool) -> _Stage | Pointer:
    """Return a command with a preset's settings, adapters' learning rates if asked, and what must be given missing."""
    required = {item.name for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING}
    settings: dict[str, Any] = dict.fromkeys(required, tyro.MISSING)
    presets = kind.presets()
    if preset in presets:
        settings |= {"preset": preset, **presets[preset]()}
    stage = kind(**settings)
    if not lora:
        return stage
    configs: dict[str, Any] = {name: value for name, value in vars(stage).items() if isinstance(value, _CONFIGS)}
    return replace(stage, **{name: for_adapter(config) for name, config in configs.items()})
