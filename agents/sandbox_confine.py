"""The layers of the sandbox, each put on by the process itself before it runs what it does not trust. Linux; standard library only.

Every function says which layers it could put on, and none raises where the kernel has no such thing: what is missing is then decided by
`uncovered`. Landlock: `linux/landlock.h`, namespaces: unshare(2), the rest: prctl(2), setrlimit(2), capset(2).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
import sysconfig
from collections.abc import Collection, Iterator
from contextlib import suppress

from . import sandbox_syscalls

COVERS = {
    "network": {"seccomp", "network-namespace"},
    "files": {"landlock"},
    "processes": {"seccomp", "process-limit"},
}
"""What has to be kept from strangers' code, and the layers of which any one does."""
NAMESPACES = {
    "user-namespace": 0x10000000,
    "network-namespace": 0x40000000,
    "pid-namespace": 0x20000000,
    "mount-namespace": 0x00020000,
    "ipc-namespace": 0x08000000,
}
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
READ_FILE, READ_DIR = 1 << 2, 1 << 3
WRITE_FILE, REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG, TRUNCATE = 1 << 1, 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 14


def uncovered(layers: Collection[str]) -> list[str]:
    """What none of these layers keeps in."""
    return [what for what, any_of in COVERS.items() if not any_of & set(layers)]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    with suppress(AttributeError):  # only Linux has prctl
        _libc().prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


def namespaces(without: Collection[str]) -> set[str]:
    """New, empty namespaces: all if the kernel lets us, else as many as it does. The PID namespace is of the next child."""
    wanted = {name: flag for name, flag in NAMESPACES.items() if name not in without}
    tries = [
        wanted,
        {k: f for k, f in wanted.items() if k != "user-namespace"},
        {k: f for k, f in wanted.items() if k[:4] in ("user", "netw")},
    ]
    uid, gid = os.getuid(), os.getgid()
    for names in tries:
        try:
            if not names or _libc().unshare(sum(names.values())) != 0:
                continue
        except AttributeError:
            return set()
        if "user-namespace" in names:
            for file, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
                with suppress(OSError), open(f"/proc/self/{file}", "w") as f:
                    f.write(text)
        return set(names)
    return set()


def scratch(folder: str, size_mb: int, layers: Collection[str]) -> set[str]:
    """A file system of its own for the scratch folder, in memory and of limited size; only a mount namespace can have it."""
    if "mount-namespace" not in layers:
        return set()
    private, quiet = 0x44000, 0xE  # MS_REC|MS_PRIVATE; MS_NOSUID|MS_NODEV|MS_NOEXEC
    libc = _libc()
    libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
    if libc.mount(b"none", b"/", None, private, None) != 0:
        return set()
    options = f"size={size_mb}m,nr_inodes=1000,mode=700".encode()
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", quiet, options) != 0:
        return set()
    os.chdir(folder)
    return {"scratch-in-memory"}


def limits(cpu_s: float, memory_mb: int, file_mb: int, files: int, without: Collection[str]) -> set[str]:
    """Resource limits of this process. A soft CPU limit could be caught, so soft and hard are the same. `memory_mb` is address space."""
    bounds = {
        resource.RLIMIT_CPU: max(1, int(cpu_s + 0.999)),
        resource.RLIMIT_AS: memory_mb << 20,
        resource.RLIMIT_FSIZE: file_mb << 20,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_CORE: 0,
    }
    for what, bound in bounds.items():
        hard = resource.getrlimit(what)[1]
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(what, (bound, bound))
    if "process-limit" in without:
        return {"limits"}
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    return {"limits"} if os.getuid() == 0 else {"limits", "process-limit"}  # the kernel does not hold root to it


def no_new_privileges() -> set[str]:
    try:
        return {"no-new-privileges"} if _libc().prctl(PR_SET_NO_NEW_PRIVS, *(ctypes.c_ulong(x) for x in (1, 0, 0, 0))) == 0 else set()
    except AttributeError:
        return set()


def no_capabilities() -> set[str]:
    """Root without its powers, and nobody's powers inside a user namespace."""
    header, none = struct.pack("<Ii", 0x20080522, 0), bytes(24)  # _LINUX_CAPABILITY_VERSION_3, this process
    try:
        return {"no-capabilities"} if _libc().capset(header, none) == 0 else set()
    except AttributeError:
        return set()


def landlock(folder: str, writable: bool, without: Collection[str]) -> set[str]:
    """No file but Python's library and what it is linked with (to read) and the scratch folder; no TCP, no signals to others."""
    libc = _libc()
    create, add, restrict = 444, 445, 446  # the same numbers on every processor
    if "landlock" in without or sys.platform != "linux" or (abi := libc.syscall(create, None, ctypes.c_size_t(0), 1)) < 1:
        return set()
    handled = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1  # every right that this kernel knows, up to ABI 5's
    attributes = struct.pack("<QQQ", handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = libc.syscall(create, attributes[:size], ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return set()

    def allow(path: str, rights: int) -> None:
        with suppress(OSError):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            if not os.path.isdir(path):
                rights &= READ_FILE | WRITE_FILE | TRUNCATE
            libc.syscall(add, ruleset, 1, struct.pack("<Qi", rights & handled, place), 0)
            os.close(place)

    for path in python_files():
        allow(path, READ_FILE | READ_DIR)
    allow(os.devnull, READ_FILE | WRITE_FILE)
    write = WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | TRUNCATE
    allow(folder, READ_FILE | READ_DIR | (write if writable else 0))
    done = libc.syscall(restrict, ruleset, 0) == 0
    os.close(ruleset)
    return {"landlock", f"landlock-{abi}"} if done else set()


def python_files() -> Iterator[str]:
    """What a Python program may want to read although it was given no file: the standard library, shared libraries, time zones."""
    yield from {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix})}
    for folder in ("/lib", "/usr/lib"):
        with suppress(OSError):
            yield from (f"{folder}/{name}" for name in os.listdir(folder) if name.endswith("-linux-gnu") or ".so" in name)
    yield from ("/lib64", "/usr/lib64", "/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom", "/dev/zero")
    with suppress(OSError), open("/proc/self/maps") as f:  # wherever else this interpreter was linked from
        yield from {line[line.index("/") :].strip() for line in f if "/" in line and ".so" in line}


def seccomp(without: Collection[str]) -> set[str]:
    return {"seccomp"} if "seccomp" not in without and sys.platform == "linux" and sandbox_syscalls.install() else set()
