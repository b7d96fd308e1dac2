"""Task groups and their echelons, once everything is resolved."""

from pydantic import Field

from echelon_configs.fallbacks import Fallback
from echelon_configs.frozen import Frozen
from echelon_configs.limits import Limits
from echelon_configs.settings import CallOverrides, CallSettings


class Echelon(Frozen):
    """One performance tier of a group, or one task of a small-model group: a queue."""

    group: str = Field(description="the task group it belongs to")
    name: str = Field(description="its name within the group")
    description: str = Field(default="", description="for people")
    models: tuple[str, ...] = Field(description="its instances, in order")
    priority: int = Field(default=1, description="1 is the best")
    rotation: str = Field(default="round_robin", description="how the instances take turns")
    limits: Limits = Field(default=Limits(), description="limits in force, level defaults included")
    stated: CallOverrides = Field(default=CallOverrides(), description="call settings written at this echelon")
    settings: CallSettings = Field(default=CallSettings(), description="call settings with every default")

    @property
    def queue(self) -> str:
        """Its queue's name: `group.echelon`."""
        return f"{self.group}.{self.name}"


class Group(Frozen):
    """Models for one kind of work, in echelons."""

    name: str = Field(description="its name")
    description: str = Field(default="", description="for people")
    echelons: dict[str, Echelon] = Field(description="best first: by priority, then as written")
    fallback: Fallback = Field(default=Fallback(), description="where jobs go when an attempt fails")
    limits: Limits = Field(default=Limits(), description="limits in force, level defaults included")

    @property
    def best(self) -> Echelon:
        """The echelon that a job sent to the group goes to."""
        return next(iter(self.echelons.values()))
