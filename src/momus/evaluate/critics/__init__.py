"""How good critics are, against known bugs and beside baselines."""
