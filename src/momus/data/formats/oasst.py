"""Open-Assistant (arXiv 2304.07327): conversation trees, one a line, or their messages as the rows of a table.

Every reply of the assistant is a Demonstration; the ranked replies to one message are a Ranking, all K of them
together. The ranks are the export's, merged from several people's, so there is no labeler. Replies that a model wrote
(`synthetic`), that were deleted or that reviewers turned down are left out, with what follows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from momus.data.formats.base import (
    BadRecordError,
    Format,
    Row,
    as_number,
    get,
    list_of,
    object_at,
    optional_text,
    ranks_of,
    text_of,
)
from momus.data.formats.conversation import message
from momus.records import Demonstration, Message, Origin, Ranking, Record


def _tree(row: Row) -> Iterator[Record]:
    return _records(object_at(get(row, "prompt"), "prompt"), optional_text(row, "message_tree_id"), _replies)


def _replies(node: Row) -> list[Row]:
    return [object_at(reply, f"replies[{number}]") for number, reply in enumerate(list_of(node, "replies"))]


def _table(rows: Sequence[Row]) -> Iterator[Record]:
    """Read the messages of one tree; they come one after another in the published files."""
    children: dict[str, list[Row]] = {}
    names = {text_of(row, "message_id") for row in rows}
    for row in rows:
        parent = optional_text(row, "parent_id")
        if parent and parent not in names:
            raise BadRecordError("parent_id", "is no message of the rows beside it: sort the rows by message_tree_id")
        children.setdefault(parent, []).append(row)
    roots = children.get("", [])
    if len(roots) != 1:
        raise BadRecordError("parent_id", f"the tree has {len(roots)} first messages: must be one")
    name = optional_text(roots[0], "message_tree_id")
    return _records(roots[0], name, lambda node: children.get(optional_text(node, "message_id"), []))


def _records(root: Row, tree: str, replies_of: Any) -> Iterator[Record]:
    if not _kept(root):
        return
    todo: list[tuple[Row, tuple[Message, ...]]] = [(root, (_message(root),))]
    while todo:
        node, path = todo.pop()
        replies = [reply for reply in replies_of(node) if _kept(reply)]
        todo += [(reply, (*path, _message(reply))) for reply in reversed(replies)]
        answers = [reply for reply in replies if _message(reply).role == "assistant"]
        for reply in answers:
            author, text = optional_text(reply, "user_id"), _message(reply).content
            yield Demonstration(prompt=path, answer=text, author=author, origin=_origin(reply, root, tree))
        ranked = [reply for reply in answers if reply.get("rank") is not None]
        if len(ranked) > 1:
            authors = tuple(optional_text(reply, "user_id") for reply in ranked)
            yield Ranking(
                prompt=path,
                candidates=tuple(_message(reply).content for reply in ranked),
                ranks=ranks_of([-as_number(reply["rank"], "rank") for reply in ranked]),
                authors=authors if any(authors) else (),
                origin=_origin(node, root, tree),
            )


def _kept(node: Row) -> bool:
    written_by_model = node.get("synthetic") is True and node.get("role") == "assistant"
    return not written_by_model and node.get("deleted") is not True and node.get("review_result") is not False


def _message(node: Row) -> Message:
    return message({"role": get(node, "role"), "content": get(node, "text")}, "text")


def _origin(node: Row, root: Row, tree: str) -> Origin:
    return Origin(
        id=optional_text(node, "message_id"),
        group=tree,
        user=optional_text(root, "user_id"),
        language=optional_text(node, "lang"),
    )


OASST = (
    Format(
        "oasst-trees",
        "message_tree_id and prompt.replies",
        lambda row: isinstance(row.get("prompt"), Mapping) and "replies" in row["prompt"],
        _tree,
    ),
    Format(
        "oasst-messages",
        "message_id, parent_id and message_tree_id",
        lambda row: {"message_id", "parent_id", "message_tree_id", "text", "role"} <= row.keys(),
        _table,
        together="message_tree_id",
    ),
)
