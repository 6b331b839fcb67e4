"""oneDNN remembers what it does for every shape: bounded, before anything is multiplied, unless somebody set it."""

import os
import subprocess
import sys

import pytest

NAME = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


@pytest.mark.parametrize(("given", "expected"), [(None, "64"), ("7", "7")])
def test_its_cache_is_bounded_where_nobody_says_how(given: str | None, expected: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != NAME}
    script = f"import momus.lm.models, os; print(os.environ[{NAME!r}])"
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | ({NAME: given} if given else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == expected
