"""Equal questions, equal answers: what a chat answered, kept in one SQLite file.

The file is keyed by a digest of the model, the question with its settings and a version of the prompt; questions and
API keys are not in it. Several processes may use it, and any of them be killed at any instant: an answer is in it whole
or not at all (SQLite's write-ahead log), and where two processes asked the same, the first answer stands for both. It
keeps to a size: the answers that nobody asked for longest go first.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from momus.errors import UserError
from momus.lm.chats.protocol import Answer, Chat, ChatAround, Question, Usage
from momus.records import Message

LARGEST = 256 << 20
"""Bytes of answers that a cache keeps by default."""

_VERSION = 1
_KEPT_SHARE = 0.9  # what is left after making room, so that room is not made for every answer
_PATIENCE = 60.0  # seconds to wait for other processes' writes
_AN_HOUR = 3600
_TOGETHER = 32
"""Questions asked before their answers are kept: what a kill may cost."""

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, answer TEXT NOT NULL, size INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_by_use ON answers (used);
CREATE TABLE IF NOT EXISTS total (size INTEGER NOT NULL);
INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM total);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON answers BEGIN UPDATE total SET size = size + NEW.size; END;
CREATE TRIGGER IF NOT EXISTS dropped AFTER DELETE ON answers BEGIN UPDATE total SET size = size - OLD.size; END;
"""


