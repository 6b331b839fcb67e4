"""The language server: a file is reviewed when it is saved, and a newer save ends the review of the older one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from momus import __version__
from momus.critics.critic import Critic, Dial
from momus.errors import UserError
from momus.records import Task
from momus.review.decisions import apply_decisions, apply_ignores, read_decisions
from momus.review.files import Source, source_of
from momus.review.findings import Finding
from momus.review.known import baseline_of
from momus.review.lsp.diagnostics import actions_for, diagnostic_of
from momus.review.lsp.progress import Progress
from momus.review.lsp.settings import Settings, read_settings
from momus.review.reviewer import Target, leave_out_unreadable, review_targets
from momus.review.scope import find_root, is_excluded, name_of
from momus.search.result import SearchResult


class StoppedError(Exception):
    """A newer save made a review needless, or the user has cancelled it."""


class UnreadableError(UserError):
    """A file is one that cannot be reviewed, as one that does not parse."""


@dataclass(frozen=True)
class StoppableCritic:
    """A critic that stops between two pieces of code once it is asked to."""

    critic: Critic
    stop: Event

    @property
    def dial(self) -> Dial:
        """The critic's."""
        return self.critic.dial

    def fits(self, task: Task) -> bool:
        """Return whether a task fits the critic."""
        return self.critic.fits(task)

    def write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        """Write critiques one by one.

        Raises:
            StoppedError: A newer save made them needless.
        """
        written: list[SearchResult] = []
        for task in tasks:
            if self.stop.is_set():
                raise StoppedError
            written += self.critic.write([task])
        return written

    def identity(self) -> Mapping[str, Any]:
        """Return the critic's identity."""
        return self.critic.identity()


@dataclass(frozen=True)
class Reviewed:
    """What was found in a document when it was saved."""

    source: Source
    findings: tuple[Finding, ...]


class ReviewServer(LanguageServer):
    """Reviews documents as they are saved.

    Args:
        settings: What the command says of the critic; None leaves it to the project.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__("momus", __version__)
        self._settings = settings
        self._opened: tuple[Settings, tuple[Critic, float]] | None = None
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="momus-review")
        self._stops: dict[str, Event] = {}
        self._reviewed: dict[str, Reviewed] = {}
        self._problem = ""
        self._register()

    def _register(self) -> None:
        """Say what is handled; pygls writes on the functions, which methods do not allow."""
        quick_fixes = types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix])

        @self.feature(types.TEXT_DOCUMENT_DID_SAVE)
        async def save(params: types.DidSaveTextDocumentParams) -> None:
            await self._save(params)

        @self.feature(types.TEXT_DOCUMENT_DID_CLOSE)
        def close(params: types.DidCloseTextDocumentParams) -> None:
            self._close(params)

        @self.feature(types.TEXT_DOCUMENT_CODE_ACTION, quick_fixes)
        def act(params: types.CodeActionParams) -> list[types.CodeAction]:
            return self._act(params)

        @self.feature(types.SHUTDOWN)
        def shut_down(_: None) -> None:
            self._shut_down()

    async def _save(self, params: types.DidSaveTextDocumentParams) -> None:
        uri = params.text_document.uri
        self._stop(uri)
        stop = self._stops[uri] = Event()
        document = self.workspace.get_text_document(uri)
        text, version = document.source, document.version
        progress = Progress(self, f"Momus reviews {uri.rsplit('/', 1)[-1]}", stop.set)
        try:
            loop = asyncio.get_running_loop()
            reviewed = await loop.run_in_executor(self._worker, self._review, uri, text, stop)
        except StoppedError:
            return
        except UserError as error:
            if not stop.is_set():
                self._reviewed.pop(uri, None)
                self._publish(uri, [], version)
                self._tell(error)
            return
        finally:
            progress.end()
        if not stop.is_set():
            self._reviewed[uri] = reviewed
            lines = reviewed.source.text.split("\n")
            codec = self.workspace.position_codec
            self._publish(uri, [diagnostic_of(finding, lines, codec) for finding in reviewed.findings], version)

    def _close(self, params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        self._stop(uri)
        if self._reviewed.pop(uri, None) is not None:
            self._publish(uri, [], None)

    def _shut_down(self) -> None:
        for uri in list(self._stops):
            self._stop(uri)
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _act(self, params: types.CodeActionParams) -> list[types.CodeAction]:
        uri = params.text_document.uri
        reviewed = self._reviewed.get(uri)
        if reviewed is None:
            return []
        document, first, last = self.workspace.get_text_document(uri), params.range.start.line, params.range.end.line
        now = re.split(r"\r\n|\r|\n", document.source)
        leader = "#" if reviewed.source.outline is None else "//"
        return [
            action
            for finding in reviewed.findings
            if finding.line - 1 <= last and finding.end_line - 1 >= first
            for action in actions_for(
                finding, reviewed.source.text.split("\n"), now, uri, self.workspace.position_codec, leader
            )
        ]

    def _review(self, uri: str, text: str, stop: Event) -> Reviewed:
        """Review a document as it was saved; in the worker's thread.

        Raises:
            StoppedError: A newer save made it needless.
            UserError: It cannot be read, or the critic cannot be opened.
        """
        if stop.is_set():
            raise StoppedError
        source = _read(uri, text)
        folder = Path(self.workspace.root_path or ".")
        project = read_settings(folder)
        root = find_root(source.path.parent)
        name = name_of(source.path, root)
        if is_excluded(name, project.exclude):
            return Reviewed(source, ())
        critic, setting = self._open(self._settings or Settings.of_project(project), folder)
        leave_out_unreadable([source], critic)
        (review,) = review_targets([Target(source, name)], StoppableCritic(critic, stop), setting)
        if review.units and review.units == review.unanswered and review.problems:
            problem = review.problems[0] or "the critic wrote no critique"
            raise UserError(f"{source.path}: nothing was reviewed: {problem}")
        decisions = read_decisions(root / project.baseline if project.baseline else baseline_of(root))
        (decided,) = apply_decisions([review], decisions, {}, lambda name: (root / name).exists())
        return Reviewed(source, apply_ignores(decided, source).shown)

    def _open(self, settings: Settings, folder: Path) -> tuple[Critic, float]:
        """Return the critic of some settings; it stays open until they change."""
        if self._opened is None or self._opened[0] != settings:
            self._opened = None
            self._opened = settings, settings.open(folder)
        return self._opened[1]

    def _stop(self, uri: str) -> None:
        if (stop := self._stops.pop(uri, None)) is not None:
            stop.set()

    def _publish(self, uri: str, diagnostics: list[types.Diagnostic], version: int | None) -> None:
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, diagnostics, version))

    def _tell(self, error: UserError) -> None:
        """Show a problem to the user, the same one once; that a file cannot be reviewed goes to the log alone."""
        kind, text = types.MessageType.Warning, f"Momus: {error}"
        if isinstance(error, UnreadableError):
            self.window_log_message(types.LogMessageParams(kind, text))
        elif text != self._problem:
            self._problem = text
            self.window_show_message(types.ShowMessageParams(kind, text))


def _read(uri: str, text: str) -> Source:
    path = to_fs_path(uri)
    if path is None:
        raise UnreadableError(f"{uri}: not a file")
    try:
        return source_of(text, path, other_languages=True)
    except UserError as error:
        raise UnreadableError(str(error)) from error
