"""Every instance with its health, as a table."""

from collections.abc import Iterable

from rich.table import Table

from echelon_workers.ledger.instances import InstanceStatus

from .batch.progress import span


def instances_table(instances: Iterable[InstanceStatus], *, every: bool = False) -> Table | None:
    """The instances that are in use or were, or are not well, with `every` all there are; None: there are none."""
    shown = [instance for instance in instances if every or _counts(instance)]
    if not shown:
        return None
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column("instance", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("in use", "success", "latency", "probed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for instance in shown:
        table.add_row(instance.name, instance.state, *_figures(instance), _why(instance))
    return table


def _counts(instance: InstanceStatus) -> bool:
    return (
        instance.state != "healthy" or bool(instance.in_use or instance.rests_ms) or instance.success_rate is not None
    )


def _figures(instance: InstanceStatus) -> tuple[str, str, str, str]:
    in_use = f"{instance.in_use:,}" + (f" of {instance.concurrency:,}" if instance.concurrency else "")
    success = "" if instance.success_rate is None else f"{instance.success_rate:.0%}"
    latency = "" if instance.latency_ms is None else f"{instance.latency_ms:,} ms"
    probed = "" if instance.probed_ms_ago is None else f"{span(instance.probed_ms_ago / 1000)} ago"
    return in_use, success, latency, probed


def _why(instance: InstanceStatus) -> str:
    """What is wrong with it, and for how long."""
    if instance.state == "unhealthy":
        until = "until the configuration is published again"
        return f"{instance.why}: out " + (until if instance.open_ms is None else f"for {span(instance.open_ms / 1000)}")
    if instance.state == "recovering":
        return f"{instance.why}: probes are let through"
    if instance.rests_ms:
        return f"its provider asks to wait {span(instance.rests_ms / 1000)}"
    return f"{instance.failures} failures in a row" if instance.failures else ""
