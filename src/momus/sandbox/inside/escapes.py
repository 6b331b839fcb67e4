"""Attempts to get out of the cage, run inside it by `sandbox/escapes.py`.

Each is a function that returns what it got hold of, or "" where it got nothing. The name of one is the program's last
line; stdin holds, as JSON, the bait: what was laid out outside for the attempts to reach.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
SCRATCH = "/tmp"
Bait = dict[str, Any]


def read_home(bait: Bait) -> str:
    """Read a file in the home folder, or list any home."""
    for place in (bait["secret_file"], bait["home"], "/root", "/home"):
        with contextlib.suppress(OSError):
            if Path(place).is_file():
                return f"{place}: {Path(place).read_text()[:40]}"
            return f"{place}: {sorted(Path(place).iterdir())[:5]}"
    return ""


def read_passwd(bait: Bait) -> str:
    """Read the machine's list of users, its passwords and its name."""
    for place in ("/etc/passwd", "/etc/shadow", "/etc/hostname", "/proc/1/root/etc/passwd"):
        with contextlib.suppress(OSError):
            return f"{place}: {Path(place).read_text()[:40]}"
    return ""


def write_outside(bait: Bait) -> str:
    """Write a file anywhere but into the scratch folders."""
    for folder in (
        bait["folder"],
        bait["home"],
        "/",
        "/etc",
        "/usr/lib",
        "/lib",
        "/python/lib",
        "/cage",
        "/dev",
        "/var",
    ):
        with contextlib.suppress(OSError):
            Path(folder, "escaped").write_text("escaped")
            return folder
    return ""


def tcp(bait: Bait) -> str:
    """Connect to a server on this machine, and to one elsewhere."""
    for address in (("127.0.0.1", bait["tcp_port"]), ("1.1.1.1", 53)):
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=1):
            return str(address)
    return ""


