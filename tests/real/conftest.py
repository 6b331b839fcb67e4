"""Real models for the tests in this folder: `make test-real`, where MOMUS_REAL_MODELS names a folder of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from momus.lm.codec import read_tokenizer
from momus.lm.local.engine import LocalEngine
from momus.lm.models import load_causal_lm

SMALL, CODER = "smollm2-135m", "qwen-coder-0.5b"
MODELS = (SMALL, CODER)


def real_model(name: str) -> Path:
    """Return the folder of a model, or skip the test where there is none."""
    models = os.environ.get("MOMUS_REAL_MODELS")
    if not models:
        pytest.skip("MOMUS_REAL_MODELS names no folder of models (CONTRIBUTING.md)")
    folder = Path(models) / name
    if not (folder / "config.json").is_file():
        pytest.skip(f"MOMUS_REAL_MODELS has no {name}")
    return folder


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest) -> Path:
    """Each model's folder in turn."""
    return real_model(request.param)


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    """The model, in float32."""
    return load_causal_lm(folder, torch.float32)


@pytest.fixture
def engine(folder: Path, model: Any) -> LocalEngine:
    """A fresh engine over the model."""
    return LocalEngine(model, read_tokenizer(folder))


@pytest.fixture(scope="session")
def small() -> Path:
    """The smallest model's folder."""
    return real_model(SMALL)
