"""RAIN where it can work: a toy world in which a tiny model can judge, and what the search is worth there.

    python examples/rain_sentiment.py --out runs/sentiment [--prompts 40] [--distil 40] …

Shipped and random models cannot judge, so RAIN gains nothing with them. Here is a world small enough for a model of a
million weights to learn it: film reviews of three sentences from a small grammar, each sentence praise
or blame by the one word of a lexicon in it, mixed within a review; how a review begins says how much praise to
expect. A sentence's truth is the lexicon's, a rule that knows nothing of the model. Nothing here is about real reviews.

    1. a random Llama learns from nothing, by `fine_tune`, (a) to write such reviews and (b) to answer exactly the
       questions that RAIN asks with --task sentiment --cases 0, in both orders, about whole and unfinished reviews;
       first in words, for the letters alone it did not learn in the time
    2. momus judge calibrate, on reviews of sentences that were held out
    3. greedy, one sample, the best of many by self-evaluation at RAIN's tokens, and RAIN (what momus judge compare
       runs), on beginnings that were held out, graded by the lexicon
    4. momus rain, momus train sft on its answers, and plain answers before and after

Run again with the same options after an interruption it continues.
"""

from __future__ import annotations

import argparse
import random
import runpy
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, product
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from momus.cli import main as momus
from momus.cli.shared.options import EngineOptions
from momus.cli.shared.output import bar
from momus.cli.shared.searching import load_rain
from momus.evaluate.rain.comparison import WAYS, Answered, WayComparison
from momus.lm.chat import Turn
from momus.lm.engine import option_tokens
from momus.lm.models import load_causal_lm, load_tokenizer, save_causal_lm
from momus.lm.tree import common_prefix
from momus.records import Demonstration, Prompt, Ranking, Record, read_jsonl, write_jsonl
from momus.runtime.runs import Run
from momus.search.rain.dataset import Rain
from momus.search.rain.judge import encode_plain
from momus.search.rain.tasks import RAIN_TASKS, RainTask
from momus.stats.bootstrap import SHARE, Interval, difference_interval, mean_interval, ratio_interval
from momus.train.settings import SFTConfig
from momus.train.sft import fine_tune

_WORDS = (
    "superb tender witty graceful radiant gripping clever moving charms delights thrills enchants",
    "clumsy tedious hollow shallow dreary lifeless awkward stale bores annoys exhausts insults",
    "plot ending acting music camera dialogue pace cast lead story humour opening editing set light script",
)
PRAISE, BLAME, THINGS = (tuple(words.split()) for words in _WORDS)
ADJECTIVES = 8
"""So many of each are adjectives, the others verbs."""
WITH_ADJECTIVE = ("The {} is {}.", "I found the {} {}.", "To my mind the {} seems {}.")
WITH_VERB = ("The {} {} me.", "How the {} {} us all.")
DAYS = ("on Monday", "on Friday", "last night", "at noon", "in spring", "years ago", "last week")
WITH = ("my sister", "a friend", "my father", "two strangers", "nobody", "my class", "our neighbour", "my boss")
MOODS = {
    0.6: ("hoping for the best", "in a good mood", "full of joy"),
    0.4: ("without a plan", "knowing nothing", "by chance"),
    0.2: ("fearing the worst", "in a bad mood", "full of doubt"),
}
"""How a beginning ends, by the share of praise in what follows: less than half, so that the likeliest is no praise."""
SENTENCES = 3
"""So many has a review; odd, so that one side has more."""
CASES = 0
"""Worked examples that the judge is shown: the model learns the task, and needs none."""


@dataclass(frozen=True)
class World:
    """Beginnings with the share of praise that follows them, and sentences with their truth: 1 praise, -1 blame."""

    beginnings: tuple[tuple[str, float], ...]
    sentences: dict[int, tuple[str, ...]]

    def review(self, rng: random.Random, praise: float, sentences: int) -> list[str]:
        """Draw the sentences of a review."""
        return [rng.choice(self.sentences[1 if rng.random() < praise else -1]) for _ in range(sentences)]

    def decided(self, rng: random.Random, sentences: int, positive: bool) -> str:
        """Draw a review that has more praise than blame, or less."""
        while True:
            text = " ".join(self.review(rng, 0.5, sentences))
            if sum(truths(text)) * (1 if positive else -1) > 0:
                return text


