"""Patches: what is parsed and applied to the old file gives the new one, whatever the lines look like."""

import difflib
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.review.changes.patch import PatchError, parse_patch, split_lines

LINES = [
    b"a", b"b", b"", b" ", b"--- a/x", b"+++ b/x", b"@@ -1 +1 @@", b"diff --git a/x b/x", b"-", b"+", b"\\ No newline",
    b"\r", b"x\r", b"\x0c", b"\xff\xfe", b"-- ", b"\tx", b"index 1..2 100644", b"rename from x", b"Binary files a",
]  # fmt: skip
CONTENTS = st.tuples(st.lists(st.sampled_from(LINES), max_size=12), st.booleans()).map(
    lambda made: b"\n".join(made[0]) + b"\n" * (made[1] and bool(made[0]))
)


def unified(old, new, context):
    """Return the patch of a file as `diff -u` writes it."""
    made = []
    for line in difflib.diff_bytes(difflib.unified_diff, split_lines(old), split_lines(new), b"x", b"x", n=context):
        made.append(line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n")
    return b"".join(made)


@given(CONTENTS, CONTENTS, st.integers(0, 3))
@settings(max_examples=400)
def test_what_is_parsed_gives_the_new_file(old, new, context):
    data = unified(old, new, context)
    files = parse_patch(data)
    assert len(files) == (old != new)
    for patch in files:
        assert patch.apply(old) == new
        assert patch.is_applied(new)
        lines = split_lines(new)
        kept = [line for number, line in enumerate(lines, 1) if number not in patch.added()]
        assert len(kept) + len(patch.added()) == len(lines)
        rest = iter(split_lines(old))
        assert all(line in rest for line in kept)  # what was not added was there, in this order


@given(st.lists(CONTENTS, min_size=2, max_size=4))
@settings(max_examples=15, deadline=None)
def test_git_writes_what_is_read(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("git")
    names = ["plain.py", "with space.py", 'quote"d.py', "\u00fc\n.py"]
    for side in ("a", "b"):
        (folder / side).mkdir()
    half = len(contents) // 2
    for name, old, new in zip(names, contents[:half], contents[half:], strict=False):
        (folder / "a" / name).write_bytes(old)
        (folder / "b" / name).write_bytes(new)
    command = ["git", "diff", "--no-index", "--text", "--full-index", "--no-prefix", "a", "b"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    files = {patch.new.decode(): patch for patch in parse_patch(done.stdout) if patch.hunks}
    for name, old, new in zip(names, contents[:half], contents[half:], strict=False):
        if old != new:
            assert files[name].apply(old) == new


GIT = b"""\
commit message that says
--- a/nothing

diff --git a/old name.py b/new name.py
similarity index 90%
rename from old name.py
rename to new name.py
index 1111111..2222222 100644
--- a/old name.py
+++ b/new name.py
@@ -1,2 +1,3 @@ def f():
 a
+--- a/x
 b
@@ -9 +10,0 @@
-gone
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
diff --git a/gone.py b/gone.py
deleted file mode 100644
index 1111111..0000000
--- a/gone.py
+++ /dev/null
@@ -1 +0,0 @@
-x
diff --git a/empty.py b/empty.py
new file mode 100644
index 0000000..e69de29
diff --git a/image.png b/image.png
index 1111111..2222222 100644
Binary files a/image.png and b/image.png differ
diff --git a/sub b/sub
index 1111111..2222222 160000
--- a/sub
+++ b/sub
@@ -1 +1 @@
-Subproject commit 1111111
+Subproject commit 2222222
diff --git "a/\\303\\274.py" "b/\\303\\274.py"
new file mode 120000
index 0000000..e69de29
--- /dev/null
+++ "b/\\303\\274.py"
@@ -0,0 +1 @@
+/etc/passwd
\\ No newline at end of file
"""


def test_gits_own_lines_are_read():
    renamed, mode, gone, empty, image, sub, link = parse_patch(GIT)
    assert (renamed.old, renamed.new, renamed.mode, renamed.new_id) == (
        b"old name.py", b"new name.py", "100644", "2222222"
    )  # fmt: skip
    assert renamed.added() == {2} and renamed.beside_removed() == {10, 11}
    assert (mode.new, mode.old_mode, mode.new_mode, mode.hunks) == (b"run.sh", "100644", "100755", ())
    assert (gone.old, gone.new, gone.added()) == (b"gone.py", None, frozenset())
    assert (empty.old, empty.new, empty.hunks) == (None, b"empty.py", ())
    assert image.binary and image.new == b"image.png"
    assert sub.mode == "160000"
    assert (link.new, link.mode, link.apply(b"")) == ("ü.py".encode(), "120000", b"/etc/passwd")


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        (b"--- a/x\n+++ b/x\n@@ -1,3 +1 @@\n-a\n", "in the middle"),
        (b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n-b\n+c\n", "more lines"),
        (b"diff --cc x\n@@@ -1 -1 +1 @@@\n", "combined"),
    ],
)
def test_what_cannot_be_read_is_one_line(patch, words):
    with pytest.raises(PatchError, match=words):
        parse_patch(patch)


def test_a_patch_that_does_not_fit_says_where():
    (patch,) = parse_patch(b"--- a/x\n+++ b/x\n@@ -2 +2 @@\n-b\n+c\n")
    assert patch.apply(b"a\nb\n") == b"a\nc\n"
    with pytest.raises(PatchError, match="at line 2"):
        patch.apply(b"a\nx\n")


def test_times_and_prefixes_are_no_part_of_a_name():
    (patch,) = parse_patch(b"--- src/m.py\t2026-01-01\n+++ src/m.py\t2026-01-02\n@@ -0,0 +1 @@\n+x\n")
    assert (patch.old, patch.new) == (b"src/m.py", b"src/m.py")
