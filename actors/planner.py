"""The planner: which agents, in which DAG. Owns nothing durable; the index of processed videos comes from the bus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from ..agents.library import Agent
from ..bus.messages import Indexed, MakeWorkflow, Message, WorkflowMade, WorkflowRefused
from ..planner.axes import BadWorkflow, shapes
from ..planner.lower import CannotPlan, lower
from .core import ActorBug, Command, Event, Heard, Replayed, Send


class Planner:
    role: ClassVar[str] = "planner"
    hears: ClassVar[tuple[type[Message], ...]] = (MakeWorkflow, Indexed)
    replays: ClassVar[tuple[type[Message], ...]] = (Indexed,)
    works: ClassVar[tuple[type[Message], ...]] = ()

    def __init__(self, agents: Mapping[str, Agent]) -> None:
        self.agents = agents
        self.indexes: dict[tuple[str, str], dict[str, Any]] = {}
        """(tenant, SHA-256 of the medium) to its vector index."""

    def on(self, event: Event, now: float) -> Iterable[Command]:
        match event:
            case Heard(msg=MakeWorkflow() as msg):
                return [self._plan(msg)]
            case Heard(msg=Indexed() as msg) | Replayed(msg=Indexed() as msg):
                self.indexes[(msg.tenant, msg.media_hash)] = msg.index
        return ()

    def _plan(self, msg: MakeWorkflow) -> Send:
        """Always answers: with a workflow that can run, or with a clear refusal."""
        try:
            if msg.workflow is not None:
                shapes(msg.workflow)
                self._check_agents(msg)
                return Send(WorkflowMade(job=msg.job, workflow=msg.workflow))
            indexes = [self.indexes.get((msg.tenant, i.media.sha256)) for i in msg.inputs]
            return Send(WorkflowMade(job=msg.job, workflow=lower(msg.description, msg.tasks, self.agents, indexes)))
        except (CannotPlan, BadWorkflow) as error:
            return Send(WorkflowRefused(job=msg.job, error=str(error)))

    def _check_agents(self, msg: MakeWorkflow) -> None:
        assert msg.workflow is not None
        for stage in msg.workflow.stages:
            if stage.agent not in self.agents:
                raise CannotPlan(f"stage '{stage.name}': there is no agent '{stage.agent}'; there are {', '.join(self.agents)}")

    def check(self) -> None:
        for (_, media_hash), index in self.indexes.items():
            if index.get("media_hash") != media_hash:
                raise ActorBug(f"the index of {media_hash} is of another medium")
