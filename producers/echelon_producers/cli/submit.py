"""`echelon submit`: one job from the command line."""

import json
import sys
from typing import Any

import click

from echelon_producers.client import Client
from echelon_producers.errors import JobEnded
from echelon_workers.ledger.job import Answer
from echelon_workers.ledger.record import JobRecord

from .failures import InputWrong, WorkFailed, warn
from .where import Where, pass_where, where_options

_SECONDS = click.FloatRange(min=0, min_open=True)


@click.command("submit")
@where_options
@click.argument("target", metavar="TARGET")
@click.argument("prompt", required=False, metavar="[PROMPT or -]")
@click.option("--wait", is_flag=True, help="Wait for the answer and print it.")
@click.option("--timeout", type=_SECONDS, metavar="SECONDS", help="Wait no longer; the job goes on.")
@click.option("--node", help="Submit under this node: its prompt and its limits hold.")
@click.option("--system", help="System prompt.")
@click.option("--priority", type=click.IntRange(0, 9), default=0, show_default=True, help="9 goes first.")
@click.option("--deadline", type=_SECONDS, metavar="SECONDS", help="Give up after this long.")
@click.option(
    "--fallback",
    multiple=True,
    metavar="TARGET",
    help="Where it goes when it fails; may be repeated.  [default: as configured]",
)
@click.option("--id", "job_id", help="Id of the job; the same id again is the same job.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Tokens the answer may have.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 to 2.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the id, or with --wait the whole record.")
@pass_where
def submit_command(
    where: Where,
    /,
    target: str,
    prompt: str | None,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    **job: Any,
) -> None:
    """Submit one job to TARGET and print its id; with --wait, wait and print its answer.

    TARGET is a group.echelon, a group, pool.NAME, node.NAME or model.NAME. The prompt is read from standard input when
    it is - or left out.
    """
    text = _prompt(prompt)
    with where.server() as hold, Client(hold.address.url, namespace=hold.address.namespace) as client:
        job_id = client.submit(target, text, **_given(job))
        if not wait:
            click.echo(json.dumps({"id": job_id}) if as_json else job_id)
            return
        if not client.cluster_status().workers:
            warn(f"no worker is running: job {job_id} waits in its queue (would be right: `echelon up`)")
        try:
            answer = client.result(job_id, timeout)
        except JobEnded as ended:
            _tell_of_end(ended.record, as_json)
            raise WorkFailed(str(ended)) from None
        except KeyboardInterrupt:
            warn(f"job {job_id} is still on its way")
            raise
        if as_json:
            click.echo(_json(client.status(job_id)))
        else:
            _print(answer)


def _prompt(prompt: str | None) -> str:
    if prompt is None and sys.stdin.isatty():
        raise InputWrong("no prompt (would be right: echelon submit TARGET PROMPT, or the prompt on standard input)")
    if prompt not in (None, "-"):
        return str(prompt)
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as wrong:
        raise InputWrong(f"standard input: not UTF-8 at byte {wrong.start} (would be right: text in UTF-8)") from None
    if not text.strip():
        raise InputWrong("the prompt on standard input is empty (would be right: some text)")
    return text


def _given(job: dict[str, Any]) -> dict[str, Any]:
    names = {"job_id": "id", "deadline": "deadline_s", "fallback": "fallback_groups"}
    return {names.get(name, name): value for name, value in job.items() if value not in (None, ())}


def _print(answer: Answer) -> None:
    if answer.text or not answer.tool_calls:
        click.echo(answer.text)
    for call in answer.tool_calls:
        click.echo(json.dumps(call.model_dump(mode="json"), ensure_ascii=False))


def _tell_of_end(record: JobRecord, as_json: bool) -> None:
    """The record for programs, every attempt's error for people."""
    if as_json:
        click.echo(_json(record))
    for number, attempt in enumerate(record.trail, 1):
        error = attempt.get("error") or {}
        where = f"{attempt.get('queue', '?')} {attempt.get('instance', '?')}"
        click.echo(
            f"attempt {number}: {where}: {error.get('code', attempt.get('outcome'))}: {error.get('message')}", err=True
        )


def _json(record: JobRecord) -> str:
    return json.dumps(record.to_json(), ensure_ascii=False)
