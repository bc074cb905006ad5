"""A workflow as a graph of the field's usual library, for whoever wants its algorithms: paths, cuts, drawings."""

from __future__ import annotations

from typing import Any

import networkx as nx

from ..bus.messages import Workflow
from .axes import shapes


def graph(workflow: Workflow) -> Any:
    """A `networkx.MultiDiGraph`: stages as nodes (agent, axes, call), typed edges (param, type) from producer to consumer.

    The job's inputs are no node. Raises BadWorkflow for what is no DAG.
    """
    made = nx.MultiDiGraph(kind=workflow.kind)
    found = shapes(workflow)
    for stage in workflow.stages:
        made.add_node(stage.name, agent=stage.agent, axes=found[stage.name].axes, call=stage.call)
        for edge in stage.edges:
            if edge.stage:
                made.add_edge(edge.stage, stage.name, key=edge.param, param=edge.param, type=edge.type)
    return made
