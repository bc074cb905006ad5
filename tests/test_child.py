"""Children that do not outlive us, and what the vLLM engine does without a vLLM."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

from murakkab.agents import llm_vllm
from murakkab.agents.child import Child

FAMILY = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print('up', flush=True); time.sleep(600)"
"""A process with a child of its own, both willing to live for ten minutes."""
PATIENCE_S = 30.0


@pytest.fixture
def log() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file


def wait_for(happened: object, what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < until, f"waited {PATIENCE_S:g} s for {what}"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_stop_ends_the_whole_family(log: IO[bytes]) -> None:
    child = Child([sys.executable, "-c", FAMILY], {}, log)
    wait_for(lambda: "up" in child.last_lines(3), "the family")
    family = [child.process.pid, *(p.pid for p in psutil.Process(child.process.pid).children(recursive=True))]
    assert len(family) == 2
    child.stop(grace_s=10)
    child.stop(grace_s=10)
    assert not child.alive
    wait_for(lambda: all(gone(pid) for pid in family), "the family's end")


def test_one_that_ignores_a_polite_word_is_forced(log: IO[bytes]) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    child = Child([sys.executable, "-c", deaf], {}, log)
    wait_for(lambda: "up" in child.last_lines(3), "the child")
    child.stop(grace_s=0.1)
    assert child.process.returncode == -9


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_it_dies_when_we_are_killed() -> None:
    parent = (
        "import os, sys, threading, time; from murakkab.agents.child import Child\n"
        "def start():\n"  # in a thread that ends at once: the child must not end with it
        "    global child; child = Child([sys.executable, '-c', 'import time; time.sleep(600)'], {}, open(os.devnull, 'wb'))\n"
        "t = threading.Thread(target=start); t.start(); t.join(); time.sleep(0.5)\n"
        "print(child.process.pid, child.alive, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        pid, alive = process.stdout.readline().split()
        assert alive == "True"
        process.kill()
    wait_for(lambda: gone(int(pid)), "the child's end")


def test_a_command_that_is_not_there_is_an_error_of_ours(log: IO[bytes]) -> None:
    child = Child(["/no/such/command"], {}, log) if sys.platform == "linux" else None
    if child is None:
        with pytest.raises(OSError, match="no/such/command"):
            Child(["/no/such/command"], {}, log)
        return
    assert child.process.wait(PATIENCE_S) != 0
    assert "FileNotFoundError" in child.last_lines(5)


def test_the_end_of_a_long_log_is_kept_short(log: IO[bytes]) -> None:
    child = Child([sys.executable, "-c", "for i in range(100_000): print('line', i)"], {}, log)
    assert child.process.wait(PATIENCE_S) == 0
    assert child.last_lines(2) == "line 99998\nline 99999"


def test_without_a_model_the_engine_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MURAKKAB_VLLM_MODEL", raising=False)
    with pytest.raises(RuntimeError, match="MURAKKAB_VLLM_MODEL is not set"):
        llm_vllm.VLLMEngine().load()


def test_a_server_that_cannot_start_is_told_with_the_end_of_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_vllm, "command", lambda: [sys.executable, "-c", "import sys; print('cannot load', sys.argv[1]); sys.exit(7)"])
    engine = llm_vllm.VLLMEngine("some/model")
    with pytest.raises(RuntimeError, match=r"ended with status 7.*\n(.*\n)*cannot load some/model"):
        engine.load()
    assert engine.child is None


def test_a_server_that_never_answers_is_given_up_and_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrote = tmp_path / "pid"
    mute = f"import os, time; open({str(wrote)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr(llm_vllm, "command", lambda: [sys.executable, "-c", mute])
    with pytest.raises(RuntimeError, match=r"not ready after 2 s"):
        llm_vllm.VLLMEngine("some/model", start_s=2).load()
    wait_for(lambda: gone(int(wrote.read_text())), "the server's end")


def test_what_a_server_gets_to_know(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(llm_vllm, "on_cpu", lambda: False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    hub = llm_vllm.environment("some/model", "secret")
    assert (hub["VLLM_API_KEY"], hub["VLLM_NO_USAGE_STATS"]) == ("secret", "1")
    assert "HF_HUB_OFFLINE" not in hub
    assert not [name for name in hub if name.startswith("VLLM_CPU")]
    assert llm_vllm.flags("some/model", "some/model") == []
    assert llm_vllm.environment(str(tmp_path), "secret")["HF_HUB_OFFLINE"] == "1"
    monkeypatch.setattr(llm_vllm, "on_cpu", lambda: True)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "8")
    assert llm_vllm.environment("some/model", "secret")["VLLM_CPU_KVCACHE_SPACE"] == "8"
    assert "--enforce-eager" in llm_vllm.flags("some/model", "some/model")


def test_metrics_are_summed_over_labels() -> None:
    text = (
        "# HELP vllm:num_requests_running Number of requests.\n"
        'vllm:num_requests_running{engine="0",model_name="a b"} 2.0\n'
        'vllm:num_requests_running{engine="1",model_name="a b"} 1.0\n'
        'vllm:e2e_seconds_bucket{le="+Inf"} 7.0\n'
        "vllm:e2e_seconds_created 1.7e+09\n"
        "process_cpu_seconds_total 1.25e+01\n\n"
    )
    assert llm_vllm.parse_metrics(text) == {"vllm:num_requests_running": 3.0, "process_cpu_seconds_total": 12.5}
