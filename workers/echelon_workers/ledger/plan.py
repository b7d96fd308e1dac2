"""What take needs of a configuration: for each queue its instances with their scopes, for each scope its limits.

Publish writes it beside the document, in the same step; see `lua/parts/scopes.lua` for what the fields mean.
"""

from dataclasses import dataclass

from echelon_configs import Breaker, Configuration, Limits, Queue

from .limits import meters_of
from .rotation import ordered_instances, turns_of


@dataclass(frozen=True, slots=True)
class Plan:
    """The limits of every scope that has any, and the plan of every queue."""

    scopes: dict[str, dict[str, str]]
    queues: dict[str, str]


def plan_of(configuration: Configuration) -> Plan:
    """Work it out. Scopes are named `level:name`; the cluster's own is `cluster:`."""
    queues_in = waiting_places(configuration)
    scopes = {name: _fields(limit, queues_in.get(name, ())) for name, limit in limits_of(configuration).items()}
    for instance in configuration.instances:
        scopes[f"model:{instance}"] |= _breaker_fields(breaker_of(configuration, instance))
    scopes = {name: fields for name, fields in scopes.items() if fields}
    ordered = ordered_instances(configuration)
    plans = {name: _members(configuration, queue, ordered) for name, queue in configuration.queues.items()}
    return Plan(scopes, plans)


def breaker_of(configuration: Configuration, instance: str) -> Breaker:
    """The breaker of an instance, which all groups and pools share that use it: it opens at the smallest threshold
    configured for it, is tried again after the shortest recovery time, by the fewest probes."""
    breakers = [
        group.fallback.circuit_breaker
        for group in configuration.groups.values()
        if any(instance in echelon.models for echelon in group.echelons.values())
    ]
    for pool in configuration.pools.values():
        if any(member.instance == instance for member in configuration.queues[pool.queue].members):
            breakers.append(Breaker(failure_threshold=pool.failure_threshold, recovery_time_s=pool.recovery_time_s))
    if not breakers:
        return configuration.global_fallback.circuit_breaker
    return Breaker(
        failure_threshold=min(breaker.failure_threshold for breaker in breakers),
        recovery_time_s=min(breaker.recovery_time_s for breaker in breakers),
        half_open_requests=min(breaker.half_open_requests for breaker in breakers),
    )


def limits_of(configuration: Configuration) -> dict[str, Limits]:
    """The limits of every scope there is, by its name."""
    limits = {"cluster:": configuration.limits}
    for group in configuration.groups.values():
        limits[f"group:{group.name}"] = group.limits
        limits |= {f"echelon:{echelon.queue}": echelon.limits for echelon in group.echelons.values()}
    limits |= {f"model:{name}": instance.limits for name, instance in configuration.instances.items()}
    limits |= {f"node:{name}": node.limits for name, node in configuration.nodes.items()}
    return limits | {f"pool:{name}": pool.limits for name, pool in configuration.pools.items()}


def waiting_places(configuration: Configuration) -> dict[str, tuple[str, ...]]:
    """The queues whose jobs wait for a scope: a group's are those of its echelons. A node has none of its own."""
    places: dict[str, tuple[str, ...]] = {"cluster:": tuple(configuration.queues)}
    for group in configuration.groups.values():
        queues = tuple(echelon.queue for echelon in group.echelons.values())
        places |= {f"group:{group.name}": queues, **{f"echelon:{queue}": (queue,) for queue in queues}}
    for queue in configuration.queues.values():
        kind, _, name = queue.name.partition(".")
        if queue.kind != "echelon":
            places[f"{kind}:{name}"] = (queue.name,)
    return places


def _members(configuration: Configuration, queue: Queue, ordered: frozenset[str]) -> str:
    """`instance home max_tokens estimate|scope scope ...`, separated by semicolons, after how they take turns. What is
    not limited is counted all the same."""
    rates = configuration.rate_limiting
    estimate = "worst" if rates.estimate == "worst_case" else "typical"
    estimate += "kept" if rates.settle == "reserved" else ""
    rows = []
    for member in queue.members:
        most = configuration.settings_of(member.home, member.instance).output_tokens
        scopes = " ".join(_scopes(queue, member.instance, member.home))
        noted = "recent" if member.instance in ordered else ""
        rows.append(f"{member.instance} {member.home} {most} {estimate}{noted}|{scopes}")
    return turns_of(configuration, queue) + ";".join(rows)


def _scopes(queue: Queue, instance: str, home: str) -> list[str]:
    scopes = ["cluster:", f"model:{instance}"]
    if not home.startswith("model."):
        scopes += [f"group:{home.partition('.')[0]}", f"echelon:{home}"]
    if queue.kind == "pool":
        scopes.append(f"pool:{queue.name.removeprefix('pool.')}")
    return scopes


def _breaker_fields(breaker: Breaker) -> dict[str, str]:
    recovery_ms = int(breaker.recovery_time_s * 1000)
    return {"bt": str(breaker.failure_threshold), "br": str(recovery_ms), "bh": str(breaker.half_open_requests)}


def _fields(limits: Limits, queues: tuple[str, ...]) -> dict[str, str]:
    fields: dict[str, str] = {}
    if limits.concurrency:
        fields["cl"] = str(limits.concurrency)
    if meters := "".join(str(meter) for meter in meters_of(limits)):
        fields["meters"] = meters
    if limits.queue_size:
        fields |= {"qs": str(limits.queue_size), "qn": " ".join(queues)}
    return fields
