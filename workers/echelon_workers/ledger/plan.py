"""What take needs of a configuration: for each queue its instances with their scopes, for each scope its limits.

Publish writes it beside the document, in the same step; see `lua/parts/scopes.lua` for what the fields mean.
"""

from dataclasses import dataclass

from echelon_configs import Configuration, Limits, Queue

from .limits import meters_of


@dataclass(frozen=True, slots=True)
class Plan:
    """The limits of every scope that has any, and the plan of every queue."""

    scopes: dict[str, dict[str, str]]
    queues: dict[str, str]


def plan_of(configuration: Configuration) -> Plan:
    """Work it out. Scopes are named `level:name`; the cluster's own is `cluster:`."""
    queues_in = waiting_places(configuration)
    scopes = {
        name: fields
        for name, limit in limits_of(configuration).items()
        if (fields := _fields(limit, queues_in.get(name, ())))
    }
    return Plan(scopes, {name: _members(configuration, queue) for name, queue in configuration.queues.items()})


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


def _members(configuration: Configuration, queue: Queue) -> str:
    """`instance home max_tokens estimate|scope scope ...`, separated by semicolons. What is not limited is counted all
    the same."""
    estimate = "worst" if configuration.rate_limiting.estimate == "worst_case" else "typical"
    rows = []
    for member in queue.members:
        most = configuration.settings_of(member.home, member.instance).output_tokens
        scopes = " ".join(_scopes(queue, member.instance, member.home))
        rows.append(f"{member.instance} {member.home} {most} {estimate}|{scopes}")
    return ";".join(rows)


def _scopes(queue: Queue, instance: str, home: str) -> list[str]:
    scopes = ["cluster:", f"model:{instance}"]
    if not home.startswith("model."):
        scopes += [f"group:{home.partition('.')[0]}", f"echelon:{home}"]
    if queue.kind == "pool":
        scopes.append(f"pool:{queue.name.removeprefix('pool.')}")
    return scopes


def _fields(limits: Limits, queues: tuple[str, ...]) -> dict[str, str]:
    fields: dict[str, str] = {}
    if limits.concurrency:
        fields["cl"] = str(limits.concurrency)
    if meters := "".join(str(meter) for meter in meters_of(limits)):
        fields["meters"] = meters
    if limits.queue_size:
        fields |= {"qs": str(limits.queue_size), "qn": " ".join(queues)}
    return fields
