"""A pointer for any base: which line of an answer should a critique quote? Small heads over a frozen model's states.

The base reads (`line_states.py`); a head looks at all lines at once, in both directions, and gives each a logit that
the fault is in it; a pointer is the mean of a few heads. Only these are trained (`momus.train.pointers`) and stored:
some megabytes beside a base of any size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from momus.errors import UserError
from momus.files import write_bytes
from momus.lm.pointers.line_states import SURPRISES, LineStates, Reads

_PROBE = '''
async def fetch_all(self, items: list[int], *, key=None, **options) -> dict[str, Any]:  # naïve, 漢字, 🙂
    """Return "what's there", or raise ValueError."""
    while i <= len(items) - 1 and not (value := items[i] % 17) or x[1:-2] != 3.14e-5:
\t\treturn {name: lambda y: y ** 2 // 7 for name in sorted(os.environ, reverse=True)}
'''
"""Models that cut this alike have the same tokens, as far as code goes."""

UNPAIRED_SHIFT = -1.0
"""The shift of a pointer that learned from code of which nine pieces in ten have a bug, as without pairs."""

_MOST_LINES = 512
"""Lines with a place of their own; those below share the last one."""


class HeadShape(NamedTuple):
    """What a head is made of: the base's width, what is read of it, and the head's own width, layers and attention."""

    hidden: int
    reads: Reads
    width: int = 192
    layers: int = 2
    attention_heads: int = 4
    dropout: float = 0.2


class LineHead(nn.Module):
    """Every line's states and surprise in, one logit a line out."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        size = shape.hidden * len(shape.reads.layers) * len(shape.reads.readings) * len(shape.reads.pools)
        self.entry = nn.Sequential(nn.LayerNorm(size), nn.Dropout(shape.dropout), nn.Linear(size, shape.width))
        self.surprise = nn.Linear(SURPRISES, shape.width)
        self.place = nn.Embedding(_MOST_LINES, shape.width)
        nn.init.normal_(self.place.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            shape.width, shape.attention_heads, 2 * shape.width, shape.dropout, batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
        self.score = nn.Sequential(nn.LayerNorm(shape.width), nn.Linear(shape.width, 1))

    def forward(self, states: Tensor, surprise: Tensor, written: Tensor) -> Tensor:
        """Score lines.

        Args:
            states: Hidden states, [B, L, readings, layers, pools, hidden].
            surprise: [B, L, SURPRISES].
            written: Which lines are neither blank nor padding, [B, L].

        Returns:
            A logit that the fault is in each line, [B, L]; minus infinity where nothing is written.
        """
        normed = nn.functional.layer_norm(states.float(), states.shape[-1:]).flatten(2)
        places = (written.cumsum(-1) - 1).clamp(0, _MOST_LINES - 1)
        lines = self.entry(normed) + self.surprise(surprise.clamp(min=0).log1p()) + self.place(places)
        seen = written | ~written.any(-1, keepdim=True)  # attention over nothing is not a number
        scores: Tensor = self.score(self.body(lines, src_key_padding_mask=~seen)).squeeze(-1)
        return scores.masked_fill(~written, -torch.inf)


class LinePointer(nn.Module):
    """The mean of some heads of one shape; and whose states they read.

    Args:
        heads: At least one.
        base: The base they belong to.
        shift: What is to be added to its log-odds where code is as often right as wrong.
    """

    def __init__(self, heads: Sequence[LineHead], base: BaseIdentity, shift: float = 0.0) -> None:
        super().__init__()
        self.heads, self.base, self.shift = nn.ModuleList(heads), base, shift
        self.shape = heads[0].shape

    def forward(self, states: Tensor, surprise: Tensor, written: Tensor) -> Tensor:
        """Score lines, as `LineHead`."""
        return torch.stack([head(states, surprise, written) for head in self.heads]).mean(0)

    @torch.inference_mode()
    def line_log_odds(self, answers: Sequence[LineStates]) -> list[tuple[float, ...]]:
        """Return for every line of every answer the logarithm of the odds that a critique should quote it."""
        return [tuple(self(*pad_lines([lines]))[0].tolist()) for lines in answers]

    def save(self, path: Path) -> None:
        """Write the heads, their shape, their shift and their base as one file, in half precision."""
        tensors = {name: value.half().contiguous() for name, value in self.heads.state_dict().items()}
        shape = self.shape._replace(reads=self.shape.reads._asdict())._asdict()  # type: ignore[arg-type]
        about = {"shape": shape, "heads": len(self.heads), "shift": self.shift}
        write_bytes(path, save(tensors, {"pointer": json.dumps(about), "base": json.dumps(self.base._asdict())}))

    @classmethod
    def load(cls, path: Path) -> LinePointer:
        """Read what `save` wrote.

        Raises:
            UserError: It cannot be read.
        """
        try:
            base, about = read_base(path), json.loads(_metadata(path)["pointer"])
            reads = {name: tuple(value) for name, value in about["shape"].pop("reads").items()}
            shape = HeadShape(**about["shape"], reads=Reads(**reads))
            tensors = load_file(path)
            if about["heads"] * max(1, shape.layers) > len(tensors):
                raise ValueError("it states more heads and layers than it has")
            with torch.device("meta"):  # what it states may be larger than any memory
                one = LineHead(shape).state_dict().items()
            stated = {f"{head}.{name}": value.shape for head in range(about["heads"]) for name, value in one}
            if stated != {name: value.shape for name, value in tensors.items()}:
                raise ValueError("its tensors do not have the shapes that it states")
            shift = float(about.get("shift", UNPAIRED_SHIFT))
            if not -20 < shift < 20:
                raise ValueError(f"its shift is {shift}")
            pointer = cls([LineHead(shape) for _ in range(about["heads"])], base, shift)
            pointer.heads.load_state_dict({name: value.float() for name, value in tensors.items()})
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"cannot load the pointer {path}: {' '.join(str(error).split())[:300]}") from error
        return pointer.eval()


class BaseIdentity(NamedTuple):
    """What makes two bases the same to a pointer: architecture, width, depth and tokens. The name is for people."""

    name: str
    architecture: str
    hidden: int
    layers: int
    tokens: str
    """SHA-256 of the numbers of the tokens that a fixed text is cut into."""

    @classmethod
    def of(cls, name: str, config: Any, tokenizer: Any) -> BaseIdentity:
        """Return the identity of a model, given its configuration and its tokenizer."""
        config = config.get_text_config()  # of a model that reads pictures too, the part that reads text
        # Not the vocabulary: converters add tokens that no text has, for the special ones and up to a round size.
        numbers = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
        digest = hashlib.sha256(json.dumps(numbers).encode()).hexdigest()
        return cls(name, config.model_type, config.hidden_size, config.num_hidden_layers, digest)

    def matches(self, other: BaseIdentity) -> bool:
        """Return whether a pointer of one reads the other's states."""
        return self[1:] == other[1:]


def read_base(path: Path) -> BaseIdentity:
    """Read which base a pointer in a file belongs to.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return BaseIdentity(**json.loads(_metadata(path)["base"]))
    except Exception as error:
        raise UserError(f"cannot load the pointer {path}: {' '.join(str(error).split())[:300]}") from error


def pad_lines(answers: Sequence[LineStates]) -> tuple[Tensor, Tensor, Tensor]:
    """Return states, surprise and which lines are written of several answers, padded at their ends, [B, L, …] each."""
    states, surprise, written = (
        nn.utils.rnn.pad_sequence(list(part), batch_first=True) for part in zip(*answers, strict=True)
    )
    return states, surprise, written


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})
