"""`echelon job show`, `cancel` and `redrive`: the life of one job, ending it, and sending again what died."""

import json
from collections import Counter
from typing import Any

import click

from echelon_producers.client import Client
from echelon_workers.ledger.verbs import Cancelled, Redriven

from .failures import InputWrong, WorkFailed, warn
from .life import life
from .status import console
from .where import Where, pass_where, where_options

_NO_SUCH_JOB = "no such job (it was never submitted here, or its retention is over)"
_NOT_SENT: dict[Redriven, str] = {
    "not ended": "it has not ended",
    "answered": "it is answered",
    "unknown": _NO_SUCH_JOB,
    "no job": "a message that never became a job (would be right: submit it anew)",
    "no queue": "the queue that it was sent to is not in the configuration in force (would be right: submit it anew)",
}

_CANCELLED: dict[Cancelled, str] = {
    "cancelled": "cancelled",
    "stopping": "stopping: its worker closes the call",
}


@click.group("job")
def job_group() -> None:
    """Look at one job; cancel jobs; send jobs that died again."""


@job_group.command("show")
@where_options
@click.argument("job_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the record as one JSON document.")
@pass_where
def show_command(where: Where, job_id: str, as_json: bool) -> None:
    """Show the life of a job, attempt by attempt."""
    with where.server() as hold, Client(hold.address.url, namespace=hold.address.namespace) as client:
        record = client.status(job_id)
    if as_json:
        click.echo(json.dumps(record.to_json(), ensure_ascii=False))
        return
    for line in life(record, console().width):
        click.echo(line)


@job_group.command("cancel")
@where_options
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept with the jobs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: what became of each.")
@pass_where
def cancel_command(where: Where, job_ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Cancel jobs, wherever they are.

    One that waits is cancelled at once; of one that runs, its worker closes the call. What has ended stays as it is.
    """
    with where.server() as hold, Client(hold.address.url, namespace=hold.address.namespace) as client:
        said = client.cancel_many(job_ids, reason)
    if as_json:
        click.echo(json.dumps({"jobs": [{"id": id, "outcome": outcome} for id, outcome in said.items()]}))
    else:
        for id, outcome in said.items():
            if outcome in _CANCELLED:
                click.echo(f"{id}: {_CANCELLED[outcome]}")
    _tell_left(said)


@job_group.command("redrive")
@where_options
@click.argument("job_ids", metavar="[ID...]", nargs=-1)
@click.option("--state", type=click.Choice(["dead"]), help="Not by their ids: the dead, with one of the following.")
@click.option("--queue", metavar="QUEUE", help="Those that died in this queue.")
@click.option("--code", metavar="CODE", help="Those that died of this, such as timed_out.")
@click.option("--all", "every", is_flag=True, help="All the dead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: what became of each.")
@pass_where
def redrive_command(where: Where, /, job_ids: tuple[str, ...], as_json: bool, **chosen: Any) -> None:
    """Send jobs that are dead, expired or cancelled again.

    They go back to the queues that they were sent to, as if they were new, with as much time as they had; what has
    been tried stays on record. Jobs are named by their ids, or all the dead are meant that --queue or --code choose.
    """
    _check(job_ids, **chosen)
    with where.server() as hold, Client(hold.address.url, namespace=hold.address.namespace) as client:
        said = client.redrive(job_ids) if job_ids else client.redrive_dead(queue=chosen["queue"], code=chosen["code"])
    if as_json:
        click.echo(json.dumps({"jobs": [{"id": id, "redrive": reply} for id, reply in said.items()]}))
    _tell(said, by_id=bool(job_ids), as_json=as_json)


def _tell_left(said: dict[str, Cancelled]) -> None:
    """Of jobs that were not cancelled, why. Raises InputWrong for ids that there are not, WorkFailed for other ends."""
    left = {id: outcome for id, outcome in said.items() if outcome not in _CANCELLED}
    causes = [f"job {id}: {_NO_SUCH_JOB if end == 'unknown' else f'it is {end}'}" for id, end in left.items()]
    if causes:
        failure = InputWrong if "unknown" in left.values() else WorkFailed
        raise failure("\n".join(causes))


def _check(job_ids: tuple[str, ...], state: str | None, queue: str | None, code: str | None, every: bool) -> None:
    right = "would be right: ID..., or --state dead with --queue, --code or --all"
    if job_ids and (state or queue or code or every):
        raise InputWrong(f"ids and a filter at a time ({right})")
    if every and (queue or code):
        raise InputWrong(f"--all with --queue or --code ({right})")
    if not (job_ids or queue or code or every):
        raise InputWrong(f"nothing says which jobs ({right})")


def _tell(said: dict[str, Redriven], *, by_id: bool, as_json: bool) -> None:
    """How many were sent. Of jobs that were named one that was not is a failure; of those found it had gone on."""
    done = sum(reply == "done" for reply in said.values())
    if not as_json:
        click.echo(f"sent again: {done:,} of {len(said):,} jobs" if by_id else f"sent again: {done:,} dead jobs")
    left = {id: _NOT_SENT[reply] for id, reply in said.items() if reply != "done"}
    if by_id and left:
        raise WorkFailed("\n".join(f"job {id}: {why}" for id, why in left.items()))
    for why, many in Counter(left.values()).items():
        warn(f"not sent again: {many:,}: {why}")
