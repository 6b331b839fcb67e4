"""GitHub's REST and GraphQL interfaces, as far as posting needs them: pages, rate limits, and no redirects."""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from momus.errors import UserError

MAX_PAGES = 60
MAX_ANSWER = 20_000_000
PATIENCE = 300.0
"""Seconds to wait for a rate limit, all waits together."""

ATTEMPTS = 4

_NEXT = re.compile(r'<([^<>]{1,2000})>; rel="next"')


class GitHubError(UserError):
    """GitHub refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Client:
    """Asks GitHub with a token.

    Args:
        token: Of the workflow.
        api: The base address of the REST interface.
        graphql: The address of the GraphQL interface.
        sleep: Waits.

    Raises:
        UserError: There is no token, or an address is not one that it may be sent to.
    """

    def __init__(
        self,
        token: str,
        api: str = "https://api.github.com",
        graphql: str = "https://api.github.com/graphql",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not token:
            raise UserError("GITHUB_TOKEN is not set: the poster needs one that may write to pull requests")
        for url in (api, graphql):
            parts = urlsplit(url)
            if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1"):
                raise UserError(f"{url}: the token is sent over https only")
        self._token, self._api, self._graphql, self._sleep = token, api.rstrip("/"), graphql, sleep
        self._patience = PATIENCE
        self._open = urllib.request.build_opener(_NoRedirects()).open

    @classmethod
    def from_environment(cls) -> Client:
        """Return a client as a workflow's environment describes it."""
        api = os.environ.get("GITHUB_API_URL", "https://api.github.com")
        graphql = os.environ.get("GITHUB_GRAPHQL_URL", "https://api.github.com/graphql")
        return cls(os.environ.get("GITHUB_TOKEN", ""), api, graphql)

    def get(self, path: str) -> Any:
        """Return what is at a path."""
        return self._ask("GET", self._api + path)[0]

    def pages(self, path: str) -> Iterator[Any]:
        """Yield the items of a list, page by page.

        Raises:
            UserError: There are too many pages.
        """
        url: str | None = f"{self._api}{path}{'&' if '?' in path else '?'}per_page=100"
        for _ in range(MAX_PAGES):
            if url is None:
                return
            items, headers = self._ask("GET", url)
            yield from items
            following = _NEXT.search(headers.get("Link", ""))
            url = following[1] if following else None
            if url is not None and not url.startswith(f"{self._api}/"):
                raise UserError(f"{url}: a next page that is elsewhere")
        raise UserError(f"{path}: more than {MAX_PAGES} pages")

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """Create or change something; return what it became."""
        return self._ask(method, self._api + path, body)[0]

    def query(self, text: str, variables: Mapping[str, Any]) -> Any:
        """Ask GraphQL; return its data.

        Raises:
            GitHubError: The token may not do this (status 403).
            UserError: It answers with other errors.
        """
        answer, _ = self._ask("POST", self._graphql, {"query": text, "variables": variables})
        if errors := answer.get("errors"):
            message = f"GitHub: {str(errors[0].get('message'))[:300]}"
            raise GitHubError(403, message) if errors[0].get("type") == "FORBIDDEN" else UserError(message)
        return answer["data"]

    def _ask(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> tuple[Any, Message]:
        data = None if body is None else json.dumps(body).encode()
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "Content-Type": "application/json",
            "User-Agent": "momus",
        }
        for attempt in range(ATTEMPTS):
            request = urllib.request.Request(url, data, headers, method=method)
            try:
                with self._open(request, timeout=60) as response:
                    raw = response.read(MAX_ANSWER + 1)
                    if len(raw) > MAX_ANSWER:
                        raise UserError(f"{method} {url}: the answer is too large")
                    return (json.loads(raw) if raw else None), response.headers
            except urllib.error.HTTPError as error:
                wait = _wait(error, method, attempt)
                if wait is None or attempt == ATTEMPTS - 1:
                    message = _message(error)
                    raise GitHubError(error.code, f"GitHub: {method} {urlsplit(url).path}: {message}") from error
                self._wait_for(wait)
            except (urllib.error.URLError, TimeoutError, ValueError) as error:
                raise UserError(f"GitHub: {method} {urlsplit(url).path}: {error}") from error
        raise AssertionError

    def _wait_for(self, seconds: float) -> None:
        if seconds > self._patience:
            raise UserError(f"GitHub limits the rate for {seconds:.0f} more seconds: not waited for")
        self._patience -= seconds
        self._sleep(seconds)


def _wait(error: urllib.error.HTTPError, method: str, attempt: int) -> float | None:
    """Return the seconds after which to ask again; None where that is of no use."""
    headers = error.headers
    if error.code in (403, 429):
        if (after := headers.get("Retry-After", "")).isdigit():
            return float(after)
        reset = headers.get("X-RateLimit-Reset", "")
        if headers.get("X-RateLimit-Remaining") == "0" and reset.isdigit():
            return max(0.0, float(reset) - time.time()) + 1
        return 60.0 if error.code == 429 else None
    return float(2**attempt) if error.code in (500, 502, 503, 504) and method == "GET" else None


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return f"{error.code} {str(json.loads(error.read(100_000)).get('message'))[:300]}"
    except (OSError, ValueError, AttributeError):
        return str(error.code)
