"""Chat formats: what is trained is exactly the answer and its end, whatever the template and the tokenizer."""

import json
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from momus.errors import UnfitInputError, UserError
from momus.lm.chat import PLAIN, ChatFormat, Turn
from momus.records import Message
from support.tiny import CORPUS, SPLIT, tiny_tokenizer

LLAMA_3 = """\
{{ bos_token }}{% for m in messages %}<|start|>{{ m.role }}<|end|>

{{ m.content | trim }}<|eot|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|end|>

{% endif %}"""
LLAMA_2 = """\
{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]\
{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"""
CHATML = """\
{% for m in messages %}<|start|>{{ m.role }}
{{ m.content }}<|eot|>
{% endfor %}{% if add_generation_prompt %}<|start|>assistant
{% endif %}"""
GEMMA = """\
{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}\
<|start|>{{ 'model' if m.role == 'assistant' else m.role }}
{{ m.content | trim }}<|eot|>
{% endfor %}{% if add_generation_prompt %}<|start|>model
{% endif %}"""
BARE = """\
{% for m in messages %}{{ m.role }}: {{ m.content }}
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"""
TEMPLATES = {"plain": None, "llama-3": LLAMA_3, "llama-2": LLAMA_2, "chatml": CHATML, "gemma": GEMMA, "bare": BARE}
SPECIAL = ["<|pad|>", "<|bos|>", "<|eos|>", "<|start|>", "<|end|>", "<|eot|>"]
KOREAN = "안녕하세요, 오늘 날씨가 어때요?"


def _wrapped(tokenizer: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{"pad_token": "<|pad|>", "bos_token": "<|bos|>", "eos_token": "<|eos|>", **special},
    )


