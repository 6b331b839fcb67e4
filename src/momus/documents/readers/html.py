"""HTML that stands in a Markdown file, as the text that a reader of the page sees."""

from __future__ import annotations

from html.parser import HTMLParser

_BREAKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "br",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "legend",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
        "caption",
    ]
)
_CELLS = frozenset(("td", "th"))
_UNSEEN = frozenset(("script", "style", "template"))


class _Text(HTMLParser):
    """Gathers what is seen, a line for each block; `hidden` tells whether something else had text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[list[str]] = [[]]
        self.hidden = False
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in _UNSEEN
        if tag in _BREAKS:
            self.lines.append([])
        elif tag in _CELLS and any(text.strip() for text in self.lines[-1]):
            self.lines[-1].append(" | ")
        elif tag == "img":
            self.lines[-1].append(dict(attrs).get("alt") or "")

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in _UNSEEN and self._unseen > 0
        if tag in _BREAKS:
            self.lines.append([])

    def handle_data(self, data: str) -> None:
        if self._unseen:
            self.hidden |= bool(data.strip())
        else:
            self.lines[-1].append(data)

    def handle_comment(self, data: str) -> None:
        self.hidden |= bool(data.strip())


def html_lines(text: str) -> tuple[list[str], bool]:
    """Return the lines of text in a piece of HTML, and whether comments, scripts or styles in it were left out.

    Unfinished tags are text, as browsers have it.
    """
    parser = _Text()
    parser.feed(text)
    parser.close()
    lines = (" ".join("".join(line).split()) for line in parser.lines)
    return [line for line in lines if line], parser.hidden
