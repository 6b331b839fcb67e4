"""Changes: what is reviewed of a repository, a patch and what is staged, and what is refused."""

import os
import stat

import pytest

from momus.errors import UserError
from momus.review.changes.change import change_of_patch, change_since
from momus.review.files import MAX_BYTES
from momus.review.findings import Why
from support.repository import GitRepository

CODE = "def f(x):\n    y = x + 1\n    return y\n"


@pytest.fixture
def repository(tmp_path):
    made = GitRepository(tmp_path / "repository")
    made.commit("First", m_py=CODE, other_py=CODE)
    return made


def changed(change):
    return {target.name: sorted(target.changed) for target in change.targets}


def unread(change):
    return {file.path: (part.why, part.detail) for file in change.unread for part in file.coverage.unread}


def test_what_changed_since_the_branches_parted_is_reviewed(repository):
    repository.git("checkout", "-q", "-b", "topic")
    repository.commit("Topic\n\nBecause.", m_py=CODE.replace("+ 1", "+ 2"), pkg__new_py="x = 1\ny = 2\n")
    repository.git("checkout", "-q", "main")
    repository.commit("Elsewhere", other_py=CODE.replace("+ 1", "- 1"))
    repository.git("checkout", "-q", "topic")
    repository.write(m_py=CODE.replace("+ 1", "+ 3") + "\nprint(f(1))\n")
    change = change_since(repository.root, "main")
    assert changed(change) == {"m.py": [2, 4, 5], "pkg/new.py": [1, 2]}
    assert change.head == "working tree" and len(change.base) == 40
    assert change.message == "Topic\n\nBecause."
    assert changed(change_since(repository.root, "main...topic")) == {"m.py": [2], "pkg/new.py": [1, 2]}
    assert changed(change_since(repository.root, "main..topic"))["other.py"] == [2]


def test_from_a_directory_below_the_paths_are_the_same(repository, monkeypatch):
    repository.write(pkg__new_py="x = 1\n")
    repository.git("add", "-A")
    monkeypatch.chdir(repository.root / "pkg")
    (target,) = change_since(repository.root / "pkg", None).targets
    assert (target.name, str(target.source.path)) == ("pkg/new.py", "new.py")


def test_what_is_staged_is_read_as_it_is_staged(repository):
    repository.write(m_py=CODE.replace("+ 1", "+ 2"))
    repository.git("add", "m.py")
    repository.write(m_py="not what is staged")
    (target,) = change_since(repository.root, None, staged=True).targets
    assert "y = x + 2" in target.source.text and target.changed == {2}


def test_before_the_first_commit_everything_staged_is_new(tmp_path):
    repository = GitRepository(tmp_path / "new")
    repository.write(m_py=CODE)
    repository.git("add", "-A")
    assert changed(change_since(repository.root, None, staged=True)) == {"m.py": [1, 2, 3]}


def test_renamed_files_are_followed(repository):
    repository.git("mv", "m.py", "moved.py")
    repository.write(moved_py=CODE.replace("return y", "return -y"))
    repository.git("add", "-A")
    change = change_since(repository.root, None)
    assert changed(change) == {"moved.py": [3]} and change.renamed == {"m.py": "moved.py"}


def test_removed_lines_bring_their_neighbours(repository):
    repository.write(m_py="def f(x):\n    return y\n")
    (target,) = change_since(repository.root, None).targets
    assert (target.changed, target.beside_removed) == (frozenset(), {1, 2})


def test_what_is_no_code_has_its_lines_told(repository):
    repository.write_file("README.md", "a\nb\n")
    repository.write_file("data.bin", b"\0\1\2")
    repository.write_file("broken.py", "def f(:\n")
    repository.write_file("large.py", b"x = 1\n" * (MAX_BYTES // 6 + 1))
    repository.write_file("blank.py", "\n\n")
    (repository.root / "link.py").symlink_to("/etc/passwd")
    (repository.root / "other.py").chmod(0o755)
    (repository.root / "m.py").unlink()
    repository.git("add", "-A")
    for change in (change_since(repository.root, None), change_since(repository.root, None, staged=True)):
        assert changed(change) == {}
        told = unread(change)
        assert told["README.md"] == (Why.NOT_CODE, "")
        assert told["link.py"] == (Why.NOT_CODE, "a symbolic link")
        assert told["blank.py"][0] is Why.BLANK
        assert told["broken.py"][0] is told["large.py"][0] is Why.UNREADABLE
        assert "too large" in told["large.py"][1]
        assert set(told) == {"README.md", "link.py", "blank.py", "broken.py", "large.py"}
        assert {file.path.name for file in change.skipped} == {"broken.py", "large.py"}


def test_a_directory_that_became_a_link_is_not_followed(repository, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "m.py").write_text(CODE)
    repository.commit("Package", pkg__m_py=CODE)
    (repository.root / "pkg" / "m.py").unlink()
    (repository.root / "pkg").rmdir()
    (repository.root / "pkg").symlink_to(outside)
    patch = b"--- a/pkg/m.py\n+++ b/pkg/m.py\n@@ -1 +1 @@\n-def f(x):\n+def g(x):\n"
    change = change_of_patch(patch, repository.root)
    assert changed(change) == {} and "symbolic link" in change.skipped[0].reason


def test_attributes_of_the_change_cannot_hide_code(repository):
    repository.write_file(".gitattributes", "*.py -diff\n")
    repository.write(m_py=CODE.replace("+ 1", "+ 2"))
    repository.git("add", "-A")
    assert changed(change_since(repository.root, None)) == {"m.py": [2]}


def test_another_repository_is_named_and_not_read(repository, tmp_path):
    inner = GitRepository(tmp_path / "inner")
    inner.commit(n_py=CODE)
    repository.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.root), "sub")
    change = change_since(repository.root, None, staged=True)
    assert unread(change)["sub"] == (Why.NOT_CODE, "another repository (a submodule)")


