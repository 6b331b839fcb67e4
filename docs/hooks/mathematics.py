r"""Turn `\(…\)` and `\[…\]` in a page (left there by pymdownx.arithmatex) into MathML: no script, no font."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])(?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace every formula."""
    return _FORMULA.sub(_mathml, content)


def _mathml(match: re.Match[str]) -> str:
    formula = convert(html.unescape(match["latex"]), display="block" if match["open"] == "[" else "inline")
    return f'<div class="formula">{formula}</div>' if match["open"] == "[" else formula
