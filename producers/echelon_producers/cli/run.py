"""`echelon run`: a whole file of jobs, with a progress bar, resumable."""

import asyncio
import json
import sys
import time
from pathlib import Path

import click
from rich.console import Console

from echelon_configs import Configuration
from echelon_producers.client import Client
from echelon_producers.errors import IdempotencyConflict, QueueDraining
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import AsyncLedger
from echelon_workers.ledger.ending import end_tasks

from .batch.lines import count_lines
from .batch.output import Output, OutputBusy
from .batch.progress import Progress
from .batch.tally import Tally
from .batch.work import Work
from .failures import InputWrong, WorkFailed, warn
from .where import Where, pass_where, where_options

#: Lines that went wrong are told of one by one up to here; the output file and the totals have them all.
_MOST_TOLD = 50

_SECONDS = click.FloatRange(min=0, min_open=True)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("run")
@where_options
@click.argument("source", metavar="IN.jsonl", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, metavar="OUT.jsonl", type=_FILE, help="File for the answers.")
@click.option("--target", metavar="TARGET", help="For lines that name none of their own.")
@click.option("--timeout", type=_SECONDS, metavar="SECONDS", help="Wait no longer; jobs under way go on.")
@click.option(
    "--in-flight",
    "most",
    default=5_000,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Jobs under way at once.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the totals as one JSON document.")
@pass_where
def run_command(
    where: Where, source: Path, out: Path, target: str | None, timeout: float | None, most: int, as_json: bool
) -> None:
    """Submit every line of IN.jsonl and write the answers to OUT.jsonl as they come, in the form of OpenAI's Batch API.

    A line is {"prompt": ...} or {"messages": [...]}, with target, node, temperature and so on, or a line of OpenAI's
    Batch API. Lines that are wrong are reported, and the others run. Run again, it resumes: lines that are answered in
    OUT.jsonl are skipped, jobs under way are waited for, and failed ones are tried again.
    """
    if out.exists() and out.samefile(source):
        raise InputWrong(f"{out}: the output would overwrite the input (would be right: another --out)")
    began, run = time.monotonic(), _Run(source, target, most)
    try:
        with where.server() as hold, Output(out) as output:
            complete = run.go(hold.address, output, timeout)
    except OutputBusy as busy:
        raise InputWrong(str(busy)) from None
    _report(run.tally, time.monotonic() - began, as_json)
    run.tell_rest(out)
    if not complete:
        warn(f"{run.tally.under_way:,} jobs are still on their way; the same command again goes on from here")
        if run.refused:
            raise InputWrong(str(run.refused))
        sys.exit(1 if run.late else 130)
    if run.tally.failed or run.tally.bad:
        raise WorkFailed(f"failed lines: {run.tally.failed:,}, wrong lines: {run.tally.bad:,}")


class _Run:
    """One call of the command."""

    def __init__(self, source: Path, target: str | None, most: int) -> None:
        self.tally = Tally()
        self.late = False
        self.refused: QueueDraining | IdempotencyConflict | None = None
        self._source = source
        self._target = target
        self._most = most
        self._told = 0

    def go(self, address: Address, output: Output, timeout_s: float | None) -> bool:
        """Run the file; whether it came to its end."""
        with Client(address.url, namespace=address.namespace) as client:
            configuration = client.configuration()
        try:
            asyncio.run(self._within(timeout_s, address, output, configuration))
        except TimeoutError:
            self.late = True
            return False
        except (QueueDraining, IdempotencyConflict) as refused:
            self.refused = refused
            return False
        except KeyboardInterrupt:
            return False
        return True

    async def _within(
        self, timeout_s: float | None, address: Address, output: Output, configuration: Configuration
    ) -> None:
        ledger = AsyncLedger(address)
        work = Work(ledger, output, self._target, self._tell, tally=self.tally, most_under_way=self._most)
        progress = Progress(self.tally, count_lines(self._source))
        showing = asyncio.create_task(progress.show(Console(stderr=True)))
        with self._source.open("rb") as lines:
            working = asyncio.create_task(work.run(lines, configuration))
            try:
                done, _ = await asyncio.wait([working], timeout=timeout_s)
                if not done:
                    raise TimeoutError
                working.result()
            finally:
                await end_tasks([working, showing])
                await ledger.aclose()

    def _tell(self, line: str) -> None:
        self._told += 1
        if self._told <= _MOST_TOLD:
            click.echo(f"{self._source}: {line}", err=True)

    def tell_rest(self, out: Path) -> None:
        """Say how much more went wrong than was told."""
        if self._told > _MOST_TOLD:
            click.echo(f"... and {self._told - _MOST_TOLD:,} more (failed lines have their error in {out})", err=True)


def _report(tally: Tally, seconds: float, as_json: bool) -> None:
    totals = {
        "answered": tally.answered,
        "answered_before": tally.kept,
        "failed": tally.failed,
        "wrong_lines": tally.bad,
        "input_tokens": tally.input_tokens,
        "output_tokens": tally.output_tokens,
        "cost_usd": f"{tally.cost_usd:f}",
        "seconds": round(seconds, 1),
    }
    if as_json:
        click.echo(json.dumps(totals))
        return
    before = f" (and {tally.kept:,} before)" if tally.kept else ""
    click.echo(
        f"{tally.answered:,} answered{before}, {tally.failed:,} failed, {tally.bad:,} wrong lines, "
        f"{tally.input_tokens:,} + {tally.output_tokens:,} tokens, {tally.cost_usd:.4f} USD, {seconds:.1f} s"
    )
