"""System calls that caged code does not get, as a seccomp filter for bubblewrap.

Namespaces hide files, processes and networks; what the kernel still offers in spite of them is refused here: keys,
other processes' memory, namespaces and mounts of its own, the clock, io_uring, memory that belongs to no process, and
sockets other than Unix ones. The filter is the classic BPF program that `seccomp(2)` takes.
"""

from __future__ import annotations

import errno
import platform
import struct

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""The kernel's name of an architecture (AUDIT_ARCH_…), and the column of `_REFUSED`."""

_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # keys
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # the kernel and the machine
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "personality": (135, 92),
    "vhangup": (153, 58),
    "nfsservctl": (180, 42),
    "uselib": (134, None),
    # the clock
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    # memory that counts as no process's
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
}
"""Each call's numbers on x86-64 and on 64-bit ARM; None where it has no such call."""

_CLONE, _CLONE3, _SOCKET = (56, 220), (435, 435), (41, 198)
_NEW_NAMESPACES = 0x7E020080  # CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_AF_UNIX = 1
_X32 = 0x40000000  # from this number on, x86-64 calls with 32-bit pointers

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def filter_for(machine: str | None = None) -> bytes | None:
    """Return the filter for a machine, this one by default; None where its system calls are not known here."""
    known = _ARCHITECTURES.get(machine or platform.machine())
    if known is None:
        return None
    architecture, column = known
    refused = [pair[column] for pair in _REFUSED.values()]
    refuse, absent = _ERROR | errno.EPERM, _ERROR | errno.ENOSYS
    program = [
        _statement(_LOAD, _ARCHITECTURE),
        _jump(_JUMP_EQUAL, architecture, 1, 0),
        _statement(_RETURN, _KILL),
        _statement(_LOAD, _NUMBER),
        *_if(_JUMP_AT_LEAST, _X32, refuse),
    ]
    for number in refused:
        program += _if(_JUMP_EQUAL, number, refuse) if number is not None else []
    # The flags of clone3 lie in memory, where no filter sees them; without it the C library takes clone.
    program += _if(_JUMP_EQUAL, _CLONE3[column], absent)
    program += [
        _jump(_JUMP_EQUAL, _CLONE[column], 0, 4),
        _statement(_LOAD, _FIRST_ARGUMENT),
        *_if(_JUMP_ANY_BIT, _NEW_NAMESPACES, refuse),
        _statement(_RETURN, _ALLOW),
        _jump(_JUMP_EQUAL, _SOCKET[column], 0, 3),
        _statement(_LOAD, _FIRST_ARGUMENT),
        _jump(_JUMP_EQUAL, _AF_UNIX, 1, 0),
        _statement(_RETURN, refuse),
        _statement(_RETURN, _ALLOW),
    ]
    return b"".join(program)


def _if(test: int, value: int, action: int) -> list[bytes]:
    return [_jump(test, value, 0, 1), _statement(_RETURN, action)]


def _statement(code: int, value: int) -> bytes:
    return _jump(code, value, 0, 0)


def _jump(code: int, value: int, if_true: int, if_false: int) -> bytes:
    """Return one instruction (struct sock_filter)."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
