"""`momus review` of changes: what is printed, the exit codes and the manifest."""

import io
import json
import sys
from types import SimpleNamespace

from momus.cli import main
from momus.errors import UserError
from support.reviewing import CODE, MarkingCritic


def test_comments_are_on_changed_lines_and_others_at_the_end(repository, critic, capsys):
    repository.write(m_py=CODE.replace("+ 1", "- 1  # BAD").replace("return y", "return y  # BAD"))
    assert main(["review", "--diff", "HEAD"]) == 0
    out = capsys.readouterr().out
    assert "m.py:2  f  " in out and "m.py:3  f  " in out
    assert "read 2 of 2 changed lines" in out and out.endswith("2 comments on 1 function in 1 file.\n")
    repository.git("commit", "-aqm", "Bad")
    repository.write(m_py=(repository.root / "m.py").read_text().replace("x - 1", "x - 2"))
    assert main(["review", "--diff", "HEAD", "--check"]) == 1
    out = capsys.readouterr().out
    assert "1 comment on lines that did not change:\n  m.py:3  Look at this." in out


def test_exit_codes(repository, critic, capsys):
    assert main(["review", "--diff", "HEAD", "--check"]) == 0  # nothing changed
    repository.write(m_py=CODE.replace("+ 1", "- 1"))
    assert main(["review", "--diff", "HEAD", "--check"]) == 0
    repository.write(m_py=CODE.replace("+ 1", "- 1  # BAD"))
    assert main(["review", "--diff", "HEAD"]) == 0
    assert main(["review", "--diff", "HEAD", "--check"]) == 1
    repository.write(broken_py="def (:\n")
    repository.git("add", "-A")
    assert main(["review", "--staged"]) == 3
    assert main(["review", "--staged", "--check"]) == 1
    assert main(["review", "--staged", "--advisory"]) == 0
    critic.fails_after = 0
    capsys.readouterr()
    assert main(["review", "--staged", "--no-cache"]) == 4
    assert "nothing was reviewed: the server is gone" in capsys.readouterr().err
    assert main(["review", "--staged", "--patch", "-"]) == 2
    assert main(["review", "--diff", "gone"]) == 2
    assert main(["review", "--patch", "gone.patch"]) == 2
    for text, code in (("", 0), ("\n", 0), ("no patch\n", 2)):
        (repository.root / "a.patch").write_text(text)
        assert main(["review", "--patch", "a.patch"]) == code


def test_a_patch_comes_on_standard_input(repository, critic, capsys, monkeypatch):
    patch = b"--- a/m.py\n+++ b/m.py\n@@ -2 +2 @@\n-    y = x + 1\n+    y = x + 1  # BAD\n"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(patch)))
    assert main(["review", "--patch", "-", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (finding,) = document["files"][0]["findings"]
    assert (finding["line"], finding["status"], len(finding["id"])) == (2, "new", 16)
    assert document["manifest"]["head"] == "patch"


def test_the_manifest_says_what_was_read_by_whom(repository, critic, tmp_path, capsys):
    repository.write(m_py=CODE.replace("+ 1", "- 1"), broken_py="def (:\n\nx\n")
    repository.write_file("notes.md", "a\nb\n")
    repository.git("add", "-A")
    path = tmp_path / "manifest.json"
    assert main(["review", "--staged", "--manifest", str(path), "--format", "json"]) == 3
    manifest = json.loads(path.read_text())
    assert manifest == json.loads(capsys.readouterr().out)["manifest"]
    assert manifest["critic"] == {"kind": "marking", "words": ["BAD"]} and manifest["promise"] == "a promise"
    assert manifest["base"] == repository.git("rev-parse", "HEAD") and manifest["head"] == "staged"
    assert (manifest["lines_read"], manifest["lines_unread"]) == (1, 5)
    told = {file["path"]: [part["why"] for part in file["unread"]] for file in manifest["files"]}
    assert told == {"broken.py": ["unreadable"], "m.py": [], "notes.md": ["not_code"]}


def test_a_change_is_limited_to_paths(repository, critic, capsys):
    repository.write(m_py=CODE + "x = BAD\n", n_py="x = BAD\n")
    repository.git("add", "-A")
    assert main(["review", "n.py", "--staged", "--json"]) == 0
    assert [file["name"] for file in json.loads(capsys.readouterr().out)["files"]] == ["n.py"]


def test_a_large_change_is_read_by_risk_within_its_budget_and_all_of_it_is_accounted_for(
    repository, monkeypatch, capsys
):
    lines = 20_000
    plain = "def f{0}(x):\n" + "    y = x\n" * 18 + "    return y\n"
    risky = "def r{0}(x):\n" + "    if x > 0 and x != 3:\n        return x\n" * 9 + "    return 0\n"
    files = {f"a{n:02}.py": "".join(plain.format(f"{n}_{i}") for i in range(25)) for n in range(38)}
    files["z.py"] = "".join(risky.format(i) for i in range(50))
    for name, text in files.items():
        repository.write_file(name, text)
    repository.git("add", "-A")
    critic = MarkingCritic("BAD", fails_after=200)
    monkeypatch.setattr("momus.critics.open.open_at_setting", lambda *options, **more: (critic, 0.5, ""))
    assert main(["review", "--staged", "--json"]) == 3
    assert all(answer.startswith("def r") for answer in critic.read[:50])
    manifest = json.loads(capsys.readouterr().out)["manifest"]
    assert manifest["lines_read"] + manifest["lines_unread"] == lines
    assert 0 < manifest["lines_read"] <= 200 * 20
    for file in manifest["files"]:
        ranges = [*file["read"], *(part["lines"] for part in file["unread"])]
        numbers = sorted(number for first, last in ranges for number in range(first, last + 1))
        assert numbers == list(range(1, files[file["path"]].count("\n") + 1))


def test_a_critic_that_cannot_be_opened_is_bad_input(repository, monkeypatch, capsys):
    def refuse(*options, **more):
        raise UserError("no such model")

    monkeypatch.setattr("momus.critics.open.open_at_setting", refuse)
    assert main(["review", "m.py"]) == 2


def test_a_change_without_code_gets_its_page_too(repository, critic, tmp_path):
    page = tmp_path / "page.html"
    assert main(["review", "--diff", "HEAD", "--html", str(page)]) == 0
    assert "No problems found" in page.read_text()


def test_where_nothing_is_reviewed_the_last_line_says_why(repository, critic, capsys):
    def last_line(*options):
        main(["review", *options])
        return capsys.readouterr().out.splitlines()[-1]

    assert last_line("--staged") == "Nothing to review: no line was added or changed."
    repository.write(stubs_py="def f():\n    pass\n")
    assert last_line("stubs.py") == "Nothing to review: no code but definitions that do nothing yet."
    repository.write_file("pyproject.toml", '[tool.momus]\nexclude = ["stubs.py"]\n')
    assert last_line("stubs.py") == "Nothing to review: 2 excluded by the configuration."
    assert main(["review"]) == 2
    assert "name files or directories, or a change" in capsys.readouterr().err
