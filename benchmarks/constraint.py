"""What do verbatim quotes cost at a real vocabulary: memory held by 28 critiques, and time per step?

    python benchmarks/constraint.py --tokenizer FOLDER [--critiques 28] [--tokens 64] [--repeats 5] [--json FILE]

FOLDER holds a model's tokenizer, such as Qwen2.5-Coder-0.5B-Instruct's of 151,665 tokens (without it the tiny one's,
which only shows that the script runs). The model is a random one of width 16 under that vocabulary, so that the time is
the sampling's and not the model's: 28 critiques of one function, each made to begin with a quote, are sampled by the
local engine with the constraint and without. Memory is what Python holds after the sampled tokens were replayed through
28 constraints of their own (tracemalloc), the vocabulary, which all share, included.
"""

from __future__ import annotations

import argparse
import tracemalloc
from pathlib import Path
from statistics import median

import torch
from common import Goal, Report, alternate, parser, timed
from transformers import LlamaConfig, LlamaForCausalLM

from momus.lm.codec import read_tokenizer
from momus.lm.constraint import VerbatimQuotes
from momus.lm.local.engine import LocalEngine
from momus.lm.tiny import TINY

CODE = "\n".join(
    [
        "def merge(first, second):",
        *("    result = []", "    i = j = 0", "    while i < len(first) and j < len(second):"),
        *("        if first[i] <= second[j]:", "            result.append(first[i])", "            i += 1"),
        *("        else:", "            result.append(second[j])", "            j += 1"),
        *("    result.extend(first[i:])", "    result.extend(second[i:])", "    return result"),
    ]
)
OPENED = "```\n"


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__, repeats=5)
    options.add_argument("--tokenizer", type=Path, default=Path(TINY), help="folder of the tokenizer")
    options.add_argument("--critiques", type=int, default=28, help="critiques at once (28)")
    options.add_argument("--tokens", type=int, default=64, help="tokens of each (64)")
    report = Report(chosen := options.parse_args())
    engine = random_engine(chosen)
    prefix = engine.encode(f"```python\n{CODE}\n```\n{OPENED}", bos=False)
    steps = 4 if chosen.quick else chosen.tokens

    def sample(constrained: bool) -> list[tuple[int, ...]]:
        rules = [rule(engine) if constrained else None for _ in range(chosen.critiques)]
        prefixes = [prefix] * chosen.critiques
        samples = engine.sample(prefixes, 1, key=0, max_tokens=steps, temperature=1.0, constraints=rules)
        return [one.tokens for (one,) in samples]

    seconds = alternate(
        {"constrained": lambda: timed(lambda: sample(True)), "free": lambda: timed(lambda: sample(False))},
        chosen.repeats,
    )
    per_step = {name: 1000 * median(own) / steps for name, own in seconds.items()}
    held = bytes_held(engine, sample(True))
    report.case("constraint", seconds, vocabulary=len(engine.vocabulary), bytes_held=held, milliseconds=per_step)
    report.table(
        f"{chosen.critiques} critiques of {steps} tokens, vocabulary of {len(engine.vocabulary):,}",
        ("", "ms a step"),
        [(name, f"{own:.1f}") for name, own in per_step.items()],
    )
    report.console.print(f"held by {chosen.critiques} constraints: {held / 2**20:.2f} MiB")
    report.finish([Goal("MiB held by all constraints", held / 2**20, 16, at_least=False)])


def random_engine(options: argparse.Namespace) -> LocalEngine:
    """Return an engine over a random model of almost no width under a tokenizer's vocabulary."""
    tokenizer = read_tokenizer(options.tokenizer)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
        eos_token_id=None, bos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    return LocalEngine(LlamaForCausalLM(config).eval(), tokenizer)


def rule(engine: LocalEngine) -> VerbatimQuotes:
    """Return the constraint of one critique."""
    return VerbatimQuotes(CODE, engine.vocabulary, written=OPENED)


def bytes_held(engine: LocalEngine, written: list[tuple[int, ...]]) -> int:
    """Replay critiques, each through a constraint of its own, and return the bytes that are then held."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    rules = []
    for tokens in written:
        rules.append(one := rule(engine))
        state = one.start()
        for token in tokens:
            one.allowed(state)
            if token in engine.end_tokens:
                break
            state = one.advance(state, token)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return after - before


if __name__ == "__main__":
    main()
