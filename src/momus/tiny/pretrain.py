"""momus-tiny: the embedded model, trained from nothing to write critiques and to judge them.

One stage does nearly all:

* **predict the code** (weight 0.2): what is usual in Python;
* **point at the bug**: a throw-away linear head on a middle layer says of every token of the answer whether a bug
  has been read in its line. The dense signal is the replaced-token detection of ELECTRA (arXiv 2003.10555). It sits
  below the top because what is found there must still be carried to the end of the line and from there to the
  quote. On the last layer of an earlier, five-layer model the head knew the line in 37% of held-out functions, and
  the critique chose it in 27%;
* **remember the line**: more throw-away heads on that layer say at the end of each line how it began. A quote
  starts where its line does, yet only the line's end knows whether a bug was in it: this brings both to one place;
* **look at the line**: where a line is chosen, the first heads of every layer above that one are told to attend to
  the end of the line. Left to itself, that circuit had not formed after 37 million tokens;
* **follow the detector**: where a line is chosen, its probabilities are also to be those that the detector gives the
  lines, which teaches more than one bug at a time can;
* **write the critique** (weight 1, and 10 where it chooses a line): the gold critique of fresh bugs, never the same
  twice: many at first, then 0-3;
* **copy a line** (weight 0.5): quotes of random lines, trained from where the line is determined;
* **judge a claim**: is this comment on this line right? A or B;
* **know what a critique is worth**: a last throw-away head says where a quote closes whether a bug is in the line
  quoted, and where a critique ends whether its comments are right: reward models read their score there.

Branches of one answer share it in a token tree. Hidden matrices are trained by Muon, embeddings and norms by
AdamW; both rates are constant after a short warm-up and fall linearly to zero over the last part. Short answers
come first. A second stage trains only the layers above the detector's, for what they do is learned late: after
the first, attention was on the right line as often as the detector was (42%), and the critique chose it in 30%.
For what is lost there the third stage trains a pointer that begins with a copy of the lower layers
(`tiny/pointer.py`), reads the answer both ways and draws the lines of constrained quotes. Everything is drawn by
(seed, pool), so a run that was killed continues exactly.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import monotonic

import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from momus.files import atomic_directory
from momus.lm.constraint import Vocabulary
from momus.lm.models import save_causal_lm
from momus.records import Tamper
from momus.runtime.runs import Run
from momus.tiny.corpus import Corpus, CorpusConfig, build_corpus, texts
from momus.tiny.examples import Mixture, TrainingExample, draw_example, draw_tamper
from momus.tiny.lessons import TinyPointerConfig, corpus_lessons
from momus.tiny.line_accuracy import line_accuracy
from momus.tiny.losses import Heads, LossWeights, pretraining_loss
from momus.tiny.muon import muon_and_adamw, set_rates, take_step
from momus.tiny.pointer import make_lesson, train_pointer
from momus.tiny.tokenizer import train_tokenizer


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of the embedded model and its training; there is no paper to follow here."""

    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 640
    layers: int = 7
    detect_layer: int = 5
    """How many layers the detector reads from; those above carry what was found to where a line is chosen."""
    heads: int = 4
    context: int = 1024
    tokens: int = 41_000_000
    """Tokens to train everything on, padding not counted."""
    top_tokens: int = 8_500_000
    """Tokens to train on afterwards, the layers up to `detect_layer` as they are: nearly twice as many a second."""
    batch_tokens: int = 8192
    matrix_lr: float = 0.02
    other_lr: float = 3e-3
    weight_decay: float = 0.01
    warmup: int = 40
    """Steps over which the rates rise."""
    cooldown: float = 0.15
    """Last share of `tokens` over which the rates fall to zero; while only the top is trained they fall throughout."""
    short_first: float = 0.2
    """Share of training in which answers are at most `short_chars` long."""
    short_chars: int = 360
    long_share: float = 0.25
    """Chance to keep an answer drawn that is longer, afterwards: short ones show more bugs per token."""
    dense_first: float = 0.95
    """Share of training in which answers hold more bugs: each is one more lesson from the same tokens."""
    dense: tuple[float, ...] = (0.07, 0.13, 0.2, 0.25, 0.2, 0.15)
    """Shares of answers with 0, 1, 2, ... bugs meanwhile; afterwards those of `mixture`."""
    pool: int = 512
    """Examples drawn together and cut into batches."""
    save_every: int = 4
    """Pools between checkpoints."""
    seed: int = 0
    losses: LossWeights = field(default_factory=LossWeights)
    mixture: Mixture = field(default_factory=Mixture)
    pointing: TinyPointerConfig = field(default_factory=TinyPointerConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)


