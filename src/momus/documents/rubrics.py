"""Rubrics: what feedback is made of, one small TOML file each.

A rubric says who is advised and in what tone, which sections the feedback has and what each holds, and whether a person
must approve it before it is passed on. `momus/documents/rubrics/` has those that ship with Momus; a file of one's own
is named by its path.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from momus.documents.document import Language
from momus.errors import UserError
from momus.records import describe


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Name(_Strict):
    """What something is called, in each language."""

    en: str = Field(min_length=1)
    ko: str = Field(min_length=1)

    def in_language(self, language: Language) -> str:
        """Return it in one language."""
        return self.ko if language == "ko" else self.en


class RubricSection(_Strict):
    """One section: its key in answers, its title, what is asked for, and how many points.

    `details` is how many details each point should have at least; `quote` whether a point may, must or must not quote
    the document. A point without the quote that it must have is refused.
    """

    key: str = Field(pattern=r"^[a-z_]+$")
    title: Name
    ask: str = Field(min_length=1)
    points: tuple[int, int] = (1, 5)
    details: int = Field(default=0, ge=0)
    quote: Literal["may", "must", "no"] = "may"

    @model_validator(mode="after")
    def _in_order(self) -> RubricSection:
        if not 0 <= self.points[0] <= self.points[1] or not self.points[1]:
            raise ValueError(f"points must be the least and the most of them, not {list(self.points)}")
        return self


class RubricScore(_Strict):
    """A whole number that is asked for, from `low` to `high`; `ask` says what they mean."""

    key: str = Field(pattern=r"^[a-z_]+$")
    title: Name
    low: int
    high: int
    ask: str = Field(min_length=1)


class Rubric(_Strict):
    """What feedback is made of.

    `source` is what it is named by; `approval` is whether it stays a draft until a person approves it; `private`
    whether documents are not to leave this machine unless that is asked for; `avoid` are words that a person should
    look at before approving.
    """

    source: str = ""
    name: str = Field(pattern=r"^[a-z0-9_-]+$")
    title: Name
    task: str = Field(min_length=1)
    tone: str = ""
    approval: bool = False
    private: bool = False
    avoid: tuple[str, ...] = ()
    sections: tuple[RubricSection, ...] = Field(min_length=1)
    scores: tuple[RubricScore, ...] = ()

    @model_validator(mode="after")
    def _keys_differ(self) -> Rubric:
        keys = [section.key for section in self.sections] + [score.key for score in self.scores]
        if len(set(keys)) < len(keys):
            raise ValueError("every section and score needs a key of its own")
        return self


_FOLDER = files("momus.documents") / "rubrics"


def shipped() -> list[str]:
    """Return the names of the rubrics that ship with Momus."""
    return sorted(entry.name.removesuffix(".toml") for entry in _FOLDER.iterdir() if entry.name.endswith(".toml"))


def read_rubric(name: str) -> Rubric:
    """Read a rubric, by its name or from a file.

    Raises:
        UserError: There is none, or the file is no rubric.
    """
    if name in shipped():
        return _parse(name, name, (_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    path = Path(name)
    if path.suffix != ".toml" or not path.is_file():
        raise UserError(
            f"no rubric {name!r}: there are {', '.join(shipped())}, or name a .toml file (docs/guides/documents.md)"
        )
    try:
        return _parse(name, str(path.absolute()), path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: not UTF-8 text") from error


def _parse(name: str, source: str, text: str) -> Rubric:
    try:
        return Rubric.model_validate({**tomllib.loads(text), "source": source})
    except ValidationError as error:
        raise UserError(f"{name}: {describe(error)}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: not TOML: {error}") from error
