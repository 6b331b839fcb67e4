"""Open matchers, extractors and taggers by name: what `momus extract`, `match` and `overlap` share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from momus.errors import UserError
from momus.lm.chats.asking import Asking
from momus.lm.chats.open import open_chat
from momus.lm.chats.protocol import Chat
from momus.lm.tiny import TINY
from momus.match.ask import AskConfig, JsonAsker
from momus.match.aspects import LexicalTagger, Tagger
from momus.match.calibrate import read_scale
from momus.match.embedding import EmbeddingMatcher, sentence_encoder
from momus.match.extract import Extractor, ModelExtractor, RuleExtractor
from momus.match.lexical import LexicalMatcher
from momus.match.matcher import Matcher
from momus.match.model import ModelMatcher, ModelTagger, VotingMatcher, VotingMatcherConfig
from momus.match.pairwise import PairwiseMatcher

MatcherKind = Literal["lexical", "embedding", "model", "voting", "pairwise"]


@dataclass(frozen=True)
class NamedModel:
    """A language model as the command line names it.

    Attributes:
        name: Its folder or its name on the hub; with `url` its name on that server. None names no model.
        url: An OpenAI-compatible server; None loads the model in this process.
        seed: Seed of its sampling.
        device: Where a model in this process runs; None takes a GPU if there is one.
        precision: What a model in this process is held and computed in; None chooses as `choose_precision` does.
        asking: What is put around it: a cache of answers, a budget; None asks it as it is.
    """

    name: str | None = None
    url: str | None = None
    seed: int = 0
    device: str | None = None
    precision: Literal["fp32", "bf16"] | None = None
    asking: Asking | None = None

    def used_by(self, *kinds: str) -> NamedModel:
        """Return the model itself, to be used by these kinds of matcher, extractor or tagger.

        Raises:
            UserError: A model is named and none of the kinds uses one.
        """
        if (self.name or self.url) and not set(kinds) - {"lexical", "rules"}:
            raise UserError(f"--model and --url are of no use: nothing here asks a model (--by {kinds[0]})")
        return self

    def asker(self, purpose: str, config: AskConfig | None = None) -> JsonAsker:
        """Open the model.

        Args:
            purpose: What needs it, for the error message.
            config: How to ask; its seed is replaced by the model's.

        Raises:
            UserError: No model is named, it is the one that ships with Momus, or it cannot be loaded.
        """
        if self.name is None or Path(self.name).resolve() == TINY.resolve():
            raise UserError(
                f"{purpose} needs a language model that follows instructions: name it with --model, and with --url "
                "where a server has it. The small model that ships with Momus only writes critiques of code"
            )
        return JsonAsker(self.chat, replace(config or AskConfig(), seed=self.seed))

    @cached_property
    def chat(self) -> Chat:
        """The model, opened once: what several purposes ask of it is counted together."""
        chat = open_chat(self.name, self.url, device=self.device, precision=self.precision)
        return self.asking.around(chat) if self.asking else chat


def open_matcher(
    by: MatcherKind = "lexical",
    model: NamedModel | None = None,
    calibration: Path | None = None,
    texts: Iterable[str] = (),
) -> Matcher:
    """Open a matcher, which says how similar two points of feedback are.

    Args:
        by: The kind of matcher: by words, by sentence embeddings, or by asking a language model (LLM scientific
            feedback, arXiv 2310.01783), once, several times, or for each pair.
        model: The model, for kinds that need one.
        calibration: A file that `momus match calibrate` wrote for this kind; None keeps the default scale.
        texts: The points to be matched, to which the lexical matcher fits its weights of words.

    Raises:
        UserError: A model is needed and not named, or cannot be loaded.
    """
    model = model or NamedModel()
    if by == "lexical":
        scale = read_scale(calibration, {"kind": by}) if calibration else None
        return LexicalMatcher(scale).fit(dict.fromkeys(texts))
    if by == "embedding" and model.name is None:
        raise UserError("--by embedding needs --model: the folder of a sentence-transformers model")
    scale = read_scale(calibration, {"kind": by, "model": model.name}) if calibration else None
    if by == "embedding":
        return EmbeddingMatcher(sentence_encoder(str(model.name)), str(model.name), scale)
    asker = model.asker(f"--by {by}")
    if by == "model":
        return ModelMatcher(asker, str(model.name), scale)
    kind = VotingMatcher if by == "voting" else PairwiseMatcher
    return kind(asker, str(model.name), scale, VotingMatcherConfig(seed=model.seed))


def open_extractor(by: Literal["rules", "model"], model: NamedModel) -> Extractor:
    """Open an extractor.

    Raises:
        UserError: A model is needed and not named, or cannot be loaded.
    """
    if by == "rules":
        return RuleExtractor()
    return ModelExtractor(model.asker("--by model"), str(model.name))


def open_tagger(by: Literal["lexical", "model"], model: NamedModel) -> Tagger:
    """Open a tagger of aspects.

    Raises:
        UserError: A model is needed and not named, or cannot be loaded.
    """
    return LexicalTagger() if by == "lexical" else ModelTagger(model.asker("--aspects model"), str(model.name))
