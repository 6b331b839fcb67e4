"""What momus-tiny's pointer learns from: fresh bugs in the functions of the corpus."""

from __future__ import annotations

import random
from collections.abc import Callable

from transformers import PreTrainedTokenizerFast

from momus.lm.constraint import Vocabulary
from momus.tiny.corpus import Corpus
from momus.tiny.examples import draw_bugs
from momus.train.pointer import Lesson, PointerConfig, lesson_of


def lessons_from(
    corpus: Corpus, config: PointerConfig, tokenizer: PreTrainedTokenizerFast
) -> Callable[[random.Random], Lesson]:
    """Return what draws a lesson: a function of the corpus, mostly a long one, with fresh bugs in it."""
    vocabulary = Vocabulary.from_tokenizer(tokenizer)

    def draw(rng: random.Random) -> Lesson:
        while True:
            function = corpus[rng.randrange(len(corpus))]
            if len(function.answer) > config.short_chars and rng.random() >= config.long_share:
                continue
            tamper = draw_bugs(function, config.bugs, rng)
            if tamper is not None:
                question = function.question if rng.random() < config.question else ""
                return lesson_of(tamper, question, tokenizer, vocabulary)

    return draw
