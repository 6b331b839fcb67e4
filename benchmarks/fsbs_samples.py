"""What do the 28 samples of a Force Sampling Beam Search cost, against `generate` of transformers?

    python benchmarks/fsbs_samples.py [--model FOLDER] [--repeats 5] [--threads 2] [--json FILE] [--quick]

One answer, momus-tiny (with --model the one in that folder), the paper's search (n=4, k=2, d=4). For all to do the same
work every sample has the same number of tokens (none ends early) and nothing is constrained; `generate` continues the
very prefixes that the search continued, cached decoding and sampling on. Three contenders take turns in one process:

* momus:     `force_sampling_beam_search` with a new `LocalEngine`, its cache empty; its bookkeeping is timed too;
* batched:   one `generate` for all samples of a round, prefixes padded on the left;
* single:    one `generate` for every sample.

Distinct tokens are the different (prefix, token) pairs among all sequences, less each sample's last token, which is
drawn and never read: no method can compute fewer without keeping something from another search.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import Any

import torch
from common import Goal, Report, TokenCounter, alternate, parser, ratio
from transformers import GenerationConfig

from momus.lm.engine import Sample
from momus.lm.local.engine import LocalEngine
from momus.lm.models import load_causal_lm, load_tokenizer
from momus.lm.prompts import critique_prompt
from momus.lm.tiny import TINY
from momus.search import fsbs
from momus.search.candidates import zero_reward
from momus.search.result import EncodedTask

KEY = (0, 7)
QUESTION = "Read a shopping list and return what each shop is owed."
ANSWER = '''\
def owed(lines, prices, discount=0.1):
    """Sum what is owed to each shop; lines look like "shop: item x count"."""
    totals = {}
    for number, line in enumerate(lines):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        shop, _, rest = line.partition(":")
        if not rest:
            raise ValueError(f"line {number}: no shop in {line!r}")
        item, _, count = rest.rpartition(" x ")
        try:
            amount = int(count)
        except ValueError:
            item, amount = rest, 1
        price = prices.get(item.strip().lower())
        if price is None:
            continue
        if amount > 10:
            price = price * (1 + discount)
        totals[shop] = totals.get(shop, 0) + price * amount
    return dict(sorted(totals.items(), key=lambda pair: pair[1]))
'''

Prefixes = list[tuple[int, ...]]


class RecordingEngine(LocalEngine):
    """A local engine that keeps the prefixes and samples of every call."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__(model, tokenizer)
        self.calls: list[tuple[Prefixes, list[list[Sample]]]] = []

    def sample(self, prefixes: Sequence[Sequence[int]], n: int = 1, **settings: Any) -> list[list[Sample]]:
        """Sample as ever, and remember."""
        samples = super().sample(prefixes, n, **settings)
        self.calls.append(([tuple(prefix) for prefix in prefixes], samples))
        return samples


