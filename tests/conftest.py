"""Shared by all tests: reproducible property tests that do not depend on how busy the machine is."""

from hypothesis import settings

settings.register_profile("momus", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("momus")
