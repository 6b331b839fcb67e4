import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.critique import Comment, Critique, Span, anchor
from momus.records import Bug, Tamper, Task
from momus.tamper.truth import (
    Label,
    Verdict,
    code_tokens,
    is_style_remark,
    judge,
    names_repair,
    repair_of,
)

ANSWER = """def find(items, wanted):
    low = 0
    high = len(items)
    while low <= high:
        middle = (low + high) // 2
        if items[middle] == wanted:
            return middle
        if items[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return None"""


def bug(replacement, original, description):
    start = ANSWER.index(replacement)
    return Bug(
        kind="comparison",
        spans=(Span(start, start + len(replacement)),),
        description=description,
        original=original,
        replacement=replacement,
    )


LOOP = bug("low <= high", "low < high", "Should be `low < high`: one step too many reads past the end.")
END = bug("return None", "return -1", "Should be `return -1`, as for other searches.")
TAMPER = Tamper(task=Task(id="t", question="", answer="pass"), answer=ANSWER, bugs=(LOOP, END))
CLEAN = Tamper(task=Task(id="t", question="", answer="pass"), answer=ANSWER)


def say(highlight, text="This is wrong."):
    return Comment(highlight=highlight, text=text, span=anchor(highlight, ANSWER))


def labels(*comments, tamper=TAMPER):
    return [label.value for label in judge(Critique(comments=comments), tamper).labels]


def test_verdicts_rise_from_missed_to_named():
    located = judge(Critique(comments=(say("while low <= high:"),)), TAMPER)
    assert located.verdicts == (Verdict.LOCATED, Verdict.MISSED)
    assert (located.located, located.named, located.missed, located.fakes) == (1, 0, 1, 0)
    named = judge(Critique(comments=(say("while low <= high:", "Use `while low<high:`."),)), TAMPER)
    assert named.verdicts == (Verdict.NAMED, Verdict.MISSED)
    assert (named.located, named.named) == (1, 1)
    assert judge(Critique(), TAMPER).verdicts == (Verdict.MISSED, Verdict.MISSED)


def test_the_gold_critique_names_everything():
    truth = judge(TAMPER.gold_critique(), TAMPER)
    assert truth.verdicts == (Verdict.NAMED, Verdict.NAMED)
    assert truth.labels == (Label.REAL, Label.REAL)


def test_naming_the_repair_elsewhere_finds_nothing():
    elsewhere = judge(Critique(comments=(say("low = 0", "Should be `low < high`."),)), TAMPER)
    assert elsewhere.verdicts == (Verdict.MISSED, Verdict.MISSED)
    assert elsewhere.labels == (Label.FAKE,)


def test_a_highlight_of_everything_points_nowhere():
    assert labels(say(ANSWER)) == ["fake"]
    three = "    high = len(items)\n    while low <= high:\n        middle = (low + high) // 2"
    assert labels(say(three)) == ["real"]
    assert labels(say("    low = 0\n" + three)) == ["fake"]


def test_labels():
    unanchored = Comment(highlight="while low <= high :", text="E711: no", span=None)
    assert labels(unanchored) == ["fake"]
    assert labels(say("low = 0", "`E741`: ambiguous name")) == ["nitpick"]
    assert labels(say("while low <= high:", "`SIM102`: flatten")) == ["real"]
    assert labels(say("while low <= high:"), say("low <= high")) == ["real", "nitpick"]
    assert labels(say("while low <= high:"), say("return None")) == ["real", "real"]
    assert labels(say("while low <= high:"), tamper=CLEAN) == ["fake"]


def test_a_repeat_may_still_raise_the_verdict():
    twice = Critique(comments=(say("low <= high"), say("low <= high", "Should be `low < high`.")))
    assert judge(twice, TAMPER).verdicts[0] is Verdict.NAMED


def test_one_comment_may_hit_two_bugs():
    both = TAMPER.model_copy(update={"bugs": (LOOP, LOOP)})
    assert judge(Critique(comments=(say("low <= high"),)), both).located == 2


def test_a_duplicate_line_quoted_by_its_author_is_caught():
    answer = "\n".join(["a = f(x)", "b = 1", "c = 2", "d = 3"] * 2)
    start = answer.rindex("d = 3")
    late = Bug(kind="k", spans=(Span(start, start + 5),), description="Bad.", original="e", replacement="d")
    tamper = Tamper(task=Task(id="t", question="", answer=""), answer=answer, bugs=(late,))
    assert judge(tamper.gold_critique(), tamper).located == 1


@pytest.mark.parametrize(
    ("description", "repair"),
    [
        ("Should be `low < high`: too far.", "low < high"),
        ("The bound should be `n`.", "n"),
        ("Missing `if not x: return` before this.", "if not x: return"),
        ("Missing the guard ``a `b` c``.", "a `b` c"),
        ("`x` is wrong here.", "low < high"),
    ],
)
def test_repair_of(description, repair):
    assert repair_of(LOOP.model_copy(update={"description": description})) == repair


def test_names_repair_is_about_code_tokens():
    assert names_repair("low<high is meant", LOOP)
    assert not names_repair("`low <= high` goes too far", LOOP)
    assert not names_repair("`lower < high`", LOOP)
    negated = bug("items[middle] == wanted", "x", "Should be `x`.").model_copy(
        update={"replacement": "not x", "original": "x"}
    )
    assert not names_repair("`if not x:` is the wrong way round", negated)
    assert names_repair("`if not x:` should be `if x:`", negated)
    operator = LOOP.model_copy(update={"description": "Missing `not`.", "replacement": "x"})
    assert not names_repair("`x` is not what is meant", operator)
    added = LOOP.model_copy(update={"description": "Not needed.", "original": ""})
    assert not names_repair("anything", added)


def test_a_long_repair_is_cut_off_in_its_description():
    long = LOOP.model_copy(update={"description": "Should be `f(first, second, thi...`: why.", "original": "f("})
    assert names_repair("Should be `f(first, second, thi...`: why.", long)
    assert names_repair("Should be `f(first, second, third)`.", long)
    assert not names_repair("Should be `f(first, third)`.", long)
    stub = LOOP.model_copy(update={"description": "Should be `x = ...`.", "original": "x = ..."})
    assert not names_repair("Should be `x`.", stub)


@given(st.text("abc<>=!*/ .0'\n", max_size=20))
def test_tokens_lose_only_whitespace(code):
    assert "".join(code_tokens(code)) == "".join(code.split())


@pytest.mark.parametrize("text", ["E741: ambiguous", "`SIM102`: nested", "`PLR0911` too many", "B006"])
def test_style_remarks(text):
    assert is_style_remark(text)


@pytest.mark.parametrize("text", ["Should be `E741`.", "This is E741", "UTF8 is meant", "E741x", "-"])
def test_other_remarks(text):
    assert not is_style_remark(text)


lines = st.sampled_from(ANSWER.split("\n"))
remarks = st.sampled_from(["Wrong.", "`E1234`: style", "Should be `return -1`.", "Should be `low < high`."])


@given(st.lists(st.builds(say, lines.map(str.strip), remarks), max_size=5))
def test_saying_more_never_misses_more(comments):
    whole = judge(Critique(comments=tuple(comments)), TAMPER)
    assert len(whole.labels) == len(comments)
    assert whole.labels.count(Label.REAL) <= whole.located
    for cut in range(len(comments)):
        part = judge(Critique(comments=tuple(comments[:cut])), TAMPER)
        assert all(a <= b for a, b in zip(part.verdicts, whole.verdicts, strict=True))
        assert whole.labels[:cut] == part.labels
