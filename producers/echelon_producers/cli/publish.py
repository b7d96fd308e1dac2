"""`echelon config publish`: put the configuration in force in the whole cluster."""

import json

import click

from echelon_workers.ledger import revisions
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.status import dropped_queues, left_behind

from .config import config_group
from .failures import tell_of, warn
from .where import Where, pass_where, where_options

__all__ = ["config_group"]


@config_group.command("publish")
@where_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@pass_where
def publish_command(where: Where, as_json: bool) -> None:
    """Check the configuration and put it in force: in the whole cluster at once, between two jobs.

    One with errors is refused and the one in force stays. The same one again is the same revision. Queues that it does
    not have any more keep their jobs, and are named.
    """
    loaded = where.load()
    tell_of(loaded.warnings)
    with where.server() as hold:
        ledger = Ledger(hold.address)
        try:
            number = revisions.publish(ledger, loaded.configuration)
            tell_of_dropped(ledger)
        finally:
            ledger.close()
    digest = loaded.configuration.digest()
    click.echo(
        json.dumps({"revision": number, "digest": digest}) if as_json else f"revision {number} is in force ({digest})"
    )


def tell_of_dropped(ledger: Ledger) -> None:
    """Name the queues that are not in force any more and have jobs, and what to do, on standard error."""
    for queue in ledger.run(dropped_queues()):
        warn(left_behind(queue))
