"""How good a model is as a judge of answers, and what RAIN gains over plainer ways."""
