"""Conversations in rows: messages with all they carry (tool calls, reasoning, weights), and where an answer begins.

A message's fields are kept, or the row is refused by the name of the field. Only fields that say something *about* a
message (`METADATA`) are left out, and those are counted (`momus.data.formats.unread`). What a writer filled in for a
field that is not there (null, "", [] or {}) counts as absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from momus.data.formats.base import BadRecordError, Row, as_text, get, kind_of, object_at, path_of, shown, text_of
from momus.data.formats.unread import leave_out
from momus.files import parse_json
from momus.records import Content, Message, ToolCall

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "tool_response": "tool",
    "observation": "tool",
}
"""Names of the speakers in use, and ours."""

CALLERS = ("function_call", "tool_call")
"""Speakers whose text is a call of a tool, written as JSON (ShareGPT as LLaMA-Factory and ms-swift write it)."""

REASONING = ("reasoning", "reasoning_content", "thinking")
WEIGHTS = ("weight", "train", "training", "trainable")

METADATA = {
    *("id", "message_id", "parent_id", "turn_identifier", "index", "hash", "timestamp", "date", "created_at"),
    *("updated_at", "create_time", "header", "hashed_ip", "country", "state", "language", "lang", "toxic", "redacted"),
    *("model", "markdown", "text", "type", "annotations", "openai_moderation", "detoxify_moderation", "logprobs"),
    *("finish_reason", "token_count", "tokens", "usage", "url", "source"),
}
"""Fields that say something about a message and change nothing of what was said."""


def is_message(value: Any) -> bool:
    """Whether a value looks like a message, {role, content} or {from, value}."""
    if not isinstance(value, Mapping):
        return False
    return {"from", "value"} <= value.keys() or ("role" in value and bool({"content", "tool_calls"} & value.keys()))


def is_conversation(value: Any) -> bool:
    """Whether a value looks like a list of messages."""
    return isinstance(value, list) and bool(value) and is_message(value[0])


def is_absent(value: Any) -> bool:
    """Whether a value stands for a field that is not there: null, empty text, an empty list or object."""
    return value is None or (isinstance(value, str | list | Mapping) and not value)


def message(value: Any, field: str) -> Message:
    """Read one message.

    Raises:
        BadRecordError: A field is not what it should be, or is one that Momus would lose.
    """
    row = object_at(value, field)
    role_key, text_key = ("from", "value") if "from" in row else ("role", "content")
    speaker = text_of(row, role_key, field).lower()
    role = ROLES.get(speaker)
    if role is None:
        raise BadRecordError(f"{field}.{role_key}", f"is {shown(row[role_key])}: must be one of {', '.join(ROLES)}")
    present = {key: item for key, item in row.items() if key in (role_key, text_key) or not is_absent(item)}
    read: dict[str, Any] = {"role": role, "train": _train(present, field)}
    if calls := _tool_calls(present, field):
        read["tool_calls"] = calls
    for key in ("name", "tool_call_id"):
        if key in present:
            read[key] = as_text(present[key], f"{field}.{key}")
    if reasons := [key for key in REASONING if key in present]:
        read["reasoning"] = as_text(present[reasons[0]], f"{field}.{reasons[0]}")
    content = get(row, text_key, field) if text_key in row or not calls else None
    read["content"] = "" if content is None and calls else _text(content, f"{field}.{text_key}")
    if speaker in CALLERS and not calls and (spoken := _spoken_calls(read["content"])):
        read |= {"tool_calls": spoken, "content": ""}
    _account_for(present, {role_key, text_key, "name", "tool_call_id", "tool_calls", "function_call"}, field)
    fields_of_others = [key for key in ("tool_calls", "reasoning") if key in read and role != "assistant"]
    if fields_of_others:
        raise BadRecordError(f"{field}.{fields_of_others[0]}", f"in a turn of the {role}: only the assistant has them")
    return Message.model_validate(read)


def tools_of(value: Any, field: str) -> tuple[str, ...]:
    """Return a row's tools, each a JSON schema as text; they may be a list, or a list written as JSON.

    Raises:
        BadRecordError: They are neither.
    """
    if is_absent(value):
        return ()
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except (ValueError, RecursionError) as error:
            raise BadRecordError(field, "is not a list of tools written as JSON") from error
    if not isinstance(value, list):
        raise BadRecordError(field, f"is {kind_of(value)}: must be a list of tools")
    tools = [parse_json(tool) if isinstance(tool, str) and tool.startswith("{") else tool for tool in value]
    return tuple(_as_json(object_at(tool, f"{field}[{n}]")) for n, tool in enumerate(tools))


def with_system(content: Content, system: Any) -> Content:
    """Return a prompt that begins with a row's system prompt; a text becomes a turn of the user.

    Raises:
        BadRecordError: The conversation begins with another.
    """
    if not isinstance(system, str) or is_absent(system):
        return content
    if isinstance(content, str):
        turns: tuple[Message, ...] = (Message(role="user", content=content),) if content else ()
    else:
        turns = content
    first = Message(role="system", content=as_text(system, "system"))
    if not turns or turns[0].role != "system":
        return (first, *turns)
    if turns[0].content.strip() != first.content.strip():
        raise BadRecordError("system", "is not the system prompt that the conversation begins with: leave one out")
    return content


def with_tools(content: Content, tools: tuple[str, ...]) -> Content:
    """Return a prompt whose first turn has `tools`; a text becomes a turn of the user."""
    if not tools:
        return content
    turns = (Message(role="user", content=content),) if isinstance(content, str) else content
    if not turns:
        raise BadRecordError("tools", "the assistant speaks first: there is no turn before it to have the tools")
    return (turns[0].model_copy(update={"tools": tools}), *turns[1:])


def conversation(value: Any, field: str) -> tuple[Message, ...]:
    """Read a list of messages that is not empty."""
    if not isinstance(value, list) or not value:
        raise BadRecordError(field, f"is {'empty' if value == [] else kind_of(value)}: must be a list of messages")
    return tuple(message(item, f"{field}[{number}]") for number, item in enumerate(value))


def content_of(row: Row, field: str) -> Content:
    """Return a field that must be text or messages."""
    value = get(row, field)
    return conversation(value, field) if isinstance(value, list) else as_text(value, field)


def simplest(messages: Sequence[Message]) -> Content:
    """Return the text of what is one message of the assistant with nothing but text, else the messages."""
    plain = len(messages) == 1 and messages[0] == Message(role="assistant", content=messages[0].content)
    return messages[0].content if plain else tuple(messages)


def split_answer(messages: Sequence[Message], field: str) -> tuple[Content, Content]:
    """Split a conversation at the assistant's first turn; turns after the assistant's last one are left out.

    All the assistant's turns are in the answer, none in the prompt, so that nothing there is to learn is lost.
    """
    turns = [number for number, message in enumerate(messages) if message.role == "assistant"]
    if not turns:
        raise BadRecordError(field, "no message of the assistant: an answer is needed")
    if turns[-1] + 1 < len(messages):
        leave_out(f"{field} after the last answer")
    return tuple(messages[: turns[0]]), simplest(messages[turns[0] : turns[-1] + 1])


def common_prompt(conversations: Sequence[Sequence[Message]], field: str) -> tuple[Content, tuple[Content, ...]]:
    """Split conversations into the longest prompt they share and what follows it in each.

    The prompt ends where in every conversation the assistant speaks next.
    """
    shortest = min(map(len, conversations))
    shared = 0
    while shared < shortest and len({messages[shared] for messages in conversations}) == 1:
        shared += 1
    while shared and (shared == shortest or any(messages[shared].role != "assistant" for messages in conversations)):
        shared -= 1
    if not shared:
        raise BadRecordError(field, "the conversations share no prompt: they cannot be compared")
    return tuple(conversations[0][:shared]), tuple(simplest(messages[shared:]) for messages in conversations)


def _text(content: Any, field: str) -> str:
    if isinstance(content, list):
        parts = [object_at(part, field) for part in content]
        if any(part.get("type") != "text" for part in parts):
            kinds = ", ".join(sorted({str(part.get("type"))[:30] for part in parts} - {"text"}))
            raise BadRecordError(field, f"holds more than text ({kinds}): images, sound and the like cannot be read")
        return "".join(text_of(part, "text", field) for part in parts)
    return as_text(content, field)


def _train(row: Row, field: str) -> bool:
    """Return whether a turn may be learned from; weights between 0 and 1 have no meaning here."""
    for key in WEIGHTS:
        if key in row:
            if row[key] not in (0, 1) or isinstance(row[key], str):
                raise BadRecordError(path_of(field, key), f"is {shown(row[key])}: must be 0 or 1, true or false")
            return bool(row[key])
    return True


def _tool_calls(row: Row, field: str) -> tuple[ToolCall, ...]:
    if "tool_calls" in row:
        calls, at = row["tool_calls"], f"{field}.tool_calls"
    elif "function_call" in row:
        calls, at = [row["function_call"]], f"{field}.function_call"
    else:
        return ()
    if not isinstance(calls, list):
        raise BadRecordError(at, f"is {kind_of(calls)}: must be a list")
    return tuple(_tool_call(call, f"{at}[{number}]") for number, call in enumerate(calls))


def _tool_call(value: Any, field: str) -> ToolCall:
    """Read {id, type, function: {name, arguments}} (OpenAI) or {name, arguments}; arguments are an object, or text."""
    call = object_at(value, field)
    function = object_at(call["function"], f"{field}.function") if "function" in call else call
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        text = as_text(arguments, f"{field}.arguments") or "{}"
        try:
            object_at(parse_json(text), f"{field}.arguments")
        except (ValueError, RecursionError) as error:
            raise BadRecordError(f"{field}.arguments", "is not an object written as JSON") from error
    else:
        text = _as_json(object_at({} if arguments is None else arguments, f"{field}.arguments"))
    _account_for(call, {"id", "type", "function", "name", "arguments", "index"}, field)
    identity = call.get("id")
    return ToolCall(
        name=text_of(function, "name", field),
        arguments=text,
        id="" if identity is None else as_text(identity, f"{field}.id"),
    )


def _spoken_calls(text: str) -> tuple[ToolCall, ...]:
    """Return the calls that a text is, as JSON; none where it is something else."""
    try:
        value = parse_json(text)
        calls = value if isinstance(value, list) else [value]
        return tuple(_tool_call(call, "value") for call in calls)
    except (ValueError, RecursionError, BadRecordError):
        return ()


def _account_for(row: Row, known: set[str], field: str) -> None:
    """Refuse fields that would be lost, and count those of `METADATA` that are."""
    for key, value in row.items():
        if key in known or key in REASONING or key in WEIGHTS or is_absent(value):
            continue
        if key not in METADATA:
            raise BadRecordError(path_of(field, key), "would be lost: remove the field, or leave the row out")
        leave_out(f"{field.rstrip('0123456789[]')}.{key}")


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
