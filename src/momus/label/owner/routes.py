"""The owner's pages: numbers, people and their links, what is handed out, work to be done again."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from momus.errors import UserError
from momus.label.database import Database, Row
from momus.label.owner import actions, adjudication, overview, screening
from momus.label.owner.figures import Figures, rows_as_csv
from momus.label.owner.hours import day_of, hours
from momus.label.pages import page
from momus.label.people import INVITATION_SECONDS, People, Role
from momus.label.security import RouteRow

_LEAST = ("1", "25", "50")
"""Disagreements, in percent, from which items are listed."""
_PERCENT = {"flags": 100, "rankings": 100}
_GRADES = tuple(map(str, range(1, 8)))


def _database(request: Request) -> Database:
    database: Database = request.app.state.store.database
    return database


def _back(path: str, done: str, count: int | None = None) -> Response:
    """Go to a page that says what was done: `done` is the key of the words."""
    return RedirectResponse(f"{path}?{urlencode({'done': done, **({} if count is None else {'n': count})})}", 303)


def _done(request: Request) -> tuple[str, int]:
    count = request.query_params.get("n", "")
    return request.query_params.get("done", ""), int(count) if count.isdecimal() and len(count) < 10 else 0


async def status(request: Request) -> Response:
    """Show the owner how it goes."""
    shown = await run_in_threadpool(overview.overview, _database(request))
    figures: Figures | None = request.app.state.figures
    drawn = await run_in_threadpool(figures.drawn, request.state.person.language) if figures else {}
    return page(request, "status", shown=shown, figures=drawn)


async def figure(request: Request) -> Response:
    """Return a figure as SVG, or its numbers as CSV."""
    figures: Figures | None = request.app.state.figures
    name, _, kind = request.path_params["name"].rpartition(".")
    language = request.state.person.language
    if figures and kind == "svg" and (drawn := (await run_in_threadpool(figures.drawn, language)).get(name)):
        return Response(drawn.svg, media_type="image/svg+xml")
    if figures and kind == "csv" and (rows := await run_in_threadpool(figures.rows, name, language)):
        headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
        return Response(rows_as_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)
    raise HTTPException(404, "error.404")


async def status_csv(request: Request) -> Response:
    """Return the same numbers as CSV."""
    shown = await run_in_threadpool(overview.overview, _database(request))
    headers = {"Content-Disposition": 'attachment; filename="status.csv"'}
    return Response(overview.as_csv(shown), media_type="text/csv; charset=utf-8", headers=headers)


async def hours_csv(request: Request) -> Response:
    """Return the hours of each labeler, day by day, as CSV."""
    since, until = (day_of(request.query_params.get(name, "")) for name in ("since", "until"))
    rows = await run_in_threadpool(hours, _database(request), since, until)
    headers = {"Content-Disposition": 'attachment; filename="hours.csv"'}
    return Response(rows_as_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)


async def people(request: Request) -> Response:
    """Show who works here."""
    return await _people_page(request)


async def _people_page(request: Request, link: str | None = None) -> Response:
    accounts: People = request.app.state.people
    rows = await run_in_threadpool(accounts.everybody)
    links = await run_in_threadpool(accounts.invitations)
    shown = [{**row, "until": overview.time_of(row["expires"])} for row in links]
    return page(request, "people", rows=rows, links=shown, link=link, done=_done(request))


async def invite(request: Request) -> Response:
    """Make a link, for somebody new or for an account there is, and show it once."""
    accounts: People = request.app.state.people
    form = await request.form()
    person = str(form.get("person", "")) or None
    chosen = str(form.get("role", ""))
    role: Role = "adjudicator" if chosen == "adjudicator" else "candidate" if chosen == "candidate" else "labeler"
    make = partial(accounts.invite, role, request.state.person.id, person, INVITATION_SECONDS)
    token = await run_in_threadpool(make)
    return await _people_page(request, f"{request.app.state.site.origins[0]}/join/{token}")


async def set_state(request: Request) -> Response:
    """Pause an account, or let it go on."""
    form = await request.form()
    state, person = str(form.get("state", "")), str(form.get("person", ""))
    if state not in ("active", "paused") or person == request.state.person.id:
        raise HTTPException(403, "error.403")
    await run_in_threadpool(request.app.state.people.set_state, person, state, request.state.person.id)
    return _back("/people", state)


async def revoke(request: Request) -> Response:
    """End an account's sessions and links, or a link that nobody has used yet."""
    form = await request.form()
    person, link = str(form.get("person", "")), str(form.get("link", ""))
    accounts: People = request.app.state.people
    if person == request.state.person.id:
        raise HTTPException(403, "error.403")
    if link:
        await run_in_threadpool(accounts.revoke_invitation, link, request.state.person.id)
    else:
        await run_in_threadpool(accounts.revoke, person, request.state.person.id)
    return _back("/people", "link" if link else "revoked")


