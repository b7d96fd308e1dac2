"""What take needs of a configuration: for each queue its instances with their scopes, for each scope its limits.

Publish writes it beside the document, in the same step; see `lua/parts/scopes.lua` for what the fields mean.
"""

from dataclasses import dataclass

from echelon_configs import Configuration, Limits, Queue, RateLimit

#: A limit counts where calls arrive, and calls take their time from grant to arrival, some more than others. A window
#: is held open this much longer, so that one more call never arrives within it; it costs 0.25 % of a minute's limit.
GUARD_SHARE, LEAST_GUARD_MS = 0.0025, 20
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Plan:
    """The limits of every scope that has any, and the plan of every queue."""

    scopes: dict[str, dict[str, str]]
    queues: dict[str, str]


def plan_of(configuration: Configuration) -> Plan:
    """Work it out. Scopes are named `level:name`; the cluster's own is `cluster:`."""
    limits = {
        "cluster:": configuration.limits,
        **{f"group:{name}": group.limits for name, group in configuration.groups.items()},
        **{f"pool:{name}": pool.limits for name, pool in configuration.pools.items()},
        **{f"node:{name}": node.limits for name, node in configuration.nodes.items()},
        **{f"model:{name}": instance.limits for name, instance in configuration.instances.items()},
    }
    for group in configuration.groups.values():
        limits |= {f"echelon:{echelon.queue}": echelon.limits for echelon in group.echelons.values()}
    scopes = {name: fields for name, limit in limits.items() if (fields := _fields(limit))}
    return Plan(scopes, {name: _members(queue) for name, queue in configuration.queues.items()})


def _members(queue: Queue) -> str:
    """`instance home|scope scope ...`, separated by semicolons. What is not limited is counted all the same."""
    return ";".join(f"{m.instance} {m.home}|{' '.join(_scopes(queue, m.instance, m.home))}" for m in queue.members)


def _scopes(queue: Queue, instance: str, home: str) -> list[str]:
    scopes = ["cluster:", f"model:{instance}"]
    if not home.startswith("model."):
        scopes += [f"group:{home.partition('.')[0]}", f"echelon:{home}"]
    if queue.kind == "pool":
        scopes.append(f"pool:{queue.name.removeprefix('pool.')}")
    return scopes


def _fields(limits: Limits) -> dict[str, str]:
    fields: dict[str, str] = {}
    if limits.concurrency:
        fields["cl"] = str(limits.concurrency)
    if limits.requests_per_minute:
        fields |= {"rl": str(limits.requests_per_minute), "rw": str(_guarded(MINUTE_MS))}
    if limits.rate is not None:
        fields |= _rate(limits.rate)
    return fields


def _rate(rate: RateLimit) -> dict[str, str]:
    if rate.algorithm == "sliding_window" and rate.max_requests and rate.window_s:
        return {"sl": str(rate.max_requests), "sw": str(_guarded(rate.window_s * 1000))}
    if rate.algorithm == "token_bucket" and rate.bucket_size and rate.refill_per_s:
        return {"rb": f"{rate.bucket_size:.6f}", "rr": f"{rate.refill_per_s / 1000:.9f}"}
    return {}


def _guarded(window_ms: float) -> int:
    return int(window_ms + max(LEAST_GUARD_MS, GUARD_SHARE * window_ms))
