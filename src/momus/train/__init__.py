"""Training, one stage one file: pretraining, reward model, PPO."""
