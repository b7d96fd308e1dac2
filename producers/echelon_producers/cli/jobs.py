"""`echelon jobs`: which jobs are queued, delayed, running or dead, the newest first."""

import json
import time

import click

from echelon_producers.client import Client
from echelon_workers.ledger.listing import LISTED, MOST_LOOKED_AT
from echelon_workers.ledger.record import JobRecord

from .scopes import named
from .status import console
from .where import Where, pass_where, where_options

#: From so many columns on a job is one line, else two.
_WIDE_COLUMNS = 120
#: What holds a job back that is no limit.
_HOLDS = {"paused": "its queue is paused", "dropped": "its queue is dropped (echelon queue move)"}


@click.command("jobs")
@where_options
@click.option("--state", metavar="STATE", help=f"{', '.join(LISTED[:-1])} or {LISTED[-1]}.  [default: all of these]")
@click.option("--queue", metavar="QUEUE", help="Only those that are, or died, in this queue.")
@click.option(
    "--limit", type=click.IntRange(1, MOST_LOOKED_AT), default=50, show_default=True, help="No more than so many."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@pass_where
def jobs_command(where: Where, state: str | None, queue: str | None, limit: int, as_json: bool) -> None:
    """List jobs, the newest first.

    Answered, expired and cancelled jobs are not listed; `echelon job show` finds them by their ids.
    """
    with where.server() as hold, Client(hold.address.url, namespace=hold.address.namespace) as client:
        found = client.jobs(state, queue=queue, limit=limit)
    if as_json:
        click.echo(json.dumps({"jobs": [record.to_json() for record in found]}, ensure_ascii=False))
        return
    columns = console().width
    for record in found:
        click.echo("\n".join(_lines(record, columns)))
    if len(found) == limit:
        click.echo(f"the newest {limit:,}; --limit shows more", err=True)


def moment(ms: int) -> str:
    """A time of the cluster for people, on their own clock; `-` for none."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000)) if ms else "-"
    except (ValueError, OverflowError, OSError):  # somebody damaged it
        return f"{ms} ms"


def count(many: int, what: str) -> str:
    """`1 attempt`, `2 attempts`."""
    return f"{many:,} {what}{'' if many == 1 else 's'}"


def failure(error: object) -> str:
    """An error in a line: its code and its message. What a provider says may be anything, but no control character."""
    if not error:
        return ""
    if not isinstance(error, dict):
        return shown(error)
    return f"{shown(error.get('code', 'failed'))}: {shown(error.get('message', ''))}".removesuffix(": ")


def shown(value: object) -> str:
    """Whatever it is, in one line without control characters."""
    text = " ".join(str(value).split())
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def waits_for(record: JobRecord) -> str:
    """What a job waits for, where a limit, a pause or the end of its queue holds it back."""
    if not record.waits_for:
        return ""
    return _HOLDS.get(record.waits_for) or f"waits for {named(record.waits_for)}"


def _lines(record: JobRecord, columns: int) -> list[str]:
    when = record.ended_ms or (record.started_ms if record.state == "running" else 0) or record.waits_from_ms
    first = f"{record.id}  {record.state:<7}  {count(record.attempts, 'attempt'):<10}  {moment(when)}"
    second = f"{record.queue}: {_why(record)}".removesuffix(": ")
    if columns >= _WIDE_COLUMNS:
        return [_cut(f"{first}  {second}", columns)]
    return [first, _cut(f"  {second}", columns)]


def _why(record: JobRecord) -> str:
    """What is most of interest in its state."""
    if record.state == "running":
        return record.instance
    return waits_for(record) or failure(record.error)


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else f"{text[: columns - 1]}…"
