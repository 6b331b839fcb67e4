"""Momus aligns language models with feedback, and measures how good that feedback is."""

__version__ = "0.1.0"
