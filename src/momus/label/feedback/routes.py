"""Pages of feedback that was decided on: to print, and as a Word document."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from momus.documents.commented import DOCX, to_docx
from momus.documents.passages import FeedbackPage
from momus.label.feedback.page import printed
from momus.label.pages import page
from momus.label.security import RouteRow


async def show_feedback(request: Request) -> Response:
    """Show feedback on a document as it was decided on, to be printed."""
    return page(request, "feedback", shown=await _printed(request))


async def feedback_docx(request: Request) -> Response:
    """Return feedback that was approved as a Word document with comments."""
    shown = await _printed(request)
    if not shown.feedback.released or shown.document is None:
        raise HTTPException(404, "error.404")
    data = await run_in_threadpool(to_docx, shown.feedback, shown.rubric, shown.document)
    name = quote(f"{Path(shown.feedback.document).stem}.docx")
    headers = {"Content-Disposition": f"attachment; filename=\"feedback.docx\"; filename*=UTF-8''{name}"}
    return Response(data, media_type=DOCX, headers=headers)


async def _printed(request: Request) -> FeedbackPage:
    person = request.state.person
    return await run_in_threadpool(
        printed, request.app.state.store.database, request.path_params["submission"], person.id, person.role == "owner"
    )


FEEDBACK_ROUTES: tuple[RouteRow, ...] = (
    ("GET", "/feedback/{submission}", show_feedback, "labeler"),
    ("GET", "/feedback/{submission}/docx", feedback_docx, "labeler"),
)