async def _account(request: Request) -> Row:
    accounts: People = request.app.state.people
    for row in await run_in_threadpool(accounts.everybody):
        if row["id"] == request.path_params["person"]:
            return row
    raise HTTPException(404, "error.404")


async def labeler(request: Request) -> Response:
    """Show what of a labeler's work counts, and offer to have it done again."""
    account = await _account(request)
    work = await run_in_threadpool(actions.work_of, _database(request), account["id"])
    return page(request, "labeler", account=account, work=work, done=_done(request))


async def redo(request: Request) -> Response:
    """Have a labeler's work done again."""
    account, form = await _account(request), await request.form()
    kind, chosen, reason = (str(form.get(name, "")) for name in ("kind", "by_whom", "reason"))
    if chosen not in ("others", "same"):
        raise UserError("by_whom: others or same")
    by_whom: actions.By = "others" if chosen == "others" else "same"
    by = request.state.person.id
    work = partial(actions.redo, _database(request), account["id"], kind, by_whom, reason[:1000], by)
    return _back(f"/people/{account['id']}", f"redo.{by_whom}", await run_in_threadpool(work))


async def project(request: Request) -> Response:
    """Show what is handed out, batch by batch, and whether it is paused."""
    batches = await run_in_threadpool(actions.batches, _database(request))
    paused = await run_in_threadpool(request.app.state.store.paused)
    return page(request, "project", batches=batches, paused=paused, done=_done(request))


async def set_paused(request: Request) -> Response:
    """Pause the project or one batch, or let it go on."""
    form = await request.form()
    state, batch, kind, purpose = (str(form.get(name, "")) for name in ("state", "batch", "kind", "purpose"))
    if state not in ("paused", "active"):
        raise UserError("state: paused or active")
    if "batch" in form:
        work = partial(
            actions.set_batch_paused, _database(request), batch, state == "paused", kind=kind, purpose=purpose
        )
        await run_in_threadpool(partial(work, by=request.state.person.id))
        return _back("/project", f"batch.{state}")
    change = actions.pause_project if state == "paused" else actions.resume_project
    await run_in_threadpool(change, _database(request), request.state.person.id)
    return _back("/project", f"project.{state}")


async def disputes(request: Request) -> Response:
    """Show items whose judgements disagree."""
    asked = request.query_params.get("least", "")
    least = int(asked) / 100 if asked in _LEAST else adjudication.LEAST
    work = partial(adjudication.disputes, _database(request), request.state.person.id, least)
    rows = [{**asdict(one), "when": overview.time_of(one.decided)} for one in await run_in_threadpool(work)]
    return page(request, "disputes", rows=rows, least=round(100 * least), choices=list(map(int, _LEAST)))


async def decide(request: Request) -> Response:
    """Hand an item whose judgements disagree to whoever wants to decide it."""
    number = str((await request.form()).get("item", ""))
    if not number.isdecimal() or len(number) > 15:
        raise HTTPException(404, "error.404")
    lease = await run_in_threadpool(adjudication.take, request.app.state.store, int(number), request.state.person.id)
    return RedirectResponse(f"/work/{lease.token}", 303)


