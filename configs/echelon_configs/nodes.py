"""Workflow nodes, once everything is resolved."""

from pydantic import Field

from echelon_configs.frozen import Frozen
from echelon_configs.limits import Limits
from echelon_configs.settings import CallOverrides


class Node(Frozen):
    """A workflow step that submits jobs under a name. It has no queue of its own."""

    name: str = Field(description="its name")
    description: str = Field(default="", description="for people")
    type: str = Field(default="llm_node", description="kind of node")
    target: str = Field(description="where its jobs go: group.echelon, group, pool.NAME or model.NAME")
    fallback_groups: tuple[str, ...] = Field(
        default=(), description="targets to go to, in order, instead of the group's"
    )
    polling_pool: str | None = Field(default=None, description="its pool, by name")
    system_prompt: str | None = Field(default=None, description="put before each of its jobs that has none")
    overrides: CallOverrides = Field(default=CallOverrides(), description="call settings written at this node")
    limits: Limits = Field(default=Limits(), description="limits in force, level defaults included")
