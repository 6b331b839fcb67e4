"""More training code: functions of installed packages whose licence is permissive."""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from momus.data.functions import Function, Size
from momus.data.stdlib import functions_of_file

PERMISSIVE = ("MIT", "BSD", "Apache", "PSF", "Python Software Foundation", "ISC", "HPND")
"""Words that name a permissive licence in a package's metadata."""

PACKAGES = (
    "networkx",
    "sympy",
    "mpmath",
    "numpy",
    "scipy",
    "torch",
    "transformers",
    "huggingface_hub",
    "matplotlib",
    "fonttools",
    "jinja2",
    "pygments",
    "rich",
    "pydantic",
    "libcst",
    "pyparsing",
    "fsspec",
    "mypy",
    "pip",
    "setuptools",
    "python-dateutil",
    "markdown-it-py",
)
"""The dependencies that the shipped weights were trained on, where installed."""


def is_permissive(distribution: metadata.Distribution) -> bool:
    """Whether a distribution's metadata declares a permissive licence and no copyleft one."""
    fields = distribution.metadata
    declared = [
        line for key in ("License-Expression", "License") for line in (fields.get_all(key) or [""])[0].split("\n")[:1]
    ]
    declared += [c for c in fields.get_all("Classifier") or [] if c.startswith("License ::")]
    text = " ".join(declared)
    copyleft = any(word in text for word in ("GPL", "General Public", "Mozilla", "MPL"))
    return not copyleft and any(word in text for word in PERMISSIVE)


def package_functions(size: Size, per_package: int, seed: int = 0) -> Iterator[tuple[str, Function]]:
    """Yield (module, function) for up to `per_package` functions of each permissive package, test code aside."""
    for name in PACKAGES:
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if not is_permissive(distribution):
            continue
        files = [file for file in distribution.files or [] if file.suffix == ".py" and not _is_test(file.parts)]
        random.Random(f"{seed} {name}").shuffle(files)
        taken = 0
        for file in files:
            module = ".".join(file.with_suffix("").parts)
            for function in functions_of_file(Path(str(distribution.locate_file(file))), size):
                taken += 1
                yield module, function
            if taken >= per_package:
                break


def _is_test(parts: tuple[str, ...]) -> bool:
    return any(part in ("tests", "test", "testing") or part.startswith("test_") for part in parts)
