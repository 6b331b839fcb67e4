"""Accounts without passwords: invitation links that are used once, and sessions that the server can end.

Only digests of links and session keys are stored, so whoever reads the database can use none. A person is known by a
pseudonym (`L` and six letters) everywhere but in the one row that holds the name, which can be erased.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Literal

from momus.errors import UserError
from momus.label.audit import digest, log
from momus.label.database import Database, Row, Transaction

Role = Literal["candidate", "labeler", "adjudicator", "owner"]
RANK: dict[Role, int] = {"candidate": 0, "labeler": 1, "adjudicator": 2, "owner": 3}
"""Each role may do what those before it may: candidates are screened, adjudicators also decide where labelers disagree,
owners do everything."""

INVITATION_SECONDS = 7 * 86400.0
OWNER_INVITATION_SECONDS = 15 * 60.0
IDLE_SECONDS = 12 * 3600.0
SESSION_SECONDS = 14 * 86400.0
_SEEN_EVERY = 60.0
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


@dataclass(frozen=True)
class Person:
    """Who is signed in; `csrf` is the session's token against forged requests."""

    id: str
    name: str
    role: Role
    language: str
    csrf: str


class People:
    """Accounts, invitations and sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def invite(self, role: Role, by: str, person: str | None = None, seconds: float = INVITATION_SECONDS) -> str:
        """Return the token of a new invitation: for a new account, or a new link for an account there is.

        Raises:
            UserError: There is no such account.
        """
        token = secrets.token_urlsafe(32)

        def work(transaction: Transaction) -> None:
            if person is not None and not transaction.value(
                "SELECT id FROM person WHERE id = ? AND state <> 'erased'", person
            ):
                raise UserError(f"no labeler {person!r}")
            now = transaction.now()
            transaction.run(
                "INSERT INTO invitation VALUES (?, ?, ?, ?, ?, NULL)", digest(token), role, person, now, now + seconds
            )
            log(transaction, by, "invite", person or role)

        self._database.write(work)
        return token

    def has_owner(self) -> bool:
        """Whether somebody owns this workbench already."""
        return self._database.read(
            lambda transaction: bool(
                transaction.value("SELECT count(*) AS n FROM person WHERE role = 'owner' AND state = 'active'")
            )
        )

    def invitation(self, token: str) -> Row | None:
        """Return an invitation that can be used, without using it."""
        return self._database.read(lambda transaction: _usable(transaction, token))

    def join(self, token: str, name: str, language: str) -> str | None:
        """Use an invitation; return the key of a new session, or None where it cannot be used (any more)."""
        key = secrets.token_urlsafe(32)

        def work(transaction: Transaction) -> bool:
            invitation = _usable(transaction, token)
            used = invitation and transaction.run(
                "UPDATE invitation SET used = ? WHERE digest = ? AND used IS NULL", transaction.now(), digest(token)
            )
            if not invitation or not used:
                return False
            person = invitation["person"]
            if person is None:
                person = "L" + "".join(secrets.choice(_LETTERS) for _ in range(6))
                transaction.run(
                    "INSERT INTO person VALUES (?, ?, ?, ?, 'active', ?)",
                    person, name, invitation["role"], language, transaction.now(),
                )  # fmt: skip
            _start(transaction, person, key)
            log(transaction, person, "join", person)
            return True

        return key if self._database.write(work) else None

    def person(self, key: str) -> Person | None:
        """Return who a session's key belongs to; None for one that has ended."""
        row = self._database.ask(lambda transaction: _session(transaction, key))
        if row is None:
            return None
        if row["now"] - row["seen"] > _SEEN_EVERY:
            self._database.write(
                lambda transaction: transaction.run(
                    "UPDATE session SET seen = ? WHERE digest = ?", transaction.now(), digest(key)
                )
            )
        return Person(row["id"], row["name"], row["role"], row["language"], row["csrf"])

    def leave(self, key: str) -> None:
        """End a session."""
        self._database.write(lambda transaction: transaction.run("DELETE FROM session WHERE digest = ?", digest(key)))

    def set_language(self, person: str, language: str) -> None:
        """Keep the language a person reads."""
        self._database.write(
            lambda transaction: transaction.run("UPDATE person SET language = ? WHERE id = ?", language, person)
        )

    def set_state(self, person: str, state: Literal["active", "paused"], by: str) -> None:
        """Pause an account (its sessions and leases end at once) or let it go on.

        Raises:
            UserError: There is no such account.
        """

        def work(transaction: Transaction) -> None:
            if not transaction.run("UPDATE person SET state = ? WHERE id = ? AND state <> 'erased'", state, person):
                raise UserError(f"no labeler {person!r}")
            if state == "paused":
                _end(transaction, person)
            log(transaction, by, state, person)

        self._database.write(work)

    def revoke(self, person: str, by: str) -> None:
        """End an account's sessions and links at once; a new link lets the person back in, drafts kept.

        Raises:
            UserError: There is no such account.
        """

        def work(transaction: Transaction) -> None:
            if transaction.value("SELECT id FROM person WHERE id = ? AND state <> 'erased'", person) is None:
                raise UserError(f"no labeler {person!r}")
            now = transaction.now()
            transaction.run("UPDATE invitation SET used = ? WHERE person = ? AND used IS NULL", now, person)
            _end(transaction, person)
            log(transaction, by, "revoke", person)

        self._database.write(work)

    def revoke_invitation(self, name: str, by: str) -> None:
        """Make a link that nobody has used useless; `name` is its digest.

        Raises:
            UserError: There is none that could still be used.
        """

        def work(transaction: Transaction) -> None:
            now = transaction.now()
            if not transaction.run("UPDATE invitation SET used = ? WHERE digest = ? AND used IS NULL", now, name):
                raise UserError("that link was used or revoked already")
            log(transaction, by, "revoke", f"invitation {name}")

        self._database.write(work)

    def invitations(self) -> list[Row]:
        """Return the links that can still be used: `digest`, `role`, `person` and `name` (of an account), `expires`."""
        return self._database.read(
            lambda transaction: transaction.rows(
                "SELECT digest, coalesce(person.role, invitation.role) AS role, invitation.person, person.name, "
                "expires FROM invitation LEFT JOIN person ON person.id = invitation.person WHERE used IS NULL "
                "AND expires > ? ORDER BY invitation.created, digest",
                transaction.now(),
            )
        )

    def erase(self, person: str, by: str) -> None:
        """Erase a person's name and everything unfinished; judgements stay, under the pseudonym.

        Raises:
            UserError: There is no such account.
        """

        def work(transaction: Transaction) -> None:
            if not transaction.run("UPDATE person SET name = '', state = 'erased' WHERE id = ?", person):
                raise UserError(f"no labeler {person!r}")
            _end(transaction, person)
            transaction.run("DELETE FROM draft WHERE lease IN (SELECT token FROM lease WHERE person = ?)", person)
            transaction.run("DELETE FROM reply WHERE person = ?", person)
            transaction.run("DELETE FROM invitation WHERE person = ?", person)
            log(transaction, by, "erase", person)

        self._database.write(work)

    def everybody(self) -> list[Row]:
        """Return every account that was not erased, with its number of submissions."""
        return self._database.read(
            lambda transaction: transaction.rows(
                "SELECT id, name, role, state, created, (SELECT count(*) FROM submission "
                "WHERE submission.person = person.id AND revision = 0) AS submitted FROM person "
                "WHERE state <> 'erased' ORDER BY created, id"
            )
        )


