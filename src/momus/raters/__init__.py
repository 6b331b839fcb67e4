"""Who judges: simulated contractors."""
