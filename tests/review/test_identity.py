"""Identity: what a finding is known by stays when code moves, is indented or renamed, and tells equal code apart."""

from hypothesis import given
from hypothesis import strategies as st

from momus.review.files import source_of
from momus.review.findings import Finding, identify
from momus.review.identity import ByFile, Identity, match, normalise_code
from momus.review.units import units


def identities(code, path="m.py"):
    """Return the identity of every line of code that a finding may be on, by its number."""
    source = source_of(code, path)
    functions = {line: unit.name for unit in units(source) for line in unit.lines}
    lines = code.split("\n")
    found = [Finding(n, n, f, lines[n - 1], "Odd.") for n, f in sorted(functions.items()) if lines[n - 1].strip()]
    return {finding.line: finding.identity for finding in identify(found, path, code, functions)}


CODE = "def f(x):\n    y = 1\n    y = 1\n    return y\n\n\ndef g(x):\n    y = 1\n    return y\n"


def test_equal_lines_are_told_apart():
    known = identities(CODE)
    assert len({identity.fingerprint for identity in known.values()}) == len(known)
    assert (known[2].number, known[3].number, known[8].number) == (0, 1, 0)


def test_indentation_spacing_and_moved_lines_change_nothing():
    moved = "import os\n\n\nif os:\n    def f(x):\n        z = 3\n        y  =  1\n        y = 1\n        return   y\n"
    new = identities(moved)
    old = identities(CODE)
    assert [new[line] for line in (7, 8, 9)] == [old[line] for line in (2, 3, 4)]


def test_several_findings_about_the_same_line_are_told_apart_by_their_order():
    found = [Finding(1, 1, "", "x = 1", "One."), Finding(1, 1, "", "x", "Two.")]
    one, two = identify(found, "m.py", "x = 1\n", {1: ""})
    assert one.id != two.id and two.identity.nth == 1


def test_the_words_of_the_critic_and_what_it_quotes_of_the_line_change_nothing():
    one, *_ = identify([Finding(1, 1, "", "x = 1", "One.")], "m.py", "x = 1\n", {1: ""})
    two, *_ = identify([Finding(1, 1, "", "= 1", "Two!")], "m.py", "x = 1\n", {1: ""})
    assert one.id == two.id


def test_code_of_several_lines_is_one_piece():
    code = "a = [\n    1,\n]\nb = 2\na = [\n\n    1,\n]\n"
    functions = dict.fromkeys(range(1, 9), "")
    first, second = identify([Finding(1, 3, "", "a", "x"), Finding(5, 8, "", "a", "x")], "m.py", code, functions)
    assert first.identity.code == second.identity.code == "a = [\n1,\n]"
    assert normalise_code(["  x\t= 1 ", "", "y"]) == "x = 1\ny"


def test_renamed_files_are_followed_where_it_is_known_and_where_it_is_certain():
    old, new, other = (Identity(path, "f", "x = 1") for path in ("a.py", "b.py", "c.py"))
    assert match([old], [new], {"a.py": "b.py"}) == {old: new}
    assert match([old], [new]) == {old: new}
    assert match([old], [new, other]) == {}
    there = Identity("a.py", "g", "y")
    assert match([old], [there, new]) == {}


_LINES = st.lists(st.sampled_from(["a = 1", "b = a", "if a: b", "print(a)"]), min_size=1, max_size=8)


@given(_LINES, _LINES, st.booleans())
def test_lines_put_in_elsewhere_change_no_identity(body, added, indent):
    function = ["def f(a):", *(f"    {line}" for line in body)]
    before = identities("\n".join(function) + "\n")
    inner = [("    " if indent else "") + line for line in function]
    head = ["def g(a):", *(f"    {line}" for line in added), *(["if g:"] if indent else [])]
    after = identities("\n".join([*head, *inner]) + "\n")
    assert [after[line + len(head)] for line in before] == list(before.values())


_PATHS = st.sampled_from(["a.py", "b.py", "c.py", "gone.py", "lost.py"])
_IDENTITIES = st.lists(
    st.builds(Identity, _PATHS, st.sampled_from(["f", "g"]), st.sampled_from(["x", "y"])), unique=True
)


@given(_IDENTITIES, _IDENTITIES, st.dictionaries(_PATHS, _PATHS, max_size=2))
def test_a_file_is_matched_with_few_as_with_all(before, now, renamed):
    asked = []

    def exists(path):
        asked.append(path)
        return path not in ("gone.py", "lost.py")

    near = ByFile(before, lambda identity: identity, renamed, exists)
    assert len(asked) <= len(before), "not once for each file and each finding"
    for path in ("a.py", "b.py", "c.py"):
        after = [identity for identity in now if identity.path == path]
        few = near.that_may_be_in(path)
        assert match(few, after, renamed, exists) == match(before, after, renamed, exists)
        assert all(renamed.get(old.path, old.path) == path or not exists(old.path) for old in few)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=6, max_size=6))
def test_who_reviews_is_not_told_of_dismissals(marks):
    """A dismissal changes nothing of what is said about the other lines: its function reads as before."""
    lines = ["def f(x):", '    y = "# momus: ignore[in a text]"', "    if x:", "        y += x", "    return y", "f(1)"]
    marked, places = [], []
    for line, (above, beside) in zip(lines, marks, strict=True):
        if above:
            marked.append(line[: len(line) - len(line.lstrip())] + "# momus: ignore[it is fine]")
        marked.append(line + "  # momus: ignore[the caller checks]" * beside)
        places.append(len(marked))
    before, after = (list(units(source_of("\n".join(each)))) for each in (lines, marked))
    assert [(unit.name, unit.question, unit.text) for unit in before] == [
        (unit.name, unit.question, unit.text) for unit in after
    ]
    assert [places[number - 1] for unit in before for number in unit.lines] == [
        number for unit in after for number in unit.lines
    ]