def udp(bait: Bait) -> str:
    """Send a datagram to a server on this machine."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1)
        sender.sendto(b"escaped", ("127.0.0.1", bait["udp_port"]))
        return sender.recv(80).decode()
    return ""


def unix_sockets(bait: Bait) -> str:
    """Connect to a service's socket, by its file and by its abstract name."""
    for address in (bait["unix_socket"], "\0" + bait["abstract_socket"], "/run/docker.sock", "/var/run/docker.sock"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(address)
            return repr(address)
    return ""


def dns(bait: Bait) -> str:
    """Look a name up, and open sockets of kinds that no namespace holds."""
    with contextlib.suppress(OSError):
        return str(socket.getaddrinfo("example.com", 80)[0])
    for family in (40, socket.AF_PACKET, socket.AF_NETLINK):  # 40: AF_VSOCK, to the machine's host
        with (
            contextlib.suppress(OSError),
            socket.socket(family, socket.SOCK_RAW if family != 40 else socket.SOCK_STREAM),
        ):
            return f"a socket of family {family}"
    return ""


def ptrace_parent(bait: Bait) -> str:
    """Take hold of, or read the memory of, the process above and one outside."""
    LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for process in (os.getppid(), bait["process"]):
        if LIBC.ptrace(16, process, None, None) == 0:  # PTRACE_ATTACH
            return f"attached to {process}"
        with contextlib.suppress(OSError), Path(f"/proc/{process}/mem").open("rb") as memory:
            return f"opened the memory of {process}: {memory.name}"
    return ""


def signal_parent(bait: Bait) -> str:
    """End a process outside; the check outside looks whether it lives."""
    for process in (bait["process"], os.getppid(), 1):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(OSError):
                os.kill(process, number)
    return ""


def processes_of_others(bait: Bait) -> str:
    """Read another process's command line or environment."""
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                if bait["token"].encode() in (process / name).read_bytes():
                    return f"{name} of process {process.name}"
    return ""


def symlinks(bait: Bait) -> str:
    """Reach the outside through links in the scratch folder and in /proc."""
    link = Path(SCRATCH, "link")
    link.symlink_to(bait["secret_file"])
    places = [
        link,
        *(Path(f"/proc/{name}/root", bait["secret_file"].lstrip("/")) for name in ("self", "1", "thread-self")),
    ]
    places += [Path("/proc/self/cwd/../../../..", bait["secret_file"].lstrip("/"))]
    for place in places:
        with contextlib.suppress(OSError):
            return f"{place}: {place.read_text()[:40]}"
    return ""


def become_root(bait: Bait) -> str:
    """Gain privileges: by becoming root, by a set-user-ID file, by a capability."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    if int(status["CapEff"], 16) or int(status["CapPrm"], 16) or status["NoNewPrivs"] != "1":
        return f"capabilities {status['CapEff']}, no_new_privs {status['NoNewPrivs']}"
    for become in (os.setuid, os.setgid):
        with contextlib.suppress(OSError):
            become(0)
            return f"{become.__name__}(0)"
    copy = Path(SCRATCH, "python")
    copy.write_bytes(Path(sys.executable).read_bytes())
    with contextlib.suppress(OSError):
        os.chown(copy, 0, 0)
        return "a file of root's"
    copy.chmod(0o6755)
    code = "import os; print(os.geteuid() != os.getuid() or not os.geteuid())"
    done = subprocess.run([str(copy), "-I", "-S", "-c", code], capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONHOME": sys.prefix})  # fmt: skip
    return "a set-user-ID file" if done.stdout.strip() == "True" else ""


def mount(bait: Bait) -> str:
    """Mount a file system, change the root, and make namespaces of its own."""
    Path(SCRATCH, "mounted").mkdir()
    if LIBC.mount(b"tmpfs", b"/tmp/mounted", b"tmpfs", 0, None) == 0:
        return "mounted a tmpfs"
    if LIBC.mount(b"none", b"/", None, 32 | 4096, None) == 0:  # MS_REMOUNT | MS_BIND: writable again
        return "remounted / writable"
    for flags in (0x10000000, 0x00020000, 0x10020000):  # CLONE_NEWUSER, CLONE_NEWNS, both
        if LIBC.unshare(flags) == 0:
            return f"unshare({flags:#x})"
    return "chroot" if LIBC.chroot(b"/tmp") == 0 else ""


def keyring(bait: Bait) -> str:
    """Leave a key in the kernel, or read one."""
    add, control = (248, 250) if X86 else (217, 219)
    key = LIBC.syscall(add, b"user", b"momus", b"escaped", 7, -4)  # KEY_SPEC_USER_KEYRING
    if key > 0:
        return f"key {key}"
    ring = LIBC.syscall(control, 0, -3, 0)  # KEYCTL_GET_KEYRING_ID of the session
    return f"keyring {ring}" if ring > 0 else ""


def environment(bait: Bait) -> str:
    """Find a variable of the caller's environment."""
    texts = dict(os.environ)
    with contextlib.suppress(OSError):
        texts["/proc/1/environ"] = Path("/proc/1/environ").read_bytes().decode(errors="replace")
    known = [name for name in bait["variables"] if name in texts or f"{name}=" in texts.get("/proc/1/environ", "")]
    return f"variables {known}" if known else ""


def descriptors(bait: Bait) -> str:
    """Use a file that the caller has open."""
    for fd in range(3, 256):
        with contextlib.suppress(OSError):
            os.fstat(fd)
            target = Path(f"/proc/self/fd/{fd}").readlink()
            return f"{fd} is open: {target}"
    with contextlib.suppress(OSError):
        os.write(0, b"escaped")
        return "stdin can be written to"
    return ""


def clock(bait: Bait) -> str:
    """Set the clock."""
    with contextlib.suppress(OSError):
        time.clock_settime(time.CLOCK_REALTIME, time.time())
        return "the clock was set"
    return ""


def core_dump(bait: Bait) -> str:
    """Leave a core dump: raise the limit, crash, and look."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, 1 << 30))
        return "the limit was raised"
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGSEGV)
    status = os.waitpid(child, 0)[1]
    return "a core was dumped" if os.WCOREDUMP(status) or list(Path().glob("core*")) else ""


# What follows is ended by a limit; what it prints, how long it ran and what it used is looked at from outside.


def fork_bomb(bait: Bait) -> str:
    """Have more processes than are allowed."""
    children: list[int] = []
    with contextlib.suppress(OSError):
        while len(children) < bait["processes"]:
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    for child in children:
        os.kill(child, signal.SIGKILL)
    return f"{len(children) + 1} processes" if len(children) >= bait["processes"] else ""


def memory_bomb(bait: Bait) -> str:
    """Have more memory than is allowed: in one process, then in several, then in none."""
    with contextlib.suppress(MemoryError, OSError):
        block = bytearray(bait["memory_bytes"] + 1)
        return f"{len(block)} bytes in one process"
    with contextlib.suppress(OSError, AttributeError):
        return f"memory of no process: {os.memfd_create('x')}"
    share, ready, children = bait["memory_bytes"] // 2, os.pipe(), 0
    for _ in range(4):
        with contextlib.suppress(OSError):
            children += 1
            if not os.fork():
                block = bytearray(os.urandom(1)) * share
                os.write(ready[1], b"x")
                time.sleep(60)
    for _ in range(children):
        os.read(ready[0], 1)
    time.sleep(1)
    return f"{children * share} bytes in {children} processes"


def output_flood(bait: Bait) -> None:
    """Write more than is allowed."""
    while True:
        os.write(1, b"x" * 65536)


def endless_loop(bait: Bait) -> None:
    """Run for ever, deaf to every signal that can be ignored."""
    for number in range(1, signal.NSIG):
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    while True:
        pass


def sleep_on(bait: Bait) -> None:
    """Sleep for longer than is allowed, with the streams closed."""
    os.close(1)
    os.close(2)
    time.sleep(600)


def background(bait: Bait) -> str:
    """Leave a process behind that writes later; the check outside looks for it."""
    if not os.fork():
        os.setsid()
        if not os.fork():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.closerange(0, 3)  # as a daemon does, so that nobody waits for its output
            time.sleep(600)
        os._exit(0)
    os.wait()
    return ""


def disk_filling(bait: Bait) -> str:
    """Fill the scratch folders, with one file and with many."""
    written = 0
    for folder in (SCRATCH, "/dev/shm"):
        for number in range(64):
            with contextlib.suppress(OSError), Path(folder, str(number)).open("wb") as file:
                while written <= 4 * bait["disk_bytes"]:
                    written += file.write(b"x" * (1 << 20))
                    file.flush()
    return f"{written} bytes" if written > 2 * bait["disk_bytes"] + (1 << 20) else ""


def attempt(*names: str) -> None:
    """Run attempts one after another and print what each got hold of, as JSON."""
    bait = json.load(sys.stdin)
    LIBC.prctl(15, bait["token"][:15].encode(), 0, 0, 0)  # PR_SET_NAME: nothing of this name may be left
    got = {}
    for name in names:
        try:
            got[name] = globals()[name](bait)
        except Exception as error:  # an attempt that breaks got nothing
            got[name] = ""
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    print(json.dumps(got))