def worlds(seed: int) -> tuple[World, World]:
    """Return the world to train in and the one held out, a fifth: they have no beginning and no sentence in common."""
    rng = random.Random(seed)
    beginnings = [
        (f"I saw it {day} with {whom}, {mood}.", praise)
        for praise, moods in MOODS.items()
        for day, whom, mood in product(DAYS, WITH, moods)
    ]
    rng.shuffle(beginnings)
    sentences: dict[int, list[str]] = {}
    for truth, words in ((1, PRAISE), (-1, BLAME)):
        kinds = ((WITH_ADJECTIVE, words[:ADJECTIVES]), (WITH_VERB, words[ADJECTIVES:]))
        sentences[truth] = [
            frame.format(thing, word) for frames, own in kinds for frame, thing, word in product(frames, THINGS, own)
        ]
        rng.shuffle(sentences[truth])

    def part(of: slice, among: slice) -> World:
        return World(tuple(beginnings[of]), {truth: tuple(own[among]) for truth, own in sentences.items()})

    first, second = len(beginnings) // 5, len(sentences[1]) // 5
    return part(slice(first, None), slice(second, None)), part(slice(first), slice(second))


def truths(text: str) -> list[int]:
    """Return what the lexicon says of each sentence: 1 for praise, -1 for blame, 0 for neither or both."""
    found = []
    for sentence in text.split("."):
        if words := set(sentence.split()):
            found.append(bool(words & set(PRAISE)) - bool(words & set(BLAME)))
    return found


@dataclass(frozen=True)
class Lesson:
    """A part of what is learned.

    Attributes:
        name: What it is called.
        reviews: To judge, after each of their sentences, in words.
        sentences: How many one of them has, drawn.
        letters: To judge also as RAIN asks.
        writing: Reviews to write for each to judge.
        learning_rate: The peak; along a cosine it falls to `final_fraction` of it.
        final_fraction: See there.
    """

    name: str
    reviews: int
    sentences: tuple[int, ...]
    letters: bool
    writing: int
    learning_rate: float
    final_fraction: float = 1.0


LESSONS = (
    Lesson("words", 1600, (1,), letters=False, writing=0, learning_rate=2e-3),
    Lesson("letters", 2400, (1,), letters=True, writing=0, learning_rate=1e-3),
    Lesson("all", 960, (1, 3), letters=True, writing=1, learning_rate=8e-4, final_fraction=0.1),
    Lesson("writing", 1000, (1, 3), letters=True, writing=4, learning_rate=1e-3, final_fraction=0.1),
)
"""In this order: which letter stands for a statement cannot be learned before which statement is true."""


def demonstrations(rain: Rain, world: World, lesson: Lesson, rng: random.Random) -> list[tuple[Turn, ...]]:
    """Return a lesson's reviews; all questions about one are one demonstration: one token tree, so it is read once."""
    made = []
    for _ in range(lesson.reviews):
        asked, praise = rng.choice(world.beginnings)
        for _ in range(lesson.writing):
            made.append((rain.chat.turn(asked, " ".join(world.review(rng, praise, SENTENCES))),))
        sentences = world.review(rng, 0.5, rng.choice(lesson.sentences))
        made.append(tuple(questions(rain, asked, sentences, lesson.letters)))
    return made


def questions(rain: Rain, asked: str, sentences: Sequence[str], letters: bool) -> Iterator[Turn]:
    """Yield questions about a review after each of its sentences, but where there is as much praise as blame.

    In letters they are the judge's own, in both orders; in words, which statement about the review goes on how.
    """
    engine, judge = rain.writer.engine, rain.judge
    labels = option_tokens(engine, judge.prompts("1", "2")[0], judge.labels)
    for text in accumulate(sentences, "{} {}".format):
        if balance := sum(truths(text)):
            good_first, bad_first = judge.prompts(asked, text)
            if letters:
                yield Turn(good_first, (labels[balance < 0],))
                yield Turn(bad_first, (labels[balance > 0],))
            before = judge.criterion.text(asked, text, True).partition("Options:")[0]
            good, bad = (encode_plain(engine, before + said) for said in (judge.criterion.good, judge.criterion.bad))
            shared = common_prefix(good, bad)
            yield Turn(good[:shared], ((good if balance > 0 else bad)[shared],))


