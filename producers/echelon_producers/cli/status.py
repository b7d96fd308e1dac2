"""`echelon status`: queues, limits, instances, workers and the server at one moment, or again and again."""

import json
import time
from collections.abc import Iterable

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from echelon_producers.client import Client
from echelon_workers.ledger.status import ClusterStatus, QueueStatus, WorkerStatus, left_behind

from .batch.progress import span
from .instances import instances_table
from .scopes import named, scopes_table
from .where import Where, pass_where, where_options

_AGAIN_S = 1.0
#: shown always, and shown where there is something to show: a terminal of 80 columns is enough for a healthy cluster
_ALWAYS = ("waiting", "running", "answered")
_SELDOM = ("delayed", "dead", "expired", "cancelled", "retries", "limited", "lapsed", "late")
_PIPE_COLUMNS = 160


@click.command("status")
@where_options
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@click.option("--all", "every", is_flag=True, help="Also idle queues, unused limits and instances.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (with --watch, one a line and second).")
@pass_where
def status_command(where: Where, watch: bool, every: bool, as_json: bool) -> None:
    """Show the queues, the limits, the instances, the workers and the server, as they are now."""
    with where.server() as hold, Client(hold.address.url, namespace=hold.address.namespace) as client:
        if not watch:
            status = client.cluster_status()
            if as_json:
                click.echo(json.dumps(status.to_json(), ensure_ascii=False))
            else:
                console().print(tables(status, every=every))
            return
        try:
            _watch(client, every=every, as_json=as_json)
        except KeyboardInterrupt:
            return


def _watch(client: Client, *, every: bool, as_json: bool) -> None:
    if as_json:
        while True:
            click.echo(json.dumps(client.cluster_status().to_json(), ensure_ascii=False))
            time.sleep(_AGAIN_S)
    with Live(console=console(), auto_refresh=False, transient=False) as live:
        while True:
            live.update(tables(client.cluster_status(), every=every), refresh=True)
            time.sleep(_AGAIN_S)


def console() -> Console:
    """Where tables go: as wide as the terminal, and wide enough for every column where there is none."""
    made = Console(highlight=False)
    if not made.is_terminal:
        made.width = _PIPE_COLUMNS
    return made


def tables(status: ClusterStatus, *, every: bool = False) -> Group:
    """The status for people."""
    parts: list[Table | str] = [_line(status), _queues(status, every=every)]
    parts += [left_behind(queue) for queue in status.queues if queue.dropped]
    if (scopes := scopes_table(status.scopes, every=every)) is not None:
        parts.append(scopes)
    if (instances := instances_table(status.instances, every=every)) is not None:
        parts.append(instances)
    if status.workers:
        parts.append(_workers(status.workers))
    return Group(*parts)


def _line(status: ClusterStatus) -> str:
    server = status.server
    memory = f"{server.memory_bytes / 1e6:,.1f} MB"
    if server.max_memory_bytes:
        memory += f" of {server.max_memory_bytes / 1e6:,.1f} MB"
    workers = len(status.workers) or "no"
    return f"revision {status.revision}, {server.name} {server.version} with {memory}, {workers} workers"


def _queues(status: ClusterStatus, *, every: bool) -> Table:
    shown = [queue for queue in status.queues if every or _has_something(queue)]
    counted = (*_ALWAYS, *(name for name in _SELDOM if getattr(status.totals, name)))
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column("queue", no_wrap=True)
    for name in (*counted, "tokens", "cost USD", "workers"):
        table.add_column(name, justify="right", no_wrap=True)
    states = [queue_state(queue, status.now_ms) for queue in shown]
    if any(states):
        table.add_column("", no_wrap=True)
    for queue, state in zip(shown, states, strict=True):
        table.add_row(queue.name, *_numbers(queue, counted), *filter(None, [state]))
    total = QueueStatus(name="all", kind="", counts=status.totals, served_by=len(status.workers))
    in_force = sum(not queue.dropped for queue in status.queues)
    table.add_row(f"all {in_force} queues", *_numbers(total, counted), style="bold")
    return table


def queue_state(queue: QueueStatus, now_ms: int) -> str:
    """Why nothing starts here, or nothing comes, if that is so."""
    if queue.dropped:
        return "dropped"
    states = [name for name, holds in (("draining", queue.draining), ("paused", queue.paused)) if holds]
    if queue.held_by and not queue.paused:
        so_far = f", {span((now_ms - queue.held_since_ms) / 1000)} so far" if queue.held_since_ms else ""
        states.append(f"waits for {named(queue.held_by)}{so_far}")
    return ", ".join(states)


def _has_something(queue: QueueStatus) -> bool:
    counts = queue.counts
    return bool(queue.draining or counts.submitted or counts.waiting or counts.delayed or counts.running)


def _numbers(queue: QueueStatus, counted: Iterable[str]) -> list[str]:
    counts = queue.counts
    numbers = [f"{getattr(counts, name):,}" for name in counted]
    tokens = f"{counts.input_tokens + counts.output_tokens:,}"
    return [*numbers, tokens, f"{float(counts.cost_usd):.4f}", str(queue.served_by)]


def _workers(workers: tuple[WorkerStatus, ...]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column("worker", no_wrap=True)
    for name in ("busy", "slots", "queues", "revision", "heartbeat"):
        table.add_column(name, justify="right")
    for worker in workers:
        age = f"{worker.heartbeat_age_ms / 1000:.1f} s ago"
        row = (worker.busy, worker.slots, len(worker.queues), worker.revision, age)
        table.add_row(worker.hostname, *(str(value) for value in row))
    return table
