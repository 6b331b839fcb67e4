"""That a review goes on, shown by clients that can, with a way to cancel it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from lsprotocol import types
from pygls.lsp.server import LanguageServer


class Progress:
    """Work that a client shows until it ends.

    Args:
        server: The server of the client.
        title: What is done.
        cancel: Called where the user cancels it.
    """

    def __init__(self, server: LanguageServer, title: str, cancel: Callable[[], None]) -> None:
        self._progress, self._token = server.work_done_progress, str(uuid4())
        self._title, self._cancel = title, cancel
        self._begun = self._over = False
        window = server.client_capabilities.window
        if window and window.work_done_progress:
            self._progress.create(self._token, self._begin)

    def _begin(self, _: Any) -> None:
        """Begin, now that the client has answered; the work may be over by then."""
        if self._over:
            self._progress.tokens.pop(self._token)
            return
        self._begun = True
        self._progress.tokens[self._token].add_done_callback(
            lambda future: self._cancel() if future.cancelled() else None
        )
        self._progress.begin(self._token, types.WorkDoneProgressBegin(self._title, cancellable=True))

    def end(self) -> None:
        """End it."""
        self._over = True
        if self._begun:
            self._progress.tokens.pop(self._token)
            self._progress.end(self._token, types.WorkDoneProgressEnd())
