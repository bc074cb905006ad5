"""`murakkab status` and `murakkab cancel`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from typing import Any

import msgspec

from ..bus.link import Link
from ..bus.messages import ClusterOutlook, DesiredInstances, HostHeartbeat, JobList, ListJobs, Profile, ProfileKept, TenantsState
from ..bus.roles import address, inbox
from ..bus.subjects import subject_of, wildcard
from ..bus.wire import decode, encode
from ..optimizer.profiles import has_drifted
from . import status_pools, status_tenants
from .locate import running_here
from .session import TENANT, BadRequest, Session

LISTEN_S = 2.5
"""A little more than the workers' beat."""


async def status(args: argparse.Namespace) -> int:
    url = _running(args)
    link = await Link.open(address(url, "observer", os.environ), "murakkab-status", inbox=inbox("observer"))
    beats: dict[str, HostHeartbeat] = {}

    async def heard(msg: Any) -> None:
        beat = decode(msg.data)
        if isinstance(beat, HostHeartbeat):
            beats[beat.host] = beat

    try:
        await link.subscribe(wildcard(HostHeartbeat), heard)
        ask = ListJobs(tenant=TENANT)
        try:
            jobs = decode((await link.request(subject_of(ask), encode(ask), 3.0)).data)
        except TimeoutError:
            jobs = JobList(jobs=())
        await asyncio.sleep(LISTEN_S)
        wanted = [decode(m.data) async for m in link.replay(DesiredInstances.stream, wildcard(DesiredInstances), newest_only=True)]
        told = [decode(m.data) async for m in link.replay(ClusterOutlook.stream, wildcard(ClusterOutlook), newest_only=True)]
        shared = [decode(m.data) async for m in link.replay(TenantsState.stream, wildcard(TenantsState), newest_only=True)]
        kept = [decode(m.data) async for m in link.replay(ProfileKept.stream, wildcard(ProfileKept), newest_only=True)]
    finally:
        await link.close()
    listed = jobs.jobs if isinstance(jobs, JobList) else ()
    more = f", and {jobs.more} that are not shown" if isinstance(jobs, JobList) and jobs.more else ""
    profiles = sorted((k.profile for k in kept if isinstance(k, ProfileKept)), key=lambda p: (p.agent, p.implementation, p.hardware))
    outlook = next((m for m in told if isinstance(m, ClusterOutlook)), None)
    tenants = next((m for m in shared if isinstance(m, TenantsState)), None)
    reasons = {w.host: w.reasons for w in wanted if isinstance(w, DesiredInstances)}
    if args.json:
        print(
            json.dumps(
                {
                    "hosts": msgspec.to_builtins(list(beats.values())),
                    "jobs": msgspec.to_builtins(listed),
                    "reasons": msgspec.to_builtins(reasons),
                    "outlook": None if outlook is None else msgspec.to_builtins(outlook),
                    "tenants": None if tenants is None else msgspec.to_builtins(tenants),
                    "profiles": msgspec.to_builtins(profiles),
                    "drifted": [f"{p.agent}/{p.implementation} on {p.hardware}" for p in profiles if has_drifted(p)],
                }
            )
        )
        return 0
    _print_hosts(beats)
    print()
    for line in status_pools.lines(outlook, time.time()):
        print(line)
    for line in status_tenants.lines(tenants):
        print(line)
    _print_profiles(profiles)
    print(f"\n{len(listed)} running jobs{more}")
    for job in listed:
        done = sum(s.done for s in job.stages)
        print(f"  {job.job}  {job.phase}  {done} tasks done  {job.note}")
    return 0


def _print_hosts(beats: dict[str, HostHeartbeat]) -> None:
    if not beats:
        print("no host has been heard of: is a worker running?")
    for beat in beats.values():
        market = "" if beat.market == "on-demand" else f", {beat.market}"
        print(f"host {beat.host}: {beat.cores} cores{market}{', it will be taken away' if beat.revoked_at is not None else ''}")
        for d in beat.devices:
            busy = "?" if d.busy is None else f"{d.busy:.0%}"
            power = "" if d.power_w is None else f", {d.power_w:.0f} W"
            print(f"  {d.kind} {d.name}: {busy} busy, {d.memory_used_mb} of {d.memory_mb} MB{power}")
        if beat.gpu_note:
            print(f"  {beat.gpu_note}")
        for i in beat.instances:
            print(f"  {i.state:<8} {i.implementation:<30} for {i.agent:<16} {i.busy}/{i.slots} busy  {i.memory_mb} MB  {i.error}")


def _print_profiles(profiles: list[Profile]) -> None:
    """What jobs here have taught; the optimizer's other profiles are those that it started with."""
    if not profiles:
        return
    print("\nprofiles that jobs or `murakkab profile` have told")
    for p in profiles:
        drift = f"  DRIFTED: tasks take {p.drift:.2f} times what it says" if has_drifted(p) else f"  drift {p.drift:.2f}"
        print(f"  {p.implementation:<30} for {p.agent:<16} on {p.hardware:<10} {p.how:<9} {p.samples:>5} tasks{drift}")


async def cancel(args: argparse.Namespace) -> int:
    session = await Session.open(_running(args))
    try:
        await session.cancel(args.job)
    finally:
        await session.close()
    print(f"job {args.job} is cancelled")
    return 0


def _running(args: argparse.Namespace) -> str:
    url = args.nats or os.environ.get("NATS_URL", "") or running_here(args.data, os.environ)
    if not url:
        raise BadRequest("no system runs here: start one with `murakkab up`, or name one with --nats")
    return str(url)
