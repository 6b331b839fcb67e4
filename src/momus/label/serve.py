"""Starts the workbench's server."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import uvicorn

from momus.errors import UserError
from momus.label.app import make_app
from momus.label.database import Database
from momus.label.owner.figures import Draw
from momus.label.people import OWNER_INVITATION_SECONDS, People
from momus.label.probe import Models
from momus.label.running import Runner
from momus.label.schema import migrate, open_database
from momus.label.security import Site
from momus.label.store import Store

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServeConfig:
    """How the workbench is served.

    Attributes:
        database: A path (SQLite), or `postgresql://…`.
        host: The address to listen on; other than this machine's own only with `public_url`.
        port: The port.
        public_url: Where labelers reach it, by a proxy that speaks HTTPS.
        review_share: So large a share of submissions is checked by somebody else.
    """

    database: str
    host: str = "127.0.0.1"
    port: int = 8765
    public_url: str | None = None
    review_share: float = 0.0


def site_of(config: ServeConfig) -> Site:
    """Return where the workbench will be reached.

    Raises:
        UserError: It would be open to others without HTTPS.
    """
    if config.public_url is not None:
        origin = config.public_url.rstrip("/")
        if not origin.startswith("https://") or "/" in origin.removeprefix("https://"):
            raise UserError(f"--public-url {config.public_url}: like https://label.example.org, without a path")
        return Site((origin,), proxied=True)
    if config.host not in _LOOPBACK:
        raise UserError(
            f"--host {config.host}: others would reach it without HTTPS: put a proxy with TLS before it and give "
            "--public-url https://…"
        )
    return Site(tuple(f"http://{name}:{config.port}" for name in ("127.0.0.1", "localhost", "[::1]")))


def open_store(address: str) -> Database:
    """Open a database and bring its schema up to date."""
    database = open_database(address)
    migrate(database)
    return database


def owner_link(database: Database, site: Site, kind: Literal["first", "new"] = "new") -> str | None:
    """Return a link that signs an owner in; with "first" only where there is no owner yet."""
    people = People(database)
    if kind == "first" and people.has_owner():
        return None
    return f"{site.origins[0]}/join/{people.invite('owner', 'terminal', None, OWNER_INVITATION_SECONDS)}"


def serve(
    config: ServeConfig, models: Models | None = None, runner: Runner | None = None, draw: Draw | None = None
) -> None:
    """Serve until interrupted."""
    site = site_of(config)
    database = open_store(config.database)
    store = Store(database, review_share=config.review_share)
    # Addresses hold secrets (invitations, leases): they are not logged.
    logging.getLogger("uvicorn.access").disabled = True
    try:
        uvicorn.run(
            make_app(database, store, site, models, runner, draw), host=config.host, port=config.port,
            log_level="warning", access_log=False, server_header=False, proxy_headers=False,
            timeout_graceful_shutdown=5,
        )  # fmt: skip
    finally:
        database.close()
