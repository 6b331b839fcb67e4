"""Candidates and finished searches, for tests that need no model."""

from momus.critique import Comment, Critique, parse_critique
from momus.search.result import Candidate, SearchResult


def candidate(score, highlights):
    """Return a candidate of a score with a number of comments."""
    return Candidate("", (), score, Critique(comments=(Comment(highlight="x", text="Wrong."),) * highlights))


def written(answer, *texts):
    """Return critiques of an answer as a critic that wrote these texts returns them."""
    return SearchResult(tuple(Candidate(text, (), 0.0, parse_critique(text, answer)) for text in texts))
