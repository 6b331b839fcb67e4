"""Elo, agreement, Pareto front and bootstrap: pure arrays in, numbers out."""
