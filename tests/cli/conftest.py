"""Fixtures of commands' tests."""

import pytest

from support.repository import GitRepository
from support.reviewing import CODE, MarkingCritic


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one file, which is the working directory."""
    made = GitRepository(tmp_path / "repository")
    made.commit("First", m_py=CODE)
    monkeypatch.chdir(made.root)
    return made


@pytest.fixture
def critic(monkeypatch):
    """A critic that comments on every line that says BAD, in place of any that is asked for."""
    made = MarkingCritic("BAD")
    monkeypatch.setattr("momus.critics.open.open_at_setting", lambda *options, **more: (made, 0.5, "a promise"))
    return made