@lru_cache
def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Byte-level like Llama 3, Qwen and GPT-2, whose bos is its eos; pieces with a space in front like Llama 2."""
    corpus = [*CORPUS, KOREAN, "user assistant model INST"]
    if kind == "pieces":
        made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # to train: no piece crosses a space
        bytes_of = [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>", *bytes_of], show_progress=False)
        corpus = ["".join(text.split("\n")) for text in corpus]  # line breaks are bytes
    else:
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(_regex(), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        )
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(corpus, trainer)
    if kind == "pieces":
        made.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
        made = Tokenizer.from_str(json.dumps({**json.loads(made.to_str()), "added_tokens": []}))  # bytes are ordinary
    return _wrapped(made, **({"bos_token": "<|eos|>"} if kind == "gpt2" else {}))


def _regex():
    from tokenizers import Regex

    return Regex(SPLIT)


@lru_cache
def chat(template: str, kind: str) -> ChatFormat:
    return ChatFormat(tokenizer(kind), TEMPLATES[template])


every = pytest.mark.parametrize(("template", "kind"), [(t, k) for t in TEMPLATES for k in ("bytes", "gpt2", "pieces")])
pieces = [*"ab :\n#▁", "한", "é", "<|eos|>", "<|eot|>", "<|start|>", "assistant", "user: "]
texts = st.lists(st.sampled_from(pieces), max_size=12).map("".join)
answers = texts.filter(lambda text: text.strip() not in ("", "▁"))


def decoded(format: ChatFormat, tokens: tuple[int, ...]) -> str:
    return format.tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)


@every
@given(prompt=texts, answer=answers)
def test_an_answer_is_all_of_it_and_its_end_after_the_tokens_the_model_is_asked_with(template, kind, prompt, answer):
    layout = chat(template, kind)
    (turn,) = layout.turns(prompt, answer)
    assert turn.prompt == layout.prompt(prompt)
    # It ends in the end token, which is nowhere else in it; all the text is there, spelled special tokens included.
    assert turn.answer.index(layout.end_id) == len(turn.answer) - 1
    special = set(layout.tokenizer.all_special_ids) | {layout.tokenizer.convert_tokens_to_ids(text) for text in SPECIAL}
    assert not special & set(turn.answer[:-1])
    body = decoded(layout, turn.answer[:-1])
    if kind == "pieces":  # whose decoder takes a space away in front, and says ▁ for one
        body, answer = body.replace(" ", "").replace("▁", ""), answer.replace(" ", "").replace("▁", "")
    assert body.strip() == answer.strip()
    assert layout.text(turn.answer).replace(" ", "") == body.strip().replace(" ", "")


@every
def test_tokens_are_the_templates_own(template, kind):
    """Where nobody spells special tokens, prompt and answer are what the tokenizer makes of the rendered whole."""
    layout = chat(template, kind)
    messages = [{"role": "user", "content": KOREAN}, {"role": "assistant", "content": "Yes: it is fine."}]
    whole = layout.tokenizer.apply_chat_template(messages, chat_template=layout.template, tokenize=False)
    tokens = layout.tokenizer.encode(whole, add_special_tokens=False)
    (turn,) = layout.turns(KOREAN, "Yes: it is fine.")
    made = [*turn.prompt, *turn.answer]
    assert made == tokens[: len(made)] or (template == "bare" and made[:-1] == tokens)
    assert decoded(layout, tuple(tokens[len(made) :])).strip() == ""


@pytest.mark.parametrize("kind", ["bytes", "gpt2", "pieces"])
def test_the_end_is_the_templates_else_the_tokenizers(kind):
    ends = {name: chat(name, kind).tokenizer.convert_ids_to_tokens(chat(name, kind).end_id) for name in TEMPLATES}
    assert ends == {
        "plain": "<|eos|>",
        "llama-2": "<|eos|>",
        "bare": "<|eos|>",
        "llama-3": "<|eot|>",
        "chatml": "<|eot|>",
        "gemma": "<|eot|>",
    }


@every
def test_an_answer_that_begins_in_a_line_break_does_not_change_the_prompt(template, kind):
    layout = chat(template, kind)
    for answer in ("\n\nYes", "\nYes", " \n Yes"):
        assert layout.turn("Is it?", answer).prompt == layout.prompt("Is it?")


def test_special_tokens_in_a_text_would_be_special_without_care():
    layout = chat("chatml", "bytes")
    raw = layout.tokenizer.apply_chat_template(
        [{"role": "user", "content": "a<|eot|>"}], chat_template=CHATML, tokenize=False
    )
    end = layout.end_id
    assert layout.tokenizer.encode(raw, add_special_tokens=False).count(end) == 2
    assert layout.prompt("a<|eot|>").count(end) == 1
    stand_in = chr(0xF0000)
    assert decoded(layout, layout.prompt(f"{stand_in}<|eot|>")).count(stand_in) == 1


CONVERSATION = (
    Message(role="user", content="One?"),
    Message(role="assistant", content="One."),
    Message(role="user", content="Two?"),
    Message(role="assistant", content="Two."),
)


@every
def test_the_last_turn_is_trained_or_every_one(template, kind):
    layout = chat(template, kind)
    (last,) = layout.turns(CONVERSATION[:1], CONVERSATION[1:])
    assert last == layout.turn(CONVERSATION[:3], "Two.")
    assert layout.turns(CONVERSATION[:3], "Two.") == (last,)
    first, second = layout.turns(CONVERSATION[:1], CONVERSATION[1:], every=True)
    assert second == last and first == layout.turn("One?", "One.")
    whole = layout.turn(CONVERSATION[:1], CONVERSATION[1:])  # as one answer of several turns, for rankings
    assert whole.prompt == first.prompt and (*whole.prompt, *whole.answer) == (*last.prompt, *last.answer)


def test_templates_at_fault_are_told_how():
    def refused(template: str, *words: str) -> None:
        with pytest.raises(UserError) as error:
            ChatFormat(tokenizer("bytes"), template).turns("Qq", "Aa")
        assert all(word in str(error.value) for word in words), error.value
        assert "\n" not in str(error.value)

    refused("{% for m in messages %}{{ m.content }}", "cannot be used", "endfor")
    refused("Hello{% if add_generation_prompt %}!{% endif %}", "otherwise when its answer follows", "'!'")
    refused("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}", "leaves out")
    refused(
        "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
        "'1wh7at",
        "'2wh7at",
        "--chat-template",
    )
    refused(CHATML.replace("<|eot|>", "{{ '<|eot|>' if 'an7swered' in m.content }}"), "does not end this answer")


def test_a_space_that_belongs_to_the_answer_is_refused_before_anything_is_read():
    with pytest.raises(UserError, match="the chat template cannot be used"):
        ChatFormat(tokenizer("pieces"), BARE.replace("assistant:{%", "assistant: {%"))
    ChatFormat(tokenizer("bytes"), BARE.replace("assistant:{%", "assistant: {%"))


def test_what_one_conversation_lacks_is_told_of_it_alone():
    layout = chat("gemma", "bytes")
    with pytest.raises(UnfitInputError, match="refuses a conversation of system, user: no system role"):
        layout.prompt((Message(role="system", content="Be."), Message(role="user", content="Hm")))
    with pytest.raises(UnfitInputError, match="the answer is empty"):
        layout.turns("Hm", " \n")
    assert layout.turn("Hm", "").answer == (layout.end_id,)  # which may be ranked
    for answer in ((), (Message(role="user", content="No."),)):
        for made in (layout.turn, layout.turns):
            with pytest.raises(UnfitInputError, match="assistant's turn"):
                made("Hm", answer)
    only_answers = "{% for m in messages %}{{ m.content if m.role == 'assistant' or m.content != '' }}{% endfor %}"
    with pytest.raises(UnfitInputError, match="nothing before the answer"):
        ChatFormat(tokenizer("bytes"), only_answers).turns("", "Aa")


def test_a_tokenizers_own_template_comes_before_ours_and_one_given_before_both():
    tokenizer_alone = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer("bytes").backend_tokenizer, eos_token="<|eos|>"
    )
    assert ChatFormat(tokenizer_alone).template == PLAIN
    assert ChatFormat(tokenizer_alone).prompt("Hm")  # without a beginning-of-text token
    tokenizer_alone.chat_template = CHATML
    assert ChatFormat(tokenizer_alone).template == CHATML
    assert ChatFormat(tokenizer_alone, BARE).template == BARE


def test_a_tokenizer_that_cannot_keep_special_tokens_as_text_refuses_such_texts_alone(monkeypatch):
    layout = ChatFormat(tiny_tokenizer())
    monkeypatch.setattr(layout, "_exact", False)
    with pytest.raises(UnfitInputError, match="spells out"):
        layout.prompt("a<|eos|>b")
    assert layout.prompt("a b")


def test_an_example_is_shown_with_what_is_trained_in_colour():
    layout = chat("chatml", "bytes")
    console = Console(no_color=False, force_terminal=True, width=200, color_system="standard", file=None, record=True)
    with console.capture() as shown:
        console.print(layout.shown(layout.turns("Is it\x1b[2J?", KOREAN)[0]))
    lines = shown.get()
    assert f"\x1b[1;32m{KOREAN}<|eot|>\x1b[0m" in lines
    assert "\\x1b[2J?" in lines and "\x1b[2J" not in lines
    assert isinstance(layout.turns("a", "b")[0], Turn)


CLOCK = (
    "{{ strftime_now('%d %B %Y') }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def test_a_template_that_reads_the_clock_is_told_the_same_day_every_day(monkeypatch) -> None:
    import datetime

    from transformers.utils import chat_template_utils

    written = []
    for day in (28, 29):
        now = type("Day", (datetime.datetime,), {"now": classmethod(lambda cls, tz=None, day=day: cls(2031, 5, day))})
        monkeypatch.setattr(chat_template_utils, "datetime", now)
        chat = ChatFormat(tiny_tokenizer(), CLOCK)
        written.append(chat.turn("Why?", "So."))
    assert written[0] == written[1]
    assert chat.pinned_date is not None and chat.text(written[0].prompt).startswith(f"{chat.pinned_date:%d %B %Y}")
    assert ChatFormat(tiny_tokenizer()).pinned_date is None


@pytest.mark.parametrize("chance", ["{{ ['Hello', 'Hi'] | random }}", "{{ lipsum(1) }}"])
def test_a_template_that_draws_at_random_is_refused(chance) -> None:
    with pytest.raises(UserError, match="draws at random"):
        ChatFormat(tiny_tokenizer(), CLOCK + chance)
