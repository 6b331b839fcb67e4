"""The cage's walls: the command line that makes bubblewrap build it.

Inside there are a Python of the same version with its standard library and the system's libraries, all read-only; a
scratch folder `/tmp` in memory; a /proc of its own; no network, no home, no environment, no privileges. A user's cage
is a user namespace. Root needs none, and code started by root becomes a user that nobody else is, new for each run.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import sys
import sysconfig
from pathlib import Path

from momus.sandbox.limits import Limits

SCRATCH = "/tmp"
PROGRAM, LAUNCHER = "/cage/program.py", "/cage/launch.py"
ENVIRONMENT = {
    "HOME": SCRATCH,
    "LANG": "C.UTF-8",
    "LD_LIBRARY_PATH": "/python/lib",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": "/python/bin",
}
"""All that caged code finds in its environment."""

_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/libx32", "/lib", "/lib64", "/lib32", "/libx32")
_OLDEST_KERNEL = (5, 14)
"""From here on processes are counted by user namespace; before, a user's others would count too."""

_NO_CORE = 1
"""Bytes of a core dump: 0 would still feed one to a program that collects them."""


def why_no_cage() -> str:
    """Return why no cage can be built on this machine, in a few words; "" where nothing speaks against one."""
    if sys.platform != "linux":
        return f"there is no cage on {platform.system()}: it needs Linux and bubblewrap"
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed: apt install bubblewrap"
    kernel = tuple(int(part) for part in platform.release().replace("-", ".").split(".")[:2])
    if os.geteuid() and kernel < _OLDEST_KERNEL:
        return f"Linux {'.'.join(map(str, _OLDEST_KERNEL))} or newer is needed, not {platform.release()}"
    return ""


def command(limits: Limits, data: dict[str, int], filter_fd: int | None, status_fd: int) -> list[str]:
    """Return the command that runs `PROGRAM` in a cage.

    Args:
        limits: What it may use.
        data: Files to put into the cage, read-only: their place inside, and the descriptor to read each from.
        filter_fd: Where the seccomp filter is read from, if there is one.
        status_fd: Where bubblewrap writes what became of the program.
    """
    root = os.geteuid() == 0
    user = 1_000_000_000 + secrets.randbelow(1_000_000_000) if root else 0
    # `launch.py` needs the two capabilities to become somebody else, and loses them by it.
    namespaces = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if root else [
        "--cap-drop", "ALL", "--unshare-user", "--uid", "65534", "--gid", "65534",
    ]  # fmt: skip
    namespaces += ["--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    environment = [part for name, value in ENVIRONMENT.items() for part in ("--setenv", name, value)]
    files = [part for place, fd in data.items() for part in ("--perms", "0444", "--ro-bind-data", str(fd), place)]
    # No --die-with-parent: where the caller is killed while the cage is being built, it leaves a bubblewrap that waits
    # for ever, or a cage that nothing ends. `launch.py` ends the cage instead.
    python = Path(sys._base_executable if hasattr(sys, "_base_executable") else sys.executable).resolve()
    return [
        str(shutil.which("bwrap")), "--new-session", "--as-pid-1",
        "--json-status-fd", str(status_fd), *namespaces, "--hostname", "cage", "--clearenv", *environment,
        *_files(limits, python), *files,
        *([] if filter_fd is None else ["--seccomp", str(filter_fd)]),
        "--remount-ro", "/", "--chdir", SCRATCH, "--",
        f"/python/bin/{python.name}", "-I", "-S", LAUNCHER, str(user), *_limits(limits), "--",
        f"/python/bin/{python.name}", "-I", "-B", "-X", "utf8", PROGRAM,
    ]  # fmt: skip


def _files(limits: Limits, python: Path) -> list[str]:
    stdlib = Path("/python") / Path(sysconfig.get_path("stdlib")).relative_to(sys.base_prefix)
    mounts: list[str] = []
    for folder in dict.fromkeys(("/cage", "/etc", "/usr", "/python", "/python/bin", "/python/lib", str(stdlib.parent))):
        mounts += ["--perms", "0755", "--dir", folder]  # what bubblewrap makes by itself only root may enter
    for library in _LIBRARIES:
        if Path(library).is_symlink():
            mounts += ["--symlink", str(Path(library).readlink()), library]
        elif Path(library).is_dir():
            mounts += ["--ro-bind", library, library]
    mounts += ["--ro-bind", str(python), f"/python/bin/{python.name}"]
    mounts += ["--ro-bind", sysconfig.get_path("stdlib"), str(stdlib)]
    for shared in sorted(Path(sysconfig.get_config_var("LIBDIR") or "/nowhere").glob("libpython3*.so*")):
        mounts += ["--ro-bind", str(shared), f"/python/lib/{shared.name}"]
    size = ["--size", str(limits.disk_bytes)]
    return [
        *mounts, "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--proc", "/proc", "--dev", "/dev",
        *size, "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
        *size, "--perms", "1777", "--tmpfs", SCRATCH,
    ]  # fmt: skip


def _limits(limits: Limits) -> list[str]:
    bounds = {
        "RLIMIT_CORE": _NO_CORE,
        "RLIMIT_CPU": int(limits.seconds) + 2,
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_FSIZE": limits.disk_bytes,
        "RLIMIT_NOFILE": 256,
        "RLIMIT_NPROC": limits.processes + 1,  # `launch.py` is one
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_MEMLOCK": 0,
    }
    return [f"{name}={value}" for name, value in bounds.items()]
