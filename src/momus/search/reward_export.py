"""A reward model in the form that servers load: transformers' sequence classification with one label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from momus.errors import UserError
from momus.files import atomic_directory
from momus.lm.models import RewardModel


def export_classifier(model: RewardModel, tokenizer: Any, path: Path) -> None:
    """Write a reward model as a directory that vLLM and SGLang serve (`reward_server.py`).

    Its scores are those of the reward model less its bias, for which the other form has no place: a constant that
    changes nothing but thresholds.

    Args:
        model: The reward model; an adapter must be merged into it before.
        tokenizer: The tokenizer of the model it was made from.
        path: The directory.

    Raises:
        UserError: transformers has no such form of this architecture, or the model reads a pointer too.
    """
    if model.kind != RewardModel.kind:
        raise UserError("a reward model with a pointer has no form that servers load")
    config = type(model.backbone.config).from_dict({**model.backbone.config.to_dict(), "num_labels": 1})  # type: ignore[operator,union-attr]
    config.pad_token_id = tokenizer.pad_token_id
    try:
        classifier: Any = AutoModelForSequenceClassification.from_config(
            config, dtype=torch.float32, trust_remote_code=False
        )
        backbone, head = getattr(classifier, classifier.base_model_prefix), classifier.score
    except (ValueError, AttributeError) as error:
        kind = config.model_type
        raise UserError(f"transformers has no {kind} model that classifies sequences by their last token") from error
    backbone.load_state_dict(model.backbone.state_dict())
    head.weight.data = model.head.weight.data.float().cpu()
    with atomic_directory(path) as folder:
        classifier.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
