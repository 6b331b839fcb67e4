"""Search for critiques: Force Sampling Beam Search and best of n, over any engine."""
