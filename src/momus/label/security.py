"""Who may do what: every request passes here before it reaches a page.

* The host must be this server's own, so that no other name can be pointed at it.
* A request that changes something must come from a page of this server (`Origin`, `Sec-Fetch-Site`) and carry the token
  of its session; JSON must say that it is JSON. Bodies have a limit.
* Nothing is loaded from elsewhere, framed, or run but the scripts that were installed (Content-Security-Policy).
* The session's key is in a cookie that scripts cannot read and that other sites do not send.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from momus.errors import UserError
from momus.label.people import RANK, Person, Role

MAX_BODY = 4 * 2**20

Endpoint = Callable[[Request], Awaitable[Response]]
RouteRow = tuple[str, str, Endpoint, Role | None]
"""Method, path, endpoint, and who may call it; None for anybody."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True)
class Site:
    """Where the workbench is reached.

    Attributes:
        origins: The addresses a browser may know it by, such as `https://label.example.org`.
        proxied: Whether a proxy stands before it, whose word on the client's address counts.
    """

    origins: tuple[str, ...]
    proxied: bool = False

    @cached_property
    def secure(self) -> bool:
        """Whether it is reached by HTTPS."""
        return all(origin.startswith("https://") for origin in self.origins)

    @cached_property
    def cookie(self) -> str:
        """The name of the session's cookie; browsers accept `__Host-` by HTTPS only."""
        return "__Host-momus" if self.secure else "momus"

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The values of `Host` that are this server's own."""
        return frozenset(urlsplit(origin).netloc for origin in self.origins)

    def client(self, request: Request) -> str:
        """Return the client's address."""
        forwarded = request.headers.get("x-forwarded-for", "") if self.proxied else ""
        return forwarded.rpartition(",")[2].strip() or (request.client.host if request.client else "")


class Limiter:
    """At most so many times in so many seconds, by key."""

    def __init__(self, times: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._times, self._seconds, self._clock = times, seconds, clock
        self._seen: dict[str, deque[float]] = {}

    def check(self, key: str) -> None:
        """Count one more; HTTPException 429 with `Retry-After` where that is one too many."""
        now = self._clock()
        if len(self._seen) > 10_000:
            self._seen = {k: times for k, times in self._seen.items() if times and times[-1] > now - self._seconds}
        times = self._seen.setdefault(key, deque())
        while times and times[0] <= now - self._seconds:
            times.popleft()
        if len(times) >= self._times:
            wait = str(int(times[0] + self._seconds - now) + 1)
            raise HTTPException(429, "error.429", {"Retry-After": wait})
        times.append(now)


class Shield:
    """The outermost layer: host, size of bodies, and headers on every answer, errors included."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app, self._site = app, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        nonce = secrets.token_urlsafe(16)
        scope["nonce"] = nonce
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get("host", "") not in self._site.hosts:
            await _refuse(send, 421, "this server is not known by that name")
            return
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 15 or int(length) > MAX_BODY:
            await _refuse(send, 413, "too large")
            return
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MAX_BODY:
                raise HTTPException(413, "too large")
            return message

        async def shielded(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = {**_HEADERS, "Content-Security-Policy": policy(nonce)}
                if self._site.secure:
                    extra["Strict-Transport-Security"] = "max-age=31536000"
                if not scope["path"].startswith("/static/"):
                    extra["Cache-Control"] = "no-store"
                message["headers"] = [
                    *message["headers"], *((n.lower().encode(), v.encode()) for n, v in extra.items())
                ]  # fmt: skip
            await send(message)

        await self._app(scope, limited, shielded)


def policy(nonce: str) -> str:
    """Return the Content-Security-Policy; the nonce is for the editor's own style sheet."""
    return (
        "default-src 'none'; script-src 'self'; "
        f"style-src 'self' 'nonce-{nonce}'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


async def _refuse(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    headers += [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def guarded(endpoint: Endpoint, role: Role | None) -> Endpoint:
    """Return an endpoint that only those may call who are signed in, in that role or a higher one.

    With None anybody may, by links that carry their own secret. What changes something is checked for forgery.
    """

    async def guard(request: Request) -> Response:
        site: Site = request.app.state.site
        key = request.cookies.get(site.cookie, "")
        person = await run_in_threadpool(request.app.state.people.person, key) if key else None
        request.state.person = person
        if role is not None and person is None:
            raise HTTPException(401, "signin")
        if role is not None and person is not None and RANK[person.role] < RANK[role]:
            raise HTTPException(403, "error.403")
        if request.method not in ("GET", "HEAD"):
            await _check_forgery(request, site, person if role is not None else None)
        return await endpoint(request)

    return guard


async def _check_forgery(request: Request, site: Site, person: Person | None) -> None:
    origin = request.headers.get("origin")
    fetched = request.headers.get("sec-fetch-site")
    if (origin is not None and origin not in site.origins) or (origin is None and fetched != "same-origin"):
        raise HTTPException(403, "error.403")
    if fetched not in (None, "same-origin", "none"):
        raise HTTPException(403, "error.403")
    if request.url.path.startswith("/api/"):
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise HTTPException(403, "error.403")
        token = request.headers.get("x-csrf-token", "")
    elif request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise HTTPException(403, "error.403")
    else:
        token = str((await request.form()).get("csrf", ""))
    if person is not None and not secrets.compare_digest(token.encode(), person.csrf.encode()):
        raise HTTPException(403, "error.403")


async def body_of(request: Request, fields: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """Return a JSON body that has exactly these fields, of these types.

    Raises:
        UserError: It has not.
    """
    try:
        body = json.loads(await request.body(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError("the request is not JSON") from error
    if not isinstance(body, dict) or set(body) != set(fields):
        raise UserError(f"the request needs {', '.join(fields)}")
    for name, kind in fields.items():
        if not isinstance(body[name], kind) or (isinstance(body[name], bool) and kind is not bool):
            raise UserError(f"{name}: of the wrong type")
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UserError("the request holds half a character") from error
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
