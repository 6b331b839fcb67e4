"""Options that several commands share, each group one dataclass: they are spelled and mean the same everywhere.

A command takes a group as a parameter of type `Annotated[Group, FLAT]`: its fields are the command's own flags.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import arg

from momus.cli.shared.refining import RefiningOptions
from momus.errors import UserError

if TYPE_CHECKING:
    from momus.critics.critic import Critic
    from momus.critics.prompted import PromptedConfig, PromptKind
    from momus.critics.refine import Refinement
    from momus.lm.chats.asking import Asking
    from momus.lm.local.engine import LocalEngine
    from momus.lm.remote.engine import RemoteEngine
    from momus.match.open import NamedModel
    from momus.search.result import RewardSource

FLAT = arg(name="")
"""A group's flags carry no prefix."""

NO_CHAT = "--budget-tokens and --prices are for a model that chats and is not searched with: see --model and --url"


@dataclass(frozen=True, kw_only=True)
class LocalOptions:
    """How a model runs in this process."""

    device: str | None = None
    """Where a model in this process runs, such as cpu or cuda:1; by default on a GPU if there is one."""
    precision: Literal["fp32", "bf16"] | None = None
    """What a model in this process is held and computed in. By default fp32; of a model that chats bf16, where that is
    faster and loses nothing."""

    @property
    def is_default(self) -> bool:
        """Whether nothing was asked for."""
        return self.device is None and self.precision is None

    def check_used(self, used: bool) -> None:
        """Refuse these options where every model is on a server.

        Raises:
            UserError: One was given, and `used` is false.
        """
        if not (used or self.is_default):
            raise UserError("--device and --precision are for a model in this process: a server decides for itself")

    def place(self) -> str:
        """Return the device a model in this process runs on.

        Raises:
            UserError: There is no such device.
        """
        from momus.lm.local.load import choose_device

        return choose_device(self.device)

    def settings(self) -> dict[str, str]:
        """Return what of this decides results, for the settings of a run that is to be continued."""
        return {"precision": "bf16"} if self.precision == "bf16" else {}


@dataclass(frozen=True, kw_only=True)
class AskingOptions:
    """What a model that chats may cost, and whether its answers are kept."""

    no_cache: bool = False
    """Ask a model that chats again, though its answer to the same question is kept."""
    budget_tokens: int | None = None
    """Tokens that each model that chats may read and write together; what was not read is said."""
    prices: Path | None = None
    """A TOML file with what a million tokens cost: a table for each model, with read and written."""

    @property
    def has_limits(self) -> bool:
        """Whether something was said that only a model that chats can keep to."""
        return self.budget_tokens is not None or self.prices is not None

    def asking(self) -> Asking:
        """Return what is put around the chat.

        Raises:
            UserError: The budget is no number of tokens.
        """
        from momus.lm.chats.asking import Asking

        return Asking(not self.no_cache, self.budget_tokens, self.prices)


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """A reward model, in this process or on a server."""

    reward: Path | None = None
    """A reward model's folder."""
    reward_url: str | None = None
    """In its place a server with a reward model: vLLM, SGLang or text-embeddings-inference."""
    reward_tokenizer: str | None = None
    """With --reward-url: folder or name of that model's tokenizer, if it does not read the tokens of --model."""

    def source(self) -> RewardSource:
        """Return where the reward model is, if anywhere."""
        from momus.search.result import RewardSource

        return RewardSource(self.reward, self.reward_url, self.reward_tokenizer)


@dataclass(frozen=True, kw_only=True)
class CriticOptions(RewardOptions, LocalOptions):
    """A critic that is run in this process: with a reward model it searches, without one it votes."""

    model: str | None = None
    """A critic: a folder, a name on the hub or a GGUF file; the one that ships with Momus by default."""


@dataclass(frozen=True, kw_only=True)
class AnyCriticOptions(RefiningOptions, CriticOptions):
    """A critic, trained or a model that is prompted, in this process or on a server, and what comes after it wrote.

    Raises:
        UserError: The options do not go together.
    """

    url: str | None = None
    """A server with an OpenAI-compatible or Anthropic-style API, --model its name there; its key is read from
    MOMUS_API_KEY."""
    kind: Literal["trained", "prompted"] | None = None
    """What --model is, where it could be both. By default trained where Momus trained it as a critic or it has no chat
    template, and else prompted."""
    rules: Path | None = None
    """A file with the house's own rules, for a model that chats."""

    def __post_init__(self) -> None:
        self.check_used(self.runs_here())

    def runs_here(self) -> bool:
        """Return whether a model is in this process: the critic, or one that is asked after it."""
        return self.url is None or self.asks_here()

    def source(self) -> RewardSource:
        """Return where the reward model of a critic that searches is, if anywhere: not one that only scores."""
        from momus.search.result import RewardSource

        return RewardSource() if self.score == "reward" else super().source()

    def refined(self) -> Refinement | None:
        """Return what comes after the critic wrote; None for nothing.

        Raises:
            UserError: The options do not go together.
        """
        return self.refinement(super().source(), self.device, self.precision)

    def is_prompted(self) -> bool:
        """Return whether the critic is prompted."""
        from momus.critics.open import is_prompted

        return is_prompted(self.model, self.url, self.kind)


