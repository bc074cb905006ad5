"""What simulated clients ask for: workflows of every shape, and the video job in words. Drawn from the seed."""

from __future__ import annotations

import hashlib
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from ..actors.tenants import Tenant
from ..bus.messages import ArtifactRef, Edge, Input, Stage, SubmitJob, Workflow
from ..planner.axes import BadWorkflow, shapes
from .faults import Faults
from .policy import RULE

TENANTS = ("ann", "bob")
FLOODS = "eve"
WORDS = {
    "video": "List objects shown/mentioned in the videos",
    "question": "What does the speaker talk about?",
    "search": "Find the section about cats, then look closer at what is shown there",
}
"""Jobs in words; the others are given as workflows."""


class Ask(Struct):
    """One job of one client."""

    job: SubmitJob
    at_s: float
    cancel_after_s: float | None = None


class Scenario(Struct):
    """`jobs` is a range; `kinds` are names in KINDS."""

    jobs: tuple[int, int] = (1, 6)
    kinds: tuple[str, ...] = ("spread", "chain", "diamond", "layers", "video", "question", "search", "observe")
    hosts: tuple[int, int] = (1, 3)
    clients: tuple[int, int] = (1, 2)
    chaos: bool = True
    faults: Faults | None = None
    """Instead of those that the seed would draw."""
    chaos_s: tuple[float, float] = (5.0, 60.0)
    """How long faults last, in virtual seconds."""
    width: int = 8
    """Most elements of a collection."""
    late_restart: float = 0.03
    """Chance that the conductor is killed once more, after everybody's memory of message ids has run out."""
    early_release: bool = False
    late_results: bool = False
    max_payload: int = 1 << 20
    moving: bool = False
    """Each host brings implementations of its own, the last one is had on the spot market; see moving.py."""
    away_s: float = 0.0
    """How long a host that was killed may stay away, but for the first; 0 is as long as any process."""
    tenants: tuple[Tenant, ...] = ()
    """What the conductor knows of them; others have weight 1 and no quota."""
    flood: tuple[int, int] = (0, 0)
    """How many small jobs a tenant of its own submits all at once."""


SCENARIOS: dict[str, Scenario] = {
    "swarm": Scenario(),
    "calm": Scenario(chaos=False),
    "video": Scenario(kinds=("video", "question"), jobs=(1, 3)),
    # workflows that grow while they run
    "search": Scenario(kinds=("search",), jobs=(1, 3)),
    "observe": Scenario(kinds=("observe",), jobs=(1, 4)),
    # the planner's answers come to conductors that ask about another stage, or a longer workflow, by now
    "overtaken": Scenario(kinds=("observe",), jobs=(3, 6), chaos_s=(60.0, 120.0), faults=Faults(crash_every_s=4.0)),
    "lossy": Scenario(
        kinds=("chain", "spread"), jobs=(1, 2), hosts=(1, 2), chaos_s=(3.0, 15.0), faults=Faults(drop=0.5, duplicate=0.2, late=0.2)
    ),
    # attempts are given up and answered all the same: late results meet their retries
    "failing": Scenario(
        kinds=("video",),
        jobs=(2, 4),
        hosts=(2, 3),
        faults=Faults(task_fails=0.3, partition_every_s=3.0, partition_s=15.0, acks_lost=0.4),
    ),
    "wide": Scenario(kinds=("spread",), width=150, jobs=(1, 3)),
    # plans are made again for what has not started, and for what nobody serves any more
    "moving": Scenario(kinds=("moves", "moves", "observe"), jobs=(1, 5), hosts=(2, 3), chaos_s=(20.0, 90.0), moving=True, away_s=40.0),
    # the same where nothing is lost on its way: here a pool that is served stays
    "quiet-moving": Scenario(
        kinds=("moves",),
        jobs=(4, 12),
        hosts=(3, 3),
        chaos_s=(40.0, 90.0),
        faults=Faults(crash_every_s=4.0, duplicate=0.2, task_fails=0.05),
        moving=True,
        away_s=40.0,
    ),
    # most hosts never come back, but for the first one, which can do everything
    "gone": Scenario(
        kinds=("moves",), jobs=(1, 4), hosts=(3, 3), chaos_s=(20.0, 60.0), faults=Faults(crash_every_s=8.0), moving=True, away_s=20_000.0
    ),
    # a tenant submits more than it may have, all at once, while two others go on
    "flood": Scenario(
        jobs=(2, 6),
        flood=(40, 120),
        tenants=(Tenant("ann", weight=2.0), Tenant(FLOODS, running_jobs=6, waiting_jobs=60, cores=0.5)),
    ),
    "small-messages": Scenario(width=60, kinds=("spread", "diamond", "chain", "observe"), max_payload=8_000, jobs=(2, 6)),
}


def draw(scenario: Scenario, dice: Random) -> list[list[Ask]]:
    """The asks of each client."""
    clients = dice.randint(*scenario.clients)
    asks: list[list[Ask]] = [[] for _ in range(clients)]
    for n in range(dice.randint(*scenario.jobs)):
        client = dice.randrange(clients)
        kind = dice.choice(scenario.kinds)
        job = _submit(kind, f"j{n}-{kind}", TENANTS[client], scenario, dice)
        cancel = dice.uniform(0, 10) if dice.random() < 0.15 else None
        asks[client].append(Ask(job, dice.uniform(0, 10) if dice.random() < 0.7 else 0.0, cancel))
    if scenario.flood[1]:
        at_s = dice.uniform(0, 5)
        many = range(dice.randint(*scenario.flood))
        asks.append([Ask(_submit(dice.choice(("chain", "spread")), f"e{n}-flood", FLOODS, scenario, dice), at_s) for n in many])
    return asks


