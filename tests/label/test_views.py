"""What is shown and taken back: every kind in both languages, blind, harmless, and complete or refused."""

import ast
import json
import re
from pathlib import Path
from random import Random

import pytest

from momus import label
from momus.errors import UserError
from momus.label.kinds import KINDS, WrittenComment, check
from momus.label.texts import LANGUAGES, Words, prose
from momus.label.views import arrange, prefill_use, prefilled_comments, view
from support.label_items import GOOD, ITEMS


def shown(kind, payload=None, language="en", seed=0):
    payload = payload or ITEMS[kind]
    arrangement = arrange(kind, payload, Random(seed))
    return arrangement, view(kind, payload, arrangement, Words(language), models=True)


def test_there_is_an_example_of_every_kind():
    assert set(ITEMS) == set(GOOD) == set(KINDS)


def test_both_languages_say_the_same_things():
    english, korean = Words("en").all, Words("ko").all
    assert set(english) == set(korean)
    for key, text in english.items():
        assert type(text) is type(korean[key]), key
        if isinstance(text, str):
            assert text.count("{") == korean[key].count("{"), key
        else:
            assert len(text) == len(korean[key]), key


def sentences_raised():
    """The sentences with which the workbench refuses what comes through a browser; `{}` is what varies."""
    of_commands = "audit database deciding drafts exporting importing postgresql restoring schema serve sqlite verify"
    for path in sorted(Path(label.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())) if path.stem not in of_commands.split() else ():
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                *_, message = (None, *node.exc.args)
                parts = message.values if isinstance(message, ast.JoinedStr) else [message]
                text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in parts)
                if ast.unparse(node.exc.func) in ("RefusedError", "UserError", "ValueError") and text.strip("{}: "):
                    yield text


def test_no_refusal_is_in_english_only():
    said = set(sentences_raised())
    assert len(said) > 40
    for sentence in said:
        assert re.search("[가-힣]", Words("ko").error(sentence.replace("{}", "3"))), sentence
        assert Words("en").error(sentence) == sentence


@pytest.mark.parametrize(("english", "korean"), [
    ("this task is no longer open", "이 과제는 이제 열려 있지 않습니다"),
    ("answer: nothing was changed", "답변: 바뀐 것이 없습니다"),
    ("bugs.2.last: the answer has 17 lines", "버그.2.last: 답변은 17줄입니다"),
    ("cut-offs: ranking: from 0 to 1.0", "cut-offs: ranking: 0에서 1.0까지입니다"),
    ("no labeler 'a: {b}'", "'a: {b}': 그런 작업자가 없습니다"),
    ("what nobody has translated: {}", "what nobody has translated: {}"),
    ("", ""),
])  # fmt: skip
def test_a_refusal_is_told_with_its_field_and_numbers(english, korean):
    assert Words("ko").error(english) == korean


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_shown_and_done(kind, language):
    arrangement, page = shown(kind, language=language)
    assert page["title"] == Words(language)[f"kind.{kind}"] and page["steps"] and page["fields"]
    json.dumps(page)
    assert check(kind, ITEMS[kind], arrangement, GOOD[kind])


BAD = [
    ("demonstration", {"answer": " \n"}, "answer"),
    ("demonstration", {"answer": "x", "author": "me"}, "author"),
    ("prompt", {"prompt": "p"}, "examples"),
    ("ranking", {"cards": [{"overall": 4}] * 2, "ranks": [1, 2]}, "cards"),
    ("ranking", {"cards": [{"overall": 8}] * 4, "ranks": [1, 2, 3, 4]}, "cards.0.overall"),
    ("ranking", {"cards": [{"overall": 4}] * 4, "ranks": []}, "ranks"),
    ("edit", {"answer": ITEMS["edit"]["answer"]}, "answer"),
    ("tamper", {"answer": ITEMS["tamper"]["task"]["answer"], "bugs": [{"first": 1, "last": 1, "description": "d"}]},
     "answer"),
    ("tamper", {"answer": "x", "bugs": []}, "bugs"),
    ("tamper", {"answer": "x", "bugs": [{"first": 1, "last": 9, "description": "d"}]}, "bugs.0.last"),
    ("tamper", {"answer": "x\n\ny", "bugs": [{"first": 2, "last": 2, "description": "d"}]}, "bugs.0.first"),
    ("found", {"bugs": []}, "bugs"),
    ("critique", {"comments": []}, "comments"),
    ("critique", {"comments": [{"highlight": "nowhere", "text": "t"}]}, "comments.0.highlight"),
    ("critique", {"comments": [{"highlight": "def", "text": "t"}], "nothing": True}, "comments"),
    ("comparison", {"ratings": GOOD["comparison"]["ratings"][:1]}, "ratings"),
    ("review", {"verdict": "returned"}, "note"),
    ("survey", {"values": {}}, "values.useful"),
    ("survey", {"values": {"useful": 9, "who": "author", "again": "x"}}, "values.useful"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "content", "field"), BAD)
