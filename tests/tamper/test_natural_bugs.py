"""Natural bugs: a scripted model's wrong answers, tested in the cage, repaired, and kept with their place."""

import json
from collections import Counter

import pytest

from momus.cli import main
from momus.errors import UserError
from momus.files import Ledger
from momus.lm.chats.protocol import Answer
from momus.lm.engine import Sample
from momus.records import Tamper
from momus.sandbox import NoCageError, require_cage
from momus.tamper.natural import edits
from momus.tamper.natural.answers import code_of
from momus.tamper.natural.collect import AnswerConfig, collect, natural_bug
from momus.tamper.natural.contamination import probe
from momus.tamper.natural.edits import small_edits
from momus.tamper.natural.problems import Problem, read_problems
from momus.tamper.natural.repairs import line_repairs, repair_by_edit, repair_by_model
from momus.tamper.truth import judge

PROBLEM = Problem(
    "mbpp/601", "Write a function to sum the numbers up to n.", "", ("assert total(3) == 6", "assert total(1) == 1")
)
WRONG = "def total(n):\n    result = 0\n    for i in range(n):\n        result += i\n    return result\n"
RIGHT = WRONG.replace("range(n)", "range(n + 1)")


@pytest.fixture(scope="module")
def cage():
    try:
        require_cage()
    except NoCageError as error:
        pytest.skip(str(error))


def passes(codes):
    """Say of codes whether they are right, by their text."""
    return [code == RIGHT for code in codes]


class ScriptedChat:
    """Answers questions in order, and counts them."""

    name = "scripted"

    def __init__(self, *texts):
        self.texts, self.asked = list(texts), []

    def identity(self):
        return {"model": "scripted"}

    def count(self, messages):
        return 0

    def answer(self, questions):
        self.asked += questions
        return [Answer(self.texts.pop(0)) for _ in questions]


def test_problems_are_read_with_their_published_splits(tmp_path):
    rows = [
        {"task_id": i, "text": "t", "code": "a\r\nb", "test_list": ["assert 1"], "test_setup_code": ""}
        for i in (1, 11, 510, 511, 600, 601, 974)
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = read_problems(tmp_path / "p.jsonl")
    assert [each.split for each in problems] == ["train", "test", "test", "valid", "valid", "train", "train"]
    assert problems[0].code == "a\nb" and problems[0].id == "mbpp/1"


@pytest.mark.parametrize("row", ["3", "{}", '{"task_id": 1, "text": "t", "code": "c", "test_list": []}', "[", '"x"'])
def test_what_is_no_problem_is_one_line(tmp_path, row):
    (tmp_path / "p.jsonl").write_text(row + "\n")
    with pytest.raises(UserError, match=r"p\.jsonl:1"):
        read_problems(tmp_path / "p.jsonl")


@pytest.mark.parametrize(
    "text",
    [
        "```python\nx = 1\n```\nThis is it.",
        "x = 1",
        "Here:\n```\nx = 1\n```",
        "```python\nx = 1",
        "```py\r\nx = 1\r\n```",
    ],
)
def test_code_is_read_out_of_an_answer(text):
    assert code_of(text) == "x = 1\n"


def test_the_smallest_edit_repairs():
    assert repair_by_edit(WRONG, passes) == RIGHT


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("def f(a, b):\n    return a - b\n", "def f(a, b):\n    return a + b\n"),
        ("def f(a):\n    return a[1]\n", "def f(a):\n    return a[0]\n"),
        ("def f(é, b):\n    return é\n", "def f(é, b):\n    return b\n"),
        ("def f(a):\n    return {x for x in a}\n", "def f(a):\n    return list({x for x in a})\n"),
        ("def f(a):\n    'é'; return a\n", "def f(a):\n    'é'; return len(a)\n"),
        ("def f(a):\n    return a and b\n", "def f(a):\n    return a or b\n"),
        ("def f(a):\n    a.copy()\n", "def f(a):\n    return a.copy()\n"),
        ("def f(a):\n    a == 1\n", "def f(a):\n    a = 1\n"),
        ("def f(a):\n    g(a)\n    return a\n", "def f(a):\n    a = g(a)\n    return a\n"),
        ("seen[é]\n", "seen[é] = True\n"),
        ("if é:\n    b()\n", "if é is not None:\n    b()\n"),
        ("if not a.b:\n    c()\n", "if a.b is None:\n    c()\n"),
        ("if a is not None:\n    c()\n", "if a:\n    c()\n"),
        ("a = self.b + self.c\nself.b = 1\n", "a = self.b + self.c\nself.c = 1\n"),
        ("try:\n    f()\nexcept KeyError:\n    g()\n", "try:\n    f()\nexcept IndexError:\n    g()\n"),
        ("a = é\n", "a = len(é)\n"),
        ("print(f(a))\n", "print(abs(f(a)))\n"),
        ("print(a)\n", "print(*a)\n"),
        ("a[b.c]\n", "a[b.c - 1]\n"),
        ("a = b - c // 2\n", "a = (b - c) // 2\n"),
        ("a = b - c - d\n", "a = b - (c - d)\n"),
        ("a = not b and c\n", "a = not (b and c)\n"),
        ("if a:\n    b()\nif c:\n    d()\n", "if a:\n    b()\nelif c:\n    d()\n"),
        ("if a > 1:\n    a -= 1\n", "while a > 1:\n    a -= 1\n"),
        ("while a:\n    break\n", "while a:\n    continue\n"),
        ("def f():\n    for a in b:\n        return\n", "def f():\n    for a in b:\n        continue\n"),
        ("a = 'x' if b else 'y'\nprint('y')\n", "a = 'x' if b else 'y'\nprint('x')\n"),
        ("a = 60 * b\nc = 24 * d\n", "a = 60 * b\nc = 60 * d\n"),
        ("a = (b - c) * d\n", "a = b - c * d\n"),
        ("if (a or b) is None:\n    c()\n", "if not (a or b):\n    c()\n"),
        ("if a['b'] is not None:\n    c()\n", "if a['b']:\n    c()\n"),
        ("for a in b:\n    c()\n", "for a in range(len(b)):\n    c()\n"),
        ("x = [a for a in b if c]\n", "x = [a for a in b if c is not None]\n"),
        ("a = b[0]\n", "a = b[-1]\n"),
        ("n = 3\nfor i in range(1):\n    pass\n", "n = 3\nfor i in range(n):\n    pass\n"),
    ],
)
def test_small_edits_reach(wrong, right):
    assert right in [wrong[: edit.start] + edit.text + wrong[edit.stop :] for edit in small_edits(wrong)]


