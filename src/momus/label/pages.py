"""Pages from templates, in the reader's language."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from momus.label.texts import LANGUAGES, Words

_PAGES = Environment(loader=PackageLoader("momus.label"), autoescape=True)


def _with_code(text: str) -> Markup:
    """Return text as HTML in which what stands between backticks is code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(text.split("`"))
    )


_PAGES.filters["with_code"] = _with_code


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page in the reader's language."""
    person = getattr(request.state, "person", None)
    words = Words(language_of(request))
    html = _PAGES.get_template(f"{name}.html").render(
        words=words, t=words.all, person=person, nonce=request.scope.get("nonce", ""), languages=LANGUAGES,
        path=request.url.path, **values,
    )  # fmt: skip
    return HTMLResponse(html, status)


def language_of(request: Request) -> str:
    """Return the language of whoever is signed in, else the one that the browser asks for where it is one of ours."""
    if person := getattr(request.state, "person", None):
        return str(person.language)
    wanted = request.headers.get("accept-language", "")[:2].lower()
    return wanted if wanted in LANGUAGES else "en"
