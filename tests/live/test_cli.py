"""The command line in hands that make mistakes, and against systems that are not there: one line that says what and where."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from commands import CLI, LIST, SAMPLES, Up, clean_env, end_all, left_behind, murakkab, ours, up
from media import tone
from toys import fan

from murakkab.client.job import Job, JobFailed

pytestmark = pytest.mark.live

READING = SAMPLES / "reading.mp4"
NOWHERE = "nats://127.0.0.1:1"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("home")) as running:
        yield running


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("murakkab")
    assert "Traceback" not in line
    assert "a bug" not in line
    assert len(line) < 600
    return line


# --- what needs no system ---------------------------------------------------------------------------------------------------


def _missing(folder: Path) -> list[str]:
    return [LIST, str(folder / "cats.mp4")]


def _empty(folder: Path) -> list[str]:
    (folder / "cats.mp4").touch()
    return [LIST, str(folder / "cats.mp4")]


def _folder(folder: Path) -> list[str]:
    (folder / "cats.mp4").mkdir()
    return [LIST, str(folder / "cats.mp4")]


def _unreadable_name(folder: Path) -> list[str]:
    return [LIST, "x" * 5_000 + ".mp4"]


def _second_missing(folder: Path) -> list[str]:
    return [LIST, str(READING), str(folder / "cats.mp4")]


def _pipe(folder: Path) -> list[str]:
    os.mkfifo(folder / "cats.mp4")
    return [LIST, str(folder / "cats.mp4")]


BEFORE_ANYTHING: list[tuple[Callable[[Path], list[str]], str]] = [
    (_missing, r"cats\.mp4: no such file"),
    (_second_missing, r"cats\.mp4: no such file"),
    (_empty, r"cats\.mp4: the file is empty"),
    (_folder, r"cats\.mp4: not a file"),
    (_pipe, r"cats\.mp4: not a file"),
    (_unreadable_name, "name too long"),
    (lambda _: ["", str(READING)], "the description is empty"),
    (lambda _: [" \n\t", str(READING)], "the description is empty"),
    (lambda _: ["x" * 100_000, str(READING)], "100000 characters: at most 8000"),
    (lambda _: [LIST, str(READING), "--constraint", "MIN_EFFORT"], "unknown constraint 'MIN_EFFORT': it is one of MIN_COST"),
    (lambda _: [LIST, str(READING), "--task", ""], "hint '' is empty"),
    (lambda _: [LIST, str(READING), "--deadline", "-1"], "deadline_s=-1 is not a positive number"),
    (lambda _: [LIST, str(READING), "--deadline", "nan"], "deadline_s=nan"),
    (lambda _: [LIST, str(READING), "--quality-floor", "3"], "quality_floor=3 is not between 0 and 1"),
    (lambda _: [LIST, str(READING), "--budget", "inf"], "budget_usd=inf"),
    (lambda _: [LIST, str(READING), "--nats", "http://example"], "'http://example' is not a NATS address such as nats://"),
    (lambda _: [LIST, str(READING), "--nats", "nats://127.0.0.1:port"], "nats://127.0.0.1:port' is not a NATS address"),
]


@pytest.mark.parametrize(("args", "says"), BEFORE_ANYTHING, ids=[says[:30] for _, says in BEFORE_ANYTHING])
def test_a_request_that_cannot_be_is_refused_before_anything_starts(tmp_path: Path, args: Callable[[Path], list[str]], says: str) -> None:
    home = tmp_path / "home"
    done = murakkab("run", *args(tmp_path), env=clean_env(home), limit_s=20)
    assert re.search(says, one_line(done))
    assert done.returncode == 2
    assert not home.exists(), "nothing was started"


def test_a_name_as_long_as_a_message_is_one_line_too(tmp_path: Path) -> None:
    done = murakkab("run", LIST, "a\nb\x1b[31m.mp4", env=clean_env(tmp_path), cwd=tmp_path, limit_s=20)
    assert done.returncode == 2
    line = one_line(done)
    assert "no such file" in line


@pytest.mark.parametrize("words", [("run", LIST, str(READING)), ("status",), ("trace", "x"), ("cancel", "x"), ("library",)])
def test_a_dead_nats_server_is_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = murakkab(*words, "--nats", NOWHERE, env=clean_env(tmp_path), limit_s=30)
    assert done.returncode == 1
    assert NOWHERE in one_line(done)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("words", [("status",), ("trace", "x"), ("cancel", "x")])
def test_without_any_system_there_is_nothing_to_ask(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = murakkab(*words, env=clean_env(tmp_path / "home"), limit_s=20)
    assert done.returncode == 2
    assert "start one with `murakkab up`" in one_line(done)


@pytest.mark.parametrize("words", [(), ("dance",), ("run",), ("trace",), ("run", LIST, "x", "--deadline", "soon")])
def test_wrong_usage_has_status_2_and_says_the_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = murakkab(*words, env=clean_env(tmp_path), limit_s=20)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: murakkab")
    assert "Traceback" not in done.stderr


def test_an_actor_wants_to_be_told_its_server(tmp_path: Path) -> None:
    done = murakkab("planner", env=clean_env(tmp_path), limit_s=20)
    assert done.returncode == 2
    assert "--nats URL or NATS_URL" in one_line(done)


def test_library_and_doctor_say_what_there_is(tmp_path: Path) -> None:
    env = clean_env(tmp_path)
    told = murakkab("library", "--json", env=env, limit_s=20)
    assert (told.returncode, told.stderr) == (0, "")
    agents = {a["agent"]: a for a in json.loads(told.stdout)}
    assert agents["ObjectDetector"]["takes"] == {"frames": {"type": "Frames", "many": False, "optional": False, "literal": False}}
    assert all(i.keys() >= {"name", "hardware", "missing"} for a in agents.values() for i in a["implementations"])
    words = murakkab("library", env=env, limit_s=20)
    assert words.returncode == 0
    for name in agents:
        assert re.search(rf"^{name}\(.*\) -> ", words.stdout, re.M)
    doctor = murakkab("doctor", "--json", env=env, limit_s=20)
    facts = json.loads(doctor.stdout)
    assert doctor.returncode == (1 if facts["agents_without_implementation"] else 0)
    assert facts["cores"] == os.cpu_count()
    assert Path(facts["nats_server"]).is_file()
    assert "nats-server" in murakkab("doctor", env=env, limit_s=20).stdout
    assert left_behind(tmp_path) == []


def test_doctor_says_that_there_is_no_nats_server(tmp_path: Path) -> None:
    env = clean_env(tmp_path, MURAKKAB_NATS_SERVER=str(tmp_path / "nothing"))
    doctor = murakkab("doctor", env=env, limit_s=20)
    assert doctor.returncode == 1
    assert f"MURAKKAB_NATS_SERVER={tmp_path / 'nothing'} is not a program" in doctor.stdout
    done = murakkab("run", LIST, READING, env=env, limit_s=20)
    assert done.returncode == 1
    assert "is not a program" in one_line(done)


# --- against a running system -------------------------------------------------------------------------------------------------


def _text(folder: Path) -> list[str]:
    (folder / "notes.mp4").write_text("Dear diary, today nothing happened.\n" * 50)
    return [LIST, str(folder / "notes.mp4")]


def _noise(folder: Path) -> list[str]:
    (folder / "noise.mp4").write_bytes(bytes(i * i % 251 for i in range(50_000)))
    return [LIST, str(folder / "noise.mp4")]


def _half(folder: Path) -> list[str]:
    (folder / "half.mp4").write_bytes(READING.read_bytes()[:200_000])
    return [LIST, str(folder / "half.mp4")]


def _tone(folder: Path) -> list[str]:
    return ["List objects shown in it", str(tone(folder / "tone.wav"))]


BY_THE_SYSTEM: list[tuple[Callable[[Path], list[str]], str]] = [
    (_text, r"notes\.mp4: a text file, not a media file"),
    (_noise, r"noise\.mp4"),
    (_half, r"half\.mp4"),
    (_tone, r"tone\.wav.*picture"),
    (lambda _: ["Bake a cake", str(READING)], "no agent can do 'Bake a cake'; (nearest: |the library has )"),
    (lambda _: [LIST, str(READING), "--task", "Bake a cake"], "no agent can do the step 'Bake a cake'; (nearest: |the library has )"),
    (lambda _: [LIST, str(READING), "--quality-floor", "1"], "quality floor 1 cannot be met by stage"),
    (lambda _: [LIST, str(READING), "--deadline", "0.05"], r"deadline (of )?0\.05 s"),
    (lambda _: [LIST, str(READING), "--budget", "1e-12"], "budget"),
]


@pytest.mark.parametrize(("args", "says"), BY_THE_SYSTEM, ids=[says[:30] for _, says in BY_THE_SYSTEM])
def test_a_job_that_fails_says_why_in_one_line(system: Up, tmp_path: Path, args: Callable[[Path], list[str]], says: str) -> None:
    done = system.run("run", *args(tmp_path), limit_s=40)
    assert re.search(says, one_line(done))
    # refused before anything ran, as wrong usage is; a deadline may also pass while the job is planned
    infeasible = "cannot be met" in done.stderr
    assert infeasible or not says.startswith(("quality floor", "budget"))
    assert done.returncode == (2 if infeasible else 1)


def test_a_job_that_fails_is_one_object_too(system: Up, tmp_path: Path) -> None:
    done = system.run("run", *_text(tmp_path), "--json", limit_s=40)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    said = json.loads(line)
    assert said["status"] == "failed"
    assert said["error"] in done.stderr
    assert "notes.mp4" in said["error"]


@pytest.mark.parametrize("name", ["-Ünïcödé «кот» 猫🐈 ' \" $(x).mp4", "a" * 240 + ".mp4", "two\nlines.mp4", "%s{0}*>.mp4"])
def test_odd_names_are_only_names(system: Up, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Dear diary.\n" * 20)
    done = system.run("run", LIST, tmp_path / name, limit_s=40)
    assert done.returncode == 1
    assert " ".join(name.split())[:200] in one_line(done)


def test_a_wrong_password_is_refused_at_once(system: Up, tmp_path: Path) -> None:
    wrong = system.url.replace("nats://", "nats://client:wrong@")
    done = murakkab("run", LIST, READING, "--nats", wrong, env=clean_env(tmp_path), limit_s=30)
    assert done.returncode == 1
    line = one_line(done)
    assert system.url in line
    assert "uthorization" in line
    assert "wrong@" not in line, "passwords are not shown"


@pytest.mark.parametrize("what", ["password", "file"])
def test_credentials_that_cannot_be_used_are_named(system: Up, tmp_path: Path, what: str) -> None:
    file = tmp_path / "credentials.json"
    if what == "password":
        file.write_text("{}")
    env = {**system.env, "MURAKKAB_CREDENTIALS": str(file)}
    done = murakkab("status", env=env, limit_s=30)
    assert done.returncode == 2
    assert str(file) in one_line(done)


@pytest.mark.parametrize("command", ["trace", "cancel"])
@pytest.mark.parametrize("job", ["nosuchjob", "*", ">", "a b", "a.b", "", "x" * 3_000])
def test_an_unknown_job_is_named(system: Up, command: str, job: str) -> None:
    done = system.run(command, job, limit_s=30)
    assert done.returncode == 2
    line = one_line(done)
    assert job[:40] in line


def test_a_running_job_is_cancelled_by_another_command(system: Up) -> None:
    async def job() -> str:
        async with Job("", workflow=fan(3_000, 500)).start(system.url) as handle:
            async for news in handle.events():
                if news.phase == "running":
                    break
            loop = asyncio.get_running_loop()
            listed = await loop.run_in_executor(None, lambda: system.run("status", limit_s=30))
            assert "1 running jobs" in listed.stdout
            assert handle.job in listed.stdout
            done = await loop.run_in_executor(None, lambda: system.run("cancel", handle.job, limit_s=30))
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout == f"job {handle.job} is cancelled\n"
            with pytest.raises(JobFailed) as failed:
                await handle.result()
            assert failed.value.result.status == "cancelled"
            return handle.job

    os.environ["MURAKKAB_CREDENTIALS"], before = system.env["MURAKKAB_CREDENTIALS"], os.environ.get("MURAKKAB_CREDENTIALS")
    try:
        name = asyncio.run(asyncio.wait_for(job(), 60))
    finally:
        del os.environ["MURAKKAB_CREDENTIALS"]
        if before is not None:
            os.environ["MURAKKAB_CREDENTIALS"] = before
    told = system.run("trace", name, limit_s=30)
    assert "cancelled" in told.stdout


def test_another_command_finds_the_system_that_runs_here(system: Up) -> None:
    """Without NATS_URL, by what `up` has left in the home."""
    env = clean_env(system.home)
    told = murakkab("status", "--json", env=env, limit_s=30)
    assert (told.returncode, told.stderr) == (0, "")
    assert len(json.loads(told.stdout)["hosts"]) == 1


# --- the life of `up` -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_up_takes_everything_with_it(tmp_path: Path, number: int) -> None:
    with up(tmp_path) as running:
        assert running.run("status", limit_s=30).returncode == 0
        assert len(ours(tmp_path)) >= 7, "itself, nats-server and five actors"
        ports = {
            c.laddr.port for p in ours(tmp_path) for c in psutil.Process(p.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN
        }
        assert urlsplit(running.url).port in ports
        assert running.stop(number) == (-number if number == signal.SIGKILL else 0)
        assert left_behind(tmp_path, 10) == []
        listening = {c.laddr.port for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        assert not ports & listening


def test_two_systems_do_not_share_a_folder(tmp_path: Path) -> None:
    """A second `up` on the same data says so; it does not harm the first."""
    with up(tmp_path) as first:
        second = subprocess.Popen(
            [*CLI, "up"], env=clean_env(tmp_path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            _, err = second.communicate(timeout=8)
            assert second.returncode == 2
            assert str(tmp_path) in err
        except subprocess.TimeoutExpired:
            second.send_signal(signal.SIGINT)
            second.communicate(timeout=20)
            pytest.fail("a second system was started on the first one's folder")
        finally:
            second.kill()
            second.wait()
        assert first.run("status", limit_s=30).returncode == 0
    end_all(tmp_path)
