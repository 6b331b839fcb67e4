"""Opening the backends of matching by name: what `momus extract`, `match` and `overlap` share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from momus.errors import UserError
from momus.evaluate.systems import local_engine
from momus.lm.engine import Engine
from momus.lm.tiny import TINY
from momus.match.ask import AskConfig, Asker
from momus.match.aspects import LexicalTagger, Tagger
from momus.match.calibrate import read_scale
from momus.match.embedding import EmbeddingMatcher, sentence_encoder
from momus.match.extract import Extractor, ModelExtractor, RuleExtractor
from momus.match.lexical import LexicalMatcher
from momus.match.matcher import Matcher
from momus.match.model import ModelMatcher, ModelTagger, VotingConfig, VotingMatcher

By = Literal["lexical", "embedding", "model", "voting"]


@dataclass(frozen=True)
class Model:
    """A language model as the command line names it."""

    name: str | None
    url: str | None
    seed: int = 0

    def used_by(self, *kinds: str) -> Model:
        """Return the model, for backends of these kinds.

        Raises:
            UserError: One is named and none of them uses it.
        """
        if (self.name or self.url) and not set(kinds) - {"lexical", "rules"}:
            raise UserError(f"--model and --url are of no use: nothing here asks a model (--by {kinds[0]})")
        return self

    def asker(self, purpose: str, config: AskConfig | None = None) -> Asker:
        """Open the model.

        Args:
            purpose: What it is for, to say where it cannot be had.
            config: How to ask; the seed is the model's.

        Raises:
            UserError: None is named, it is the one that ships with Momus, or it cannot be had.
        """
        if self.name is None or Path(self.name).resolve() == TINY.resolve():
            raise UserError(
                f"{purpose} needs a language model that follows instructions: name it with --model, and with --url "
                "where a server has it. The small model that ships with Momus only writes critiques of code"
            )
        if self.url:
            engine, tokenizer = _on_server(self.url, self.name)
        else:
            engine = local_engine(self.name)
            tokenizer = getattr(engine, "tokenizer", None)
        return Asker(engine, tokenizer, replace(config or AskConfig(), seed=self.seed))


def _on_server(url: str, name: str) -> tuple[Engine, Any]:
    """Return a server's engine: its chat API, which lays messages out itself, or else completions with a tokenizer."""
    from momus.lm.codec import read_tokenizer
    from momus.lm.remote import RemoteEngine
    from momus.lm.server import Server

    server = Server(url, name)
    try:
        return RemoteEngine(server, chat=True), None
    except UserError:  # no chat API; if it is something worse, it is said again
        return RemoteEngine(server), read_tokenizer(name)


def open_matcher(by: By, model: Model, calibration: Path | None, texts: Iterable[str]) -> Matcher:
    """Open a matcher.

    Args:
        by: Its kind.
        model: The model of those that need one.
        calibration: What `momus match calibrate` wrote of this kind; None leaves the scale as it is.
        texts: The points to be matched, to which the lexical matcher is fitted.

    Raises:
        UserError: A model is needed and not named, or cannot be had.
    """
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
    return VotingMatcher(asker, str(model.name), scale, VotingConfig(seed=model.seed))


def open_extractor(by: Literal["rules", "model"], model: Model) -> Extractor:
    """Open an extractor.

    Raises:
        UserError: A model is needed and not named, or cannot be had.
    """
    if by == "rules":
        return RuleExtractor()
    return ModelExtractor(model.asker("--by model"), str(model.name))


def open_tagger(by: Literal["lexical", "model"], model: Model) -> Tagger:
    """Open a tagger of aspects.

    Raises:
        UserError: It needs a model, and none is named or it cannot be had.
    """
    return LexicalTagger() if by == "lexical" else ModelTagger(model.asker("--aspects model"), str(model.name))
