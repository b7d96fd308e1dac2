"""The instances as a table for people."""

from rich.console import Console

from echelon_producers.cli.instances import instances_table
from echelon_workers.ledger.instances import InstanceStatus


def shown(*instances: InstanceStatus, every: bool = False) -> list[str]:
    table = instances_table(instances, every=every)
    if table is None:
        return []
    console = Console(width=160, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_idle_and_healthy_ones_are_shown_when_all_are_asked_for() -> None:
    idle = InstanceStatus(name="idle", state="healthy")
    assert shown(idle) == []
    assert shown(idle, every=True)[1] == "idle healthy 0"


def test_what_is_wrong_is_said() -> None:
    lines = shown(
        InstanceStatus(name="a", state="healthy", in_use=2, concurrency=10, success_rate=1.0, latency_ms=1200),
        InstanceStatus(name="b", state="unhealthy", why="timed_out", open_ms=65_000, probed_ms_ago=3000),
        InstanceStatus(name="c", state="unhealthy", why="authentication_failed", open_ms=None),
        InstanceStatus(name="d", state="recovering", why="server_failed"),
        InstanceStatus(name="e", state="degraded", failures=2, success_rate=0.5),
        InstanceStatus(name="f", state="healthy", rests_ms=5000),
    )
    assert lines == [
        "instance state in use success latency probed",
        "a healthy 2 of 10 100% 1,200 ms",
        "b unhealthy 0 3 s ago timed_out: out for 1:05 min",
        "c unhealthy 0 authentication_failed: out until the configuration is published again",
        "d recovering 0 server_failed: probes are let through",
        "e degraded 0 50% 2 failures in a row",
        "f healthy 0 its provider asks to wait 5 s",
    ]
