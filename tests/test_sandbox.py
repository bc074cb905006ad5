"""The sandbox: real attempts to get out of it, by layer, and to be judged well without being good."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from murakkab.agents.sandbox import WEAK, CannotConfine, Ended, Exam, Limits, Sandbox
from murakkab.agents.sandbox_confine import NAMESPACES

LIMITS = Limits(wall_s=20, cpu_s=10)
ACCEPT = {WEAK: "accept"}
KERNELS = {"every layer": (), "no namespaces, as in many containers": tuple(NAMESPACES), "no user namespace": ("user-namespace",)}


def can(without: tuple[str, ...] = ()) -> str:
    try:
        return "" if Sandbox(without=without, environ={}).layers else "no layer"
    except CannotConfine as error:
        return str(error)


needs_linux = pytest.mark.skipif(bool(can()), reason=can())


@pytest.fixture(params=list(KERNELS.values()), ids=list(KERNELS))
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    if why := can(request.param):
        pytest.skip(why)
    return Sandbox(LIMITS, request.param, {})


def refused(ended: Ended) -> bool:
    """The code reached its end, where it says that nothing worked; had anything worked it would have said so."""
    return ended.stdout.strip().splitlines()[-1:] == ["all refused"]


ATTEMPTS = """
import sys
def attempt(what, f):
    try:
        got = f()
    except (OSError, RuntimeError, ImportError, ValueError) as error:
        return
    print("WORKED", what, repr(got)[:200])
    sys.exit(1)
"""


def tried(sandbox: Sandbox, code: str) -> Ended:
    return sandbox.run(f'{ATTEMPTS}\n{code}\nprint("all refused")\n')


# --- files ----------------------------------------------------------------------------------------------------------------


def test_files_of_the_host_are_neither_read_nor_written(sandbox: Sandbox, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("secret")
    os.chmod(tmp_path, 0o777)
    os.chmod(mine, 0o666)
    done = tried(
        sandbox,
        f"""
import os
mine, folder, home = {str(mine)!r}, {str(tmp_path)!r}, {str(Path.home())!r}
for path in (mine, "/etc/passwd", "/etc/hostname", "/proc/self/environ", "/proc/cpuinfo", {__file__!r}):
    attempt("read " + path, lambda: open(path).read())
for path in (folder, home, "/", "/etc", "/tmp", "/proc"):
    attempt("list " + path, lambda: os.listdir(path))
attempt("write", lambda: open(mine, "w"))
attempt("truncate", lambda: os.truncate(mine, 0))
attempt("make", lambda: open(folder + "/new", "w"))
attempt("folder", lambda: os.mkdir(folder + "/sub"))
attempt("remove", lambda: os.remove(mine))
attempt("rename", lambda: os.rename(mine, folder + "/other"))
attempt("mode", lambda: os.chmod(mine, 0))
attempt("owner", lambda: os.chown(mine, 1, 1))
attempt("times", lambda: os.utime(mine))
attempt("symlink", lambda: os.symlink(mine, "here") or open("here").read())
attempt("link", lambda: os.link(mine, "there"))
attempt("up", lambda: open("../../etc/passwd").read())
attempt("device", lambda: os.mknod("sda", 0o60666, os.makedev(8, 0)))
""",
    )
    assert refused(done), done
    assert mine.read_text() == "secret"
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    assert mine.stat().st_mode & 0o777 == 0o666


@needs_linux
def test_the_scratch_folder_is_there_small_and_gone_afterwards() -> None:
    done = Sandbox(LIMITS, environ={}).run(
        """
import os
print(os.getcwd())
print(os.listdir("."))
try:
    open("note", "w").write("x")
    print(open("note").read())
    for i in range(100):
        open(f"big{i}", "w").write("x" * 1_000_000)
    print("no end of space")
except OSError as error:
    print("full or forbidden")
"""
    )
    lines = done.stdout.splitlines()
    assert lines[1] == "[]"
    assert lines[-1] == "full or forbidden"
    assert ("x" in lines) == ("scratch-in-memory" in done.layers)
    assert not Path(lines[0]).exists()


def test_the_library_can_be_used(sandbox: Sandbox) -> None:
    done = sandbox.run(
        "import hashlib, decimal, json, re, math, collections, dataclasses, datetime, itertools, typing, heapq, asyncio, zoneinfo, random\n"
        "@dataclasses.dataclass\nclass P:\n    x: int = 1\n"
        "async def f():\n    await asyncio.sleep(0)\n    return hashlib.md5(b'a').hexdigest()\n"
        "print(asyncio.run(f()), P(), datetime.datetime.now().year > 2000, random.random() < 1)\n"
    )
    assert done.stdout == "0cc175b9c0f1b6a831c399e269772661 P(x=1) True True\n", done
    assert done.code == 0


# --- network, processes, others -------------------------------------------------------------------------------------------


def connecting(port: int) -> str:
    return f"""
import shutil
import socket
import subprocess
import sys
def reach(family, kind, address):
    s = socket.socket(family, kind)
    s.settimeout(1)
    s.connect(address)
    s.send(b"hello")
