"""Models on disk and in memory: causal language models, and a scalar head on one (reward and value models).

Everything is safetensors and JSON, written to a temporary directory that is renamed when complete.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GenerationConfig, GgufConfig
from transformers.utils.logging import disable_progress_bar

from momus.errors import UserError
from momus.files import atomic_directory, check_model_folder, fill_json
from momus.lm.codec import read_tokenizer, refuse_run
from momus.lm.gguf import check_memory, pretrained
from momus.lm.local.adapter_base import base_name, is_adapter
from momus.lm.local.adapters import HEAD_WEIGHTS_FILE, load_adapter, state_digest
from momus.lm.prompts import CRITIC_MARK

if TYPE_CHECKING:
    from momus.lm.pointers.pointer import PointerNetwork
    from momus.lm.tree import TokenTree

T = TypeVar("T")
R = TypeVar("R", bound="RewardModel")

HEAD_FILE = "reward_head.json"
POINTED = "pointed"  # the kind of reward model that reads a pointer (`pointers/reward.py`)

disable_progress_bar()  # ours are enough
# What its table of a load says is one line here.
for _name in ("modeling_utils", "integrations.peft"):
    logging.getLogger(f"transformers.{_name}").addFilter(lambda record: "LOAD REPORT" not in record.getMessage())
_LOG = logging.getLogger(__name__)

# Every length of a row is another shape to oneDNN, which multiplies bfloat16 on CPUs and remembers 1,024 of them, some
# megabytes each. It reads this when it multiplies for the first time.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


class RewardModel(nn.Module):
    """A language model's backbone with one scalar read off a token's last hidden state.

    Serves as reward model and, started from one, as value model (InstructGPT, arXiv 2203.02155, §3.5, C.4).
    The head starts as N(0, 1/sqrt(d+1)). `bias` is no parameter: comparisons cannot teach it, so it is set
    afterwards, to bring the demonstrations' mean to 0 (C.2).
    """

    bias: torch.Tensor
    kind = "reward"

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        size = int(backbone.config.hidden_size)  # type: ignore[union-attr,arg-type]
        self.head = nn.Linear(size, 1, bias=False)
        nn.init.normal_(self.head.weight, std=(size + 1) ** -0.5)
        self.register_buffer("bias", torch.zeros(()))

    @classmethod
    def from_causal_lm(cls, model: Any) -> RewardModel:
        """Take a copy of a causal language model's backbone and put a new head on it."""
        return cls(copy.deepcopy(model.base_model)).to(device=model.device, dtype=model.dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> RewardModel:
        """Cast or move as ever, but keep `bias` in float32: of a mean near 10, bfloat16 keeps steps of 0.06."""
        exact = self.bias
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if not exact.is_meta:
            self.bias = exact.to(self.bias.device)
        return self

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Score hidden states [..., d] of the backbone; returns float32 [...]."""
        with torch.autocast(states.device.type, enabled=False):  # a score of 8 bits would tie what is not
            scores = torch.nn.functional.linear(states.float(), self.head.weight.float())
        return scores.squeeze(-1) + self.bias

    def added(self, trees: Sequence[TokenTree]) -> torch.Tensor | float:
        """Return what branches' scores have besides what the states give, [number of branches]: here nothing."""
        return 0.0

    def save(self, path: Path, state: Mapping[str, torch.Tensor] | None = None, tokenizer: Any = None) -> None:
        """Write a directory of config.json, model.safetensors and the head's description.

        Args:
            path: The directory.
            state: The tensors to write, where they are not the module's own.
            tokenizer: Its tokenizer, to be written with it.
        """
        with atomic_directory(path) as folder:
            self._write(folder, state or self.state_dict())
            if tokenizer is not None:
                tokenizer.save_pretrained(folder)

    def _write(self, folder: Path, state: Mapping[str, torch.Tensor]) -> None:
        config: Any = self.backbone.config
        config.dtype = next(value.dtype for name, value in state.items() if name.startswith("backbone."))
        config.save_pretrained(folder)
        save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
        fill_json(folder / HEAD_FILE, {"kind": self.kind, "version": 1})

    @classmethod
    def load(cls, path: Path) -> RewardModel:
        """Read what `save` wrote, or the adapter of a reward model and its base.

        Raises:
            UserError: The directory does not hold a reward model, or its adapter's base is gone or another.
        """
        if reward_kind(path) == POINTED:
            raise UserError(f"the reward model in {path} reads a critic's pointer: only critiques can be scored by it")
        if is_adapter(path):
            base, revision = base_name(path)
            if (Path(base) / HEAD_FILE).is_file():
                model = cls.load(Path(base))
            else:
                model = cls(load_causal_lm(base, revision=revision).base_model)
            load_adapter(model.backbone, path)
            try:
                model.load_state_dict(load_file(path / HEAD_WEIGHTS_FILE), strict=False)
            except Exception as error:
                raise UserError(f"cannot load the reward model in {path}: {_one_line(error)}") from error
            return model
        return cls._read(path, cls)

    @staticmethod
    def _read(path: Path, made: Callable[[nn.Module], R]) -> R:
        """Make a reward model of the backbone described in a directory, and read its tensors."""
        held = _count_weights(path)
        try:
            config = AutoConfig.from_pretrained(path, trust_remote_code=False)
            _check_room(config, held, AutoModel)
            model = made(_train_all_tokens(AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)))
            model.load_state_dict(load_file(path / "model.safetensors"))
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"cannot load the reward model in {path}: {_one_line(error)}") from error
        return model


