"""How good critics are, and the baselines that need no model."""