def _usable(transaction: Transaction, token: str) -> Row | None:
    return transaction.row(
        "SELECT invitation.role, invitation.person FROM invitation LEFT JOIN person ON person.id = invitation.person "
        "WHERE digest = ? AND used IS NULL AND expires > ? AND coalesce(person.state, 'active') = 'active'",
        digest(token), transaction.now(),
    )  # fmt: skip


def _start(transaction: Transaction, person: str, key: str) -> None:
    now = transaction.now()
    transaction.run(
        "INSERT INTO session VALUES (?, ?, ?, ?, ?)", digest(key), person, secrets.token_urlsafe(24), now, now
    )


def _session(transaction: Transaction, key: str) -> Row | None:
    row = transaction.row_and_time(
        "SELECT person.*, session.csrf, session.seen, session.created AS began, {now} AS now FROM session "
        "JOIN person ON person.id = session.person WHERE digest = ? AND person.state = 'active'",
        digest(key),
    )
    if row is None or row["now"] - row["seen"] >= IDLE_SECONDS or row["now"] - row["began"] >= SESSION_SECONDS:
        return None
    return row


def _end(transaction: Transaction, person: str) -> None:
    """End all sessions and let go of what is held, drafts kept for a return."""
    transaction.run("DELETE FROM session WHERE person = ?", person)
    transaction.run("UPDATE lease SET state = 'lapsed' WHERE person = ? AND state = 'held'", person)
