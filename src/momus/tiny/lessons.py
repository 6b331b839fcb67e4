"""What momus-tiny's pointer is trained on: fresh bugs in the functions of the corpus."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from momus.lm.constraint import Vocabulary
from momus.tiny.corpus import Corpus
from momus.tiny.examples import draw_bugs
from momus.tiny.pointer import Lesson, PointerConfig, make_lesson


@dataclass(frozen=True)
class TinyPointerConfig(PointerConfig):
    """Settings of momus-tiny's pointer: how it is trained, and how its lessons are drawn."""

    bugs: tuple[float, ...] = (0.05, 0.4, 0.25, 0.2, 0.1)
    """Shares of answers with 0, 1, 2, ... bugs; never more than one to two lines."""
    question: float = 0.7
    """Share of answers shown with their question."""
    short_chars: int = 360
    long_share: float = 0.6
    """Chance to keep a drawn answer that is longer than `short_chars`."""


def corpus_lessons(
    corpus: Corpus, config: TinyPointerConfig, tokenizer: PreTrainedTokenizerFast
) -> Callable[[random.Random], Lesson]:
    """Return a function that draws lessons: a function of the corpus, usually a long one, with fresh bugs in it."""
    vocabulary = Vocabulary.from_tokenizer(tokenizer)

    def draw(rng: random.Random) -> Lesson:
        while True:
            function = corpus[rng.randrange(len(corpus))]
            if len(function.answer) > config.short_chars and rng.random() >= config.long_share:
                continue
            tamper = draw_bugs(function, config.bugs, rng)
            if tamper is not None:
                question = function.question if rng.random() < config.question else ""
                return make_lesson(tamper, question, tokenizer, vocabulary)

    return draw