attempt("tcp", lambda: reach(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", {port})))
attempt("udp", lambda: reach(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", {port})))
attempt("tcp6", lambda: reach(socket.AF_INET6, socket.SOCK_STREAM, ("::1", {port})))
attempt("name", lambda: reach(socket.AF_INET, socket.SOCK_STREAM, ("localhost", {port})))
"""


def unreached(check: Callable[[str], Ended]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        done = check(connecting(server.getsockname()[1]))
        assert refused(done), done
        with pytest.raises(BlockingIOError):
            server.accept()


def test_no_server_is_reached(sandbox: Sandbox) -> None:
    unreached(lambda code: tried(sandbox, code))


@needs_linux
def test_no_socket_of_any_kind_is_made() -> None:
    done = tried(
        Sandbox(LIMITS, environ={}),
        """
import shutil
import socket
import subprocess
import sys
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_NETLINK, socket.AF_PACKET, socket.AF_VSOCK):
    attempt(str(family), lambda: socket.socket(family, socket.SOCK_DGRAM))
attempt("pair of datagrams", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
a, b = socket.socketpair()
attempt("elsewhere", lambda: a.sendto(b"x", "/dev/log"))
attempt("bind", lambda: a.bind("name"))
""",
    )
    assert refused(done), done


@needs_linux
@pytest.mark.skipif(
    bool({"network-namespace", "pid-namespace"} - set(() if can() else Sandbox(environ={}).layers)), reason="no namespaces here"
)
def test_namespaces_hold_by_themselves() -> None:
    """Without seccomp: nobody is reached over the network, no process is seen, and none stays."""
    weak = Sandbox(Limits(wall_s=5, cpu_s=3), ("seccomp", "process-limit"), ACCEPT)
    unreached(lambda code: tried(weak, code))
    done = weak.run(
        """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
print(os.getcwd(), os.getpid())
"""
    )
    folder, pid = done.stdout.split()
    assert int(pid) == 1
    assert not processes_in(folder)


def processes_in(folder: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(folder):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_no_process_or_thread_is_started(sandbox: Sandbox) -> None:
    done = tried(
        sandbox,
        """
import os, subprocess, sys, threading
print(os.getcwd())
for i in range(20):
    attempt("fork", os.fork)
attempt("spawn", lambda: os.posix_spawn("/bin/sh", ["sh"], {}))
attempt("exec", lambda: os.execv(sys.executable, ["python"]))
attempt("command", lambda: subprocess.run(["/bin/true"]))
attempt("shell", lambda: 0 if os.system("true") == 0 else open("/none"))
attempt("thread", threading.Thread(target=print).start)
attempt("session", os.setsid)
""",
    )
    assert refused(done), done
    assert not processes_in(done.stdout.split()[0])


def test_others_are_not_touched(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURAKKAB_TEST_SECRET", "do-not-tell")
    done = tried(
        sandbox,
        f"""
import os, signal
print(dict(os.environ), sys.argv)
for pid in {{{os.getpid()}, os.getppid()}} - {{0}}:
    attempt("kill", lambda: os.kill(pid, signal.SIGTERM))
    for name in ("environ", "mem", "cmdline", "fd", "maps", "root/etc/passwd"):
        attempt(name, lambda: open(f"/proc/{{pid}}/{{name}}", "rb").read())
        attempt(name, lambda: os.listdir(f"/proc/{{pid}}/{{name}}"))
attempt("group", lambda: os.killpg(os.getpgid(0), signal.SIGTERM))
import fcntl
reading, writing = os.pipe()
attempt("owner", lambda: fcntl.fcntl(reading, fcntl.F_SETOWN, {os.getpid()}))
attempt("signal", lambda: fcntl.fcntl(reading, 10, signal.SIGKILL))
attempt("nice", lambda: os.setpriority(os.PRIO_PROCESS, {os.getpid()}, 19))
""",
    )
    assert refused(done), done
    assert "do-not-tell" not in done.stdout + done.stderr
    shown = done.stdout.splitlines()[0]
    assert set(eval(shown.partition("}")[0] + "}")) <= {"LC_CTYPE"}  # which Python itself sets


def test_raw_system_calls_get_no_further(sandbox: Sandbox, tmp_path: Path) -> None:
    """As code does that knows our layers: through ctypes, by number; x86-64 only in parts, for numbers differ."""
    mine = tmp_path / "mine.txt"
    mine.write_text("secret")
    done = tried(
        sandbox,
        f"""
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
def raw(*args):
    got = libc.syscall(*args)
    if got < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return got
path = {os.fsencode(mine)!r}
attempt("landlock again", lambda: open(path, "rb") if libc.syscall(444, None, 0, 1) else None)
attempt("lift limits", lambda: __import__("resource").setrlimit(__import__("resource").RLIMIT_AS, (-1, -1)))
for name, args in {{"ptrace": (16, {os.getpid()}, 0, 0), "unshare": (0x10000000,), "chroot": (b"/",), "mount": (b"/", b".", None, 4096, None),
                   "prctl": (22, 0, 0, 0, 0), "setns": (0, 0), "kill": ({os.getpid()}, 0), "memfd_create": (b"x", 0), "execve": (b"/bin/sh", 0, 0),
                   "process_vm_readv": ({os.getpid()}, 0, 0, 0, 0, 0), "pidfd_open": ({os.getpid()}, 0), "io_uring_setup": (1, 0)}}.items():
    numbers = {{"ptrace": 101, "unshare": 272, "chroot": 161, "mount": 165, "prctl": 157, "setns": 308, "kill": 62, "memfd_create": 319,
               "execve": 59, "process_vm_readv": 310, "pidfd_open": 434, "io_uring_setup": 425}}
    if platform.machine() == "x86_64":
        attempt(name, lambda: raw(numbers[name], *args))
        attempt("x32 " + name, lambda: raw(numbers[name] | 0x40000000, *args))
        attempt("open", lambda: raw(257, -100, path, 0))
        attempt("openat2", lambda: raw(437, -100, path, 0, 0))
""",
    )
    assert refused(done), done
    assert mine.read_text() == "secret"


# --- limits ---------------------------------------------------------------------------------------------------------------


def test_time_is_limited(sandbox: Sandbox) -> None:
    short = Sandbox(Limits(wall_s=2, cpu_s=1), sandbox._common["without"], {})  # type: ignore[arg-type]
    busy = short.run("print('started', flush=True)\nimport signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass")
    assert busy.why in ("it used more than 1 s of CPU time", "it took longer than 2 s")
    assert busy.stdout == "started\n"
    assert short.run("import time\ntime.sleep(1000)").why == "it took longer than 2 s"


def test_memory_is_limited(sandbox: Sandbox) -> None:
    small = Sandbox(Limits(memory_mb=128, wall_s=20), sandbox._common["without"], {})  # type: ignore[arg-type]
    assert "MemoryError" in small.run("x = bytearray(10**10)").stderr
    grown = small.run("x = []\nwhile True: x.append(bytearray(10**6))")
    assert "MemoryError" in grown.stderr
    assert grown.memory_mb < 160
    mapped = small.run("import mmap\nx = []\nwhile True:\n    x.append(mmap.mmap(-1, 10**7))\n    x[-1].write(b'x' * 10**7)")
    assert mapped.code != 0
    assert mapped.memory_mb < 160


def test_output_is_limited(sandbox: Sandbox) -> None:
    done = sandbox.run("import sys\nfor i in range(1000): sys.stdout.write('x' * 100_000)")
    assert len(done.stdout) == LIMITS.output_kb << 10
    assert set(done.stdout) == {"x"}
    assert done.code != 0


# --- refusing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("without", "names"),
    [
        (("landlock",), "files"),
        (("seccomp", "network-namespace"), "network"),
        (("seccomp", "landlock", *NAMESPACES), "network nor from files"),
    ],
)
def test_code_is_not_run_where_it_cannot_be_confined(without: tuple[str, ...], names: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w')"
    with pytest.raises(CannotConfine, match=names):
        Sandbox(LIMITS, without, {}).run(code)
    with pytest.raises(CannotConfine, match=names):
        Sandbox(LIMITS, without, {}).examine(code, Exam("f"))
    with pytest.raises(CannotConfine):
        Sandbox(LIMITS, without, {WEAK: "yes"}).run(code)
    assert not mark.exists()
    assert Sandbox(LIMITS, without, ACCEPT).run("print(1)").stdout == "1\n"


# --- the end ------------------------------------------------------------------------------------------------------------


@needs_linux
def test_many_at_once_leave_nothing_behind() -> None:
    box, exam = Sandbox(LIMITS, environ={}), Exam("square", tests="assert square(2) == 4")
    folder, me = Path(tempfile.gettempdir()), psutil.Process()
    before = me.num_fds(), set(folder.glob("murakkab-sandbox-*"))
    codes = ["def square(x): return x * x", "import os\nos._exit(0)"] * 6
    with ThreadPoolExecutor(4) as threads:
        verdicts = list(threads.map(lambda code: box.examine(code, exam), codes))
        assert [v.report.good for v in verdicts] == [True, False] * 6
        assert me.num_fds() == before[0]
    assert not [p for p in psutil.process_iter() if p.ppid() == me.pid and p.status() == psutil.STATUS_ZOMBIE]
    left = set(folder.glob("murakkab-sandbox-*")) - before[1]
    assert not [f for f in left if f.exists() and not processes_in(str(f))]  # somebody else may be testing too


@needs_linux
def test_code_does_not_outlive_its_parent() -> None:
    code = "import os, time\nprint(os.getcwd(), flush=True)\ntime.sleep(600)"
    script = f"from murakkab.agents.sandbox import *\nSandbox(Limits(wall_s=500), environ={{}}).run({code!r})"
    parent = subprocess.Popen([sys.executable, "-c", script])
    try:
        until(lambda: len(psutil.Process(parent.pid).children(recursive=True)) == 2)
        family = psutil.Process(parent.pid).children(recursive=True)
        folder = Path(family[-1].cwd())
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family))
    shutil.rmtree(folder)  # which only the parent would have done


def until(there: Callable[[], bool]) -> None:
    """Waits, at most a minute."""
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)