class Contenders:
    """The three ways to draw the same samples; each returns the seconds it took."""

    def __init__(self, model: Any, tokenizer: Any, config: fsbs.FSBSConfig) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, config
        recorder = RecordingEngine(model, tokenizer)
        prompt = recorder.encode(critique_prompt(QUESTION, ANSWER), bos=True)
        self.subject = EncodedTask(tuple(prompt), ANSWER)
        self.prompt_tokens = len(prompt)
        self._search(recorder)
        self.rounds = [prefixes for prefixes, _ in recorder.calls]
        self.sequences = [
            (*prefix, *sample.tokens)
            for prefixes, groups in recorder.calls
            for prefix, samples in zip(prefixes, groups, strict=True)
            for sample in samples
        ]
        lengths = {len(sample.tokens) for _, groups in recorder.calls for samples in groups for sample in samples}
        if len(self.sequences) != config.candidates or lengths != {config.max_tokens}:
            raise SystemExit(f"a sample ended early (lengths {sorted(lengths)}): choose another KEY")
        self.generation = GenerationConfig(
            do_sample=True,
            temperature=config.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=config.max_tokens,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=None,
        )

    def distinct(self) -> int:
        """Count the tokens that have to be computed at least once."""
        return len({own[:size] for own in self.sequences for size in range(1, len(own))})

    def momus(self) -> float:
        """Search with an engine that starts with an empty memory."""
        engine = LocalEngine(self.model, self.tokenizer)
        start = perf_counter()
        self._search(engine)
        return perf_counter() - start

    def batched(self) -> float:
        """One `generate` a round."""
        start = perf_counter()
        for prefixes in self.rounds:
            self._generate([prefix for prefix in prefixes for _ in range(self.config.n)])
        return perf_counter() - start

    def single(self) -> float:
        """One `generate` a sample."""
        start = perf_counter()
        for prefixes in self.rounds:
            for prefix in prefixes:
                for _ in range(self.config.n):
                    self._generate([prefix])
        return perf_counter() - start

    def _search(self, engine: LocalEngine) -> None:
        fsbs.force_sampling_beam_search(engine, zero_reward, [self.subject], self.config, key=[KEY])

    def _generate(self, prefixes: Prefixes) -> None:
        size = max(map(len, prefixes))
        tokens = torch.full((len(prefixes), size), self.tokenizer.pad_token_id)
        seen = torch.zeros_like(tokens)
        for row, prefix in enumerate(prefixes):
            tokens[row, size - len(prefix) :] = torch.tensor(prefix)
            seen[row, size - len(prefix) :] = 1
        written = self.model.generate(tokens, attention_mask=seen, generation_config=self.generation)
        assert written.shape == (len(prefixes), size + self.config.max_tokens)


def main() -> None:
    """Measure, print the table, check the goals."""
    options = parser(__doc__, repeats=5)
    options.add_argument("--model", help="folder of a model, in place of momus-tiny")
    options.add_argument("--tokens", type=int, default=64, help="tokens in every sample (64)")
    chosen = options.parse_args()
    report = Report(chosen)
    config = fsbs.FSBSConfig(n=4, k=2, d=4, max_tokens=chosen.tokens, verbatim=False)
    if chosen.quick:
        config = fsbs.FSBSConfig(n=2, k=1, d=2, max_tokens=4, verbatim=False)
    model, tokenizer = load_causal_lm(chosen.model or TINY), load_tokenizer(chosen.model or TINY)
    # No text may end: the end-of-text token becomes one that the model never learnt to write.
    tokenizer.eos_token = tokenizer.pad_token
    model.generation_config.eos_token_id = None
    contenders = Contenders(model, tokenizer, config)
    turns = {"single": contenders.single, "batched": contenders.batched, "momus": contenders.momus}
    counter = TokenCounter(model.base_model)
    tokens = {name: counter.during(action) for name, action in turns.items()}
    seconds = alternate(turns, chosen.repeats)
    distinct = contenders.distinct()
    speedups = {name: ratio(seconds[name], seconds["momus"]) for name in turns}
    report.case(
        f"{config.candidates} samples of {config.max_tokens} tokens, prompt of {contenders.prompt_tokens}",
        seconds,
        tokens=tokens,
        distinct_tokens=distinct,
        over_momus=speedups,
    )
    report.table(
        f"{config.candidates} samples of {config.max_tokens} tokens, prompt of {contenders.prompt_tokens} tokens",
        ("", "seconds (median)", "time / momus", "tokens computed", "computed / distinct"),
        [
            (
                name,
                f"{median(seconds[name]):.3f}",
                f"{speedups[name]:.2f}x",
                str(tokens[name]),
                f"{tokens[name] / distinct:.3f}",
            )
            for name in turns
        ],
    )
    report.finish(
        [
            Goal("one generate per sample / momus", speedups["single"], 4.0),
            Goal("one generate per round / momus", speedups["batched"], 1.5),
            Goal("tokens momus computes / distinct ones", tokens["momus"] / distinct, 1.05, at_least=False),
        ]
    )


if __name__ == "__main__":
    main()
