"""How toxic a text is, by a text classifier in this process (the paper asked the Perspective API)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from momus.errors import UserError
from momus.files import check_model_folder
from momus.lm.codec import read_tokenizer
from momus.lm.text.encode import Encoder


def toxicity_of(model: str) -> Callable[[str], float]:
    """Return the probability that a text is toxic, by a sequence classifier with a label of that name.

    The probability is that of the label called "toxic" or "toxicity" (in any case), among all labels, or by itself
    where the classifier's labels do not exclude each other.

    Raises:
        UserError: It cannot be loaded, or has no such label.
    """
    try:
        if Path(model).is_dir():
            check_model_folder(Path(model))
        classifier = AutoModelForSequenceClassification.from_pretrained(
            model, use_safetensors=True, trust_remote_code=False
        ).eval()
        tokenizer = read_tokenizer(model)
        labels = {int(number): str(label) for number, label in classifier.config.id2label.items()}
        named = [number for number, label in labels.items() if re.fullmatch(r"toxic(ity)?", label.lower())]
        limit = int(min(tokenizer.model_max_length, getattr(classifier.config, "max_position_embeddings", 512) - 2))
        classify(classifier, tokenizer, "a", limit)
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"cannot load a text classifier from {model}: {reason}") from error
    if not named:
        raise UserError(f"{model}: none of its labels is called toxic or toxicity: {', '.join(labels.values())[:300]}")
    apart = classifier.config.problem_type != "multi_label_classification"

    def score(text: str) -> float:
        if not text.strip():
            return 0.0
        logits = classify(classifier, tokenizer, text, limit)
        return float((logits.softmax(-1) if apart else logits.sigmoid())[named[0]])

    return score


def classify(classifier: Any, tokenizer: Any, text: str, limit: int) -> torch.Tensor:
    """Return the logits of a text's first `limit` tokens, one per label."""
    text = Encoder(tokenizer).oldest(text, limit)
    batch = tokenizer(text, return_tensors="pt", truncation=True, max_length=limit)
    with torch.inference_mode():
        logits: torch.Tensor = classifier(**batch).logits[0].float()
    return logits