def train(chosen: argparse.Namespace, world: World, task: RainTask) -> Path:
    """Make a random Llama and teach it; returns its directory."""
    out: Path = chosen.out
    base, final = out / "base", out / "model"
    if final.exists():
        return final
    rng = random.Random(chosen.seed)
    texts = [" ".join(world.review(rng, 0.5, 40)) for _ in range(60)]
    asked = [beginning for beginning, _ in world.beginnings]
    shown = [
        task.criterion.text(own, text, order)
        for own, text in zip(asked, texts, strict=False)
        for order in (True, False)
    ]
    file = write(out / "texts.jsonl", [Prompt(prompt=text) for text in [*shown, *asked]])
    if not base.exists():
        tiny = runpy.run_path(str(Path(__file__).with_name("make_tiny_model.py")))
        tiny["make"](tiny["TinyModel"]((str(file),), base, vocabulary=1024, width=chosen.width, layers=chosen.layers))
    rain, model = load_rain(EngineOptions(model=str(base), device="cpu"), task), load_causal_lm(base)
    for number, lesson in enumerate(LESSONS):
        lesson = replace(lesson, reviews=round(lesson.reviews * chosen.training))
        made = demonstrations(rain, world, lesson, random.Random(f"{chosen.seed} {number}"))
        config = SFTConfig.tiny(
            epochs=1,
            demonstrations_per_batch=16,
            learning_rate=lesson.learning_rate,
            final_fraction=lesson.final_fraction,
            token_budget=8192,
        )
        print(f"lesson {lesson.name}: {sum(map(len, made))} answers to {len(made)} demonstrations", flush=True)
        with bar("Steps") as tell:
            run = Run(
                out / "train" / lesson.name, {"sft": asdict(config), "lesson": asdict(lesson), "seed": chosen.seed}
            )
            fine_tune(model, made, config, run, lambda done, total, metrics: tell(done, total))
    save_causal_lm(model, final, load_tokenizer(base))
    return final


def calibrate(chosen: argparse.Namespace, world: World, model: Path) -> None:
    """Measure the judge on whole reviews and on unfinished ones."""
    rng = random.Random(chosen.seed)
    for name, sizes in (("whole", (SENTENCES,)), ("unfinished", range(1, SENTENCES))):
        rankings = []
        for _ in range(chosen.pairs):
            (asked, _), size = rng.choice(world.beginnings), rng.choice(sizes)
            both = tuple(world.decided(rng, size, positive) for positive in (True, False))
            rankings.append(Ranking(prompt=asked, candidates=both, ranks=(1, 2), labeler="lexicon"))
        file = write(chosen.out / f"{name}.jsonl", rankings)
        run("judge", "calibrate", file, "--model", model, "--task", "sentiment", "--cases", CASES)


def compare(chosen: argparse.Namespace, world: World, rain: Rain) -> None:
    """Answer beginnings that were held out in every way, and print what the lexicon says of the answers."""
    compared, found = WayComparison(rain, None, chosen.seed), list[Answered]()
    with bar("Prompts") as tell:
        for index, (asked, _) in enumerate(world.beginnings[: chosen.prompts]):
            file = chosen.out / "answers" / f"{index:06}.jsonl"
            found += read_jsonl(
                file if file.exists() else write(file, compared.answers(index, Prompt(prompt=asked))), Answered
            )
            tell(index + 1, chosen.prompts)
    by_way = {way: [own for own in found if own.way == way] for way in WAYS}
    graded = {way: Graded.of([own.answer for own in all_of]) for way, all_of in by_way.items()}
    table = Table(title=f"{len(by_way[WAYS[0]])} beginnings held out; 95% intervals over beginnings")
    columns = ("praise, of sentences", "positive, of reviews", "own value", "sentences", "tokens / token", "samples")
    for name in ("", *columns):
        table.add_column(name, justify="right" if name else "left")
    for way, all_of in by_way.items():
        written = sum(len(rain.writer.engine.encode(own.answer, bos=False)) + 1 for own in all_of)  # and an end
        table.add_row(
            way,
            percent(graded[way].praise),
            percent(graded[way].positive),
            f"{np.mean([own.own for own in all_of]):+.2f}",
            f"{graded[way].sentences.mean():.1f}",
            f"{sum(own.tokens for own in all_of) / written:.1f}",
            f"{np.mean([own.samples for own in all_of]):.0f}",
        )
    console = Console(width=140)
    console.print(table)
    for way in WAYS[:-1]:
        praise, positive = graded["rain"].over(graded[way])
        console.print(f"RAIN over {way}: praise {percent(praise, '+')}, positive {percent(positive, '+')}")


@dataclass(frozen=True)
class Graded:
    """Answers by the lexicon, [answers] each: sentences, those that praise, and whether praise outweighs blame."""

    sentences: np.ndarray
    praising: np.ndarray
    outweighs: np.ndarray

    @classmethod
    def of(cls, answers: Sequence[str]) -> Graded:
        """Grade answers."""
        found = [truths(answer) for answer in answers]
        columns = ([len(own) for own in found], [own.count(1) for own in found], [sum(own) > 0 for own in found])
        return cls(*(np.array(column, float) for column in columns))

    @property
    def praise(self) -> Interval:
        """The share of sentences that praise."""
        return ratio_interval(self.praising, self.sentences, bounds=SHARE)

    @property
    def positive(self) -> Interval:
        """The share of reviews with more praise than blame."""
        return mean_interval(self.outweighs, bounds=SHARE)

    def over(self, other: Graded) -> tuple[Interval, Interval]:
        """Return both shares less those of other answers to the same prompts."""
        praise = difference_interval((self.praising, self.sentences), (other.praising, other.sentences))
        return praise, mean_interval(self.outweighs - other.outweighs)


