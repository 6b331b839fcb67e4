"""Force Sampling Beam Search over many answers, rewards included, against `generate` of transformers and padded rows.

    python benchmarks/fsbs_tasks.py [--tasks 100] [--repeats 1] [--threads 2] [--json FILE] [--quick]

Held-out functions of the standard library, the shipped model as critic, a reward model of its size (random head: what
it says costs the same), the paper's search (n=4, k=2, d=4). For all to do the same work every sample has the same
number of tokens and nothing is constrained. Two contenders take turns in one process:

* momus:     `force_sampling_beam_search` over batches of answers in lockstep, `reward_function` for the scores;
* rows:      for every answer and round one `generate` for all its samples, prefixes padded on the left, caching and
             sampling on, of the very prefixes that the search continued; then one padded forward pass of the reward
             model over that round's critiques, a row for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any

import torch
from common import Goal, Report, TokenCounter, alternate, parser, ratio
from fsbs_samples import Prefixes, RecordingEngine
from transformers import GenerationConfig

from momus.data.functions import Size
from momus.data.stdlib import stdlib_tasks
from momus.lm.local.engine import LocalEngine
from momus.lm.models import RewardModel, load_causal_lm, load_tokenizer
from momus.lm.prompts import prompt_of
from momus.lm.tiny import TINY
from momus.search import fsbs
from momus.search.result import EncodedTask
from momus.search.reward import reward_function

AT_ONCE = 8


class Contenders:
    """The two ways to search the same answers; each returns the seconds it took."""

    def __init__(self, model: Any, tokenizer: Any, config: fsbs.FSBSConfig, tasks: int) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, config
        torch.manual_seed(0)
        self.reward = RewardModel.from_causal_lm(model).eval()
        recorder = RecordingEngine(model, tokenizer)
        found = [task for task in stdlib_tasks(Size(6, 24, 700)) if task.split == "test"][:tasks]
        self.subjects = [EncodedTask(tuple(recorder.encode(prompt_of(task), bos=True)), task.answer) for task in found]
        self._search(recorder)
        # Per batch and round: the prefixes of its answers, in their order, as many for each.
        self.rounds: list[Prefixes] = [prefixes for prefixes, _ in recorder.calls]
        lengths = {len(s.tokens) for _, groups in recorder.calls for samples in groups for s in samples}
        if lengths != {config.max_tokens}:
            raise SystemExit(f"a sample ended early (lengths {sorted(lengths)})")

    def momus(self) -> float:
        """Search all answers, with an engine that starts with an empty memory."""
        start = perf_counter()
        self._search(LocalEngine(self.model, self.tokenizer))
        return perf_counter() - start

    def rows(self) -> float:
        """Generate and score padded rows, an answer and a round at a time."""
        start = perf_counter()
        for prefixes in self.rounds:
            per_answer = self._beams(prefixes)
            for own in per_answer:
                sequences = self._generate([prefix for prefix in own for _ in range(self.config.n)])
                self._score(sequences)
        return perf_counter() - start

    def _beams(self, prefixes: Prefixes) -> list[Prefixes]:
        """Cut a call's prefixes into those of each answer: consecutive ones that start with the same prompt."""
        cuts = [0]
        for i, (a, b) in enumerate(pairwise(prefixes), 1):
            if not any(a[: len(s.prompt)] == b[: len(s.prompt)] == s.prompt for s in self.subjects):
                cuts.append(i)
        return [prefixes[i:j] for i, j in pairwise([*cuts, len(prefixes)])]

    def _search(self, engine: LocalEngine) -> None:
        reward = reward_function(self.reward)
        for start in range(0, len(self.subjects), AT_ONCE):
            chunk = self.subjects[start : start + AT_ONCE]
            fsbs.force_sampling_beam_search(
                engine, reward, chunk, self.config, key=[(0, start + i) for i in range(len(chunk))]
            )

    def _generate(self, prefixes: Prefixes) -> list[list[int]]:
        size = max(map(len, prefixes))
        tokens, seen = self._padded(prefixes, left=True)
        generation = GenerationConfig(
            do_sample=True,
            temperature=self.config.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=self.config.max_tokens,
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=None,
        )
        written = self.model.generate(tokens, attention_mask=seen, generation_config=generation)
        return [[*p, *row] for p, row in zip(prefixes, written[:, size:].tolist(), strict=True)]

    @torch.no_grad()
    def _score(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        tokens, seen = self._padded(sequences, left=False)
        states = self.reward.backbone(input_ids=tokens, attention_mask=seen, use_cache=False).last_hidden_state
        last = seen.sum(1) - 1
        scores: list[float] = self.reward(states[torch.arange(len(last)), last]).tolist()
        return scores

    def _padded(self, rows: Sequence[Sequence[int]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
        size = max(map(len, rows))
        tokens = torch.full((len(rows), size), self.tokenizer.pad_token_id)
        seen = torch.zeros_like(tokens)
        for i, row in enumerate(rows):
            place = slice(size - len(row), size) if left else slice(0, len(row))
            tokens[i, place], seen[i, place] = torch.tensor(row), 1
        return tokens, seen


def main() -> None:
    """Measure, print the table, check the goal."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--tasks", type=int, default=100, help="answers to search (100)")
    options.add_argument("--tokens", type=int, default=48, help="tokens in every sample (48)")
    chosen = options.parse_args()
    report = Report(chosen)
    config = fsbs.FSBSConfig(n=4, k=2, d=4, max_tokens=chosen.tokens, verbatim=False)
    tasks = chosen.tasks
    if chosen.quick:
        config, tasks = fsbs.FSBSConfig(n=2, k=1, d=2, max_tokens=4, verbatim=False), 3
    model, tokenizer = load_causal_lm(TINY), load_tokenizer(TINY)
    # No text may end: the end-of-text token becomes one that the model never learnt to write.
    tokenizer.eos_token = tokenizer.pad_token
    model.generation_config.eos_token_id = None
    contenders = Contenders(model, tokenizer, config, tasks)
    turns = {"rows": contenders.rows, "momus": contenders.momus}
    counters = [TokenCounter(model.base_model), TokenCounter(contenders.reward.backbone)]
    tokens = {name: [0, 0] for name in turns}
    for name, action in turns.items():
        before = [counter.tokens for counter in counters]
        action()
        tokens[name] = [counter.tokens - old for counter, old in zip(counters, before, strict=True)]
    seconds = alternate(turns, chosen.repeats)
    speedup = ratio(seconds["rows"], seconds["momus"])
    title = f"{len(contenders.subjects)} answers, {config.candidates} samples of {config.max_tokens} tokens each"
    report.case(title, seconds, critic_and_reward_tokens=tokens, over_momus=speedup)
    report.table(
        title,
        ("", "seconds (median)", "critic's tokens", "reward model's tokens"),
        [(name, f"{median(seconds[name]):.1f}", str(tokens[name][0]), str(tokens[name][1])) for name in turns],
    )
    report.finish([Goal("generate and padded rows / momus", speedup, 2.0)])


if __name__ == "__main__":
    main()
