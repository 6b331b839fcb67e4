"""What servers say of the model and system behind their answers, and whether it is still what it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from momus.errors import UserError
from momus.lm.chats.protocol import Answer, Chat, ChatAround, Question


class Fingerprints:
    """Collects the fingerprints of chats, by their names, and refuses those that are not expected.

    Attributes:
        expected: What each chat said when it was measured; of a chat that is not in it anything is accepted.
    """

    def __init__(self) -> None:
        self.expected: Mapping[str, Sequence[str]] = {}
        self._seen: dict[str, set[str]] = {}

    def watch(self, chat: Chat) -> Chat:
        """Return a chat whose answers are looked at, those out of a cache too."""
        return _WatchedChat(chat, self)

    def seen(self) -> dict[str, tuple[str, ...]]:
        """Return what each chat said so far; those that said nothing are not in it."""
        return {name: tuple(sorted(fingerprints)) for name, fingerprints in sorted(self._seen.items())}

    def check(self, name: str, answer: Answer) -> None:
        """Note the fingerprint of one answer.

        Raises:
            UserError: It comes from another model or system than what was measured.
        """
        if answer.problem:
            return
        known = self.expected.get(name, ())
        if known and answer.fingerprint not in known:
            now = repr(answer.fingerprint) if answer.fingerprint else "nothing"
            raise UserError(
                f"{name} calls itself {now} now and was measured as {', '.join(map(repr, known))}: what was promised "
                "does not hold for it; measure it again with momus calibrate"
            )
        if answer.fingerprint:
            self._seen.setdefault(name, set()).add(answer.fingerprint)


class _WatchedChat(ChatAround):
    def __init__(self, chat: Chat, fingerprints: Fingerprints) -> None:
        super().__init__(chat)
        self._fingerprints = fingerprints

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions; see `Chat.answer`."""
        answers = self._chat.answer(questions)
        for answer in answers:
            self._fingerprints.check(self.name, answer)
        return answers