def test_incomplete_work_is_refused_by_field(kind, content, field):
    with pytest.raises(UserError, match=rf"^{re.escape(field)}\b") as refused:
        check(kind, ITEMS[kind], {}, content)
    assert "\n" not in str(refused.value)
    assert re.search("[가-힣]", Words("ko").error(str(refused.value)).partition(": ")[2])


def test_no_view_names_sources_authors_or_gold():
    for kind in KINDS:
        for seed in range(4):
            _, page = shown(kind, seed=seed)
            assert "PLANTED" not in json.dumps(page), kind


def test_human_and_model_critiques_are_formatted_alike():
    answer = ITEMS["comparison"]["tamper"]["answer"]
    quote = "return a - b"
    texts = [f"```\n{quote}\n```\nWrong sign.", f"\n\n````python\n{quote}\n````\n  Wrong sign.  \n"]
    payload = {**ITEMS["comparison"], "critiques": texts, "sources": ["PLANTED", "PLANTED"]}
    columns = shown("comparison", payload)[1]["panels"][-1]["items"]
    assert answer and {**columns[0], "letter": ""} == {**columns[1], "letter": ""}


def test_a_quote_that_is_not_in_the_answer_is_shown_without_lines():
    payload = {**ITEMS["comparison"], "critiques": ["```\nnot there\n```\nHm.", "All good."]}
    columns = shown("comparison", payload)[1]["panels"][-1]["items"]
    assert sorted(c["lines"] is None for column in columns for c in column["comments"]) == [True]


def test_every_order_is_drawn_about_equally_often():
    orders = [arrange("comparison", ITEMS["comparison"], Random(seed))["order"] for seed in range(2000)]
    for place in range(4):
        counts = [sum(order[place] == item for order in orders) for item in range(4)]
        assert sum((count - 500) ** 2 / 500 for count in counts) < 16.3  # chi-square, 3 degrees, p = 0.001


def test_a_random_half_sees_the_prefill():
    seen = [arrange("critique", ITEMS["critique"], Random(seed))["prefilled"] for seed in range(400)]
    assert 150 < sum(seen) < 250
    with_it = view("critique", ITEMS["critique"], {"prefilled": True}, Words("en"))["fields"][0]["initial"]
    without = view("critique", ITEMS["critique"], {"prefilled": False}, Words("en"))["fields"][0]["initial"]
    assert len(with_it) == 2 and without == []


def test_use_of_a_prefill_is_computed_from_ids_and_texts():
    item = KINDS["critique"].item.model_validate(ITEMS["critique"])
    before = prefilled_comments(item)
    (first, (quote, text)), (second, (quote2, _)) = before.items()
    given = (
        WrittenComment(id=first, highlight=quote, text=text),
        WrittenComment(id=second, highlight=quote2, text="Something else."),
        WrittenComment(id=first, highlight=quote, text="a copy of an id is a new comment"),
        WrittenComment(highlight=quote, text="mine"),
    )
    use = prefill_use(before, given)
    assert {name: use[name] for name in ("kept", "edited", "deleted", "added")} == {
        "kept": 1, "edited": 1, "deleted": 0, "added": 2,
    }  # fmt: skip
    assert use["origins"] == ("model", "edited", "human", "human") and 0 < use["similarity"] < 1
    assert prefill_use(before, ())["deleted"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "![x](https://evil.example/?q=1)",
        "[x](javascript:alert(1))", "[x](data:text/html,<script>1</script>)", "<svg/onload=alert(1)>",
        "```<img src=x>\n</code></pre><script>1</script>\n```", "<a href='https://x' onclick='1'>x</a>",
        "[x]: javascript:alert(1)\n\n[x]", "<style>*{display:none}</style>", "<iframe src=//x></iframe>",
        "<form action=//x><input name=a></form>", "![a][b]\n\n[b]: //evil.example/x.png",
    ],
)  # fmt: skip
def test_text_of_strangers_becomes_harmless(text):
    html = prose(text)
    allowed = r"p|br|em|strong|code|pre|ul|ol|li|blockquote|h\d|hr|table|thead|tbody|tr|th|td|a|s"
    assert not re.search(rf"<(?!/?(?:{allowed})\b)", html)
    assert not re.search(r"<[^>]*\b(on\w+|style|src|action)\s*=", html)
    assert not re.search(r'href="(?!https?://)', html)
    assert "‮" not in prose("a‮b")
