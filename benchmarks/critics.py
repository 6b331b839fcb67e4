"""What do reviews by a local chat model cost, beside transformers' `generate`, llama.cpp, and the review before?

    python benchmarks/critics.py --model FOLDER [--parts samples decode again precision] [--json FILE]
        [--functions 20] [--samples 16] [--tokens 64] [--gguf FILE --llama PYTHON]

- samples: 16 reviews of each of 20 functions, against `generate` with one batch a function, both sampling at most
  --tokens tokens in the same precision. Tokens forwarded are those that the engine counts, distinct ones the nodes of
  the token tree that all prompts and reviews make.
- decode: one greedy comment from a GGUF file, weights in bfloat16, against llama.cpp on the same 4-bit file
  (`llama-cpp-python`, in the Python that --llama names), with the bytes of weights that each token reads.
- again: `momus review` of a folder with these functions, and the same command again.
- precision: the first part's reviews in bfloat16 against float32.

Every ratio is of one run. A part that was measured is kept in --kept and not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from common import Goal, Report, alternate, machine, parser, ratio, timed
from transformers import AutoModelForCausalLM

from momus.critics.prompted import write_prompt
from momus.data.functions import Size
from momus.data.stdlib import stdlib_tasks
from momus.lm.chat import ChatFormat
from momus.lm.local.load import load_local_engine
from momus.records import Task

LLAMA = """
import sys, time
from llama_cpp import Llama
file, tokens, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
prompt = sys.stdin.read()
llama = Llama(file, n_ctx=2048, n_threads=threads, verbose=False, logits_all=False)
llama.eval(llama.tokenize(prompt.encode(), special=True))
began = time.perf_counter()
for _ in range(tokens):
    llama.eval([llama.sample(temp=0.0)])
print((time.perf_counter() - began) / tokens)
"""
TEMPERATURE = 0.8
COMMENT_BEGUN = '{"comments": [{"line": '  # a review of "no problems" ends too soon to be timed


def main() -> None:
    """Measure the parts that were asked for."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--model", required=True, help="folder of a model that chats")
    options.add_argument("--parts", nargs="*", default=["samples", "decode", "again", "precision"])
    options.add_argument("--functions", type=int, default=20)
    options.add_argument("--samples", type=int, default=16)
    options.add_argument("--tokens", type=int, default=64, help="longest review (64)")
    options.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    options.add_argument("--gguf", type=Path, help="a 4-bit file of the same model")
    options.add_argument("--llama", type=Path, help="a Python that has llama-cpp-python")
    options.add_argument("--kept", type=Path, default=Path("critics.json"), help="results of the parts measured so far")
    report = Report(chosen := options.parse_args())
    torch.set_num_threads(chosen.threads)
    if chosen.quick:
        chosen.functions, chosen.samples, chosen.tokens = 1, 2, 4
    tasks = [t for t in stdlib_tasks(Size(max_chars=1200, max_lines=30)) if t.split == "test"][: chosen.functions]
    parts: dict[str, Callable[[argparse.Namespace, Sequence[Task]], dict[str, Any]]] = {
        "samples": samples, "decode": decode, "again": again, "precision": precision
    }  # fmt: skip
    kept: dict[str, Any] = json.loads(chosen.kept.read_text()) if chosen.kept.exists() else {}
    for name in chosen.parts:
        if name not in kept:
            kept[name] = {"load": machine(chosen.threads)["load_at_start"], **parts[name](chosen, tasks)}
            chosen.kept.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        report.case(name, {}, measured=kept[name])
        rows = [(key, f"{value:.4g}") for key, value in kept[name].items() if isinstance(value, int | float)]
        report.table(name, ("", ""), rows)
    goals = [
        Goal(text, kept[part][key], bound, at_least)
        for part, key, text, bound, at_least in (
            ("samples", "times_faster", "generate / Momus, wall", 3, True),
            ("samples", "forwarded_per_distinct", "tokens forwarded / distinct", 1.05, False),
            ("decode", "speed_of_llama", "greedy decoding, of llama.cpp's speed", 0.3, True),
            ("again", "times_faster", "first review / second", 100, True),
            ("precision", "times_faster", "float32 / bfloat16", 2, True),
        )
        if part in kept
    ]
    report.finish(goals)


def prompts_of(tokenizer: Any, tasks: Sequence[Task]) -> list[tuple[int, ...]]:
    """Return the prompts of reviews, in the model's layout."""
    chat = ChatFormat(tokenizer)
    return [chat.prompt(write_prompt(task)) for task in tasks]


