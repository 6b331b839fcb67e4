"""A file that does not parse: the error names newer syntax by its version, Python 2 as that, a mistake as a mistake."""

import ast
import sys

import pytest

from momus.review.syntax import explain

NEWER = {
    "try:\n    f()\nexcept ValueError, KeyError:\n    pass": ((3, 14), "PEP 758"),
    "try:\n    f()\nexcept* ValueError, error.Other:\n    raise": ((3, 14), "PEP 758"),
    "try:\n    f()\nexcept a, b, c:\n    print(b)": ((3, 14), "PEP 758"),
    'def page(title):\n    return t"<h1>{title}</h1>"': ((3, 14), "PEP 750"),
    "x = Tr'{a}'": ((3, 14), "PEP 750"),
    "type Pair[T] = tuple[T, T]": ((3, 12), "PEP 695"),
    "def first[T](values: list[T]) -> T:\n    return values[0]": ((3, 12), "PEP 695"),
    "class Box[T: int]:\n    pass": ((3, 12), "PEP 695"),
    'x = f"{", ".join(names)}"': ((3, 12), "PEP 701"),
    "def f(names):\n    return f'{'a' if names else 'b'} and {names!r}'": ((3, 12), "PEP 701"),
    "x = f'{names[\"\\n\"]}'": ((3, 12), "PEP 701"),
}
PYTHON_2 = [
    "print 'hello'",
    "try:\n    f()\nexcept ValueError, e:\n    print(e)",
    "raise ValueError, 'no'",
    "x = 0777",
    "if a <> b:\n    pass",
]
MISTAKES = ["def f(:\n    pass", "x = (1,", "x = f(", "return = 3", "x = 'open", "type = = 3", "if x\n    pass"]


def explained(text: str) -> str:
    with pytest.raises(SyntaxError) as caught:
        ast.parse(text)
    return explain(caught.value, text)


@pytest.mark.parametrize("text", NEWER)
def test_newer_syntax_is_reported_with_the_version_that_has_it(text):
    version, proposal = NEWER[text]
    if sys.version_info >= version:
        ast.parse(text)
        return
    assert explained(text).startswith(f"needs Python {version[0]}.{version[1]} ({proposal})")


@pytest.mark.parametrize("text", PYTHON_2)
def test_python_2_is_reported_as_python_2(text):
    assert "this looks like Python 2" in explained(text)


@pytest.mark.parametrize("text", MISTAKES)
def test_a_syntax_error_is_reported_as_one(text):
    assert explained(text).startswith("syntax error: ")
