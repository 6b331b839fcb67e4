"""oneDNN remembers what it does for every shape: bounded, before anything is multiplied, unless somebody set it."""

import os
import subprocess
import sys

NAME = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
SCRIPT = f"""
import importlib, os
import momus.lm.models
print(os.environ["{NAME}"])
os.environ["{NAME}"] = "7"
importlib.reload(momus.lm.models)
print(os.environ["{NAME}"])
"""


def test_its_cache_is_bounded_where_nobody_says_how() -> None:
    environment = {name: value for name, value in os.environ.items() if name != NAME}
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["64", "7"]
