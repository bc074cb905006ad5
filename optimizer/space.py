"""The choices of a workflow: for every stage the ways that there are, and the search problem that they make. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from msgspec import Struct

from ..agents.spec import Agent, Implementation
from ..bus.messages import Choice, Profile, Stage, Workflow
from ..planner.axes import Shape, shapes
from .fleet import Fleet, Key
from .goals import Axis, Goal
from .hardware import catalogue, split
from .hops import Hops
from .paths import any_of, voted
from .prices import Prices
from .problem import Arc, Problem
from .profiles import Profiles
from .ways import LOAD, ONE, WHOLE, Way, crowd, way
from .workloads import Expected, Workloads

CROWDED = 1.2
"""Calls take this many times as long among as many as the row says, before fewer at a time are worth a thought."""
WIDTHS = (1, 2, 4, 8, 16, 32, 64)


class Infeasible(Exception):
    """No choice meets the bounds: which bound, and the nearest value that would do."""


class NoOffer(Exception):
    """No living host can run an agent; one may still appear."""


class World(Struct, frozen=True):
    """All that a plan is made from."""

    agents: Mapping[str, Agent]
    rows: Mapping[tuple[str, str], Implementation]
    fleet: Fleet
    profiles: Profiles
    workloads: Workloads
    prices: Prices
    hops: Hops = Hops()


class Space(Struct, frozen=True):
    """A workflow with the ways of each of its stages, in the order of the stages."""

    workflow: Workflow
    expected: Mapping[str, Expected]
    ways: tuple[tuple[Way, ...], ...]
    problem: Problem
    ruled_out: Mapping[str, tuple[str, ...]] = {}
    """By stage, what is offered but may not be chosen, each with its reason."""


def space(
    world: World,
    workflow: Workflow,
    inputs: int,
    units: Mapping[str, float],
    goals: tuple[Goal, ...],
    bounds: Mapping[Axis, float],
    floor: float | None = None,
    chosen: Sequence[Choice] = (),
    paths: Mapping[str, tuple[str, int]] | None = None,
) -> Space:
    """`floor` is the least quality of every stage; what was `chosen` before stays. Raises NoOffer, Infeasible."""
    expected = world.workloads.expect(workflow, inputs, units)
    kept = {c.stage: c for c in chosen}
    offers = world.fleet.offers()
    found: list[tuple[Way, ...]] = []
    ruled_out: dict[str, tuple[str, ...]] = {}
    for stage in workflow.stages:
        if stage.name in kept:
            found.append((_kept(world, stage, kept[stage.name]),))
            continue
        keys = [k for k in offers.get(stage.agent, ()) if k[:2] in world.rows]
        if not keys:
            raise NoOffer(f"no host can run {stage.agent} (stage '{stage.name}'); see: murakkab doctor")
        beyond = {k: what for k in keys if (what := world.rows[k[:2]].cannot(stage.args))}
        out = sorted({f"{k[1]} cannot do {what}" for k, what in beyond.items()})
        keys = [k for k in keys if k not in beyond]
        if not keys:
            raise NoOffer(f"no host can run {stage.agent} as stage '{stage.name}' wants it: {', '.join(out)}; see: murakkab doctor")
        all_ways = [w for key in keys for w in _ways(world, stage, key, expected[stage.name], (paths or {}).get(stage.name))]
        fit = tuple(w for w in all_ways if floor is None or w.quality >= floor)
        if not fit:
            best = max(w.quality for w in all_ways)
            raise Infeasible(
                f"quality floor {floor:g} cannot be met by stage '{stage.name}' ({stage.agent}): the best here reaches {int(best * 1000) / 1000:g}"
            )
        able = {w.key for w in fit}
        out += sorted({f"{w.key[1]} has quality {w.quality:.3g} only" for w in all_ways if w.key not in able})
        if out:
            ruled_out[stage.name] = tuple(out)
        found.append(fit)
    return Space(workflow, expected, tuple(found), _problem(world, workflow, expected, found, goals, bounds), ruled_out)


def _ways(world: World, stage: Stage, key: Key, expected: Expected, paths: tuple[str, int] | None) -> list[Way]:
    row = world.rows[key[:2]]
    profile = world.profiles.get(*key)
    rates = world.prices.of(key[2]).at(world.fleet.usd_per_hour(key[2]))
    tasks, units = max(expected.tasks, 0.0), dict(expected.units)
    quality = profile.quality
    if paths is not None:
        rule, k = paths
        quality = profile.paths.get(k) or (voted if rule == "vote" else any_of)(quality, k)
    warm = world.fleet.warm(key).instances
    room = min(world.fleet.room(key, profile.memory_mb), _places(world.fleet, key, row))
    slots = sorted({row.slots, *(n for n in profile.crowd if n < row.slots and crowd(profile, row.slots) > CROWDED)})
    caps = (None,) if warm else _caps(key[2])  # a cap is set when an instance starts
    return [
        way(key, profile, rates, world.fleet, tasks, units, width, n, row.slots, row.threads, row.timeout_s, quality,
            world.workloads.get(stage.agent, stage.args).sensitivity, cap)
        for cap in caps
        for n in slots
        for width in sorted({w for w in (*WIDTHS, warm) if w == 1 or 1 < w <= min(max(room, warm), ceil(tasks / n))})
    ]  # fmt: skip


def _caps(hardware: str) -> tuple[tuple[float, float] | None, ...]:
    """No cap, and where the class has one that may be set: three quarters and a half of the board's power."""
    device = catalogue().get(split(hardware)[0])
    if device is None or not device.power_caps_w:
        return (None,)
    least, most = device.power_caps_w[0], device.power_caps_w[-1]
    return (None, *((w, w / device.tdp_w) for w in (0.75 * device.tdp_w, 0.5 * device.tdp_w) if least <= w < most))


