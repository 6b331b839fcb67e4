"""How toxic a text is, by a text classifier in this process (the paper asked the Perspective API)."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from momus.errors import UserError
from momus.lm.text.encode import Encoder


def toxicity_of(model: str) -> Callable[[str], float]:
    """Return the probability that a text is toxic, by a sequence classifier with a label of that name.

    The probability is that of the label called "toxic" or "toxicity" (in any case), among all labels, or by itself
    where the classifier's labels do not exclude each other.

    Raises:
        UserError: It cannot be loaded, or has no such label.
    """
    try:
        classifier = AutoModelForSequenceClassification.from_pretrained(model, use_safetensors=True).eval()
        tokenizer = AutoTokenizer.from_pretrained(model)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"cannot load a text classifier from {model}: {reason}") from error
    labels: dict[int, str] = classifier.config.id2label
    named = [number for number, label in labels.items() if re.fullmatch(r"toxic(ity)?", label.lower())]
    if not named:
        raise UserError(f"{model}: none of its labels is called toxic or toxicity: {', '.join(labels.values())}")
    apart = classifier.config.problem_type != "multi_label_classification"
    limit = min(tokenizer.model_max_length, getattr(classifier.config, "max_position_embeddings", 512) - 2)

    encoder = Encoder(tokenizer)

    def score(text: str) -> float:
        if not text.strip():
            return 0.0
        batch = tokenizer(encoder.oldest(text, limit), return_tensors="pt", truncation=True, max_length=limit)
        with torch.inference_mode():
            logits = classifier(**batch).logits[0].float()
        return float((logits.softmax(-1) if apart else logits.sigmoid())[named[0]])

    return score
