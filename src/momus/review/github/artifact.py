"""The artifact of the reading step, `momus review --format json`, read as what a stranger may have written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from momus.critique import Severity
from momus.errors import UserError
from momus.files import JsonError, parse_json
from momus.review.findings import Why

MAX_BYTES = 10_000_000
MAX_FINDINGS = 1_000

_BY_DESIGN = {why.name.lower() for why in Why if why.by_design}

_Line = Annotated[int, Field(ge=1, le=10_000_000)]


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or not path.isprintable():
        raise ValueError("a path has to be inside of the repository")
    return path


Inside = Annotated[str, Field(max_length=1_000), AfterValidator(_inside)]
"""A path in the repository, with forward slashes."""


class _Part(BaseModel):
    """A part of the artifact; what is not known is not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Comment(_Part):
    """A comment: its place, and what identifies it."""

    line: _Line
    end_line: _Line
    function: str = Field(max_length=1_000)
    text: str = Field(min_length=1, max_length=5_000)
    severity: Severity | None = None
    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    status: Literal["new", "open", "dismissed", "accepted"]
    replacement: Annotated[str, Field(max_length=5_000)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Comment:
        if self.end_line < self.line:
            raise ValueError("a comment ends before it begins")
        return self


class File(_Part):
    """The comments on one file; `outside` of the changed lines."""

    name: Inside
    omitted: Annotated[int, Field(ge=0)] = 0
    findings: tuple[Comment, ...] = Field(strict=False)
    outside: tuple[Comment, ...] = Field(strict=False)


class Unread(_Part):
    """Lines that were not read, and the name of the reason (`momus.review.findings.Why`)."""

    why: Annotated[str, Field(max_length=100)]


class Lines(_Part):
    """What was not read of one file."""

    path: Annotated[str, Field(max_length=1_000)]
    unread: tuple[Unread, ...] = Field(strict=False)


class Manifest(_Part):
    """What the review stands on, as the artifact has it."""

    promise: str = Field(max_length=2_000)
    cost: str = Field(max_length=2_000)
    lines_read: Annotated[int, Field(ge=0)]
    lines_unread: Annotated[int, Field(ge=0)]
    files: tuple[Lines, ...] = Field(strict=False, max_length=20_000)


class Artifact(_Part):
    """A review."""

    schema_: Literal["momus.review"] = Field(alias="schema")
    schema_version: Literal[2]
    outcome: Literal["clean", "findings", "partly_read", "not_run"]
    files: tuple[File, ...] = Field(strict=False, max_length=20_000)
    manifest: Manifest

    @model_validator(mode="after")
    def _bounded(self) -> Artifact:
        comments = [comment for _, comment, _ in self.comments()]
        if len(comments) > MAX_FINDINGS:
            raise ValueError(f"more than {MAX_FINDINGS} comments")
        if len({comment.id for comment in comments}) < len(comments):
            raise ValueError("two comments have one id")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether all that should have been read was, and every comment is in it: what is not in it is gone."""
        reasons = {part.why for file in self.manifest.files for part in file.unread}
        all_shown = not any(file.omitted for file in self.files)
        return self.outcome in ("clean", "findings") and reasons <= _BY_DESIGN and all_shown

    def comments(self) -> Iterator[tuple[str, Comment, bool]]:
        """Yield the comments that are not dismissed: the path, the comment, and whether it is on a changed line."""
        for file in self.files:
            for comments, on_change in ((file.findings, True), (file.outside, False)):
                yield from ((file.name, comment, on_change) for comment in comments if comment.status != "dismissed")


def read_artifact(path: Path) -> Artifact:
    """Read an artifact.

    Raises:
        UserError: It is too large, or not one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES / 1e6:.0f} MB: not posted")
    try:
        return Artifact.model_validate(parse_json(data))
    except (JsonError, RecursionError) as error:
        raise UserError(f"{path}: {error or 'nested too deep'}") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: not a review: {place}: {first['msg']}") from error