def samples(options: argparse.Namespace, tasks: Sequence[Task]) -> dict[str, Any]:
    """Sample reviews of every function, here and with `generate`; no constraint, for `generate` has none."""
    engine = load_local_engine(options.model, "cpu", options.precision)
    stops = [ChatFormat(engine.tokenizer).end_id]
    prompts = prompts_of(engine.tokenizer, tasks)
    written: list[list[Any]] = []

    def ours() -> None:
        engine.clear_cache()
        written[:] = engine.sample(
            prompts, options.samples, key=0, max_tokens=options.tokens, temperature=TEMPERATURE, stop_tokens=stops
        )

    before = engine.forwarded_tokens
    first = timed(ours)
    forwarded = engine.forwarded_tokens - before
    paths = ((*prompt, *sample.tokens[:-1]) for prompt, group in zip(prompts, written, strict=True) for sample in group)
    distinct = len({path[:length] for path in paths for length in range(1, len(path) + 1)})
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype).eval()
    made = [0]

    def theirs() -> None:
        made[0] = 0
        torch.manual_seed(0)
        for prompt in prompts:
            rows = torch.tensor([prompt] * options.samples)
            out = model.generate(
                rows, attention_mask=torch.ones_like(rows), do_sample=True, temperature=TEMPERATURE, top_p=1.0, top_k=0,
                max_new_tokens=options.tokens, eos_token_id=stops, pad_token_id=stops[0],
            )  # fmt: skip
            made[0] += out[:, rows.shape[1] :].numel()

    seconds = alternate({"momus": lambda: timed(ours), "generate": lambda: timed(theirs)}, options.repeats)
    return {
        "seconds": seconds,
        "first_s": first,
        "times_faster": ratio(seconds["generate"], seconds["momus"]),
        "forwarded": forwarded,
        "distinct": distinct,
        "forwarded_per_distinct": forwarded / distinct,
        "tokens_written": sum(len(sample.tokens) for group in written for sample in group),
        "tokens_written_by_generate": made[0],
    }


def decode(options: argparse.Namespace, tasks: Sequence[Task]) -> dict[str, Any]:
    """Decode greedily from a GGUF file, here in bfloat16 and with llama.cpp; seconds a token after the prompt."""
    engine = load_local_engine(str(options.gguf), "cpu", "bf16")
    prompt = prompts_of(engine.tokenizer, tasks[:1])[0] + tuple(engine.encode(COMMENT_BEGUN, bos=False))

    def run(tokens: int) -> tuple[float, int]:
        engine.clear_cache()
        began = perf_counter()
        (written,) = engine.sample([prompt], 1, key=0, max_tokens=tokens, temperature=0.0)[0]
        return perf_counter() - began, len(written.tokens)

    run(2)
    whole, count = run(options.tokens)
    ours = (whole - run(1)[0]) / max(count - 1, 1)
    text = engine.tokenizer.decode(list(prompt))
    command = [str(options.llama), "-c", LLAMA, str(options.gguf), str(max(count - 1, 1)), str(options.threads)]
    theirs = float(subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout)
    # Of an embedding that is not the head as well, a token reads a row.
    embedding, head = engine.model.get_input_embeddings().weight, engine.model.get_output_embeddings().weight
    read = set(engine.model.parameters()) - ({embedding} if embedding is not head else set())
    return {
        "ours_s_per_token": ours,
        "llama_s_per_token": theirs,
        "speed_of_llama": theirs / ours,
        "tokens": count,
        "ours_bytes_per_token": sum(p.numel() * p.element_size() for p in read),
        "llama_bytes_per_token": options.gguf.stat().st_size,
    }


def again(options: argparse.Namespace, tasks: Sequence[Task]) -> dict[str, Any]:
    """Run `momus review` on a folder twice, with a cache of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for number, task in enumerate(tasks):
            (Path(folder) / f"f{number}.py").write_text(task.answer + "\n", encoding="utf-8")
        known = {**os.environ, "MOMUS_CACHE": str(Path(folder) / "answers.sqlite")}
        command = [sys.executable, "-m", "momus", "review", folder, "--model", options.model, "--json"]
        runs = [timed(lambda: subprocess.run(command, env=known, capture_output=True, check=True)) for _ in range(3)]
    return {"runs_s": runs, "first_s": runs[0], "second_s": min(runs[1:]), "times_faster": runs[0] / min(runs[1:])}


def precision(options: argparse.Namespace, tasks: Sequence[Task]) -> dict[str, Any]:
    """Sample reviews in bfloat16 and in float32."""
    runs: dict[str, Callable[[], float]] = {}
    for name in ("bf16", "fp32"):
        engine = load_local_engine(options.model, "cpu", name)
        prompts = prompts_of(engine.tokenizer, tasks[: max(1, len(tasks) // 4)])

        def run(engine: Any = engine, prompts: Any = prompts) -> None:
            engine.clear_cache()
            engine.sample(prompts, options.samples, key=0, max_tokens=options.tokens, temperature=TEMPERATURE)

        runs[name] = lambda run=run: timed(run)
    seconds = alternate(runs, options.repeats)
    return {"seconds": seconds, "times_faster": ratio(seconds["fp32"], seconds["bf16"])}


if __name__ == "__main__":
    main()
