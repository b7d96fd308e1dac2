"""`echelon queue pause` and `resume`: steering queues while the cluster runs."""

from typing import Literal

import click

from echelon_configs import UnknownTarget
from echelon_producers.client import Client

from .failures import InputWrong
from .where import Where, pass_where, where_options

_QUEUES = click.argument("queues", metavar="QUEUE...", nargs=-1, required=True)


@click.group("queue")
def queue_group() -> None:
    """Pause queues and let them go on."""


@queue_group.command("pause")
@where_options
@_QUEUES
@pass_where
def pause_command(where: Where, queues: tuple[str, ...]) -> None:
    """Start no more jobs of these queues. What runs goes on, and new jobs are accepted."""
    _steer(where, "pause", queues)


@queue_group.command("resume")
@where_options
@_QUEUES
@pass_where
def resume_command(where: Where, queues: tuple[str, ...]) -> None:
    """Start jobs of these queues again."""
    _steer(where, "resume", queues)


def _steer(where: Where, order: Literal["pause", "resume"], queues: tuple[str, ...]) -> None:
    with where.server() as hold, Client(hold.address.url, namespace=hold.address.namespace) as client:
        try:
            changed = client.steer(order, queues)
        except UnknownTarget as exc:
            raise InputWrong(str(exc)) from exc
    was = "" if changed else " (so it was before)"
    click.echo(f"{order}d: {', '.join(queues)}{was}")
