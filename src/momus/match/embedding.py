"""The embedding matcher: two points are alike when a sentence encoder puts them near each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from momus.errors import UserError
from momus.match.matcher import Compared, Lists, Scale, no_reason

THRESHOLD = 0.6
"""What scores 7 by default: a guess, for every encoder has its own; `momus match calibrate` finds it."""

Encode = Callable[[list[str]], ArrayLike]
"""Turns texts into vectors, `[texts, size]`."""


class EmbeddingMatcher:
    """Compares points by the cosine of their vectors; negative ones count as 0.

    Args:
        encode: The encoder.
        name: What names it.
        scale: Which likeness scores 7.
    """

    def __init__(self, encode: Encode, name: str, scale: Scale | None = None) -> None:
        self._encode, self._name, self._scale = encode, name, scale or Scale(THRESHOLD)

    @property
    def scale(self) -> Scale:
        """The scale of its likeness."""
        return self._scale

    def compare(self, lists: Sequence[Lists]) -> list[Compared]:
        """Compare many pairs of lists, every distinct text encoded once."""
        texts = list(dict.fromkeys(text for own in lists for side in own for text in side))
        if not texts:
            return [Compared(np.zeros((len(first), len(second))), no_reason) for first, second in lists]
        vectors = np.asarray(self._encode(texts), dtype=float)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        place = {text: number for number, text in enumerate(texts)}
        found = []
        for first, second in lists:
            a, b = ([place[text] for text in side] for side in (first, second))
            likeness = np.clip(vectors[a] @ vectors[b].T, 0, 1)
            likeness[likeness > 1 - 1e-6] = 1  # encoders work in single precision
            found.append(Compared(likeness, no_reason))
        return found

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of matcher and its encoder."""
        return {"kind": "embedding", "model": self._name}


def sentence_encoder(model: str) -> Encode:
    """Load a sentence-transformers model that is already on this machine.

    Raises:
        UserError: The library or the model is not there.
    """
    try:
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError as error:
        raise UserError("--by embedding needs sentence-transformers: pip install sentence-transformers") from error
    try:
        encoder = SentenceTransformer(model, local_files_only=True, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()
        raise UserError(f"--model {model}: no sentence encoder on this machine: {first[0] if first else ''}") from error
    return lambda texts: encoder.encode(texts, show_progress_bar=False)
