"""Shared by all tests: reproducible property tests that do not depend on how busy the machine is."""

import gc
import os
import signal
import sys

import pytest
from hypothesis import settings

# A name that is no folder is looked for on the hub: without a network, in three quarters of a minute of new attempts.
os.environ["HF_HUB_OFFLINE"] = "1"

# Started in the background by a shell, pytest would ignore Ctrl-C, and so would everything it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("momus", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("momus")


def pytest_collection_finish():
    """Leave what was imported, half a million objects, out of every collection of garbage, here and in forks."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path_factory, monkeypatch):
    """Let no test find what another was answered."""
    monkeypatch.setenv("MOMUS_CACHE", str(tmp_path_factory.mktemp("cache") / "answers.sqlite"))


@pytest.fixture(autouse=True)
def _shared_tokenizer_stays_as_it_is():
    """Fail the test that changes the tokenizer which all tests share, not one that runs after it."""
    yield
    if (tiny := sys.modules.get("support.tiny")) and tiny.tiny_tokenizer.cache_info().currsize:
        assert tiny.tiny_tokenizer().chat_template is None, "this test changed tiny_tokenizer(): give it a copy"
