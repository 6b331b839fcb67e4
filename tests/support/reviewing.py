"""A critic for tests of reviews."""

from __future__ import annotations

from momus.critics.critic import AgreementDial
from momus.errors import UserError
from support.candidates import written

CODE = "def f(x):\n    y = x + 1\n    return y\n\n\ndef g(x):\n    return x\n"


class MarkingCritic:
    """A critic for tests: comments on every line with one of some words; fails after so many pieces of code."""

    def __init__(self, *words, fails_after=10**9, lines=100):
        self.words, self.fails_after, self.lines, self.read = words, fails_after, lines, []

    dial = AgreementDial()

    def fits(self, task):
        return task.answer.count("\n") < self.lines

    def identity(self):
        return {"kind": "marking", "words": list(self.words)}

    def write(self, tasks):
        self.read += [task.answer for task in tasks]
        if len(self.read) > self.fails_after:
            raise UserError("the server is gone")
        return [written(task.answer, self._critique(task.answer)) for task in tasks]

    def _critique(self, answer):
        lines = enumerate(answer.split("\n"), 1)
        marked = [(number, line) for number, line in lines if line.strip() and any(w in line for w in self.words)]
        return "\n\n".join(f"```L{number}\n{line}\n```\nLook at this." for number, line in marked)
