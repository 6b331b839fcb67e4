"""The workbench's pages and its small JSON interface; security.py decides who gets here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from momus.errors import UserError
from momus.label import audit
from momus.label.database import Database
from momus.label.feedback.routes import FEEDBACK_ROUTES
from momus.label.kinds import ADJUDICATION, KINDS, check
from momus.label.owner import overview
from momus.label.owner.figures import Draw, Figures
from momus.label.owner.routes import OWNER_ROUTES
from momus.label.owner.side_by_side import adjudication_view, training_feedback
from momus.label.pages import language_of, page
from momus.label.people import SESSION_SECONDS, People
from momus.label.probe import Models, Probes
from momus.label.rules import RefusedError
from momus.label.running import Runner
from momus.label.security import Limiter, RouteRow, Shield, Site, body_of, guarded
from momus.label.store import Store
from momus.label.texts import LANGUAGES, Words
from momus.label.views import arrange, view

SEAL_SECONDS = 2.0


def make_app(
    database: Database,
    store: Store,
    site: Site,
    models: Models | None = None,
    runner: Runner | None = None,
    draw: Draw | None = None,
) -> Starlette:
    """Return the application.

    Args:
        database: A migrated database.
        store: The rules of assignment over it.
        site: Where it is reached.
        models: What labelers may ask while they work; None leaves those buttons out.
        runner: What runs the code they see; None leaves the button out.
        draw: What draws the figures of the dashboard; None leaves them out.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        sealing = asyncio.create_task(_seal_now_and_then(database))
        yield
        sealing.cancel()
        with suppress(asyncio.CancelledError):
            await sealing
        await run_in_threadpool(audit.seal, database)

    static = StaticFiles(directory=Path(str(files("momus.label") / "static")))
    app = Starlette(
        routes=[
            *(Route(path, guarded(endpoint, role), methods=[method]) for method, path, endpoint, role in ROUTES),
            Mount("/static", static),
        ],
        middleware=[Middleware(Shield, site=site)],
        exception_handlers={HTTPException: _show_error, UserError: _show_error, Exception: _show_error},
        lifespan=lifespan,
    )
    app.state.site = site
    app.state.store = store
    app.state.people = People(database)
    app.state.probes = Probes(database, models) if models else None
    app.state.runner = runner
    app.state.figures = Figures(database, draw) if draw else None
    app.state.joins = Limiter(20, 60)
    app.state.asks = Limiter(20, 60)
    app.state.requests = Limiter(1200, 60)
    return app


async def _seal_now_and_then(database: Database) -> None:
    while True:
        await asyncio.sleep(SEAL_SECONDS)
        with suppress(Exception):  # a database that is away now is tried again
            await run_in_threadpool(audit.seal, database)


async def _show_error(request: Request, error: Exception) -> Response:
    """Answer what went wrong, in one line, as JSON or as a page; what was not foreseen says nothing about itself."""
    status, headers = 500, {}
    text = "the server failed; your work is kept"
    if isinstance(error, RefusedError):
        status, text = error.status, str(error)
    elif isinstance(error, UserError):
        status, text = 400, str(error)
    elif isinstance(error, HTTPException):
        status, text, headers = error.status_code, error.detail, dict(error.headers or {})
    words = Words(language_of(request))
    if status == 401 and not request.url.path.startswith("/api/"):
        return page(request, "signin", 401)
    known = text in words.all or status == 404
    text = words.get(f"error.{status}", words.get(text, text)) if known else words.error(text)
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": text}, status, headers)
    response = page(request, "error", status, message=text)
    response.headers.update(headers)
    return response


async def home(request: Request) -> Response:
    """Show what there is to do."""
    store: Store = request.app.state.store
    queues = await run_in_threadpool(store.queues, request.state.person.id)
    return page(request, "home", queues=queues, paused=await run_in_threadpool(store.paused))


async def show_join(request: Request) -> Response:
    """Show what an invitation is for; looking at it does not use it."""
    request.app.state.joins.check(request.app.state.site.client(request))
    invitation = await run_in_threadpool(request.app.state.people.invitation, request.path_params["token"])
    return page(request, "join", 200 if invitation else 404, invitation=invitation)