@dataclass(frozen=True, kw_only=True)
class ReviewerOptions(AnyCriticOptions):
    """A critic of code that has a dial."""

    critic: Literal["small"] | None = None
    """small is Qwen2.5-Coder-0.5B-Instruct, from the hub or from --model, with the adapter and the pointer that ship
    with Momus."""
    samples: int | None = None
    """Reviews by a model that chats of each function: with more than one, the dial is the share that must agree on a
    line. By default one, at temperature 0."""
    without_comments: bool = False
    """Show a model that chats the code without comments and docstrings, in which somebody may have written to it."""
    pointer: str | None = None
    """What chooses the lines that a model that chats is asked about: what `momus train pointer` made of the same model,
    or none. By default one beside the model, or one that ships with Momus, where there is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.critic is None:
            return
        if self.url is not None or self.pointer is not None:
            raise UserError("--critic small has a pointer of its own and runs in this process: no --url, no --pointer")
        from momus.critics.small import BASE

        object.__setattr__(self, "model", self.model or BASE)  # it is an abbreviation of the two

    def refined(self) -> Refinement | None:
        """Return what comes after the critic wrote; None for nothing.

        Raises:
            UserError: The options do not go together.
        """
        if self.score == "samples" and (self.samples or 1) < 2 and self.is_prompted():
            raise UserError("--score samples needs several of a model that chats: --samples 8, for one")
        return super().refined()

    def prompted(self) -> PromptedConfig | None:
        """Return how a model that chats is asked; None where no option says."""
        from momus.cli.shared.prompting import read_prompting

        return read_prompting(self.rules, self.samples, self.without_comments)

    def open(self, asking: Asking | None = None, prompt: PromptKind = "code") -> Critic:
        """Open the critic that writes; `asking` is put around a model that chats.

        Raises:
            UserError: It reads only code, and answers in general are asked for.
        """
        from momus.critics.open import open_critic

        prompted, pointer = self.prompted(), self.pointer
        if prompt == "answer":
            prompted, pointer = self._prompted_for_answers(prompted), pointer or "none"
        return open_critic(
            self.model,
            self.source(),
            url=self.url,
            kind=self.kind,
            prompted=prompted,
            device=self.device,
            precision=self.precision,
            asking=asking,
            pointer=pointer,
            small=self.critic == "small",
        )

    def _prompted_for_answers(self, prompted: PromptedConfig | None) -> PromptedConfig:
        """Return how a model that chats is asked about answers in general."""
        from momus.critics.prompted import PromptedConfig

        if self.critic is not None or not self.is_prompted():
            raise UserError("this critic reads only code: name a model that chats with --model or --url")
        if self.without_comments:
            raise UserError("--without-comments is for code: leave it out")
        return replace(prompted or PromptedConfig(), prompt="answer")


@dataclass(frozen=True, kw_only=True)
class EngineOptions(LocalOptions):
    """A language model whose tokens are worked with, in this process or on a server.

    Raises:
        UserError: The options do not go together.
    """

    model: str | None = None
    """A language model: a folder, a name on the hub or a GGUF file; with --url its name on that server."""
    url: str | None = None
    """The base URL of an OpenAI-compatible server that runs the model."""
    tokenizer: str | None = None
    """With --url: folder or name of the model's tokenizer, if it is not the model's name."""
    memory: int = 512
    """MiB of keys and values that a model in this process remembers."""

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise UserError(f"--memory {self.memory}: must be at least 1")
        if self.url is None and self.tokenizer is not None:
            raise UserError("--tokenizer is for a model on a server: give --url with it")
        if self.url is not None and not (self.is_default and self.memory == 512):
            raise UserError(
                "--device, --precision and --memory are for a model in this process: a server decides for itself"
            )

    def open(self) -> LocalEngine | RemoteEngine:
        """Load the model, or find it on its server.

        Raises:
            UserError: None is named, or it cannot be had.
        """
        if self.url is not None:
            return connect(self.url, self.model, self.tokenizer)
        if self.model is None:
            raise UserError("--model is needed, or --url of a server that runs one")
        from momus.lm.local.load import load_local_engine

        return load_local_engine(self.model, self.device, self.precision or "fp32", self.memory << 20)


def connect(url: str, model: str | None, tokenizer: str | None) -> RemoteEngine:
    """Find a model on its server, with its tokenizer."""
    from momus.lm.codec import read_tokenizer
    from momus.lm.remote.engine import RemoteEngine
    from momus.lm.remote.server import Server

    return RemoteEngine(Server(url, model), None if tokenizer is None else read_tokenizer(tokenizer))


@dataclass(frozen=True, kw_only=True)
class ChatOptions(AskingOptions, LocalOptions):
    """A language model that follows instructions, in this process or on a server.

    Raises:
        UserError: The options do not go together.
    """

    model: str | None = None
    """A language model: a folder, a name on the hub or a GGUF file; with --url its name on that server."""
    url: str | None = None
    """A server with a chat API or text completions."""

    def __post_init__(self) -> None:
        self.check_used(self.url is None)

    def named(self, seed: int = 0) -> NamedModel:
        """Return the model, not loaded yet.

        Raises:
            UserError: The options do not go together.
        """
        from momus.match.open import NamedModel

        if self.model is None and self.url is None and self.has_limits:
            raise UserError(NO_CHAT)
        return NamedModel(self.model, self.url, seed, self.device, self.precision, self.asking())


def split_server(name: str) -> tuple[str | None, str | None]:
    """Split MODEL@URL, either of which may be missing, into the model and the URL."""
    model, at, url = name.rpartition("@http")
    if at:
        return model or None, f"http{url}"
    return (None, name) if "://" in name else (name, None)
