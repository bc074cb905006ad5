"""MCP both ways on real systems: a workflow of tools of MCP servers, and jobs that an MCP client asks for over standard input and output."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from commands import CLI, SAMPLES, clean_env, end_all, left_behind, up

from murakkab.bus.link import Link
from murakkab.bus.messages import Edge, LibraryOffered, Stage, Workflow
from murakkab.bus.roles import address, inbox
from murakkab.bus.subjects import wildcard
from murakkab.bus.wire import decode
from murakkab.client.job import Job, JobFailed

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(find_spec("mcp") is None, reason="the Python package 'mcp' is not installed (extra mcp)"),
]
SERVER = Path(__file__).resolve().parents[1] / "mcp_server.py"
LIMIT_S = 120.0


def words(text: str) -> dict[str, Any]:
    return {"text": text, "name": "the job's words"}


async def heard(url: str, agent: str) -> None:
    """Until a worker has told that it brings the agent."""
    link = await Link.open(address(url, "observer", os.environ), "test", inbox=inbox("observer"))
    try:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(LookupError):  # the stream is yet to be made
                    async for msg in link.replay(LibraryOffered.stream, wildcard(LibraryOffered), newest_only=True):
                        said = decode(msg.data)
                        if isinstance(said, LibraryOffered) and any(row["name"] == agent for row in said.agents):
                            return
                await asyncio.sleep(0.2)
    finally:
        await link.close()


def test_tools_of_a_server_in_a_workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line of configuration, and its tools run: what one gives flows into the next as text."""
    monkeypatch.setenv("MURAKKAB_MCP", f"test={sys.executable} {SERVER} {tmp_path}")
    flow = Workflow(
        (
            Stage("count", "test.count", given={"text": words("three little words")}),
            Stage("loud", "test.shout", (Edge("text", "count"),), args={"times": 2}),
            Stage("picture", "test.picture"),
        ),
        ("loud", "picture"),
    )
    bad = Workflow((Stage("no", "test.refuse", given={"text": words("this")}),), ("no",))
    with up(tmp_path / "home") as running:
        monkeypatch.setenv("MURAKKAB_CREDENTIALS", running.env["MURAKKAB_CREDENTIALS"])
        asyncio.run(heard(running.url, "test.picture"))
        loud, picture = Job("run these tools", workflow=flow, deadline_s=LIMIT_S).execute(running.url).answer
        assert loud["text"].startswith('{"WORDS"') or '"WORDS"' in loud["text"]
        assert (picture["text"], picture["files"][0]["media_type"]) == ("one pixel", "image/png")
        with pytest.raises(JobFailed, match=r"test\.refuse failed: Invalid text: this"):
            Job("run this tool", workflow=bad, deadline_s=LIMIT_S).execute(running.url)
    assert left_behind(tmp_path / "home", 20) == []


# --- Murakkab as a server --------------------------------------------------------------------------------------------------------


async def ask(env: Mapping[str, str], tool: str, **args: Any) -> tuple[Any, list[tuple[float, float | None, str | None]]]:
    """One call by the protocol's own client: its result, and the progress that was told."""
    from mcp import Client, StdioServerParameters

    told: list[tuple[float, float | None, str | None]] = []

    async def heard_of(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    params = StdioServerParameters(command=CLI[0], args=[*CLI[1:], "mcp"], env=dict(env))
    async with asyncio.timeout(LIMIT_S), Client(params) as client:
        assert client.server_info is not None
        assert client.server_info.name == "murakkab"
        tools = {t.name: t for t in (await client.list_tools()).tools}
        assert tools.keys() == {"run_job", "explain_job", "list_agents"}
        assert tools["run_job"].input_schema["required"] == ["description"]
        return await client.call_tool(tool, args, progress_callback=heard_of), told


def text_of(result: Any) -> str:
    return "\n".join(block.text for block in result.content)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"description": "list the objects", "inputs": ["/no/such/file.mp4"]}, "/no/such/file.mp4: no such file"),
        ({"description": "list the objects", "inputs": ["/"]}, "/: not a file"),
        ({"description": " "}, "description"),
        ({"description": "x", "constraints": ["MAX_FUN"]}, "MAX_FUN"),
        ({"description": "x", "quality_floor": 7}, "quality"),
        ({}, "description"),
    ],
)
def test_what_cannot_be_run_is_a_clear_error_of_the_tool(args: dict[str, Any], why: str, tmp_path: Path) -> None:
    """Nothing is started for it."""
    result, _ = asyncio.run(ask(clean_env(tmp_path), "run_job", **args))
    assert result.is_error
    assert why in text_of(result)
    assert "Traceback" not in text_of(result)
    assert not list(tmp_path.glob("embedded*"))


def test_a_job_that_nobody_can_do_is_refused_by_the_planner(tmp_path: Path) -> None:
    result, _ = asyncio.run(ask(clean_env(tmp_path), "run_job", description="bake a cake and drive it to the moon"))
    assert result.is_error
    assert "failed: " in text_of(result)
    assert left_behind(tmp_path, 20) == []


def test_the_agents_are_listed(tmp_path: Path) -> None:
    result, _ = asyncio.run(ask(clean_env(tmp_path), "list_agents"))
    agents = {a["agent"]: a for a in result.structured_content["result"]}
    assert agents["SceneSplitter"]["takes"] == {"video": "Video"}
    assert "every_s" in agents["FrameExtractor"]["arguments"]
    assert not result.is_error


@pytest.mark.models
def test_a_client_runs_a_job(tmp_path: Path) -> None:
    inputs = [str(SAMPLES / "reading.mp4")]
    env = clean_env(tmp_path)
    result, told = asyncio.run(ask(env, "run_job", description="Transcribe what is said in the video", inputs=inputs))
    assert not result.is_error, text_of(result)
    made = result.structured_content
    assert made["status"] == "done"
    assert json.loads(text_of(result)) == made
    assert "amiable" in json.dumps(made["answer"])
    assert made["time_s"] > 0
    assert made["energy_wh"]["value"] > 0
    assert made["cost_usd"]["how"] == "modelled"
    done = [d for d, _, _ in told]
    assert done == sorted(set(done))
    assert told[-1][2]
    assert left_behind(tmp_path, 20) == []
    result, _ = asyncio.run(ask(env, "explain_job", description="Transcribe what is said in the video", inputs=inputs))
    assert "SpeechToText" in json.dumps(result.structured_content["calls"])
    assert left_behind(tmp_path, 20) == []


def test_standard_output_belongs_to_the_protocol(tmp_path: Path) -> None:
    """Line by line, as a client of another make sees it; and it ends by itself when its input ends."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    call = {"name": "run_job", "arguments": {"description": "bake a cake and drive it to the moon"}}
    with subprocess.Popen([*CLI, "mcp"], env=clean_env(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout

        def say(**message: Any) -> None:
            print(json.dumps({"jsonrpc": "2.0", **message}), file=process.stdin, flush=True)

        try:
            say(id=1, method="initialize", params=hello)
            assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "murakkab"
            say(method="notifications/initialized")
            say(id=2, method="tools/call", params=call)
            lines = [json.loads(process.stdout.readline())]
            process.stdin.close()
            lines += [json.loads(line) for line in process.stdout]
            assert process.wait(60) == 0
        finally:
            process.kill()
            end_all(tmp_path)
    assert [m["result"]["isError"] for m in lines if m.get("id") == 2] == [True]
    assert left_behind(tmp_path, 20) == []
