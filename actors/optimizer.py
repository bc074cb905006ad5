"""The optimizer: which implementation, on what, for every stage; steered to warm models by what the hosts say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from ..agents.library import Implementation
from ..bus.messages import HostHeartbeat, JobResult, LibraryOffered, MakePlan, Message, Offer, PlanMade, PlanRefused, StageReport
from ..planner.choose import Candidate, Infeasible, NoOffer, Profile, Rates, choose
from ..planner.shelf import Shelf
from .core import ActorBug, Command, Event, Heard, Outcome, Replayed, Resumed, Send, Wake, Woke

HOST_SILENT_S = 10.0
SWEEP_EVERY_S = 5.0

Key = tuple[str, str, str]
"""(agent, implementation, hardware)"""


class Optimizer:
    role: ClassVar[str] = "optimizer"
    hears: ClassVar[tuple[type[Message], ...]] = (MakePlan, HostHeartbeat, JobResult, LibraryOffered)
    replays: ClassVar[tuple[type[Message], ...]] = (LibraryOffered,)
    works: ClassVar[tuple[type[Message], ...]] = ()

    def __init__(self, library: Mapping[tuple[str, str], Implementation], rates: Mapping[str, Rates]) -> None:
        self.shelf, self.rates = Shelf(implementations=library), rates
        self.hosts: dict[str, tuple[float, HostHeartbeat]] = {}
        self.profiles: dict[Key, Profile] = {}

    def on(self, event: Event, now: float) -> Iterable[Command]:
        match event:
            case Heard(msg=HostHeartbeat() as beat):
                if beat.leaving:
                    self.hosts.pop(beat.host, None)
                else:
                    self.hosts[beat.host] = (now, beat)
            case Heard(msg=MakePlan() as msg):
                return [self._plan(msg)]
            case Heard(msg=JobResult(stages=stages)):
                for report in stages:
                    self._learn(report)
            case Heard(msg=LibraryOffered() as msg) | Replayed(msg=LibraryOffered() as msg):
                self.shelf.offered(msg)
            case Outcome(errand=errand, error=error) if isinstance(made := getattr(errand, "msg", None), PlanMade):
                return [Send(PlanRefused(job=made.job, error=error, seen=len(made.plan.workflow.stages)))]
            case Resumed() | Woke():
                self.hosts = {h: (at, b) for h, (at, b) in self.hosts.items() if now - at < HOST_SILENT_S}
                return [Wake(SWEEP_EVERY_S, "sweep")] if not isinstance(event, Resumed) or not self.hosts else ()
        return ()

    def _plan(self, msg: MakePlan) -> Send:
        offers: dict[str, list[Offer]] = {}
        warm: set[Key] = set()
        seen: set[Offer] = set()
        ill: dict[str, list[Offer]] = {}
        for _, beat in self.hosts.values():
            fails = {(i.agent, i.implementation, i.hardware) for i in beat.instances if i.state == "failed"}
            for offer in self.shelf.usable(beat).offers:
                if (offer.agent, offer.implementation) in self.shelf.implementations:
                    known = ill if (offer.agent, offer.implementation, offer.hardware) in fails else offers
                    if offer not in known.setdefault(offer.agent, []):
                        known[offer.agent].append(offer)
                    seen.add(offer)
            warm |= {(i.agent, i.implementation, i.hardware) for i in beat.instances if i.state == "warm"}
        for agent, failing in ill.items():  # what fails to start where it was tried is chosen only when nothing else is offered
            if not offers.get(agent):
                offers[agent] = failing
        candidates = {(o.agent, o.implementation, o.hardware): self._candidate(o, warm) for o in seen}
        bounds = (msg.quality_floor, msg.budget_usd)
        try:
            plan = choose(msg.workflow, msg.constraints, offers, candidates, *bounds, msg.chosen)
            return Send(PlanMade(job=msg.job, plan=plan, explain=msg.explain))
        except NoOffer as error:
            return Send(PlanRefused(job=msg.job, error=str(error), wait=True, seen=len(msg.workflow.stages)))
        except Infeasible as error:
            return Send(PlanRefused(job=msg.job, error=str(error), seen=len(msg.workflow.stages)))

    def _candidate(self, offer: Offer, warm: set[Key]) -> Candidate:
        key = (offer.agent, offer.implementation, offer.hardware)
        row = self.shelf.implementations[key[:2]]
        profile = self.profiles.get(key) or Profile(row.work_s, row.work_s, row.load_s)
        return Candidate(row, offer.hardware, profile, self.rates.get(offer.hardware) or self.rates["cpu"], key in warm)

    def _learn(self, report: StageReport) -> None:
        key = (report.agent, report.implementation, report.hardware)
        row = self.shelf.implementations.get(key[:2])
        if row is None or not report.tasks:
            return
        before = self.profiles.get(key) or Profile(row.work_s, row.work_s, row.load_s)
        self.profiles[key] = before.refined(report.cpu_s / report.tasks, max(report.cpu_s / report.tasks, 1e-4), report.tasks)

    def check(self) -> None:
        if any(p.work_s < 0 or p.time_s < 0 for p in self.profiles.values()):
            raise ActorBug("a profile is negative")