def reward_kind(path: Path) -> str:
    """Return which kind of reward model a directory holds.

    Raises:
        UserError: It holds none.
    """
    try:
        return str(json.loads((path / HEAD_FILE).read_text(encoding="utf-8"))["kind"])
    except FileNotFoundError as error:
        refuse_run(path)
        raise UserError(f"{path} does not hold a reward model: it has no {HEAD_FILE}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"cannot read {path / HEAD_FILE}: {_one_line(error)}") from error


def load_causal_lm(path: str | Path, dtype: torch.dtype = torch.float32, revision: str | None = None) -> Any:
    """Load a causal language model from a local directory or the hub (safetensors only), or from a GGUF file.

    A directory may hold an adapter of peft, which is put into its base. The weights of a GGUF file are unpacked.

    Args:
        path: The directory, the name on the hub, or the file.
        dtype: What its weights are held in.
        revision: The commit, branch or tag on the hub.

    Raises:
        UserError: There is no such model, or it cannot be read, or it is not whole, or an adapter's base is gone or
            another, or a GGUF file's weights do not fit into memory unpacked.
    """
    if (Path(path) / HEAD_FILE).is_file():
        raise UserError(f"{path} holds a reward model: name a language model, such as the one it was trained from")
    if is_adapter(path):
        return _load_adapted(Path(path)).to(dtype).eval()
    name, options = pretrained(path)
    held = _count_weights(Path(path)) if Path(path).is_dir() else None
    if options:
        from transformers import modeling_gguf_pytorch_utils as unpacking

        check_memory(Path(path), dtype.itemsize)
        unpacking.tqdm = lambda tensors, **_: tensors  # a progress bar that listens to nobody
        options["quantization_config"] = GgufConfig(dequantize=True)  # packed weights could not be trained or saved
    if revision is not None:
        options["revision"] = revision
    try:
        if held is not None:
            _check_room(AutoConfig.from_pretrained(name, trust_remote_code=False), held, AutoModelForCausalLM)
        model, found = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            trust_remote_code=False,
            **options,
        )
    except UserError:
        raise
    except Exception as error:
        refuse_run(path)
        raise UserError(f"cannot load a language model from {path}: {_one_line(error)}") from error
    _check_tensors(path, found)
    _train_all_tokens(model)
    # What an adapter will name as its base: from anywhere, and the file where it is in one.
    model.config._name_or_path = str(Path(path).absolute()) if Path(path).exists() else str(path)
    return model.eval()


def _load_adapted(folder: Path) -> Any:
    """Load the base of an adapter with the adapter in it, and the settings of generation that lie beside it.

    Raises:
        UserError: See `load_causal_lm`.
    """
    base, commit = base_name(folder)
    model = load_causal_lm(base, revision=commit)
    load_adapter(model, folder)
    if (folder / "generation_config.json").is_file():
        try:
            model.generation_config = GenerationConfig.from_pretrained(folder)
        except Exception as error:
            raise UserError(f"cannot read {folder}/generation_config.json: {_one_line(error)}") from error
    return model


def _check_tensors(path: str | Path, found: Mapping[str, Any]) -> None:
    """Refuse a model that is not whole, as far as transformers says; say which tensors were left out.

    What it does not find transformers draws at random, with no more than a warning; a tied head is not missed.

    Raises:
        UserError: Tensors were not found, or are of another shape.
    """
    if other := sorted(found["mismatched_keys"]):
        tensor, held_shape, asked_shape = other[0]
        raise UserError(
            f"{path}: {tensor} is of shape {tuple(held_shape)} in the weights, where its config.json asks for "
            f"{tuple(asked_shape)}"
        )
    if lacking := sorted(found["missing_keys"]):
        raise UserError(
            f"{path} holds no whole language model: it lacks {len(lacking)} of the tensors that its config.json "
            f"asks for, such as {lacking[0]}"
        )
    if left_out := sorted(found["unexpected_keys"]):
        _LOG.warning(
            "%s: %d tensors of its weights are left out, which its config.json does not ask for, such as %s",
            path, len(left_out), left_out[0],
        )  # fmt: skip


