"""How long a sequence may be before its positions stop meaning what they mean in any other row."""

from __future__ import annotations

from typing import Any


def context_length(config: Any) -> int | None:
    """Return the tokens up to which every sequence is read the same, whatever shares its row; None for no such limit.

    Rotary positions that depend on the length of what is read ("dynamic", "longrope": `dynamic_rope_update` of
    transformers) turn all tokens of a row otherwise once its longest sequence is past this length, so that a prefix
    has no states of its rope there. Learned positions end here.
    """
    ropes = getattr(config, "rope_parameters", None) or {}
    whole: int | None = getattr(config, "max_position_embeddings", None)
    if not ropes:
        return whole
    kinds = [ropes] if "rope_type" in ropes else [rope for rope in ropes.values() if rope]  # one by kind of layer
    limits: list[int] = [
        int(rope.get("original_max_position_embeddings") or config.max_position_embeddings)
        for rope in kinds
        if rope["rope_type"] == "longrope" or "dynamic" in rope["rope_type"]
    ]
    return min(limits, default=None)
