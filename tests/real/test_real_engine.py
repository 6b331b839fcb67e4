"""The local engine over real models: the tokens of `generate`, the numbers of plain forward passes, end tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from momus.critique import parse_critique
from momus.lm.chat import ChatFormat
from momus.lm.constraint import VerbatimQuotes
from momus.lm.local.engine import LocalEngine
from momus.lm.models import load_causal_lm, save_causal_lm
from momus.lm.token_set import TokenSet

QUESTIONS = [
    "What is the capital of France?",
    "Write a Python function that returns the mean of a list of numbers. Only the code.",
    "What does this do?\n\n```python\nx = [a for a in range(10) if a % 2]\n```",
    "Say OK.",
]
CODE = "def mean(values):\n    total = 0\n    for value in values:\n        total += value\n    return total / 2\n"


def asked(engine: LocalEngine, questions: list[str]) -> list[tuple[int, ...]]:
    chat = ChatFormat(engine.tokenizer)
    return [chat.prompt(question) for question in questions]


def generated(model: Any, engine: LocalEngine, prompts: list[tuple[int, ...]], max_tokens: int) -> list[list[int]]:
    """Greedy tokens of transformers' `generate` for one left-padded batch, padding after an end cut off."""
    size = max(map(len, prompts))
    tokens = torch.tensor([[0] * (size - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (size - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    ends = sorted(engine.end_tokens)
    rows = model.generate(
        tokens, attention_mask=mask, do_sample=False, max_new_tokens=max_tokens, eos_token_id=ends, pad_token_id=0
    )
    result = []
    for row in rows[:, size:].tolist():
        stop = next((i + 1 for i, token in enumerate(row) if token in engine.end_tokens), len(row))
        result.append(row[:stop])
    return result


def test_greedy_tokens_are_those_of_generate(engine: LocalEngine, model: Any) -> None:
    prompts = asked(engine, QUESTIONS)
    expected = generated(model, engine, prompts, 32)
    result = engine.sample(prompts, 1, key=0, max_tokens=32, temperature=0)
    assert [list(samples[0].tokens) for samples in result] == expected
    assert result[-1][0].finished, "an answer that ends by itself went untested"


def test_logprobs_are_those_of_one_plain_forward_pass(engine: LocalEngine, model: Any) -> None:
    (prompt,) = asked(engine, QUESTIONS[1:2])
    (samples,) = engine.sample([prompt], 4, key=1, max_tokens=24)
    scores = engine.score(prompt, [sample.tokens for sample in samples])
    for sample, scored in zip(samples, scores, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *sample.tokens]]), use_cache=False).logits[0]
        logprobs = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        plain = logprobs.gather(-1, torch.tensor(sample.tokens)[:, None])[:, 0].numpy()
        np.testing.assert_allclose(sample.logprobs, plain, atol=2e-3)
        np.testing.assert_allclose(scored, plain, atol=2e-3)


def test_a_prompt_is_read_once_for_all_its_samples(engine: LocalEngine) -> None:
    (prompt,) = asked(engine, QUESTIONS[2:3])
    (samples,) = engine.sample([prompt], 8, key=2, max_tokens=16)
    distinct = len(prompt) + sum(len(sample.tokens) - 1 for sample in samples)
    assert engine.forwarded_tokens <= distinct


def test_every_kind_of_end_token_ends_a_sample_and_is_saved(engine: LocalEngine, folder: Path, tmp_path: Path) -> None:
    chat = ChatFormat(engine.tokenizer)
    listed = load_causal_lm(folder).generation_config.eos_token_id
    ends = {engine.tokenizer.eos_token_id, chat.end_id, *(listed if isinstance(listed, list) else [listed])}
    assert ends <= engine.end_tokens
    save_causal_lm(engine.model, tmp_path / "saved", engine.tokenizer)
    saved = LocalEngine(load_causal_lm(tmp_path / "saved"), AutoTokenizer.from_pretrained(tmp_path / "saved"))
    assert saved.end_tokens == engine.end_tokens


def test_constrained_quotes_are_verbatim(engine: LocalEngine) -> None:
    prompts = [engine.encode(f"Quote the wrong line.\n\n```python\n{CODE}```\n\n```\n", bos=False)] * 2
    rules = [VerbatimQuotes(CODE, engine.vocabulary, written="```\n") for _ in prompts]
    samples = engine.sample(prompts, 4, key=3, max_tokens=32, constraints=rules)
    lines = {line.strip() for line in CODE.split("\n")}
    critiques = [parse_critique(f"```\n{sample.text}", CODE) for group in samples for sample in group]
    quotes = [comment.highlight for critique in critiques for comment in critique.comments]
    assert quotes and set(quotes) <= lines


def test_28_constraints_hold_few_tokens(engine: LocalEngine) -> None:
    text = "Look at this.\n\n```\nreturn total / 2\n```\nIt should divide by `len(values)`.\n\n```\ntotal = 0\n```\nNo."
    tokens = engine.encode(text, bos=False)
    held: dict[int, TokenSet] = {}
    for rule in [VerbatimQuotes(CODE, engine.vocabulary) for _ in range(28)]:
        state = rule.start()
        for token in tokens:
            allowed = rule.allowed(state)
            if allowed is not None:
                held[id(allowed)] = allowed
            state = rule.advance(state, token)
    assert sum(allowed.tokens.nbytes for allowed in held.values()) < 4 * 2**20
