"""What a review showed, kept until the next one: so that it can be said what is new, still there, or fixed.

It lies with the user's other caches, a file for each repository. Where that is not kept, as in a build, the JSON of an
earlier review takes its place.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from momus.errors import UserError
from momus.files import JsonError, parse_json, write_json
from momus.lm.chats.cache import default_path
from momus.review.decisions import find_places
from momus.review.findings import FileReview, Finding, Shown
from momus.review.identity import Identity, match
from momus.review.reviewer import Target, with_status

MOST = 10_000
"""Findings that are kept of one repository."""


def digest_of(critic: Mapping[str, Any]) -> str:
    """Return a digest of a critic's identity."""
    return hashlib.sha256(json.dumps(critic, sort_keys=True, default=str).encode()).hexdigest()[:16]


def memory_of(root: Path) -> Path:
    """Return the file that remembers what was shown of a repository."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:16]
    return default_path().parent / "reviews" / f"{name}.json"


def recall(path: Path) -> list[Shown]:
    """Read what was shown; a file that is not there, or cannot be used any more, holds nothing."""
    try:
        rows = json.loads(path.read_bytes())
        shown = [Shown(Identity(**row.pop("identity")), **row) for row in rows]
        return shown if all(map(_is_sound, shown)) else []
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return []


def remember(path: Path, shown: Iterable[Shown]) -> None:
    """Keep what was shown."""
    write_json(path, [{**vars(each), "identity": vars(each.identity)} for each in list(shown)[-MOST:]])


def read_shown(path: Path) -> list[Shown]:
    """Read what an earlier review showed, from its JSON.

    Raises:
        UserError: The file is no such JSON, or of a version without identities.
    """
    try:
        document = parse_json(path.read_text(encoding="utf-8"))
        critic = document["manifest"]["critic"]
        setting = float(document["manifest"]["setting"])
        shown = [
            Shown(
                Identity(file["name"], row["function"], row["code"], row["number"], row["nth"]),
                row["text"],
                row["quote"],
                digest_of(critic),
                setting,
                row["confidence"],
                str(critic.get("kind", "")),
            )
            for file in document["files"]
            for row in (*file["findings"], *file["outside"])
            if row["status"] != "dismissed"
        ]
        if not all(map(_is_sound, shown)):
            raise TypeError("a field is of another type")
        return shown
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (JsonError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise UserError(f"{path}: not what momus review --format json writes") from error


def _is_sound(shown: Shown) -> bool:
    identity = shown.identity
    texts = (identity.path, identity.function, identity.code, shown.text, shown.quote)
    numbers = (identity.number, identity.nth)
    confident = shown.confidence is None or isinstance(shown.confidence, int | float)
    return all(isinstance(t, str) for t in texts) and all(isinstance(n, int) for n in numbers) and confident


def shown_in(reviews: Sequence[FileReview], critic: Mapping[str, Any], setting: float) -> list[Shown]:
    """Return what reviews show, to be remembered."""
    digest, kind = digest_of(critic), str(critic.get("kind", ""))
    return [
        Shown(finding.identity, finding.text, finding.quote, digest, setting, finding.confidence, kind)
        for review in reviews
        for finding in (*review.findings, *review.outside)
        if finding.identity is not None and not finding.hidden
    ]


def mark_open(
    review: FileReview, before: Sequence[Shown], renamed: Mapping[str, str], exists: Callable[[str], bool]
) -> FileReview:
    """Return a review whose new findings are open where they were shown before; see `match`."""
    current = [finding.identity for finding in (*review.findings, *review.outside) if finding.identity]
    known = list(dict.fromkeys(shown.identity for shown in before))
    there = set(match(known, current, renamed, exists).values())

    def change(finding: Finding) -> Finding:
        return replace(finding, status="open") if finding.status == "new" and finding.identity in there else finding

    return with_status(review, change)


def settle(
    reviews: Sequence[FileReview],
    setting: float,
    before: Sequence[Shown],
    targets: Sequence[Target],
    renamed: Mapping[str, str],
    exists: Callable[[str], bool],
) -> tuple[list[Shown], list[Shown]]:
    """Settle what the same critic showed before, and a review at `setting` shows no more.

    Returns:
        What is fixed, and all that the review cannot tell about: whose code it did not read, or what it
        would not have shown.
    """
    known = {shown.identity: shown for shown in before}
    current = [f.identity for review in reviews for f in (*review.findings, *review.outside) if f.identity]
    paired = match(list(known), current, renamed, exists)
    read = {target.name: target for target in targets}
    by_name = {review.name: review for review in reviews}
    fixed, kept = [], []
    for identity, shown in known.items():
        if identity in paired:
            continue
        path = renamed.get(identity.path, identity.path)
        if _is_fixed(shown, read[path], by_name[path], setting) if path in read else not exists(path):
            fixed.append(shown)
        else:
            kept.append(shown)
    return fixed, kept


def _is_fixed(shown: Shown, target: Target, review: FileReview, setting: float) -> bool:
    """Return whether a finding that is not made any more is fixed: its code is gone, or was read and is not marked."""
    places = list(find_places(shown.identity, target.source))
    if not places:
        return True
    reached = setting == shown.setting or (shown.confidence is not None and setting <= shown.confidence)
    if review.omitted or not reached:  # it may be made still, and not be shown
        return False
    lines = {number for first, last in review.critic_read for number in range(first, last + 1)}
    return all(lines.issuperset(numbers) for _, numbers in places)
