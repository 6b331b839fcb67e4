"""Chat formats: conversations to tokens, and which of them are trained.

A conversation is laid out by the tokenizer's own chat template, by one given, or, for a base model without any, by
`PLAIN`. What is trained is a `Turn`: the tokens before an answer, exactly those the model is given when it is to
answer, and the answer's own up to the token that ends it. Nothing is looked for by the names of roles; instead

- the text before an answer must be how the whole begins, or the template is at fault and the error says how;
- the tokens before an answer are always those of that text by itself, as when the model answers;
- an answer ends in the token that the template puts after one, or in the end-of-text token where it puts none;
- special tokens spelled out in somebody's text stay text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateError
from rich.text import Text

from momus.errors import UnfitInputError, UserError
from momus.lm.text.encode import Encoder, TooLongError
from momus.lm.text.template import PINNED_DATE, ends_soon, pinned, render
from momus.records import Content, Message

PLAIN = """\
{{ bos_token | default('') }}{% for message in messages %}\
{{ {'system': 'System', 'user': 'User', 'assistant': 'Assistant', 'tool': 'Tool'}[message.role] }}: \
{{ message.content }}{{ eos_token if message.role == 'assistant' else '\\n\\n' }}\
{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"""
"""Our own layout for models without one: `User: …`, a blank line, `Assistant: …` and the end-of-text token."""

_ASKED, _ANSWERED = "wh7at is asked", "an7swered so"  # in no template, and beginning as words do
_PRIVATE = range(0xF0000, 0xFFFFE)


class Turn(NamedTuple):
    """What is trained of one of the assistant's turns: the tokens before it, and the answer's, its end included."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class Limits(NamedTuple):
    """The most tokens of a prompt and of an answer that are of use; None is any number."""

    prompt: int | None = None
    answer: int | None = None


class ChatFormat:
    """Lays conversations out in a tokenizer's tokens.

    Args:
        tokenizer: A fast tokenizer with an end-of-text token.
        template: A Jinja template, in place of the tokenizer's own.
        limit: Most tokens that the model reads; see `Encoder.encode`. None for any number.

    Attributes:
        encoder: Counts and cuts texts by the tokenizer.
        template: The template in use.
        end_id: The token that ends an answer.
        pinned_date: The day it reads in place of today's, where it asks for one.

    Raises:
        UserError: The template cannot be used: it is no Jinja, leaves out a message, or draws at random.
    """

    def __init__(self, tokenizer: Any, template: str | None = None, limit: int | None = None) -> None:
        self.tokenizer, self.encoder, self._limit = tokenizer, Encoder(tokenizer), limit
        self.template: str = _own_template(tokenizer) if template is None else template
        special = {token.content: (i, token) for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._special = {text: int(i) for text, (i, _) in special.items()}
        # A token may take the spaces around it with it, and the longest wins: as the tokenizer cuts.
        spaces = {True: r"\s*", False: ""}
        patterns = [
            f"{spaces[token.lstrip]}({re.escape(text)}){spaces[token.rstrip]}"
            for text, (_, token) in sorted(special.items(), key=lambda item: -len(item[0]))
        ]
        self._cut = re.compile("|".join(patterns) or "(?!)")
        self._last_head: tuple[str, dict[str, str], tuple[int, ...]] = ("", {}, ())
        self.end_id, self._ends = 0, False
        self._pinned_template, dated = pinned(self.template)
        self._ends_soon = ends_soon(self.template)
        self.pinned_date = PINNED_DATE if dated else None
        self._try_out()

    def prompt(self, content: Content, limit: int | None = None) -> tuple[int, ...]:
        """Return the tokens after which the assistant answers `content`.

        Args:
            content: What is asked.
            limit: Most tokens that are of use; see `Encoder.encode`.

        Raises:
            TooLongError: It has more tokens for certain.
            UnfitInputError: The template refuses the conversation, or leaves nothing to answer.
        """
        messages, back = self._hidden(_messages(content, "user"))
        text = self._laid_out(messages, ask=True)
        self._check_length(text, back, limit, "prompt")
        _check_kept(messages, text)
        return self._head(text, back)

    def check_reward(self, tokenizer: Any, path: Path, name: str) -> None:
        """Refuse a reward model, by its tokenizer, that does not read what the model of this layout and name writes."""
        if tokenizer.get_vocab() != self.tokenizer.get_vocab():
            raise UserError(f"the reward model in {path} reads other tokens than {name}: train it from the same model")
        if ChatFormat(tokenizer).template != self.template:
            raise UserError(f"the reward model in {path} was trained with another chat template than {name}'s")

    def turn(self, prompt: Content, answer: Content, limits: Limits | None = None) -> Turn:
        """Return a prompt and all of an answer to it, which may be several turns and may be empty but for its end.

        Raises:
            TooLongError: The prompt or the answer has more tokens than `limits` for certain.
            UnfitInputError: The template refuses the conversation, or the answer is not the assistant's.
            UserError: The template is at fault: what it writes before an answer is not how the whole begins.
        """
        before, answered = _messages(prompt, "user"), _messages(answer, "assistant")
        if not answered or answered[-1].role != "assistant":
            raise UnfitInputError("the answer does not end in the assistant's turn")
        messages, back = self._hidden([*before, *answered])
        head = self._laid_out(messages[: len(before)], ask=True)
        whole = self._laid_out(messages, ask=False)
        if not whole.startswith(head):
            raise UserError(_fault(head, whole))
        longest = limits or Limits()
        self._check_length(head, back, longest.prompt, "prompt")
        self._check_length(self._answered(whole[len(head) :]), back, longest.answer, "answer")
        _check_kept(messages[: len(before)], head)
        _check_kept(messages[len(before) :], whole[len(head) :], reasoning=True)
        tokens = self._head(head, back)
        together = self._encode(whole, back)
        rest = together[len(tokens) :]
        if tuple(together[: len(tokens)]) != tokens:  # the answer's first characters merge with what is before it
            rest = self._encode(whole[len(head) :], back)
            if self._as_text([*tokens, *rest]) != self._as_text(together):
                raise UnfitInputError(
                    "the tokenizer writes the answer's beginning otherwise by itself than after the prompt: let the "
                    "chat template's generation prompt end in a special token or a line break, not in a space"
                )
        return Turn(tokens, self._up_to_end(rest))

    def turns(self, prompt: Content, answer: Content, every: bool = False) -> tuple[Turn, ...]:
        """Return what to train of a demonstration, in tokens: `turn` of all that `trained_turns` returns."""
        return tuple(self.turn(before, answered) for before, answered in trained_turns(prompt, answer, every))

    def text(self, answer: Sequence[int]) -> str:
        """Return what an answer's tokens say, without its end and the spaces around it."""
        return str(self.tokenizer.decode(list(answer), skip_special_tokens=True)).strip()

    def shown(self, turn: Turn) -> Text:
        """Return a turn to print: what is before the answer dim, what is trained green, control characters spelled."""
        parts = ((turn.prompt, "dim"), (turn.answer, "bold green"))
        return Text.assemble(*((_visible(self._as_text(tokens)), style) for tokens, style in parts))

    def _try_out(self) -> None:
        """Lay out a first conversation, to find the token that ends an answer and what is wrong with the template."""
        messages = [Message(role="user", content=_ASKED), Message(role="assistant", content=_ANSWERED)]
        try:
            head, whole = self._laid_out(messages[:1], ask=True), self._laid_out(messages, ask=False)
            if not whole.startswith(head):
                raise UserError(_fault(head, whole))
            if _ASKED not in head or _ANSWERED not in whole[len(head) :]:
                raise UserError("the chat template leaves out what the user or the assistant says: mend the template")
            self._exact = self._pieces(whole, {}) == self._encode(whole, {})
            end_match = self._cut.search(whole, whole.rindex(_ANSWERED) + len(_ANSWERED))
            end = self._special[_matched(end_match)] if end_match else self.tokenizer.eos_token_id
            if end is None:
                raise UserError("neither the chat template nor the tokenizer has a token that ends an answer")
            self.end_id, self._ends = int(end), bool(end_match)
            self.turn(_ASKED, _ANSWERED)
        except UnfitInputError as error:
            raise UserError(f"the chat template cannot be used: {error}") from error

    def _laid_out(self, messages: Sequence[Message], ask: bool) -> str:
        plain = [_for_template(message) for message in messages]
        tools = [json.loads(tool) for message in messages for tool in message.tools]
        date = PINNED_DATE.strftime("%d %b %Y")
        try:
            if not self._ends_soon:
                variables = {**self.tokenizer.special_tokens_map, "date_string": date}
                return render(self._pinned_template, plain, tools, ask, variables)
            return str(
                self.tokenizer.apply_chat_template(
                    plain,
                    tools=tools or None,
                    chat_template=self._pinned_template,
                    tokenize=False,
                    add_generation_prompt=ask,
                    date_string=date,
                )
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            who = ", ".join(message.role for message in messages[:5]) or "nobody"
            raise UnfitInputError(f"the chat template refuses a conversation of {who}: {reason}") from error

    def _hidden(self, messages: Sequence[Message]) -> tuple[list[Message], dict[str, str]]:
        """Put private characters in place of special tokens spelled out in texts; returns how to put them back."""
        texts = "".join(text for message in messages for text in message.texts())
        if not any(special in texts for special in self._special):
            return list(messages), {}
        spelled = sorted({_matched(found) for found in self._cut.finditer(texts)}, key=len, reverse=True)
        free = (chr(code) for code in _PRIVATE if chr(code) not in texts)
        stand_in = dict(zip(spelled, free, strict=False))
        hide = re.compile("|".join(map(re.escape, spelled)))
        hidden = [
            message.with_texts([hide.sub(lambda match: stand_in[match.group()], text) for text in message.texts()])
            for message in messages
        ]
        return hidden, {character: text for text, character in stand_in.items()}

    def _head(self, text: str, back: dict[str, str]) -> tuple[int, ...]:
        if self._last_head[:2] != (text, back):  # K answers to one prompt come one after another
            self._last_head = (text, back, tuple(self._encode(text, back)))
        if not self._last_head[2]:
            raise UnfitInputError("the chat template writes nothing before the answer: let it begin with bos_token")
        return self._last_head[2]

    def _check_length(self, text: str, back: dict[str, str], limit: int | None, part: str) -> None:
        """Refuse a text that is certainly too long before anything is done with it that takes long.

        Raises:
            TooLongError: It has more tokens than `limit`, or than the model reads.
        """
        text = _spelled(text, back)
        if limit is not None and (fewest := self.encoder.fewest_tokens(text)) > limit:
            raise TooLongError(fewest, f"{part} over {limit} tokens", part)
        self.encoder.check(text, self._limit)

    def _answered(self, rest: str) -> str:
        """Return an answer's text without what a template writes after its end."""
        end = self.tokenizer.convert_ids_to_tokens(self.end_id) if self._ends else ""
        return rest[: rest.rindex(end) + len(end)] if end and end in rest else rest

    def _encode(self, text: str, back: dict[str, str]) -> list[int]:
        if not back:
            return self.encoder.encode(text, special=True)
        if not self._exact:
            shown = ", ".join(sorted(back.values()))
            raise UnfitInputError(f"a text spells out {shown}, which this tokenizer cannot keep as text: leave it out")
        return self._pieces(text, back)

    def _pieces(self, text: str, back: dict[str, str]) -> list[int]:
        """Encode what stands between special tokens by itself, as the tokenizer does."""
        tokens: list[int] = []
        for piece in _between(self._cut, text):
            if piece in self._special:
                tokens.append(self._special[piece])
            else:
                tokens += self.encoder.encode(_spelled(piece, back))
        return tokens

    def _up_to_end(self, answer: list[int]) -> tuple[int, ...]:
        """Cut what a template writes after the answer's end, or add the end where it writes none."""
        if not self._ends:
            return (*answer, self.end_id)
        if self.end_id not in answer:
            end = self.tokenizer.convert_ids_to_tokens(self.end_id)
            raise UserError(f"the chat template does not end this answer in {end} as it does others: mend the template")
        return tuple(answer[: len(answer) - answer[::-1].index(self.end_id)])

    def _as_text(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))


def trained_turns(prompt: Content, answer: Content, every: bool = False) -> list[tuple[Content, Content]]:
    """Return what to train of a demonstration: the answer's last turn, or every one of the assistant's in it.

    Each comes with what is before it, to be laid out as when it was to be answered: where a template shortens earlier
    turns, so are they here. A turn that is marked as not to be trained (`Message.train`) is context for the others.

    Raises:
        UnfitInputError: There is nothing to train: the answer is not the assistant's, or blank.
    """
    before, answered = _messages(prompt, "user"), _messages(answer, "assistant")
    messages = [*before, *answered]
    places = [i for i in range(len(before), len(messages)) if messages[i].role == "assistant"]
    if not answered or not places or places[-1] != len(messages) - 1:
        raise UnfitInputError("the answer does not end in the assistant's turn")
    places = [i for i in (places if every else places[-1:]) if messages[i].train]
    if not places:
        raise UnfitInputError("the answer is marked as not to be trained (weight 0): leave the record out")
    if any(not messages[i].content.strip() and not messages[i].tool_calls for i in places):
        raise UnfitInputError("the answer is empty: nothing of it would be trained")
    return [(tuple(messages[:i]), (messages[i],)) for i in places]


def _messages(content: Content, role: str) -> list[Message]:
    if not isinstance(content, str):
        return list(content)
    return [Message.model_validate({"role": role, "content": content})]


def _for_template(message: Message) -> dict[str, Any]:
    """Return a message as chat templates expect it (transformers' conventions): arguments as objects."""
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name:
        plain["name"] = message.name
    if message.reasoning:
        plain["reasoning_content"] = message.reasoning
    if message.tool_call_id:
        plain["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        plain["tool_calls"] = [
            {
                "type": "function",
                "function": {"name": call.name, "arguments": json.loads(call.arguments)},
                **({"id": call.id} if call.id else {}),
            }
            for call in message.tool_calls
        ]
    return plain


def _name_of_tool(schema: str) -> str:
    tool = json.loads(schema)
    return str(tool.get("function", tool).get("name", ""))


def _check_kept(messages: Sequence[Message], text: str, reasoning: bool = False) -> None:
    """Refuse a template that leaves out tools and calls, or the reasoning of what is trained.

    Templates may leave out the reasoning of earlier turns: models are asked without it too.

    Raises:
        UnfitInputError: Something is not in `text`.
    """
    at = 0  # lines of a long reasoning follow each other: each is looked for from the last one on
    for message in messages:
        parts = [("the tool call", call.name) for call in message.tool_calls]
        parts += [("the tool", _name_of_tool(tool)) for tool in message.tools]
        if reasoning:
            parts += [("the reasoning", line.strip()) for line in message.reasoning.splitlines()]
        for what, part in parts:
            place = text.find(part, at)
            if place < 0 and part not in text:
                raise UnfitInputError(
                    f"the chat template leaves out {what} {_visible(part[:60])!r}: give one that writes it with "
                    "--chat-template, or leave the record out"
                )
            at = max(at, place)


def _spelled(text: str, back: dict[str, str]) -> str:
    """Put special tokens back as text."""
    for character, spelled in back.items():
        text = text.replace(character, spelled)
    return text


def _matched(found: re.Match[str]) -> str:
    """Return the special token of a match, without the spaces it takes with it."""
    return str(found.group(found.lastindex or 0))


def _between(cut: re.Pattern[str], text: str) -> Iterator[str]:
    """Yield special tokens and the texts between them, in order."""
    last = 0
    for found in cut.finditer(text):
        if found.start() > last:
            yield text[last : found.start()]
        yield _matched(found)
        last = found.end()
    if last < len(text):
        yield text[last:]


def _fault(head: str, whole: str) -> str:
    """Say where a conversation with its answer parts from the prompt alone."""
    at = next((i for i, (a, b) in enumerate(zip(head, whole, strict=False)) if a != b), min(len(head), len(whole)))
    alone, answered = head[at : at + 30], whole[at : at + 30]
    return (
        "the chat template writes a prompt otherwise when its answer follows, so the model would be trained on another "
        f"prompt than it is asked: after {head[max(0, at - 30) : at]!r} it writes {alone!r} alone and {answered!r} "
        "with the answer; give one that does not with --chat-template"
    )


def _visible(text: str) -> str:
    """Spell out control characters: no data may write escape sequences to a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _own_template(tokenizer: Any) -> str:
    """Return the template that comes with a tokenizer, a plain layout where none does."""
    try:
        template = tokenizer.get_chat_template() if tokenizer.chat_template else PLAIN
    except ValueError as error:  # several, and none of them is the default
        raise UserError(f"the chat template cannot be used: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(template, str):
        raise UserError(f"the chat template cannot be used: it is {type(template).__name__}, and no text")
    return template