async def join(request: Request) -> Response:
    """Use an invitation and begin a session."""
    request.app.state.joins.check(request.app.state.site.client(request))
    form = await request.form()
    language = str(form.get("language", "en"))
    name = " ".join(str(form.get("name", "")).split())[:100]
    people: People = request.app.state.people
    language = language if language in LANGUAGES else "en"
    key = await run_in_threadpool(people.join, request.path_params["token"], name or "?", language)
    if key is None:
        return page(request, "join", 404, invitation=None)
    if old := request.cookies.get(request.app.state.site.cookie):
        await run_in_threadpool(people.leave, old)
    response = RedirectResponse("/", 303)
    site: Site = request.app.state.site
    response.set_cookie(
        site.cookie, key, max_age=int(SESSION_SECONDS), path="/", httponly=True, samesite="lax", secure=site.secure
    )
    return response


async def leave(request: Request) -> Response:
    """End the session."""
    site: Site = request.app.state.site
    await run_in_threadpool(request.app.state.people.leave, request.cookies[site.cookie])
    response = RedirectResponse("/", 303)
    response.delete_cookie(site.cookie, path="/", httponly=True, samesite="lax", secure=site.secure)
    return response


async def set_language(request: Request) -> Response:
    """Change the language of the pages."""
    language = str((await request.form()).get("language", ""))
    if language in LANGUAGES:
        await run_in_threadpool(request.app.state.people.set_language, request.state.person.id, language)
    return RedirectResponse("/", 303)


async def next_task(request: Request) -> Response:
    """Hand out the next task of a kind."""
    kind = str((await request.form()).get("kind", ""))
    if kind == ADJUDICATION:
        return RedirectResponse("/disputes", 303)
    if kind not in KINDS:
        raise HTTPException(404, "error.404")
    lease = await run_in_threadpool(request.app.state.store.claim, request.state.person.id, kind, arrange)
    if lease is None:
        why = "home.paused" if await run_in_threadpool(request.app.state.store.paused) else "error.empty"
        return page(request, "error", 404, message=Words(request.state.person.language)[why])
    return RedirectResponse(f"/work/{lease.token}", 303)


async def work(request: Request) -> Response:
    """Show a task."""
    lease = await run_in_threadpool(
        request.app.state.store.lease, request.path_params["token"], request.state.person.id
    )
    if lease.state in ("done", "declined"):
        return RedirectResponse("/mine", 303)
    # Who has written something, or corrects a submission, has seen it.
    if lease.warning and lease.draft is None and request.query_params.get("shown") != "1":
        return page(request, "warning", lease=lease)
    words = Words(request.state.person.language)
    task = {
        "token": lease.token,
        "view": adjudication_view(lease.payload, lease.arrangement, words)
        if lease.kind == ADJUDICATION
        else view(lease.kind, lease.payload, lease.arrangement, words, request.app.state.probes is not None),
        "draft": lease.draft,
        "revision": lease.draft_revision,
        "lease": request.app.state.store.lease_seconds,
        "run": request.app.state.runner is not None,
        "csrf": request.state.person.csrf,
        "words": {key: text for key, text in words.all.items() if key.startswith(("ui.", "key."))},
    }
    return page(request, "work", task=task, title=words[f"kind.{lease.kind}"])


async def heartbeat(request: Request) -> Response:
    """Keep a lease alive."""
    seconds = await run_in_threadpool(
        request.app.state.store.heartbeat, request.path_params["token"], request.state.person.id
    )
    return JSONResponse({"seconds": seconds})


async def save_draft(request: Request) -> Response:
    """Save unfinished work."""
    request.app.state.requests.check(request.state.person.id)
    body = await body_of(request, {"revision": int, "content": dict})
    revision = await run_in_threadpool(
        request.app.state.store.save_draft, request.path_params["token"], request.state.person.id,
        body["revision"], body["content"],
    )  # fmt: skip
    return JSONResponse({"revision": revision})


async def submit(request: Request) -> Response:
    """Accept a judgement, once."""
    body = await body_of(request, {"request": str, "content": dict, "active": (int, float)})
    if not 8 <= len(body["request"]) <= 64:
        raise UserError("request: 8 to 64 characters")
    answer = await run_in_threadpool(
        request.app.state.store.submit, request.path_params["token"], request.state.person.id, body["request"],
        body["content"], max(0.0, min(float(body["active"]), 86400.0)), check,
    )  # fmt: skip
    if "gold" in answer:
        answer = await run_in_threadpool(_with_feedback, request, answer, body["content"])
    return JSONResponse(answer)


