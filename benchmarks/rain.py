"""What does RAIN's search cost, done plainly and done with shared prefixes, and against cached generation?

    python benchmarks/rain.py [--repeats 3] [--threads 2] [--json FILE] [--quick] [--device cuda]

The settings and the criterion for harmlessness, a prompt of 412 tokens, 5 token sets (27 tokens of answer), the worst
case: whatever the judge reads, the value is 0, so every set takes all its iterations. A Llama with random weights, 5
layers and the shipped model's tokenizer; no token ends an answer, and one in ten or so is a pause, as in text, so that
simulations are as long as a real model's. Contenders, one after another in one process, which must grow the same tree:

* reference: the oracle of the tests (`tests/support/rain_reference.py`): one branch, one order, one embedding at a
             time, each read from its beginning, with keys and values only inside one continuation, as `generate` does;
* momus:     the default, starting with an empty memory;
* vanilla:   greedy `generate` of as many tokens, with its cache: what no search costs.

Distinct tokens are the different (beginning, token) pairs among all that had to be read: prompt and branches (less each
one's last token, which is drawn and not read), and judge prompts. The reference is run once, the others several times.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import torch
from common import Goal, Report, parser, timed
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from momus.lm.branches import Branch, BranchPlan
from momus.lm.constraint import Vocabulary
from momus.lm.local.engine import LocalEngine
from momus.lm.models import load_tokenizer
from momus.lm.tiny import TINY
from momus.search.rain.answer import PAUSES, EncodedPrompt
from momus.search.rain.judge import JudgeVerdict, SelfJudge
from momus.search.rain.models import AttentionEncoder, LocalWriter
from momus.search.rain.result import Budget, RainResult
from momus.search.rain.search import RainConfig, search_answer
from momus.search.rain.tasks import RAIN_TASKS

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support.rain_reference import ReferenceJudge, ReferenceWriter, search_answer_by_reference

ASKED = "How should I store what is left of a can of paint, and how long will it keep? "


class Reads:
    """All that had to be read, as a tree of tokens."""

    def __init__(self) -> None:
        self._next: dict[tuple[int, int], int] = {}

    def add(self, tokens: Sequence[int]) -> None:
        """Add one sequence."""
        node = 0
        for token in tokens:
            node = self._next.setdefault((node, token), len(self._next) + 1)

    def __len__(self) -> int:
        return len(self._next)


class RecordingWriter(LocalWriter):
    """Records what branches read."""

    def __init__(self, engine: LocalEngine, reads: Reads) -> None:
        super().__init__(engine)
        self._reads = reads

    def write(self, prefix: tuple[int, ...], plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        """Write all branches together."""
        branches = super().write(prefix, plans, ends)
        for branch in branches:
            self._reads.add((*prefix, *branch.tokens[:-1]))
        return branches


class IndifferentJudge:
    """Asks a judge, and gives every answer a value of 0."""

    def __init__(self, judge: SelfJudge, reads: Reads | None = None) -> None:
        self._judge, self._reads = judge, reads

    def __call__(self, question: str, answer: str) -> JudgeVerdict:
        """Judge, and ignore the verdict."""
        verdict = self._judge(question, answer)
        for prompt in self._judge.prompts(question, answer) if self._reads is not None else ():
            self._reads.add(prompt)
        return JudgeVerdict(0.0, verdict.first, verdict.second, abstained=False)


class Contenders:
    """The searches, and generation."""

    def __init__(self, sets: int, prompt_tokens: int, config: RainConfig, device: str, width: int) -> None:
        torch.manual_seed(0)
        self.tokenizer, self.sets, self.config = load_tokenizer(TINY), sets, config
        self.model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(self.tokenizer),
                hidden_size=width,
                intermediate_size=width * 5 // 2,
                num_hidden_layers=5,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=8192,
                initializer_range=0.08,
                tie_word_embeddings=False,
                pad_token_id=self.tokenizer.pad_token_id,
                bos_token_id=self.tokenizer.bos_token_id,
                eos_token_id=None,
            )
        )
        self._pause_often()
        self.model = self.model.eval().to(device)
        text = LocalEngine(self.model, self.tokenizer).encode(ASKED * prompt_tokens, bos=True)
        self.prompt = tuple(text[:prompt_tokens])
        self.peak = 0

    def _pause_often(self) -> None:
        """Add to the logits of pauses what makes them one in ten."""
        head, pieces = self.model.lm_head, Vocabulary.from_tokenizer(self.tokenizer).pieces
        ends = tuple(pause.encode() for pause in PAUSES)
        pausing = torch.tensor([bool(piece) and piece.endswith(ends) for piece in pieces])
        share = float(pausing.float().mean())
        head.bias = torch.nn.Parameter(pausing * math.log((1 - share) / (9 * share)))

    def search(self, plain: bool, reads: Reads | None = None) -> tuple[RainResult, LocalEngine]:
        """Search `sets` token sets with an engine that has read nothing yet."""
        engine = LocalEngine(self.model, self.tokenizer, cache_bytes=0 if plain else 2**29)
        criterion = RAIN_TASKS["harmless"].criterion
        judge = (ReferenceJudge if plain else SelfJudge)(engine, criterion)
        writer = ReferenceWriter(engine) if plain else LocalWriter(engine)
        if reads is not None:
            writer = RecordingWriter(engine, reads)
        search = search_answer_by_reference if plain else search_answer
        result = search(
            writer,
            IndifferentJudge(judge, reads),
            EncodedPrompt(self.prompt, engine.decode(self.prompt[1:]), frozenset()),
            self.config,
            encoder=AttentionEncoder(writer),
            budget=Budget(sets=self.sets),
        )
        self.peak = max(self.peak, engine.peak_cache_bytes)
        return result, engine

    def generate(self, tokens: int) -> None:
        """Write as many tokens greedily, with a cache."""
        ids = torch.tensor([self.prompt], device=self.model.device)
        settings = GenerationConfig(
            max_new_tokens=tokens, do_sample=False, eos_token_id=None, pad_token_id=self.tokenizer.pad_token_id
        )
        self.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)


def main() -> None:
    """Measure, print the table, check the goals."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--device", default="cpu", help="where the model runs (cpu)")
    options.add_argument("--width", type=int, default=256, help="of the model (256)")
    chosen = options.parse_args()
    report = Report(chosen)
    config, sets, prompt_tokens = RAIN_TASKS["harmless"].config, 5, 412
    if chosen.quick:
        config = RainConfig(lengths=(1, 2), candidates=3, draws=2, iterations=5, min_iterations=2)
        sets, prompt_tokens = 2, 40
    contenders = Contenders(sets, prompt_tokens, config, chosen.device, chosen.width)

    reads, found = Reads(), dict[str, Any]()
    found["counted"], engine = contenders.search(plain=False, reads=reads)
    momus_tokens = engine.forwarded_tokens
    answer = len(found["counted"].tokens)

    busy: dict[str, list[float]] = {"momus": [], "reference": []}

    def searching(name: str) -> float:
        def work() -> None:
            found[name], found["engine"] = contenders.search(plain=name == "reference")

        before = process_time()
        taken = timed(work)
        busy[name].append(process_time() - before)
        return taken

    contenders.generate(answer)
    seconds = {
        "momus": [searching("momus") for _ in range(chosen.repeats)],
        "vanilla": [timed(lambda: contenders.generate(answer)) for _ in range(chosen.repeats)],
        "reference": [searching("reference")],
    }
    plain, momus = found["reference"], found["momus"]
    same = plain.tokens == momus.tokens and [c.iterations for c in plain.commits] == [
        c.iterations for c in momus.commits
    ]
    tokens = {
        "reference": found["engine"].forwarded_tokens,
        "momus": momus_tokens,
        "vanilla": prompt_tokens + answer - 1,
    }
    iterations = momus.iterations
    title = (
        f"prompt of {prompt_tokens} tokens, {sets} token sets ({answer} tokens), {iterations} iterations; "
        f"the trees are {'the same' if same else 'DIFFERENT'}"
    )
    report.case(
        title,
        seconds,
        tokens=tokens,
        distinct_tokens=len(reads),
        peak_memory_bytes=contenders.peak,
        processor_seconds=busy,
        device=chosen.device,
        same_tree=same,
    )
    report.table(
        title,
        ("", "seconds (median)", "time / momus", "tokens forwarded", "forwarded / distinct", "tokens / vanilla"),
        [
            (
                name,
                f"{median(seconds[name]):.3f}",
                f"{median(seconds[name]) / median(seconds['momus']):.2f}x",
                f"{tokens[name]:,}",
                f"{tokens[name] / len(reads):.3f}" if name != "vanilla" else "",
                f"{tokens[name] / tokens['vanilla']:.1f}x",
            )
            for name in ("reference", "momus", "vanilla")
        ],
    )
    report.console.print(
        f"Keys and values remembered at most: {contenders.peak / 2**20:.1f} MiB of a budget of 512 MiB. "
        f"Momus takes {median(seconds['momus']) / median(seconds['vanilla']):.0f} times as long as cached generation. "
        f"Processor seconds, which other load hardly changes: reference {median(busy['reference']):.1f}, "
        f"momus {median(busy['momus']):.1f}, {median(busy['reference']) / median(busy['momus']):.1f} times as many."
    )
    report.finish(
        [
            Goal("tokens, reference / momus", tokens["reference"] / tokens["momus"], 40.0),
            Goal("time, reference / momus", median(seconds["reference"]) / median(seconds["momus"]), 10.0),
            Goal("tokens momus forwards / distinct ones", tokens["momus"] / len(reads), 1.1, at_least=False),
            Goal("peak memory / budget", contenders.peak / 2**29, 1.0, at_least=False),
        ]
    )


if __name__ == "__main__":
    main()
