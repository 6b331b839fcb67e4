"""RAIN (arXiv 2309.07124): rewindable inference by self-evaluation."""
