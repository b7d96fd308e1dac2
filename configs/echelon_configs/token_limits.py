"""Which limit of tokens a job meets on its way to an instance."""

from collections.abc import Iterator
from dataclasses import dataclass

from echelon_configs.configuration import Configuration
from echelon_configs.limits import Limits
from echelon_configs.nodes import Node
from echelon_configs.queues import Member, Queue


@dataclass(frozen=True, slots=True)
class TokenLimit:
    """Tokens that a scope lets through in a minute: no job that needs more can ever pass it."""

    scope: str
    per_minute: int


def token_limit(
    configuration: Configuration, queue: Queue, member: Member, node: Node | None = None
) -> TokenLimit | None:
    """The smallest limit of tokens for a job of this queue and node at one of the queue's members; None: there is none.

    A scope is named `level:name` (`echelon:fast_group.echelon1`); the cluster is `cluster`.
    """
    found = [
        TokenLimit(scope, limits.tokens_per_minute)
        for scope, limits in _scopes(configuration, queue, member, node)
        if limits.tokens_per_minute
    ]
    return min(found, key=lambda limit: limit.per_minute, default=None)


def _scopes(
    configuration: Configuration, queue: Queue, member: Member, node: Node | None
) -> Iterator[tuple[str, Limits]]:
    """From the widest to the narrowest."""
    yield "cluster", configuration.limits
    if queue.kind == "pool":
        pool = queue.name.removeprefix("pool.")
        yield f"pool:{pool}", configuration.pools[pool].limits
    if not member.home.startswith("model."):
        echelon = configuration.echelon(member.home)
        yield f"group:{echelon.group}", configuration.groups[echelon.group].limits
        yield f"echelon:{echelon.queue}", echelon.limits
    yield f"model:{member.instance}", configuration.instances[member.instance].limits
    if node is not None:
        yield f"node:{node.name}", node.limits