def _submit(kind: str, name: str, tenant: str, scenario: Scenario, dice: Random) -> SubmitJob:
    deadline = dice.uniform(1, 60) if dice.random() < 0.1 else None
    if kind in WORDS:
        inputs = tuple(_video(dice.randrange(3)) for _ in range(dice.randint(1, 2)))
        return SubmitJob(tenant=tenant, description=WORDS[kind], inputs=inputs, job=name, deadline_s=deadline)
    make = {"spread": _spread, "chain": _chain, "diamond": _diamond, "layers": _layers, "observe": _observe, "moves": _moves}[kind]
    return SubmitJob(tenant=tenant, description=kind, job=name, workflow=make(scenario.width, dice), deadline_s=deadline)


def _video(n: int) -> Input:
    name = f"simulated-{n}.mp4"
    return Input(name, ArtifactRef(hashlib.sha256(name.encode()).hexdigest(), 1_000, "video/mp4"))


def _sleep(dice: Random) -> dict[str, object]:
    args: dict[str, object] = {"ms": dice.choice([0, 0, 10, 100, 1_000])}
    if dice.random() < 0.02:
        args["bad_input"] = True
    return args


def _spread(width: int, dice: Random) -> Workflow:
    n = dice.choice([0, 1, 2, width])
    return Workflow(
        (
            Stage("spread", "Spread", many=True, args={"n": n}),
            Stage("map", "Sleep", (Edge("after", "spread"),), 1, args=_sleep(dice)),
            Stage("gather", "Sleep", (Edge("after", "map"),), args=_sleep(dice)),
        ),
        ("gather",),
    )


def _chain(width: int, dice: Random) -> Workflow:
    n = dice.randint(1, 6)
    stages = tuple(Stage(f"s{i}", "Sleep", (Edge("after", f"s{i - 1}"),) if i else (), args=_sleep(dice)) for i in range(n))
    return Workflow(stages, (f"s{n - 1}",))


def _diamond(width: int, dice: Random) -> Workflow:
    sides = tuple(Stage(f"side{i}", "Sleep", (Edge("after", "top"),), args=_sleep(dice)) for i in range(dice.randint(2, 4)))
    edges = tuple(Edge(f"p{i}", s.name) for i, s in enumerate(sides))
    return Workflow((Stage("top", "Sleep", args=_sleep(dice)), *sides, Stage("bottom", "Sleep", edges, args=_sleep(dice))), ("bottom",))


def _layers(width: int, dice: Random) -> Workflow:
    """A random DAG; collections inside collections, gathered at random depths."""
    stages: list[Stage] = []
    while len(stages) < dice.randint(2, 8):
        sources = dice.sample(stages, min(len(stages), dice.choice([0, 1, 1, 2, 3])))
        edges = tuple(Edge(f"p{i}", s.name) for i, s in enumerate(sources))
        many = dice.random() < 0.3
        stage = Stage(
            f"n{len(stages)}",
            "Spread" if many else "Sleep",
            edges,
            dice.choice([0, 1, 1, 2, 3]),
            many,
            {"n": dice.choice([0, 1, 2, 3])} if many else _sleep(dice),
        )
        try:
            found = shapes(Workflow((*stages, stage), (stage.name,)))
        except BadWorkflow:
            continue
        if len(found[stage.name].out) <= 4:
            stages.append(stage)
    answer = tuple(s.name for s in dice.sample(stages, dice.randint(1, 2)))
    return Workflow(tuple(stages), answer)


def _moves(width: int, dice: Random) -> Workflow:
    """Long enough for the fleet to change under it; some wide enough for tasks to wait for their release while it does."""
    if dice.random() < 0.4:
        many = Stage("spread", "Spread", many=True, args={"n": dice.randint(5, 3 * width)})
        sides = [Stage(f"each{n}", "Sleep", (Edge("p0", "spread"),), 1, args={"ms": dice.choice([500, 2_000])}) for n in range(3)]
        last = Stage("last", "Sleep", tuple(Edge(f"p{n}", s.name) for n, s in enumerate(sides)), args={"ms": 1_000})
        return Workflow((many, *sides, last), ("last",), rest=RULE)
    before = _layers(width, dice)
    while len(before.stages) < 4:
        before = _layers(width, dice)
    slow = tuple(s if s.many else replace(s, args={"ms": dice.choice([100, 1_000, 4_000, 9_000])}) for s in before.stages)
    return replace(before, stages=slow, rest=RULE)


def _observe(width: int, dice: Random) -> Workflow:
    """Some stages of it are looked at, and what comes then nobody has planned; see policy.py."""
    if dice.random() < 0.3:  # the last is done first, and so looked at first; who starts anew in between looks at the first one first
        row = tuple(Stage(f"n{n}", "Sleep", args={"ms": 3_000 * (3 - n) + dice.randrange(97)}, observe=True) for n in range(4))
        return Workflow(row, ("n0", "n3"), rest=RULE)
    before = _layers(width, dice)
    return replace(before, stages=tuple(replace(s, observe=dice.random() < 0.5) for s in before.stages), rest=RULE)
