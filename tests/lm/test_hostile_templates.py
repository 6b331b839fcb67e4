"""Chat templates that never end or fill the memory: one line, soon, whatever they are made of."""

from __future__ import annotations

import time

import pytest

from momus.errors import UserError
from momus.lm.chat import PLAIN, ChatFormat
from momus.lm.text import template
from momus.records import Message
from support.tiny import tiny_tokenizer

ASK = "{% if add_generation_prompt %}assistant: {% endif %}"
PLAINLY = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}" + ASK
LETTERS = "a" * 40
ENDLESS = {
    "a range": "{% for i in range(10**9) %}x{% endfor %}",
    "ranges": "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "loops over text": f"{{% for a in '{LETTERS}' %}}" * 8 + "x" + "{% endfor %}" * 8,
    "a tree of pairs": "{% set x = {'a': 1} %}" + "{% set x = {'a': x, 'b': x} %}" * 60 + "{{ x | tojson }}",
    "two macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
}
LARGE = {
    "repetition": "{{ 'a' * 10**10 }}",
    "a width": "{{ 'a' | center(10**10) }}",
    "an indent": "{{ 'a' | indent(10**10, true) }}",
    "a format": "{{ '%9999999999d' % 1 }}",
    "a method": "{{ messages[0].content.ljust(10**10) }}",
    "a list": "{% set a = [1] %}" + "{% set a = a + a %}" * 60,
    "doubling": "{% set ns = namespace(x='aaaa') %}" + "{% set ns.x = ns.x ~ ns.x %}" * 60 + "{{ ns.x }}",
    "two variables": "{% set a = 'x' %}" + "{% set b = a ~ a %}{% set a = b ~ b %}" * 40,
    "joining": "{% set x = 'a' %}" + "{% set x = [x, x] | join %}" * 60,
    "blocks": "{% set x %}aaaa{% endset %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60,
    "replacing": "{% set x = 'aaaaaaaaaa' | replace('a', 'a' * 1000000000) %}",
    "recursion": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "an overflow": "{{ (10**400) / 3.0 }}",
    "a missing key": "{{ {}['a']['b'] }}",
}


@pytest.mark.parametrize("name", [*ENDLESS, *LARGE])
def test_a_template_that_does_not_end_or_fills_the_memory_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "SECONDS", 1)
    began = time.monotonic()
    with pytest.raises(UserError, match="chat template") as refused:
        ChatFormat(tiny_tokenizer(), {**ENDLESS, **LARGE}[name] + PLAINLY)
    assert len(str(refused.value)) < 500 and "\n" not in str(refused.value)
    assert time.monotonic() - began < 150


def test_a_template_that_ends_is_laid_out_alike_in_both_processes() -> None:
    odd = "{% macro line(m) %}{{ m.role }}: {{ m.content }}\n{% endmacro %}"
    odd += "{% for m in messages %}{{ line(m) }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    assert template.ends_soon(PLAINLY) and template.ends_soon(PLAIN) and not template.ends_soon(odd)
    conversation = (Message(role="user", content="네, <|eos|> \u2028?"), Message(role="assistant", content="A"))
    formats = [ChatFormat(tiny_tokenizer(), text) for text in (PLAINLY, odd)]
    assert formats[0].prompt(conversation[:1]) == formats[1].prompt(conversation[:1])
    assert formats[0].turn(conversation[:1], conversation[1:]) == formats[1].turn(conversation[:1], conversation[1:])


@pytest.mark.parametrize("name", ["ranges", "loops over text", "doubling", "a tree of pairs"])
def test_what_hides_in_a_branch_is_not_taken_for_plain(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = "{% if messages | length > 9 %}" + {**ENDLESS, **LARGE}[name] + "{% endif %}" + PLAINLY
    chat = ChatFormat(tiny_tokenizer(), hidden)
    assert chat.prompt("a")
    monkeypatch.setattr(template, "SECONDS", 1)
    with pytest.raises(UserError, match="chat template"):
        chat.prompt(tuple(Message(role=role, content="a") for _ in range(5) for role in ("user", "assistant")))


def test_templates_of_today_are_rendered_in_this_process() -> None:
    chatml = (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ 'x' }}{% endif %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    )
    tools = (
        "{% set ns = namespace(last=0, text='') %}{% for m in messages %}{% set ns.text = ns.text + m.content | trim %}"
        "{% for call in m.tool_calls %}{% for key, value in call.function.arguments.items() %}{{ key }}"
        "{% for part in value %}{{ part }}{% endfor %}{% endfor %}{% endfor %}{% for tool in tools %}"
        "{{ tool | tojson }}{% endfor %}{% endfor %}{{ strftime_now('%Y') }}"
        "{{ m.content.split('</think>')[0].rstrip() }}"
    )
    assert template.ends_soon(chatml) and template.ends_soon(tools)


@pytest.mark.parametrize("clock", ["{% set now = strftime_now %}{{ now('%H:%M') }}", "{{ [strftime_now][0]('%S') }}"])
def test_the_clock_under_another_name_is_refused(clock: str) -> None:
    with pytest.raises(UserError, match="reads the clock"):
        ChatFormat(tiny_tokenizer(), clock + PLAINLY)