def _with_feedback(request: Request, answer: dict[str, Any], content: Any) -> dict[str, Any]:
    """Add to the answer to a training task how it was done, in words."""
    lease = request.app.state.store.lease(request.path_params["token"], request.state.person.id)
    kept = check(lease.kind, lease.payload, lease.arrangement, content)
    words = Words(request.state.person.language)
    # What is expected may have been imported before it was checked; the judgement is kept by now, whatever that holds.
    with suppress(KeyError, TypeError, ValueError, IndexError, AttributeError):
        feedback = training_feedback(lease.kind, lease.payload, lease.arrangement, kept, answer["gold"], words)
        return {**answer, "feedback": feedback}
    return answer


async def decline(request: Request) -> Response:
    """Give a task back."""
    body = await body_of(request, {"reason": str})
    store: Store = request.app.state.store
    await run_in_threadpool(store.decline, request.path_params["token"], request.state.person.id, body["reason"][:1000])
    return JSONResponse({})


async def pass_over(request: Request) -> Response:
    """Decline an item because of its warning, before it is shown; no reason is asked for."""
    store: Store = request.app.state.store
    person = request.state.person.id
    lease = await run_in_threadpool(store.lease, request.path_params["token"], person)
    await run_in_threadpool(store.decline, lease.token, person, f"warning: {lease.warning}")
    return RedirectResponse("/", 303)


async def ask(request: Request) -> Response:
    """Have a model asked, in the background."""
    if request.app.state.probes is None:
        raise HTTPException(404, "error.404")
    request.app.state.asks.check(request.state.person.id)
    body = await body_of(request, {"request": str, "content": dict})
    token, person = request.path_params["token"], request.state.person.id
    lease = await run_in_threadpool(request.app.state.store.lease, token, person)
    await run_in_threadpool(request.app.state.probes.start, lease, body["request"], body["content"])
    return JSONResponse({}, 202)


async def answer_of(request: Request) -> Response:
    """Return what a model answered, or null while it has not."""
    if request.app.state.probes is None:
        raise HTTPException(404, "error.404")
    token, person = request.path_params["token"], request.state.person.id
    await run_in_threadpool(request.app.state.store.lease, token, person)
    result = await run_in_threadpool(request.app.state.probes.result, token, request.path_params["request"])
    return JSONResponse({"result": result})


async def run(request: Request) -> Response:
    """Run code of a task, as a labeler sees it or has changed it, in the cage."""
    if request.app.state.runner is None:
        raise HTTPException(404, "error.404")
    request.app.state.asks.check(request.state.person.id)
    body = await body_of(request, {"code": str, "then": str})
    await run_in_threadpool(request.app.state.store.lease, request.path_params["token"], request.state.person.id)
    return JSONResponse(await run_in_threadpool(request.app.state.runner.run, body["code"], body["then"]))


async def mine(request: Request) -> Response:
    """Show a labeler's own submissions."""
    rows = await run_in_threadpool(overview.submissions_by, request.app.state.store.database, request.state.person.id)
    return page(request, "mine", rows=rows, hours=sum(row["active"] for row in rows) / 3600)


async def correct(request: Request) -> Response:
    """Open a submission again."""
    submission = str((await request.form()).get("submission", ""))
    lease = await run_in_threadpool(request.app.state.store.reopen, submission, request.state.person.id)
    return RedirectResponse(f"/work/{lease.token}", 303)


ROUTES: tuple[RouteRow, ...] = (
    ("GET", "/join/{token}", show_join, None),
    ("POST", "/join/{token}", join, None),
    ("GET", "/", home, "candidate"),
    ("POST", "/leave", leave, "candidate"),
    ("POST", "/language", set_language, "candidate"),
    ("POST", "/next", next_task, "candidate"),
    ("GET", "/work/{token}", work, "candidate"),
    ("POST", "/work/{token}/pass", pass_over, "candidate"),
    ("GET", "/mine", mine, "candidate"),
    ("POST", "/correct", correct, "candidate"),
    ("POST", "/api/work/{token}/heartbeat", heartbeat, "candidate"),
    ("PUT", "/api/work/{token}/draft", save_draft, "candidate"),
    ("POST", "/api/work/{token}/submission", submit, "candidate"),
    ("POST", "/api/work/{token}/decline", decline, "candidate"),
    ("POST", "/api/work/{token}/probe", ask, "candidate"),
    ("GET", "/api/work/{token}/probe/{request}", answer_of, "candidate"),
    ("POST", "/api/work/{token}/run", run, "candidate"),
    *FEEDBACK_ROUTES,
    *OWNER_ROUTES,
)
"""Method, path, endpoint, and who may call it; a path that is not here is answered with 404."""