def default_path() -> Path:
    """Return where answers are kept: MOMUS_CACHE, or a file in the user's cache folder."""
    if named := os.environ.get("MOMUS_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "momus" / "answers.sqlite"


class AnswerCache:
    """A file of answers.

    Args:
        path: The file; it is made with its folders where there is none, for its owner alone to read.
        largest: Bytes of answers to keep.

    Raises:
        UserError: The file cannot be opened, or is no such file.
    """

    def __init__(self, path: Path, largest: int = LARGEST) -> None:
        self.path, self._largest = path, largest
        self._opened = threading.local()
        with self._writing():
            pass

    def get(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Return the answers there are, by key; they cost nothing."""
        stored: dict[str, tuple[str, int]] = {}
        now = int(time.time())
        try:
            connection = self._connection()
            for start in range(0, len(keys), 500):
                part = keys[start : start + 500]
                marks = ",".join("?" * len(part))
                rows = connection.execute(f"SELECT key, answer, used FROM answers WHERE key IN ({marks})", part)
                stored |= {key: (answer, used) for key, answer, used in rows}
        except sqlite3.Error as error:
            raise self._damaged(error) from error
        if stale := [(now, key) for key, (_, used) in stored.items() if used < now - _AN_HOUR]:
            with self._writing() as writing:
                writing.executemany("UPDATE answers SET used = ? WHERE key = ?", stale)
        try:
            return {key: _read(answer) for key, (answer, _) in stored.items()}
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.path}: holds what is no answer: move the file away") from error

    def put(self, answers: Mapping[str, Answer]) -> None:
        """Keep answers, but for those whose key has one already; make room where there are too many."""
        now, rows = int(time.time()), []
        for key, answer in answers.items():
            text = json.dumps({**asdict(answer), "usage": asdict(answer.usage)})
            rows.append((key, text, len(key) + len(text), now))
        with self._writing() as writing:
            writing.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", rows)
            self._make_room(writing)

    def size(self) -> int:
        """Return the bytes of answers in it."""
        return int(self._connection().execute("SELECT size FROM total").fetchone()[0])

    def _make_room(self, writing: sqlite3.Connection) -> None:
        (total,) = writing.execute("SELECT size FROM total").fetchone()
        if total <= self._largest:
            return
        rows = writing.execute("SELECT key, size FROM answers ORDER BY used, key").fetchall()
        dropped = []
        for key, size in rows:
            if total <= self._largest * _KEPT_SHARE:
                break
            dropped.append((key,))
            total -= size
        writing.executemany("DELETE FROM answers WHERE key = ?", dropped)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the right to write; what is written is in the file when this ends, all of it or nothing."""
        try:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._damaged(error) from error

    def _connection(self) -> sqlite3.Connection:
        """Return the connection of this thread and process: one from before a fork must not be used after it."""
        if getattr(self._opened, "process", None) != os.getpid():
            self._opened.connection, self._opened.process = self._open(), os.getpid()
        opened: sqlite3.Connection = self._opened.connection
        return opened

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(0o600)
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        except OSError as error:
            raise UserError(f"{self.path}: answers cannot be kept there: {error.strerror}") from error
        connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise UserError(f"{self.path}: written by another version of Momus: move it away")
        _set_journal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
        return connection

    def _damaged(self, error: sqlite3.Error) -> UserError:
        return UserError(f"{self.path}: kept answers cannot be read or written ({error}): move the file away")


class CachedChat(ChatAround):
    """A chat that is asked nothing twice.

    Args:
        chat: The model.
        cache: Where its answers are kept.
        version: Of the prompts; answers to others are not used.

    Attributes:
        hits: Questions that were answered out of the cache.
    """

    def __init__(self, chat: Chat, cache: AnswerCache, version: str = "") -> None:
        super().__init__(chat)
        self._cache, self._version, self.hits = cache, version, 0
        self._identity: Mapping[str, str] | None = None

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions: from the cache where it has them, and of equal ones ask one.

        Answers with a problem are not kept, so that the question is asked again next time.
        """
        keys = self._keys(questions)
        answers = self._cache.get(list(dict.fromkeys(keys)))
        self.hits += sum(key in answers for key in keys)
        missing = {key: question for key, question in zip(keys, questions, strict=True) if key not in answers}
        waiting = list(missing)
        for start in range(0, len(waiting), _TOGETHER):
            part = waiting[start : start + _TOGETHER]
            fresh = dict(zip(part, self._chat.answer([missing[key] for key in part]), strict=True))
            self._cache.put({key: answer for key, answer in fresh.items() if not answer.problem})
            # Another process may have been first: its answer is everybody's, and what it cost here stays counted.
            first = self._cache.get(part)
            for key, answer in fresh.items():
                answers[key] = answer if key not in first else _with_usage(first[key], answer.usage)
        return [answers[key] for key in keys]

    def identity(self) -> Mapping[str, str]:
        """Return what tells the model from others; what takes loading to be told is kept, as answers are."""
        signature = self.signature()
        if not signature:
            return self._chat.identity()
        if self._identity is None:
            text = self._kept(f"identity {signature}", lambda: json.dumps(dict(self._chat.identity())))
            self._identity = {str(name): str(value) for name, value in json.loads(text).items()}
        return self._identity

    def count(self, messages: Sequence[Message]) -> int:
        """Return the tokens of a conversation; what takes a tokenizer to be told is kept, as answers are."""
        signature = self.signature()
        if not signature:
            return self._chat.count(messages)
        conversation = json.dumps([message.model_dump(mode="json", exclude_defaults=True) for message in messages])
        return int(self._kept(f"count {signature} {conversation}", lambda: str(self._chat.count(messages))))

    def _kept(self, name: str, find: Callable[[], str]) -> str:
        """Return the text kept under a name; where there is none, find and keep it."""
        key = hashlib.sha256(name.encode()).hexdigest()
        known = self._cache.get([key])
        if key not in known:
            self._cache.put({key: Answer(find())})
            known = self._cache.get([key])
        return known[key].text

    def missing(self, questions: Sequence[Question]) -> list[Question]:
        """Return the questions that would have to be asked, each once."""
        keys = self._keys(questions)
        known = self._cache.get(list(dict.fromkeys(keys)))
        return list({key: question for key, question in zip(keys, questions, strict=True) if key not in known}.values())

    def _keys(self, questions: Sequence[Question]) -> list[str]:
        model = json.dumps([dict(self.identity()), self._version], sort_keys=True)
        return [hashlib.sha256(f"{model} {question.digest}".encode()).hexdigest() for question in questions]


def _set_journal(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on; while another process does, SQLite says that it is busy and does not wait."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _with_usage(answer: Answer, usage: Usage) -> Answer:
    return replace(answer, usage=usage)


def _read(text: str) -> Answer:
    fields = json.loads(text)
    if fields.get("choice") is not None:
        from momus.lm.engine import Choice

        fields["choice"] = Choice(*fields["choice"])
    return Answer(**{**fields, "usage": Usage()})
