"""`echelon queue pause`, `resume`, `drain` and `move`: steering queues while the cluster runs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import click

from echelon_producers.client import Client
from echelon_workers.ledger.verbs import Order

from .drain import Drain, numbers, stuck
from .failures import InputWrong, WorkFailed, warn
from .where import Where, pass_where, where_options

_QUEUES = click.argument("queues", metavar="QUEUE...", nargs=-1, required=True)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group("queue")
def queue_group() -> None:
    """Pause queues, drain them and let them go on; move their jobs."""


@queue_group.command("pause")
@where_options
@_QUEUES
@_JSON
@pass_where
def pause_command(where: Where, queues: tuple[str, ...], as_json: bool) -> None:
    """Start no more jobs of these queues. What runs goes on, and new jobs are accepted."""
    _steer(where, "pause", queues, as_json)


@queue_group.command("resume")
@where_options
@_QUEUES
@_JSON
@pass_where
def resume_command(where: Where, queues: tuple[str, ...], as_json: bool) -> None:
    """Start jobs of these queues again, and accept new ones: the end of a pause and of draining."""
    _steer(where, "resume", queues, as_json)


@queue_group.command("drain")
@where_options
@_QUEUES
@click.option("--no-wait", is_flag=True, help="Do not wait until they are empty.")
@click.option("--timeout", "timeout_s", metavar="SECONDS", type=click.FloatRange(min=0), help="Wait no longer.")
@_JSON
@pass_where
def drain_command(where: Where, queues: tuple[str, ...], no_wait: bool, timeout_s: float | None, as_json: bool) -> None:
    """Accept no new jobs for these queues, and wait until those they have are done.

    Jobs that fall back to such a queue, or are sent again, are still let in. Ctrl-C ends the waiting, not the draining;
    `echelon queue resume` ends that.
    """
    with _client(where) as client:
        client.steer("drain", queues)
        drain = Drain(client, queues)
        left = drain.look() if no_wait else drain.wait(timeout_s)
    jobs = [queue for queue in left if not queue.is_empty]
    if as_json:
        click.echo(
            json.dumps({"draining": list(queues), "empty": not jobs, "queues": [each.to_json() for each in left]})
        )
    elif not jobs:
        click.echo(f"drained: {', '.join(queues)} (no new jobs until echelon queue resume {' '.join(queues)})")
    else:
        click.echo("\n".join(f"draining: {queue.name}: {numbers(queue)}" for queue in jobs))
    if jobs and not no_wait:
        raise WorkFailed(f"not empty after {timeout_s:g} s; it goes on: {', '.join(queue.name for queue in jobs)}")


@queue_group.command("move")
@where_options
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@_JSON
@pass_where
def move_command(where: Where, source: str, target: str, as_json: bool) -> None:
    """Move all jobs that wait in a queue, or are delayed, to another, in their order.

    What runs goes on. FROM may be a queue that the configuration in force does not have any more.
    """
    if source == target:
        raise InputWrong(f"FROM and TO are both {source} (would be right: another queue to move its jobs to)")
    with _client(where) as client:
        moved = client.move(source, target)
        queues = {queue.name: queue for queue in client.cluster_status().queues}
    rest, there = queues.get(source), queues.get(target)
    running, left = (rest.counts.running, rest.counts.waiting + rest.counts.delayed) if rest else (0, 0)
    if as_json:
        click.echo(json.dumps({"from": source, "to": target, "moved": moved, "running": running, "left": left}))
    else:
        _tell_moved(source, target, moved, running)
    if left:
        warn(f"{left:,} more have come to {source} meanwhile, or are delayed (would be right: the same again)")
    if moved and there is not None and (why := stuck(there)):
        warn(why)


def _tell_moved(source: str, target: str, moved: int, running: int) -> None:
    click.echo(f"moved: {moved:,} job{'' if moved == 1 else 's'} from {source} to {target}")
    if running:
        click.echo(
            f"{running:,} still run{'s' if running == 1 else ''} from {source}; what is to be tried again returns there"
        )


def _steer(where: Where, order: Order, queues: tuple[str, ...], as_json: bool) -> None:
    with _client(where) as client:
        changed = client.steer(order, queues)
    if as_json:
        click.echo(json.dumps({"order": order, "queues": list(queues), "changed": changed}))
        return
    was = "" if changed else " (so it was before)"
    click.echo(f"{order}d: {', '.join(queues)}{was}")


@contextmanager
def _client(where: Where) -> Iterator[Client]:
    with where.server() as hold, Client(hold.address.url, namespace=hold.address.namespace) as client:
        yield client