PRESETS = {
    "cpu": PretrainConfig(),
    "gpu": PretrainConfig(
        tokens=1_500_000_000,
        top_tokens=300_000_000,
        batch_tokens=65_536,
        pool=8192,
        hidden_size=320,
        intermediate_size=768,
        layers=8,
        detect_layer=6,
        heads=5,
        pointing=TinyPointerConfig(
            layers=3,
            heads=5,
            inner=640,
            tokens=50_000_000,
            whole_tokens=550_000_000,
            batch_tokens=65_536,
            pool=8192,
            save_every=10,
        ),
        corpus=CorpusConfig(per_package=20_000),
    ),
    "smoke": PretrainConfig(
        hidden_size=32,
        intermediate_size=64,
        layers=2,
        detect_layer=1,
        heads=2,
        vocab_size=512,
        tokens=6000,
        top_tokens=2000,
        batch_tokens=2048,
        pool=16,
        save_every=1,
        pointing=TinyPointerConfig(
            layers=1,
            heads=2,
            inner=32,
            tokens=3000,
            whole_tokens=2000,
            batch_tokens=1024,
            warmup=2,
            pool=8,
            save_every=1,
        ),
        corpus=CorpusConfig(per_package=0),
    ),
}


def pretrain(out: Path, config: PretrainConfig) -> Path:
    """Train the embedded model in the run directory `out` and return the folder of the finished model.

    Running it again continues where it stopped.
    """
    run = Run(out, asdict(config))
    paths = build_corpus(out / "corpus", config.corpus)
    corpus, valid = Corpus(paths["train"]), held_out_tampers(Corpus(paths["valid"]), 150)
    tokenizer = _tokenizer(out, corpus, config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(_architecture(config)).to(device)
    heads = Heads(config.hidden_size).to(device)
    modules = {"model": model, "heads": heads}
    optimizers = _optimizers(model, heads, config)
    step, state = run.restore(modules, optimizers) or (0, {"tokens": 0, "pool": 0})
    with Progress(console=Console(stderr=True)) as progress:
        total = config.tokens + config.top_tokens
        bar = progress.add_task("training momus-tiny", total=total, completed=state["tokens"])
        while state["tokens"] < total:
            for batch in _pool(corpus, tokenizer, config, state["pool"], state["tokens"] / total):
                started = monotonic()
                _set_rates(optimizers, config, step, state["tokens"])
                _freeze(model, heads, config, state["tokens"])
                losses = _step(model, heads, optimizers, batch, config)
                tokens = sum(len(example.tree) for example in batch)
                state["tokens"] += tokens
                step += 1
                run.log(step, tokens=state["tokens"], **losses, seconds=round(monotonic() - started, 3))
                progress.update(bar, completed=state["tokens"], description=f"critique {losses['critique']:.3f}")
            state["pool"] += 1
            if state["pool"] % config.save_every == 0 or state["tokens"] >= total:
                run.log(step, line_accuracy=line_accuracy(model, tokenizer, valid))
                run.save(step, modules=modules, optimizers=optimizers, state=state)
    draw = corpus_lessons(corpus, config.pointing, tokenizer)
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    held_out = [make_lesson(tamper, tamper.task.question, tokenizer, vocabulary) for tamper in valid]
    pointer = train_pointer(model, config.detect_layer, draw, held_out, config.pointing, out / "pointer")
    # It ships: every megabyte counts.
    save_causal_lm(model.half(), out / "model", tokenizer, pointer=pointer, critic=True)
    return out / "model"


def main(preset: str, out: Path) -> Path:
    """Run `pretrain` with a named preset."""
    return pretrain(out, PRESETS[preset])


def held_out_tampers(corpus: Corpus, count: int) -> list[Tamper]:
    """Return a fixed choice of functions with one bug each."""
    drawn = (draw_tamper(corpus[i], 1, random.Random(i)) for i in range(len(corpus)))
    return [tamper for tamper in drawn if tamper][:count]


def _architecture(config: PretrainConfig) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def _tokenizer(out: Path, corpus: Corpus, config: PretrainConfig) -> PreTrainedTokenizerFast:
    folder = out / "tokenizer"
    if not folder.exists():
        with atomic_directory(folder) as partial:
            train_tokenizer(texts(corpus, 20_000), config.vocab_size).save_pretrained(partial)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def _optimizers(model: LlamaForCausalLM, heads: nn.Module, config: PretrainConfig) -> dict[str, torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in [*model.parameters(), *heads.parameters()] if id(p) not in chosen]
    return muon_and_adamw(matrices, others, config)


def _set_rates(optimizers: dict[str, torch.optim.Optimizer], config: PretrainConfig, step: int, tokens: int) -> None:
    """Warm up by steps, hold, fall linearly to zero at `config.tokens`; for the top alone start again, and fall."""
    if tokens < config.tokens:
        factor = min(1.0, (step + 1) / config.warmup, (1 - tokens / config.tokens) / config.cooldown)
    else:
        factor = max(0.0, 1 - (tokens - config.tokens) / max(1, config.top_tokens))
    set_rates(optimizers, config, factor)


def _freeze(model: LlamaForCausalLM, heads: Heads, config: PretrainConfig, tokens: int) -> None:
    """From `config.tokens` on, leave everything as it is but the layers above the detector's and what reads them."""
    top = model.base_model.layers[config.detect_layer :]
    trained = {id(p) for module in (top, model.base_model.norm, heads.right) for p in module.parameters()}
    for parameter in [*model.parameters(), *heads.parameters()]:
        parameter.requires_grad_(tokens < config.tokens or id(parameter) in trained)


def _pool(
    corpus: Corpus, tokenizer: PreTrainedTokenizerFast, config: PretrainConfig, number: int, share: float
) -> Iterator[list[TrainingExample]]:
    """Draw one pool of examples and yield it in batches."""
    rng = random.Random(f"{config.seed} pool {number}")
    mixture = replace(config.mixture, bugs=config.dense) if share < config.dense_first else config.mixture
    examples: list[TrainingExample] = []
    while len(examples) < config.pool:
        function = corpus[rng.randrange(len(corpus))]
        long_share = config.long_share if share >= config.short_first else 0.0
        if len(function.answer) > config.short_chars and rng.random() >= long_share:
            continue
        example = draw_example(function, mixture, tokenizer, rng)
        if example and len(example.tree) <= config.context:
            examples.append(example)
    batches: list[list[TrainingExample]] = [[]]
    for example in examples:
        if sum(len(before.tree) for before in batches[-1]) + len(example.tree) > config.batch_tokens:
            batches.append([])
        batches[-1].append(example)
    yield from batches


def _step(
    model: LlamaForCausalLM,
    heads: Heads,
    optimizers: dict[str, torch.optim.Optimizer],
    batch: list[TrainingExample],
    config: PretrainConfig,
) -> dict[str, float]:
    """Take one optimizer step on a batch and return its losses."""
    loss, parts = pretraining_loss(model, heads, batch, config.detect_layer, config.mixture, config.losses)
    return {**parts, "norm": take_step(loss, model, optimizers)}
