"""Reviews as lists of points, and points that people have labelled: the records, and the files they are read from.

A review is by one reviewer, a person or a model, about one document. Files are JSON Lines of `Review` or
`LabelledLists` records; a plain text file (.txt, .md) is the text of one review. Two published layouts are read
directly: the alignments of MARG (a folder with `output/all_results.json`: reviews, and GPT-4's alignments) and the
sentence pairs of KLUE-STS (similarity labelled by people, 0 to 5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from momus.errors import UserError
from momus.files import read_json
from momus.records import Record, read_jsonl

MARG = Path("output") / "all_results.json"


class Point(BaseModel):
    """One point of a review; `quote` is the verbatim passage of the review that supports it, if it was extracted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1)
    quote: str = ""


class Review(Record):
    """The review of one document by one reviewer.

    `strata` are the document's venue, decision and the like, by name. `points` is None until they are extracted from
    `text` (momus extract); an empty tuple is a review without points.
    """

    document: str
    reviewer: str
    kind: Literal["person", "model"]
    text: str = ""
    points: tuple[Point, ...] | None = None
    strata: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _text_or_points(self) -> Review:
        if self.points is None and not self.text.strip():
            raise ValueError("a review needs points, or a text to extract them from")
        return self


class LabelledLists(Record):
    """Two lists of points and people's label for each pair, `labels[i][j]`, on the scale of the source."""

    document: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    labels: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _one_label_per_pair(self) -> LabelledLists:
        if [len(row) for row in self.labels] != [len(self.second)] * len(self.first):
            raise ValueError(f"labels must be {len(self.first)} rows of {len(self.second)}")
        if not all(isfinite(label) for row in self.labels for label in row):
            raise ValueError("a label must be a number: leave the pair of lists out where one is not known")
        return self


class LabelledData(NamedTuple):
    """Labelled pairs, and the label from which the source calls a pair the same."""

    pairs: list[LabelledLists]
    same_from: float


def read_reviews(path: Path) -> list[Review]:
    """Read the reviews of a file or of a folder's JSON Lines files, or MARG's folder.

    Raises:
        UserError: There are none, one is not a review, or a reviewer reviews a document twice.
    """
    if (path / MARG).is_file():
        with _laid_out(path, "MARG's alignments"):
            reviews = list(_marg_reviews(path / MARG))
    elif path.is_dir():
        reviews = [review for file in sorted(path.glob("*.jsonl")) for review in read_jsonl(file, Review)]
        reviews += [read_text_review(file) for file in sorted((*path.glob("*.txt"), *path.glob("*.md")))]
    elif path.suffix in (".txt", ".md"):
        reviews = [read_text_review(path)]
    else:
        reviews = list(read_jsonl(path, Review))
    if not reviews:
        raise UserError(
            f"{path}: no reviews in it: give JSON Lines of reviews, or .txt files (docs/guides/agreement.md)"
        )
    counts = Counter((review.document, review.reviewer) for review in reviews)
    twice = [key for key, count in counts.items() if count > 1]
    if twice:
        raise UserError(f"{path}: reviewer {twice[0][1]!r} has two reviews of {twice[0][0]!r}: give each another name")
    return reviews


def read_points(path: Path) -> list[str]:
    """Read one list of points: a review's (JSON Lines), a JSON array of strings, or the lines of a text file.

    Raises:
        UserError: The file has another form, or the review's points have not been extracted.
    """
    if path.suffix in (".txt", ".md"):
        lines = [line.strip().lstrip("-*•").strip() for line in _text(path).splitlines()]
        return [line for line in lines if line]
    if path.suffix == ".json":
        points = read_json(path)
        if not isinstance(points, list) or not all(isinstance(point, str) for point in points):
            raise UserError(f"{path}: must be an array of strings, one for each point")
        return points
    reviews = list(read_jsonl(path, Review))
    if len(reviews) != 1 or reviews[0].points is None:
        raise UserError(
            f"{path}: must hold one review with points: extract them with momus extract, or compare whole collections "
            "with momus overlap"
        )
    return [point.text for point in reviews[0].points]


def read_text_review(path: Path) -> Review:
    """Read a text file as one review by a person, named by the file: `DOCUMENT.REVIEWER.txt`, or `DOCUMENT.txt`."""
    document, _, reviewer = path.stem.partition(".")
    text = _text(path)
    if not text.strip():
        raise UserError(f"{path}: is empty")
    return Review(document=document, reviewer=reviewer or "reviewer", kind="person", text=text)


def read_labels(path: Path) -> LabelledData:
    """Read labelled pairs: JSON Lines of `LabelledLists`, MARG's folder, or KLUE-STS.

    Raises:
        UserError: The file has another form, or holds no pair.
    """
    if (path / MARG).is_file():
        with _laid_out(path, "MARG's alignments"):
            data = LabelledData(list(_marg_labels(path / MARG)), 1)
    elif path.is_dir():
        raise UserError(f"{path}: a file of labelled pairs is needed, or a folder with {MARG}")
    elif path.suffix == ".json":
        with _laid_out(path, "KLUE-STS"):
            data = LabelledData(list(_klue_labels(path)), 3)
    else:
        data = LabelledData(list(read_jsonl(path, LabelledLists)), 1)
    if not any(row for lists in data.pairs for row in lists.labels):
        raise UserError(f"{path}: no labelled pairs in it")
    return data


@contextmanager
def _laid_out(path: Path, layout: str) -> Iterator[None]:
    """Turn errors of a missing or unexpected value into one line that names the layout."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path}: not laid out as {layout}: {type(error).__name__}: {str(error)[:80]}") from error


def _marg_reviews(path: Path) -> Iterator[Review]:
    for paper in read_json(path, any_number=True):  # which has some, in fields that are not read
        generated = paper["generated_comments"]["all"]
        for number, comments in enumerate(paper["reference_comments"], 1):
            yield _review(paper["doc_id"], f"reviewer {number}", "person", comments)
        yield _review(paper["doc_id"], paper["method"], "model", generated)


def _review(document: str, reviewer: str, kind: Literal["person", "model"], comments: Sequence[str]) -> Review:
    points = tuple(Point(text=comment) for comment in comments)
    return Review(document=document, reviewer=reviewer, kind=kind, points=points)


def _marg_labels(path: Path) -> Iterator[LabelledLists]:
    """Yield each review against the generated comments; pairs that are not aligned are labelled 0."""
    aligned = read_json(path.with_name("all_aligns.json"), any_number=True)
    for paper, reviews in zip(read_json(path, any_number=True), aligned, strict=True):
        generated = paper["generated_comments"]["all"]
        for comments, pairs in zip(paper["reference_comments"], reviews, strict=True):
            labels = [[0.0] * len(generated) for _ in comments]
            for pair in pairs:
                labels[pair["reference_id"]][pair["predicted_id"]] = 1.0
            yield LabelledLists(
                document=paper["doc_id"],
                first=tuple(comments),
                second=tuple(generated),
                labels=tuple(map(tuple, labels)),
            )


def _klue_labels(path: Path) -> Iterator[LabelledLists]:
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "sentence1" in row for row in rows):
        raise UserError(f"{path}: not KLUE-STS: rows with sentence1, sentence2 and labels are needed")
    for row in rows:
        label = float(row["labels"]["real-label"])
        yield LabelledLists(
            document=row["guid"], first=(row["sentence1"],), second=(row["sentence2"],), labels=((label,),)
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text") from error