@pytest.mark.parametrize(
    ("code", "nonsense"),
    [
        ("def f(a, b):\n    a.append(b)\n", "return a.append(b)"),
        ("def f(a, b):\n    a.append(b)\n", "b = a.append(b)"),
        ("print(a)\n", "a = print(a)"),
        ("for y in x:\n    f()\n", "x is not None"),
        ("def f(x):\n    return x\n", "x is not None"),
        ("x = (a - b) * c\n", "(b)"),
        ("x = a + b + c\n", "(b + c)"),
        ("while True:\n    f()\n", "len(True)"),
        ("def f(a: Optional[str]):\n    pass\n", "max(str, 0)"),
        ("def f(a):\n    '''Doc.'''\n    return open(a, 'r')\n", "open(a, '''Doc.''')"),
        ("x = abs(a == b)\n", "(("),
        ("if s == r:\n    x = f'{s!r}<{r}and'\n", "{r}or"),
    ],
)
def test_nobody_means_such_edits(code, nonsense):
    assert small_edits(code)
    assert not [edit for edit in small_edits(code) if nonsense in code[: edit.start] + edit.text + code[edit.stop :]]


def test_what_is_tried_of_too_many_edits_is_of_every_rank():
    names = "".join(f"    v{n} = {n}\n" for n in range(12))
    wrong = f"def f(a, b, c):\n{names}    v1 = g(a, b, c, v1, v2, v3)\n    sorted(v1)\n    return v1\n"
    right = wrong.replace("    sorted(v1)", "    return sorted(v1)")
    tried = []

    def note(codes):
        tried.extend(codes)
        return [code == right for code in codes]

    assert repair_by_edit(wrong, note) == right and len(tried) <= 512
    for most in (5, 40, 55, 56, 80, 100):
        assert len(line_repairs(wrong, 14, most)) == most
    assert len(Counter(line_repairs(wrong, 14, 40).values())) >= 3


def test_of_a_long_line_every_token_is_tried_before_what_is_rarer():
    """The power of a distance was not tried for the root that it should be: another name was, somewhere."""
    code = "def f(a, b):\n    return ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 2\n"
    everything = line_repairs(code, 2)
    first = [text for text, rank in everything.items() if rank == edits.TOKEN]
    assert len(everything) > 90 and set(first) <= set(line_repairs(code, 2, 87))


def test_of_a_large_file_only_what_is_near_is_looked_at():
    """Of 4,000 lines all was looked at for each token, which took a minute."""
    looked_at = []

    class Places(list):
        def __getitem__(self, at):
            looked_at.append(at)
            return super().__getitem__(at)

    places = Places((10 * n, f"name_{n}") for n in range(5000))
    found = edits._nearest(places, edits._Token(1, "name_2500", 25_000, 25_009), 3)
    assert found == ["name_2499", "name_2501", "name_2498"]
    assert sum(at.stop - at.start if isinstance(at, slice) else 1 for at in looked_at) <= 2 * edits._WITHIN + 20


def test_of_too_many_names_the_nearest_are_tried():
    code = "".join(f"a{n} = {n}\n" for n in range(40)) + "print(a39)\n"
    tried = {edit.text for edit in small_edits(code) if edit.start == code.rindex("a39")}
    assert {"a38", "a30"} <= tried and not {"a0", "a10"} & tried


