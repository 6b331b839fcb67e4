"""Language models: token trees, prompts, models, engines."""