async def show_screening(request: Request) -> Response:
    """Show how candidates did, by pseudonym: an owner who chooses does not see names here."""
    people = await run_in_threadpool(screening.candidates, _database(request))
    wanted = await run_in_threadpool(screening.cutoffs, _database(request))
    return page(
        request, "screening", people=people, cutoffs=asdict(wanted), criteria=screening.CRITERIA,
        covered=screening.covered(people), done=_done(request),
    )  # fmt: skip


async def set_cutoffs(request: Request) -> Response:
    """Set what candidates need; shares are percent on the page."""
    form = await request.form()
    try:
        given = {name: float(str(form.get(name, ""))) for name in screening.CRITERIA}
    except ValueError as error:
        raise UserError("cut-offs: numbers are needed") from error
    wanted: dict[str, float] = {name: value / _PERCENT.get(name, 1) for name, value in given.items()}
    await run_in_threadpool(screening.set_cutoffs, _database(request), wanted, request.state.person.id)
    return _back("/screening", "cutoffs")


async def show_candidate(request: Request) -> Response:
    """Show what a candidate gave, with the expected answers, and ask for grades."""
    person = request.path_params["person"]
    people = await run_in_threadpool(screening.candidates, _database(request))
    known = [one for one in people if one.person == person]
    if not known:
        raise HTTPException(404, "error.404")
    answers = await run_in_threadpool(screening.answers_of, _database(request), person)
    wanted = asdict(await run_in_threadpool(screening.cutoffs, _database(request)))
    return page(request, "candidate", candidate=known[0], answers=answers, cutoffs=wanted, done=_done(request))


async def grade(request: Request) -> Response:
    """Keep an owner's grades of a candidate's demonstrations; those that did not change are not kept again."""
    form, person = await request.form(), request.path_params["person"]
    answers = await run_in_threadpool(screening.answers_of, _database(request), person)
    count = 0
    for answer in answers["demonstrations"]:
        given = str(form.get(answer["submission"], ""))
        if given in _GRADES and answer["grades"].get(request.state.person.id) != int(given):
            work = partial(screening.grade, _database(request), answer["submission"], int(given))
            await run_in_threadpool(work, request.state.person.id)
            count += 1
    return _back(f"/screening/{person}", "grades", count)


async def admit(request: Request) -> Response:
    """Make a candidate a labeler, or turn the candidate down."""
    form = await request.form()
    person, decision = str(form.get("person", "")), str(form.get("decision", ""))
    if decision not in ("admit", "decline"):
        raise UserError("decision: admit or decline")
    work = partial(screening.decide, _database(request), person, decision == "admit", request.state.person.id)
    await run_in_threadpool(work)
    return _back("/screening", decision)


OWNER_ROUTES: tuple[RouteRow, ...] = (
    ("GET", "/screening", show_screening, "owner"),
    ("POST", "/screening", admit, "owner"),
    ("POST", "/screening/cutoffs", set_cutoffs, "owner"),
    ("GET", "/screening/{person}", show_candidate, "owner"),
    ("POST", "/screening/{person}", grade, "owner"),
    ("GET", "/disputes", disputes, "adjudicator"),
    ("POST", "/disputes", decide, "adjudicator"),
    ("GET", "/status", status, "owner"),
    ("GET", "/status.csv", status_csv, "owner"),
    ("GET", "/status/figures/{name}", figure, "owner"),
    ("GET", "/people", people, "owner"),
    ("POST", "/people/invite", invite, "owner"),
    ("POST", "/people/state", set_state, "owner"),
    ("POST", "/people/revoke", revoke, "owner"),
    ("GET", "/people/hours.csv", hours_csv, "owner"),
    ("GET", "/people/{person}", labeler, "owner"),
    ("POST", "/people/{person}/redo", redo, "owner"),
    ("GET", "/project", project, "owner"),
    ("POST", "/project/state", set_paused, "owner"),
)
