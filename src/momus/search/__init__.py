"""Searches over an engine: critiques by Force Sampling Beam Search or best of n, answers by RAIN (`rain/`)."""
