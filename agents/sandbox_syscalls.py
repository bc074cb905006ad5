"""The seccomp filter: which system calls a sandboxed interpreter may make. All others fail with EPERM.

An allow list, so that calls of future kernels are denied. What is missing is the point: no socket, connect, execve, fork, clone (so one process,
one thread), kill, ptrace, process_vm_*, mount, unshare, setns, bpf, io_uring, keyctl, memfd_create, chmod, chown, setxattr, utimensat, prctl.
Numbers: Linux `arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h`. Standard library only.
"""

from __future__ import annotations

import ctypes
import platform
import struct

EPERM = 1
ARCHES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""AUDIT_ARCH_* of `linux/audit.h`, and the column of the tables below."""
# fmt: off
CALLS: dict[str, tuple[int | None, int | None]] = {
    # memory, time, the end
    "brk": (12, 214), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "futex": (202, 98), "rseq": (334, 293), "set_robust_list": (273, 99), "membarrier": (324, 283), "sched_yield": (24, 124),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153), "getitimer": (36, 102), "setitimer": (38, 103),
    "alarm": (37, None), "pause": (34, None), "exit": (60, 93), "exit_group": (231, 94), "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132),
    # who and where am I
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "uname": (63, 160), "sysinfo": (99, 179), "getrusage": (98, 165), "sched_getaffinity": (204, 123),
    "getrandom": (318, 278), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "umask": (95, 166),
    # files that are open, and those that Landlock lets be opened
    "read": (0, 63), "write": (1, 64), "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "lseek": (8, 62),
    "close": (3, 57), "close_range": (436, 436), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24),
    "open": (2, None), "openat": (257, 56), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78),
    "getdents64": (217, 61), "ftruncate": (77, 46), "fsync": (74, 82), "fdatasync": (75, 83), "fadvise64": (221, 223), "flock": (73, 32),
    "sendfile": (40, 71), "copy_file_range": (326, 285), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None),
    "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    # waiting inside one process
    "pipe": (22, None), "pipe2": (293, 59), "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22), "eventfd2": (290, 19),
    "sendto": (44, 206), "recvfrom": (45, 207),
}
SOME: dict[str, tuple[tuple[int, int], int, tuple[int, ...]]] = {
    # name: numbers, which argument, and its values that are allowed
    "ioctl": ((16, 29), 1, (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)),   # TCGETS, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
    "fcntl": ((72, 25), 1, (0, 1, 2, 3, 4, 5, 6, 7, 1030)),             # not F_SETOWN and F_SETSIG, by which the kernel sends signals for us
    "socketpair": ((53, 199), 1, (0x1, 0x801, 0x80001, 0x80801)),       # SOCK_STREAM, which sends to its other end only; asyncio wants one
}
# fmt: on


def program(column: int, arch: int) -> bytes:
    """The filter as classic BPF: 8 bytes an instruction, (u16 code, u8 if true, u8 if false, u32 k)."""
    load, equal, give = 0x20, 0x15, 0x06  # LD|W|ABS, JMP|JEQ|K, RET|K
    allow, deny, kill = 0x7FFF0000, 0x00050000 | EPERM, 0x80000000

    def op(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("<HBBI", code, yes, no, k)

    out = [op(load, 4), op(equal, arch, 1, 0), op(give, kill), op(load, 0)]  # seccomp_data: nr at 0, arch at 4, arguments from 16
    for numbers in CALLS.values():
        if (number := numbers[column]) is not None:
            out += [op(equal, number, 0, 1), op(give, allow)]
    for both, argument, values in SOME.values():
        out += [op(equal, both[column], 0, 2 * len(values) + 2), op(load, 16 + 8 * argument)]
        for value in values:
            out += [op(equal, value, 0, 1), op(give, allow)]
        out.append(op(give, deny))
    return b"".join([*out, op(give, deny)])


def install() -> bool:
    """Puts the filter on this thread and all that it starts, for good. False where kernel or processor has none."""
    if platform.machine() not in ARCHES:
        return False
    arch, column = ARCHES[platform.machine()]
    code = program(column, arch)
    held = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    made = Program(len(code) // 8, ctypes.addressof(held))
    set_seccomp, mode_filter = 22, 2
    return bool(
        ctypes.CDLL(None).prctl(set_seccomp, ctypes.c_ulong(mode_filter), ctypes.byref(made), ctypes.c_ulong(0), ctypes.c_ulong(0)) == 0
    )
