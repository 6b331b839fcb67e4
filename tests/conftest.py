"""Shared by all tests: reproducible property tests that do not depend on how busy the machine is."""

import signal

from hypothesis import settings

# Started in the background by a shell, pytest would ignore Ctrl-C, and so would everything it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("momus", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("momus")