def test_nothing_that_a_repository_configures_is_run(repository, tmp_path):
    ran, program = tmp_path / "ran", tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $0 $@ >> {ran}\ncat\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    settings = {
        "core.fsmonitor": program, "core.pager": program, "diff.external": program, "diff.x.textconv": program,
        "diff.x.command": program, "filter.x.clean": program, "filter.x.smudge": program, "filter.y.process": program,
        "filter.x.required": "true", "filter.y.required": "true", "pager.diff": program, "gpg.program": program,
        "log.showSignature": "true", "core.sshCommand": program, "core.alternateRefsCommand": program,
    }  # fmt: skip
    repository.write_file(".gitattributes", "m.py diff=x filter=x\nother.py filter=y\n")
    repository.git("add", ".gitattributes")
    for name, value in settings.items():
        repository.git("config", name, str(value))
    repository.write(m_py=CODE.replace("+ 1", "+ 2"), other_py=CODE.replace("+ 1", "+ 2"))
    hooks = repository.root / ".git" / "hooks"
    for hook in ("post-index-change", "reference-transaction", "pre-commit", "post-checkout"):
        (hooks / hook).symlink_to(program)
    change = change_since(repository.root, "HEAD")
    assert changed(change) == {"m.py": [2], "other.py": [2]}
    change_since(repository.root, None, staged=True)
    assert not ran.exists(), ran.read_text()


@pytest.mark.parametrize("name", ["--output=x", "-h", "gone", "", "main^{tree}", "HEAD..--all", "a b", "main:m.py"])
def test_what_is_no_revision_is_one_line(repository, name, tmp_path):
    if name == "":
        assert changed(change_since(repository.root, "")) == {}
        return
    with pytest.raises(UserError, match="is no revision"):
        change_since(repository.root, name)
    assert not (repository.root / "x").exists()


def test_unrelated_histories_are_told(repository):
    repository.git("checkout", "-q", "--orphan", "apart")
    repository.commit("Apart")
    with pytest.raises(UserError, match="no common ancestor"):
        change_since(repository.root, "main")


def test_no_repository_is_one_line(tmp_path):
    with pytest.raises(UserError, match="git rev-parse: not a git repository"):
        change_since(tmp_path, "main")


def test_files_that_git_does_not_track_are_named(repository):
    repository.write(new_py=CODE)
    assert "1 file that git does not track is not reviewed: " in change_since(repository.root, None).notes[0]


def test_a_change_is_limited_to_paths(repository, monkeypatch):
    repository.write(m_py="x = 1\n", pkg__a_py="x = 1\n", pkg__b_py="x = (\n")
    repository.write_file("pkg/note.md", "x\n")
    repository.git("add", "-A")
    monkeypatch.chdir(repository.root)
    change = change_since(repository.root, None)
    change.limit([repository.root / "pkg"])
    assert set(changed(change)) == {"pkg/a.py"} and set(unread(change)) == {"pkg/note.md", "pkg/b.py"}
    assert len(change.skipped) == 1
    change.limit([repository.root / "gone"])
    assert not (change.targets or change.unread or change.skipped)


PATCH = b"""--- a/m.py
+++ b/m.py
@@ -2 +2,2 @@
-    y = x + 1
+    y = x + 2
+    y += 1
--- /dev/null
+++ b/new.py
@@ -0,0 +1 @@
+x = 1
"""


def test_a_patch_is_reviewed_whether_it_is_applied_or_not(repository):
    before = change_of_patch(PATCH, repository.root)
    assert changed(before) == {"m.py": [2, 3], "new.py": [1]}
    assert "y += 1" in before.targets[0].source.text
    repository.write(m_py="def f(x):\n    y = x + 2\n    y += 1\n    return y\n", new_py="x = 1\n")
    after = change_of_patch(PATCH, repository.root)
    assert changed(after) == changed(before)
    assert [t.source.text for t in after.targets] == [t.source.text for t in before.targets]
    repository.write(m_py="something else\n")
    assert "does not fit the file at line 2" in change_of_patch(PATCH, repository.root).skipped[0].reason


@pytest.mark.parametrize(
    "name", ["../m.py", "/etc/passwd.py", "a/../../m.py", ".git/hooks/x.py", "..", ".GIT/config.py"]
)
def test_a_patch_does_not_lead_out_of_the_tree(repository, name):
    patch = b"--- a/" + name.encode() + b"\n+++ b/" + name.encode() + b"\n@@ -0,0 +1 @@\n+x = 1\n"
    change = change_of_patch(patch, repository.root)
    assert changed(change) == {} and [file.reason for file in change.skipped] == ["refused: a path out of the tree"]


def test_names_that_are_no_text_are_read(repository):
    name = os.fsdecode(b"caf\xe9 \n.py")
    repository.write_file(name, CODE)
    repository.git("add", "-A")
    assert changed(change_since(repository.root, None)) == {"caf\\xe9 \n.py": [1, 2, 3]}
