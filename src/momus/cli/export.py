"""`momus export`: a model as a GGUF file, loaded again and scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, LocalOptions

_HERE = LocalOptions()

_TEXT = """\
The tower keeps its clock ten minutes fast, and nobody in the village has ever asked why. In the morning the baker opens
by it; at noon the school closes. def mean(numbers): return sum(numbers) / len(numbers). A traveller who once pointed it
out was given soup, thanked, and shown the way to the station, where the train had left. 3.14159, 27.8 and 1,024 are
numbers; "quoted" words, too. Die Uhr geht vor. 시계가 십 분 빠르다.
"""


def command(
    model: Positional[str],
    out: Positional[Path],
    weights: Literal["f32", "f16", "q8_0"] = "f16",
    text: Path | None = None,
    local: Annotated[LocalOptions, FLAT] = _HERE,
) -> int:
    """Write a model as a GGUF file, for llama.cpp, Ollama and LM Studio; it is loaded again, and both are scored.

    What cannot be loaded again, or reads texts otherwise, is not written.

    Args:
        model: The model: a folder, such as OUT/model of a training run, a name on the hub, or a GGUF file.
        out: The GGUF file to write.
        weights: What matrices are written in; q8_0 are blocks of 8 bits.
        text: A text to score, in place of a short one of ours.
        local: How the models run that are scored.
    """
    from momus.cli.shared.output import check_file, say
    from momus.errors import UserError
    from momus.lm.gguf_export import write_gguf

    check_file(out, "OUT")
    if out.suffix != ".gguf":
        raise UserError(f"{out}: name a file that ends in .gguf")
    try:
        scored = text.read_text(encoding="utf-8") if text else _TEXT
    except UnicodeDecodeError as error:
        raise UserError(f"--text {text}: not UTF-8 text") from error
    before = _score(model, scored, local)
    after: dict[tuple[int, int], float] = {}

    def check(made: Path) -> None:
        try:
            after.update(_score(str(made), scored, local))
        except UserError as error:
            raise UserError(f"{out}: not written, for what was made cannot be loaded again: {error}") from error
        if before.keys() != after.keys():
            raise UserError(f"{out}: not written, for its tokenizer would cut texts otherwise than the model's")

    write_gguf(model, out, weights, check)
    largest = max((abs(after[place] - value) for place, value in before.items()), default=0.0)
    mean, again = (sum(values.values()) / max(1, len(values)) for values in (before, after))
    size = out.stat().st_size / 2**20
    say(f"{out}: {size:,.0f} MiB. Loaded again it scores {-again:.4f} nats a token on {len(after)} tokens, the model "
        f"{-mean:.4f}; no token differs by more than {largest:.4f}")  # fmt: skip
    return 0


def _score(model: str, text: str, local: LocalOptions) -> dict[tuple[int, int], float]:
    """Return the log-probability of every token of a text, by its place and number."""
    from momus.lm.local.load import load_local_engine

    engine = load_local_engine(model, local.place(), local.precision or "fp32")
    tokens = engine.encode(text, bos=False)[: engine.context_length]
    [logprobs] = engine.score(tokens[:1], [tokens[1:]])
    return {(place, token): value for place, (token, value) in enumerate(zip(tokens[1:], logprobs, strict=True), 1)}
