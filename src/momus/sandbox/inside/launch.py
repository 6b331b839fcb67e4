"""The first program in the cage: become nobody, take on the limits, start the program to run, and end when it ends.

It ends too, and the whole cage with it, once nobody reads its output: whoever started the cage was killed.

Arguments: the user to become (0 to stay), the limits as `name=value` of the `resource` module, `--`, and a command.
"""

import ctypes
import os
import resource
import select
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_CHECK_EVERY = 1.0  # seconds between two checks whether somebody reads the output


def become_nobody(user: int) -> None:
    """Give up the user that started the cage, where that was root."""
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)


def take_on(limits: list[str]) -> None:
    """Bound this process and all that it starts; what is bounded tighter already stays so."""
    for limit in limits:
        name, _, value = limit.partition("=")
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        most = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
        resource.setrlimit(kind, (most, most))


def end_if_unread(*_: object) -> None:
    """End the cage if nobody holds the other end of stdout, a pipe."""
    output = select.poll()
    output.register(1, 0)  # POLLERR is reported unasked
    if output.poll(0):
        os._exit(1)


if __name__ == "__main__":
    user, *rest = sys.argv[1:]
    split = rest.index("--")
    become_nobody(int(user))
    system = ctypes.CDLL(None)
    system.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # where bubblewrap is killed
    take_on(rest[:split])
    signal.signal(signal.SIGALRM, end_if_unread)
    signal.setitimer(signal.ITIMER_REAL, _CHECK_EVERY, _CHECK_EVERY)
    end_if_unread()
    child = os.fork()
    if not child:
        os.execv(rest[split + 1], rest[split + 1 :])
    # This process is the first of the cage: when it ends, all others do. None may read or write its memory.
    system.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        process, status = os.wait()
        if process == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
