"""Everything stored or exchanged, with a schema version.

Records are immutable and travel as JSON Lines, one record a line. The words are those of the papers: a
*task* is a question and, where there is one, an answer to judge; a *tamper* is an answer with bugs put in; a
*rating* holds the six attributes of CriticGPT's form (arXiv 2407.00215, table 2), each from 1 to 7.
"""

from momus.records.jsonl import RecordT, describe, is_whole, join_jsonl, read_jsonl, read_model, write_jsonl
from momus.records.types import (
    SCHEMA_VERSION,
    Bug,
    CommentOrigin,
    Comparison,
    Content,
    Demonstration,
    Judgement,
    Labeled,
    Labeling,
    Message,
    Origin,
    Prompt,
    Ranking,
    Rating,
    Record,
    Scale,
    Split,
    Tamper,
    Task,
    ToolCall,
)

__all__ = [
    "SCHEMA_VERSION",
    "Bug",
    "CommentOrigin",
    "Comparison",
    "Content",
    "Demonstration",
    "Judgement",
    "Labeled",
    "Labeling",
    "Message",
    "Origin",
    "Prompt",
    "Ranking",
    "Rating",
    "Record",
    "RecordT",
    "Scale",
    "Split",
    "Tamper",
    "Task",
    "ToolCall",
    "describe",
    "is_whole",
    "join_jsonl",
    "read_jsonl",
    "read_model",
    "write_jsonl",
]