def _train_all_tokens(model: Any) -> Any:
    """Let every token's embedding have a gradient: nothing is padded here, and many models pad with their end."""
    model.get_input_embeddings().padding_idx = None
    return model


def _count_weights(folder: Path) -> int:
    """Check what lies in a model's folder and return how many weights it has.

    Raises:
        UserError: It is a run directory, or something in it is damaged or missing.
    """
    if not any(folder.glob("*.safetensors")):
        refuse_run(folder)
    return check_model_folder(folder)


def _check_room(config: Any, held: int, kind: Any) -> None:
    """Refuse a configuration without layers, or of far more weights than its files hold, before any memory is taken.

    Raises:
        UserError: It is one.
    """
    layers = getattr(config.get_text_config(), "num_hidden_layers", 1)
    if layers < 1:
        raise UserError(f"{config.name_or_path}: its config.json asks for {layers} layers")
    with torch.device("meta"):
        model = kind.from_config(config, trust_remote_code=False)
    needed = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    packed = 16 if getattr(config, "quantization_config", None) else 2
    if needed > packed * held + 2**26:
        raise UserError(
            f"{config.name_or_path}: its config.json asks for {needed / 1e6:,.0f} million weights, its files hold "
            f"{held / 1e6:,.1f} million"
        )


def load_tokenizer(path: str | Path) -> Any:
    """Load a tokenizer from a local directory, the hub or a GGUF file.

    Raises:
        UserError: There is no such tokenizer, or it has no end-of-text token.
    """
    tokenizer = read_tokenizer(path)
    check_end(tokenizer, path)
    return tokenizer


def check_end(tokenizer: Any, name: str | Path) -> None:
    """Refuse a tokenizer without an end-of-text token.

    Raises:
        UserError: With the line that fixes it.
    """
    if tokenizer.eos_token_id is None:
        raise UserError(f"{name} has no end-of-text token: set tokenizer.eos_token to the one that ends a text")


def model_digest(path: Path) -> str:
    """Return the SHA-256 of a model's weights and settings, in a directory or a GGUF file: its name wherever it lies.

    Raises:
        UserError: There is no model in it.
    """
    digest = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    files = sorted(file for pattern in ("*.safetensors", "*.json") for file in path.glob(pattern))
    if not files:
        raise UserError(f"{path}: no such directory, or no model in it")
    for file in files:
        with file.open("rb") as stream:
            digest.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def identify_model(model: str | Path) -> str:
    """Return what identifies a model's weights wherever they lie: their digest, or of one on the hub its name there."""
    return model_digest(Path(model)) if Path(model).exists() else str(model)


def precision(model: Any) -> AbstractContextManager[Any]:
    """Return the context a model computes in: in the type that a trainer left on it, `compute_dtype`, or its own."""
    dtype = getattr(model, "compute_dtype", None)
    in_shards = hasattr(model, "in_one_piece")  # which are gathered in that type
    return nullcontext() if dtype is None or in_shards else torch.autocast(next(model.parameters()).device.type, dtype)


def within(model: Any, work: Callable[[], T]) -> T:
    """Do `work`, a forward pass over parts of a model (its backbone, then its head), as the model's own forward pass.

    A model whose weights lie in shards has a method `in_one_piece` for that (`train/sharding.py`).
    """
    with precision(model):
        result: T = model.in_one_piece(work) if hasattr(model, "in_one_piece") else work()
        return result


def fingerprint(module: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers, in float32."""
    return state_digest(module.state_dict())


def save_causal_lm(
    model: Any,
    path: Path,
    tokenizer: Any = None,
    state: Mapping[str, torch.Tensor] | None = None,
    pointer: PointerNetwork | None = None,
    critic: bool = False,
) -> None:
    """Write a language model, and its tokenizer if given, as one complete directory or none.

    Args:
        model: The model.
        path: The directory.
        tokenizer: Its tokenizer.
        state: The tensors to write, where they are not the module's own.
        pointer: The network of its pointer, if it has one.
        critic: Whether it was trained to write critiques: its files are marked, so that it is not prompted for them.
    """
    if critic:
        setattr(model.config, CRITIC_MARK, True)
    with atomic_directory(path) as folder:
        model.save_pretrained(folder, safe_serialization=True, state_dict=state)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        if pointer is not None:
            pointer.save(folder)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
