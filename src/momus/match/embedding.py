"""The embedding matcher: the cosine similarity of two points' sentence embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from momus.errors import UserError
from momus.match.matcher import ListComparison, Lists, ScoreScale, no_reason

EMBEDDING_THRESHOLD = 0.6
"""The similarity that scores 7 by default: a guess, for it depends on the encoder; see `momus match calibrate`."""

Encode = Callable[[list[str]], ArrayLike]
"""Turns texts into vectors, `[texts, size]`."""

_LONGEST = 100_000
"""Characters of a text that are encoded: encoders read a few hundred tokens, and tokenize the rest for nothing."""


class EmbeddingMatcher:
    """Compares points by the cosine similarity of their vectors; negative values count as 0.

    Args:
        encode: The encoder.
        name: The encoder's name.
        scale: The similarity that scores 7.
    """

    def __init__(self, encode: Encode, name: str, scale: ScoreScale | None = None) -> None:
        self._encode, self._name, self._scale = encode, name, scale or ScoreScale(EMBEDDING_THRESHOLD)

    @property
    def scale(self) -> ScoreScale:
        """Return the scale from similarity to score."""
        return self._scale

    def compare(self, lists: Sequence[Lists]) -> list[ListComparison]:
        """Compare many pairs of lists, every distinct text encoded once."""
        texts = list(dict.fromkeys(text for pair in lists for side in pair for text in side))
        if not texts:
            return [ListComparison(np.zeros((len(first), len(second))), no_reason) for first, second in lists]
        vectors = np.asarray(self._encode(texts), dtype=float)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        place = {text: number for number, text in enumerate(texts)}
        comparisons = []
        for first, second in lists:
            a, b = ([place[text] for text in side] for side in (first, second))
            similarity = np.clip(vectors[a] @ vectors[b].T, 0, 1)
            similarity[similarity > 1 - 1e-6] = 1  # encoders work in single precision
            comparisons.append(ListComparison(similarity, no_reason))
        return comparisons

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of matcher and its encoder."""
        return {"kind": "embedding", "model": self._name}


def sentence_encoder(model: str) -> Encode:
    """Load a sentence-transformers model that is already on this machine.

    Raises:
        UserError: The library or the model is missing.
    """
    try:
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError as error:
        raise UserError("--by embedding needs sentence-transformers: pip install sentence-transformers") from error
    try:
        encoder = SentenceTransformer(
            model, local_files_only=True, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()
        raise UserError(f"--model {model}: no sentence encoder on this machine: {first[0] if first else ''}") from error
    return lambda texts: encoder.encode([text[:_LONGEST] for text in texts], show_progress_bar=False)