def test_of_a_models_changes_the_fewest_that_pass_are_kept():
    answer = "```python\n" + RIGHT.replace("return result", "return result  # done") + "```"
    assert repair_by_model(WRONG, answer, passes) == RIGHT


def test_another_answer_is_no_repair():
    assert (
        repair_by_model(WRONG, "def total(n):\n    return n * (n + 1) // 2\n", lambda codes: [True] * len(codes))
        is None
    )
    assert repair_by_model(WRONG, WRONG, passes) is None


@pytest.mark.parametrize(
    ("wrong", "right", "quoted", "says"),
    [
        (WRONG, RIGHT, "for i in range(n):", "Should be `for i in range(n + 1):`"),
        (WRONG.replace("    result = 0\n", ""), WRONG, "for i in range(n):", "Missing `result = 0` before this"),
        (WRONG + "    return 1\n", WRONG, "return 1", "Should not be here"),
        (WRONG.replace("    return result\n", ""), WRONG, "result += i", "Missing `return result` after this"),
    ],
)
def test_a_bug_is_where_the_repair_changes_something(wrong, right, quoted, says):
    tamper = natural_bug(PROBLEM, "mbpp/601#0", wrong, right, "natural.edit", "assert total(3) == 6  # AssertionError")
    (bug,) = tamper.bugs
    assert [wrong[span.start : span.end] for span in bug.spans] == [quoted]
    assert bug.description.startswith(says) and "`assert total(3) == 6` does not hold" in bug.description
    gold = tamper.gold_critique()
    assert judge(gold, tamper).located == 1
    assert Tamper.model_validate_json(tamper.model_dump_json()) == tamper


def test_the_whole_way_and_again(cage, tmp_path):
    other = "def total(n):\n    if n < 0:\n        return 0\n    return sum(range(n, n)) + n * 7\n"
    chat = ScriptedChat(f"```python\n{RIGHT}```", f"```python\n{WRONG}```", "def total(n:", "def tot(n): pass", other)
    repairer = ScriptedChat("```python\n" + other.replace("n * 7", "n * (n + 1) // 2") + "```")
    config = AnswerConfig(samples=5)
    steps = []
    for _ in range(2):
        with Ledger(tmp_path / "answers.jsonl", {}) as ledger:
            tampers, counts = collect([PROBLEM], chat, repairer, ledger, config, lambda *step: steps.append(step[0]))
    assert len(chat.asked) == 5 and len(repairer.asked) == 1  # the second time nobody was asked
    assert counts == {
        "answers": 5, "right": 1, "wrong result": 2, "no Python": 1, "another name": 1,
        "repaired by an edit": 1, "repaired by a model": 1,
    }  # fmt: skip
    assert [tamper.bugs[0].kind for tamper in tampers] == ["natural.edit", "natural.model"]
    assert tampers[0].task.answer == RIGHT and tampers[0].answer == WRONG
    assert {"answered", "tested", "repaired", "repaired by the model"} == set(steps)


class Continuing:
    """An engine that knows one text by heart."""

    def __init__(self, known):
        self.known = known

    def encode(self, text, bos):
        return text

    def sample(self, prefixes, *, key, max_tokens, temperature):
        rests = [self.known.partition(prefix)[2] if prefix in self.known else "?" for prefix in prefixes]
        return [[Sample((), rest, (), True)] for rest in rests]


def test_what_is_known_by_heart_is_noticed(tmp_path):
    solution = "def f(a):\n    b = a\n    c = b\n    return c"
    known = Problem("mbpp/1", "Write a function that returns what it is given.", solution, ("assert f(1) == 1",))
    unknown = Problem("mbpp/2", "Write a function that does something else entirely.", "x = 1\ny = 2", ("assert x",))
    engine = Continuing(f"{known.text} And so on. # {known.text}\n{solution}")
    with Ledger(tmp_path / "answers.jsonl", {}) as ledger:
        shares = probe([known, unknown], lambda: engine, ledger)
        assert list(shares.values()) == [0.5, 0.5]
        assert probe([known, unknown], lambda: pytest.fail("loaded again"), ledger) == shares


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--samples", "0"], "--samples 0"), (["--temperature", "-1"], "--temperature -1"),
     (["--url", "http://x", "--probe"],
     "--probe is for"), (["--split", "valid"], "no problems of the split valid")],
)  # fmt: skip
def test_bad_options_are_one_line(tmp_path, capsys, options, words):
    row = {"task_id": 601, "text": "t", "code": "c", "test_list": ["assert 1"], "test_setup_code": ""}
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    command = ["data", "bugs", str(tmp_path / "p.jsonl"), "--model", "nowhere", "--out", str(tmp_path / "out")]
    assert main([*command, *options]) == 2
    shown = capsys.readouterr()
    assert words in shown.err and shown.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_edits_are_where_their_tokens_are_beside_characters_that_only_python_takes_for_ends_of_lines():
    code = 'SEPARATOR = "a\u2028b"\n\x0c\ndef f(a):\n    return a - 1\n'
    assert (code.index("-"), code.index("-") + 1, "+") in [edit[:3] for edit in small_edits(code)]