def _places(fleet: Fleet, key: Key, row: Implementation) -> int:
    """Instances that can work at the same time: one per `threads` cores, or per device."""
    return fleet.devices(key[2]) or max(1, fleet.cores(key[2]) // max(1, row.threads))


def _kept(world: World, stage: Stage, choice: Choice) -> Way:
    key = (stage.agent, choice.implementation, choice.hardware)
    profile = world.profiles.get(*key) if key[:2] in world.rows else None
    return Way(
        key=key,
        profile=profile or Profile(*key),
        tasks=choice.tasks,
        units=choice.units,
        width=choice.width,
        slots=max(1, choice.slots),
        threads=1,
        service_s=0.0,
        cpu_s=0.0,
        loads=0,
        usd=choice.cost_usd,
        wh=choice.energy_wh,
        load_usd=0.0,
        load_wh=0.0,
        idle_wh_per_s=0.0,
        quality=choice.quality,
        timeout_s=choice.timeout_s,
        kept=choice,
    )


def _problem(
    world: World,
    workflow: Workflow,
    expected: Mapping[str, Expected],
    ways: Sequence[Sequence[Way]],
    goals: tuple[Goal, ...],
    bounds: Mapping[Axis, float],
) -> Problem:
    classes = sorted({w.key[2] for options in ways for w in options if w.kept is None})
    resources = {hardware: n for n, hardware in enumerate(classes)}
    least = [sum(min((w.work_s for w in o if w.key[2] == h), default=0.0) for o in ways) for h in classes]
    capacity = tuple(capacity_of(world.fleet, h, mine) for h, mine in zip(classes, least, strict=True))
    stages = tuple(tuple(w.option(resources) for w in options) for options in ways)
    return Problem(stages, tuple(_arcs(workflow, shapes(workflow), expected)), 1 + 2 * len(stages), goals, bounds, capacity)


def capacity_of(fleet: Fleet, hardware: str, mine_s: float) -> float:
    """Cores (of GPUs, devices) that this job may count on: fair turns with the other running jobs while they have work left.

    With c cores, own work w and n other jobs that still have u of work, of which at most n·w is done before ours: c·w / (w + min(u, n·w)).
    """
    whole = float(fleet.devices(hardware) or fleet.cores(hardware) or 1)
    jobs, left_s = fleet.busy.get(hardware, (0, 0.0))
    if not jobs or mine_s <= 0:
        return whole
    return whole * mine_s / (mine_s + min(left_s, jobs * mine_s))


def _arcs(workflow: Workflow, shape: Mapping[str, Shape], expected: Mapping[str, Expected]) -> list[Arc]:
    """Event 0 is the start of the run, 1 + 2n and 2 + 2n the start and the end of stage n. Elements flow from stage to stage without
    barriers: the first task of a stage waits for one task of the stage before, and its last one comes after the last there."""
    at = {s.name: 1 + 2 * n for n, s in enumerate(workflow.stages)}
    arcs: list[Arc] = []
    for n, stage in enumerate(workflow.stages):
        start, sources = at[stage.name], dict.fromkeys(e.stage for e in stage.edges if e.stage)
        flows = [
            s for s in sources if expected[stage.name].tasks > 1 and expected[s].tasks > 1 and shape[s].axes and shape[stage.name].axes
        ]
        arcs.append(Arc(0, start, n, LOAD))
        for source in sources:
            m = (at[source] - 1) // 2
            arcs.append(Arc(at[source], start, m, ONE) if source in flows else Arc(at[source] + 1, start))
        arcs.append(Arc(start, start + 1, n, WHOLE))
        arcs += [Arc(at[source] + 1, start + 1, n, ONE) for source in flows]
    return arcs
