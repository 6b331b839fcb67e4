"""Words of the pages in English and Korean, and model text as harmless HTML."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

import nh3
from markdown_it import MarkdownIt

from momus.terminal import visible

LANGUAGES = {"en": "English", "ko": "한국어"}

_TAGS = {
    "p", "br", "em", "strong", "code", "pre", "ul", "ol", "li", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "hr",
    "table", "thead", "tbody", "tr", "th", "td", "a", "s",
}  # fmt: skip
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").enable("strikethrough").disable("image")


class Words:
    """The words of one language by key."""

    def __init__(self, language: str) -> None:
        self.language = language if language in LANGUAGES else "en"
        self.all = _words(self.language)

    def __getitem__(self, key: str) -> str:
        text = self.all[key]
        assert isinstance(text, str)
        return text

    def get(self, key: str, default: str) -> str:
        """Return the words of a key, or something else."""
        text = self.all.get(key, default)
        return text if isinstance(text, str) else default

    def error(self, message: str) -> str:
        """Return an error's message in this language; what nobody has translated stays as it is.

        A message is a sentence, or the field it is about, a colon and a sentence.
        """
        if translated := _translate(message, self.language):
            return translated
        place, colon, sentence = message.partition(": ")
        if colon and (translated := _translate(sentence, self.language)):
            field, *within = place.split(".")
            return f"{'.'.join((self.get(f'field.{field}', field), *within))}: {translated}"
        return message

    def lines(self, key: str) -> list[str]:
        """Return the lines of a key that has several."""
        return list(self.all[key])


@lru_cache
def _words(language: str) -> dict[str, str | list[str]]:
    text = (files("momus.label") / "texts" / f"{language}.json").read_text(encoding="utf-8")
    words: dict[str, str | list[str]] = json.loads(text)
    return words


@lru_cache
def _errors(language: str) -> dict[str, str]:
    """Return an error's sentence in a language by the English one, the longest first; `{}` is what varies in it."""
    file = files("momus.label") / "texts" / f"errors.{language}.json"
    sentences: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return dict(sorted(sentences.items(), key=lambda pair: -len(pair[0])))


def _translate(sentence: str, language: str) -> str | None:
    filled = ((translated, _fill(english, sentence)) for english, translated in _errors(language).items())
    return next((translated.format(*found) for translated, found in filled if found is not None), None)


def _fill(template: str, sentence: str) -> list[str] | None:
    """Return what stands in a sentence where its template has `{}`, or None where it is another sentence."""
    start, *pieces = template.split("{}")
    if not sentence.startswith(start):
        return None
    rest, found = sentence[len(start) :], []
    for number, piece in enumerate(pieces, 1):
        last = number == len(pieces)
        end = len(rest) - len(piece) if last else rest.find(piece)
        if end < 1 or not rest.endswith(piece if last else ""):
            return None
        found.append(rest[:end])
        rest = rest[end + len(piece) :]
    return None if rest else found


def prose(text: str) -> str:
    """Return text that a stranger or a model wrote as HTML: Markdown without images, scripts, styles and forms.

    Invisible characters are spelled out. Links work when they are followed, and tell nobody where they were.
    """
    return nh3.clean(
        _MARKDOWN.render(visible(text)),
        tags=_TAGS,
        attributes={"a": {"href"}},
        attribute_filter=_absolute,
        url_schemes={"http", "https"},
        link_rel="noopener noreferrer nofollow",
    )


def _absolute(tag: str, attribute: str, value: str) -> str | None:
    """Leave out links that begin at this server: `/leave`, `//elsewhere`."""
    return value if attribute != "href" or value.lower().startswith(("http://", "https://")) else None
