"""Git as a child process that runs nothing a repository configures.

A repository's configuration can name programs: hooks, a file system monitor, filters, external and textual diffs, a
pager, a signature checker, a transport that fetches what is missing. All of it is switched off, whoever wrote it. A
repository that Git itself does not trust, because somebody else owns it, stays refused. Revisions and paths are never
taken for options.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from momus.errors import UserError

PATIENCE = 120.0
"""Seconds to wait for one answer."""

_OFF = {
    "core.fsmonitor": "false", "core.hooksPath": os.devnull, "core.pager": "cat", "core.sshCommand": "false",
    "core.alternateRefsCommand": "", "core.untrackedCache": "false", "core.quotePath": "true", "diff.external": "",
    "log.showSignature": "false", "gpg.program": "false", "credential.helper": "",
    "submodule.recurse": "false", "protocol.allow": "never", "maintenance.auto": "false", "gc.auto": "0",
}  # fmt: skip
_FILTERS = (".clean", ".smudge", ".process")

_UNSET = ("GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS", "GIT_CONFIG_PARAMETERS", "GIT_PAGER", "GIT_SSH", "GIT_SSH_COMMAND")

_DIFF = (
    "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--unified=0", "--inter-hunk-context=0",
    "--find-renames", "--full-index", "--src-prefix=a/", "--dst-prefix=b/", "--ignore-submodules=dirty",
    "--submodule=short", f"-O{os.devnull}", "--output-indicator-new=+", "--output-indicator-old=-",
)  # fmt: skip


class Repository:
    """A repository with a working tree, asked only for what is in it.

    Args:
        folder: A directory of the working tree.

    Raises:
        UserError: There is no Git, no repository, or one that Git does not trust.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._filters = folder, dict[str, str]()
        self.root = Path(os.fsdecode(self._ask("rev-parse", "--show-toplevel").removesuffix(b"\n")))
        self._folder = self.root
        names = self._ask("config", "--list", "--name-only", "-z").split(b"\0")
        for name in map(os.fsdecode, dict.fromkeys(names)):
            if name.startswith("filter."):
                self._filters |= {name: "" if name.endswith(_FILTERS) else "false"}

    def commit(self, revision: str) -> str:
        """Return the name of a revision's commit.

        Raises:
            UserError: There is no such revision.
        """
        try:
            name = self._ask("rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}")
        except UserError as error:
            raise UserError(f"{revision!r} is no revision of this repository (in a shallow clone, fetch it)") from error
        return name.decode("ascii").strip()

    def merge_base(self, one: str, other: str) -> str:
        """Return the best common ancestor of two commits, named as `commit` does.

        Raises:
            UserError: There is none here.
        """
        try:
            return self._ask("merge-base", one, other).decode("ascii").split()[0]
        except UserError as error:
            why = f"{one[:12]} and {other[:12]} have no common ancestor here"
            raise UserError(f"{why}: in a shallow clone fetch more history (git fetch --unshallow)") from error

    def diff(self, base: str = "", head: str = "", staged: bool = False, text_of: Sequence[str] = ()) -> bytes:
        """Return a patch without context.

        Args:
            base: The commit to start from; by default the last one.
            head: The commit to end at; by default the working tree.
            staged: End at what is staged.
            text_of: Paths that are to be shown as text whatever attributes say; by default all, as attributes say.
        """
        options = [*_DIFF, *(["--cached"] if staged else []), *(["--text"] if text_of else [])]
        revisions = [name for name in (base or ("" if staged else "HEAD"), head) if name]
        return self._ask("diff", *options, *revisions, "--", *text_of)

    def contents(self, names: Iterable[str], largest: int) -> dict[str, bytes | None]:
        """Return the contents of objects by name; None of those that are larger than so many bytes, or are missing.

        A name is an object's own, or a commit's with a path: `COMMIT:PATH`.
        """
        wanted = [name for name in dict.fromkeys(names) if "\n" not in name]
        asked = "".join(f"{name}\n" for name in wanted).encode("utf-8")
        checked = self._ask("cat-file", "--batch-check", given=asked).splitlines()
        contents: dict[str, bytes | None] = dict.fromkeys(wanted)
        sizes = [(name, line.split()) for name, line in zip(wanted, checked, strict=True)]
        small = [name for name, parts in sizes if parts[1:2] == [b"blob"] and int(parts[2]) <= largest]
        data = self._ask("cat-file", "--batch", given="".join(f"{name}\n" for name in small).encode("utf-8"))
        at = 0
        for name in small:
            line_end = data.index(b"\n", at)
            size = int(data[at:line_end].split()[2])
            contents[name] = data[line_end + 1 : line_end + 1 + size]
            at = line_end + 1 + size + 1
        return contents

    def commits(self, revisions: str) -> list[str]:
        """Return the names of the commits of a range, `BASE..HEAD`, that have one parent, the latest first.

        Raises:
            UserError: It is no range, or one of its ends is no revision.
        """
        first, dots, last = revisions.partition("..")
        if not dots:
            raise UserError(f"{revisions!r} is no range of commits, such as main~200..main")
        ends = f"{self.commit(first or 'HEAD')}..{self.commit(last or 'HEAD')}"
        listed = self._ask("rev-list", "--min-parents=1", "--max-parents=1", ends, "--")
        return listed.decode("ascii").split()

    def messages(self, base: str, head: str) -> str:
        """Return what the commits after `base` up to `head` say, the first one first."""
        log = self._ask("log", "--reverse", "--format=%B", "--max-count=100", "--no-notes", f"{base}..{head}", "--")
        return log.decode("utf-8", "replace").strip()

    def untracked(self) -> list[bytes]:
        """Return paths in the working tree that Git does not know and was not told to ignore."""
        return self._ask("ls-files", "--others", "--exclude-standard", "-z").split(b"\0")[:-1]

    def _ask(self, *words: str, given: bytes = b"") -> bytes:
        try:
            done = subprocess.run(
                ["git", "--no-pager", "--literal-pathspecs", *words],
                cwd=self._folder,
                env=_environment(self._filters),
                input=given,
                capture_output=True,
                check=False,
                timeout=PATIENCE,
            )
        except FileNotFoundError as error:
            raise UserError("reviewing a change needs git: there is none here") from error
        except subprocess.TimeoutExpired as error:
            raise UserError(f"git {words[0]} took longer than {PATIENCE:.0f} seconds") from error
        if done.returncode:
            message = done.stderr.decode("utf-8", "replace").strip().split("\n")[0].removeprefix("fatal: ")
            raise UserError(f"git {words[0]}: {message or f'exit code {done.returncode}'}")
        return done.stdout


def _environment(filters: Mapping[str, str]) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in _UNSET}
    for name in list(environment):
        if name.startswith(("GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_", "GIT_TRACE")):
            del environment[name]
    settings = {**_OFF, **filters}
    environment |= {
        "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_CONFIG_COUNT": str(len(settings)),
    }  # fmt: skip
    for number, (name, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return environment
