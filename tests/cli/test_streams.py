"""Standard streams that are closed, or whose reader goes away: no traceback, and the exit code says what it says."""

import subprocess
import sys

import pytest

MOMUS = f"{sys.executable} -m momus"


def _shell(command: str, cwd: object = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=str(cwd) if cwd else None)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize(("arguments", "code"), [("--help", 0), ("review gone.py", 2), ("reivew", 2)])
def test_a_closed_stream_changes_nothing_but_what_is_read_of_it(arguments, code, closed):
    done = _shell(f"{MOMUS} {arguments} {closed}")
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    if "2>&-" in closed:
        assert "momus: error" not in done.stdout  # not in the data in place of stderr


def test_a_file_opened_later_does_not_become_stdout(tmp_path):
    code = "import sys, momus.cli; momus.cli.main(['--version']); f = open('mine', 'w'); print(f.fileno() > 2, file=f)"
    done = _shell(f'{sys.executable} -c "{code}" >&- 2>&- <&-', tmp_path)
    assert done.returncode == 0 and (tmp_path / "mine").read_text() == "True\n"


REVIEWED = """
import sys
from types import SimpleNamespace
from momus.review.findings import FileReview, Finding
import momus.cli, momus.critics.open as critics, momus.review.reviewer as reviewer

def review_targets(targets, critic, setting, most, **more):
    for target in targets:
        for number in range(2_000):
            finding = Finding(1, 1, "f", "return x", f"Odd, {number}.")
            yield FileReview(target.source.path, (finding,), 1, name=target.name)

critics.open_at_setting = lambda *options, **more: (SimpleNamespace(identity=dict), 0.0, "")
reviewer.review_targets = review_targets
sys.exit(momus.cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("form", ["", "--json"])
@pytest.mark.parametrize(("check", "code"), [("", 0), ("--check", 1)])
def test_the_exit_code_of_a_review_is_right_when_its_reader_has_gone(form, check, code, tmp_path):
    (tmp_path / "code.py").write_text("def f(x):\n    return x\n")
    (tmp_path / "main.py").write_text(REVIEWED)
    command = f"({sys.executable} main.py review code.py {form} {check}; echo code $? >&2) | head -c 100"
    done = _shell(command, tmp_path)
    assert done.stderr.splitlines() == [f"code {code}"]