def distil(chosen: argparse.Namespace, training: World, held_out: World, model: Path, task: RainTask) -> None:
    """Put searches into weights, and print plain answers to held-out beginnings before and after."""
    out: Path = chosen.out
    prompts = write(out / "prompts.jsonl", [Prompt(prompt=own) for own, _ in training.beginnings[: chosen.distil]])
    options = ("--task", "sentiment", "--cases", CASES, "--max-tokens", chosen.max_tokens, "--seed", chosen.seed)
    run("rain", prompts, "--model", model, "--out", out / "rain", "--export", "demonstrations", *options)
    file = out / "rain" / "demonstrations.jsonl"
    good = sum(1 for _ in read_jsonl(file, Demonstration))
    print(f"{good} of {chosen.distil} reviews met the threshold, judged whole")
    run(
        *("train", "sft", "--preset", "tiny", "--model", model, "--data", file),
        *("--held-out", 0, "--keep", "last", "--epochs", 4, "--learning-rate", 3e-4, "--out", out / "sft"),
    )
    table = Table(title=f"{len(held_out.beginnings)} beginnings held out, answered without a search")
    for name in ("", "praise, of sentences", "positive, of reviews", "sentences", "tokens / token"):
        table.add_column(name, justify="right" if name else "left")
    for way, temperature in (("greedy", 0.0), ("sample", 1.0)):
        for when, folder in (("before", model), ("after", out / "sft" / "model")):
            texts, cost = plainly(
                load_rain(EngineOptions(model=str(folder), device="cpu"), task), held_out, temperature
            )
            own = Graded.of(texts)
            sentences = f"{own.sentences.mean():.1f}"
            table.add_row(f"{way} {when}", percent(own.praise), percent(own.positive), sentences, f"{cost:.1f}")
    Console(width=140).print(table)


def plainly(rain: Rain, world: World, temperature: float) -> tuple[list[str], float]:
    """Answer every beginning once, with the engine's cache; returns the answers and the tokens forwarded for each."""
    engine, texts, written = rain.writer.engine, list[str](), 0
    before = engine.forwarded_tokens
    for index, (asked, _) in enumerate(world.beginnings):
        encoded = rain.encode_prompt(Prompt(prompt=asked))
        engine.clear_cache()
        most = rain.task.config.max_tokens
        ((sample,),) = engine.sample([encoded.tokens], key=[(0, index)], max_tokens=most, temperature=temperature)
        texts.append(sample.text)
        written += len(sample.tokens)
    return texts, (engine.forwarded_tokens - before) / written


def percent(found: Interval, sign: str = "") -> str:
    """Print a share and its interval."""
    return f"{found.value:{sign}.0%} ({found.low:{sign}.0%} to {found.high:{sign}.0%})"


def write(path: Path, records: Sequence[Record]) -> Path:
    """Write records; returns the file."""
    write_jsonl(path, records)
    return path


def run(*arguments: object) -> None:
    """Run a command of Momus as from a shell, and stop where it fails."""
    print("$ momus", *arguments, flush=True)
    if momus([str(own) for own in arguments]):
        raise SystemExit(2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, calibrate, compare and distil."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where everything goes")
    parser.add_argument("--training", type=float, default=1.0, help="so many times the reviews to learn from (1)")
    parser.add_argument("--width", type=int, default=128, help="of the model (128)")
    parser.add_argument("--layers", type=int, default=3, help="of the model (3)")
    parser.add_argument("--pairs", type=int, default=100, help="pairs to measure the judge on, twice (100)")
    parser.add_argument("--prompts", type=int, default=40, help="beginnings to compare on (40)")
    parser.add_argument(
        "--distil", type=int, default=40, help="beginnings to search and train on; 0 leaves it out (40)"
    )
    parser.add_argument("--max-tokens", type=int, default=40, help="longest review (40)")
    parser.add_argument("--seed", type=int, default=0, help="everything random follows from it (0)")
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    training, held_out = worlds(chosen.seed)
    task = RAIN_TASKS["sentiment"].with_cases(CASES).with_settings(max_tokens=chosen.max_tokens)
    model = train(chosen, training, task)
    calibrate(chosen, held_out, model)
    compare(chosen, held_out, load_rain(EngineOptions(model=str(model), device="cpu"), task))
    if chosen.distil:
        distil(chosen, training, held_out, model, task)


if __name__ == "__main__":
    main()
