"""The Celery queues that a configuration asks for, and what a target resolves to."""

from typing import Literal

from pydantic import Field

from echelon_configs.frozen import Frozen
from echelon_configs.nodes import Node

QueueKind = Literal["echelon", "pool", "model"]


class Member(Frozen):
    """An instance that a queue's jobs may be sent to."""

    instance: str = Field(description="the instance's name")
    home: str = Field(description="queue of the echelon (or the model) whose settings and limits hold for it")


class Queue(Frozen):
    """One Celery queue."""

    name: str = Field(description="group.echelon, pool.NAME or model.NAME")
    kind: QueueKind = Field(description="what it belongs to")
    members: tuple[Member, ...] = Field(description="whom its jobs may be sent to, in order")
    rotation: str = Field(default="round_robin", description="how the members take turns")


class Resolved(Frozen):
    """Where a job sent to `target` goes."""

    target: str = Field(description="as given")
    queue: str = Field(description="the queue it joins first")
    node: Node | None = Field(default=None, description="the node it is submitted under")
    fallback_groups: tuple[str, ...] = Field(
        default=(), description="what the node states; empty: the strategy of the home group decides"
    )
