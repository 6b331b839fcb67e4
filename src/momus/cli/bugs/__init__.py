"""Commands that make bugs with a model: its own wrong answers, and bugs that it is asked to put in."""
