import pytest

from momus.sandbox import Limits, run_tests, run_tests_on_each

pytestmark = pytest.mark.usefixtures("cage")
TESTS = ["assert double(2) == 4", "assert double(-3) == -6", 'assert double("a") == "aa"']


def test_an_answer_that_passes():
    result = run_tests("def double(x):\n    return x + x\n", TESTS)
    assert result.passed
    assert result.messages == ("", "", "")


def test_each_test_has_its_verdict():
    result = run_tests("def double(x):\n    return x * x\n", TESTS)
    assert result.verdicts == ("passed", "failed", "error")
    assert result.messages[2].startswith("TypeError: can't multiply")
    assert not result.passed


def test_code_that_is_no_python():
    result = run_tests("def double(x:\n", TESTS)
    assert result.verdicts == ("error",) * 3
    assert "SyntaxError" in result.messages[0]


def test_no_tests_are_not_passed():
    assert not run_tests("x = 1", []).passed


def test_setup_comes_first():
    assert run_tests("y = sqrt(4)", ["assert y == 2"], setup="from math import sqrt").passed


@pytest.mark.parametrize(
    "answer",
    [
        "import os\nos._exit(0)",
        "import sys\nsys.exit(0)",
        'print(\'[["passed", ""]]\')\ndef double(x): return 0',
        'import os\nos.write(1, b\'[["passed", ""]]\\n\')\nos._exit(0)',
        "raise KeyboardInterrupt",
    ],
)
def test_an_answer_cannot_pass_by_leaving_or_printing(answer):
    assert not run_tests(answer, TESTS).passed


def test_the_limit_of_time_keeps_the_verdicts_so_far():
    loop = "def double(x):\n    while x == -3: pass\n    return x + x\n"
    assert run_tests(loop, TESTS, limits=Limits(seconds=1)).verdicts == ("passed", "time", "time")


def test_answers_of_a_batch_do_not_touch_each_other():
    right = "def double(x):\n    return x + x\n"
    bad = ["def double(x): return 1", "import os\nos._exit(3)", "while True: pass", "import builtins\ndel builtins.len"]
    got = run_tests_on_each([right, *bad, right], TESTS, limits=Limits(seconds=1))
    assert [result.passed for result in got] == [True, False, False, False, False, True]
    assert got[3].verdicts == ("time",) * 3


def test_an_answer_that_ends_the_whole_run_ends_only_its_own():
    right = "def double(x):\n    return x + x\n"
    everywhere = (
        "import os\nblocks = [os.fork() for _ in range(2)]\nx = bytearray(os.urandom(1)) * (60 << 20)\nwhile True: pass"
    )
    got = run_tests_on_each([right, everywhere, right], TESTS, limits=Limits(seconds=30, memory_bytes=100 << 20))
    assert [result.passed for result in got] == [True, False, True]
    assert got[1].verdicts == ("memory",) * 3
