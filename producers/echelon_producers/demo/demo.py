"""The demo from beginning to end."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from echelon_configs import Loaded, load
from echelon_configs.starter import write_starter
from echelon_producers.cluster.interrupts import Interrupts
from echelon_producers.errors import UnknownJob
from echelon_workers.ledger.record import JobRecord

from .environment import described
from .progress import Progress, ended
from .prompts import Job, chosen
from .report import Report, report_of, table_of
from .stage import SLOTS, WORKERS, Stage

#: The jobs take some seconds; whatever has not ended by then is counted as lost.
WAIT_S = 120.0

_LOOK_EVERY_S = 0.2


class Demo:
    """One showing."""

    def __init__(self, console: Console, configs: Path | None, many: int, *, keep: bool) -> None:
        """`configs` is the configuration to use; None: the starter."""
        self._console = console
        self._configs = configs
        self._many = many
        self._keep = keep

    def run(self) -> int:
        """Show it all; the exit code. Raises what loading a configuration and starting a cluster raise."""
        with Interrupts() as wishes, Stage(self._say, wishes, keep=self._keep) as stage:
            loaded = self._begin(stage)
            report = None if wishes() else self._show(stage, loaded, wishes)
            began = time.monotonic()
            left = stage.stop()
            self._step("stop", "nothing is left running" if not left else "STILL RUNNING: " + "; ".join(left), began)
            if self._keep:
                self._step("kept", f"data and logs in {stage.folder}")
        if report is None:
            return 130
        self._say(report.last_line())
        return 0 if report.is_clean and not left else 1

    def _begin(self, stage: Stage) -> Loaded:
        self._step("environment", described())
        configs = self._configs or stage.folder / "configs"
        if self._configs is None:
            write_starter(configs)
        loaded = load(configs)
        size = f"{len(loaded.configuration.queues)} queues, {len(loaded.configuration.instances)} instances"
        self._step("configuration", f"{self._configs or 'the starter of `echelon init`'}: {size}")
        began = time.monotonic()
        stage.start(loaded, configs)
        self._step("cluster", f"{stage.hold.version}, simulator, {WORKERS} workers with {SLOTS} slots each", began)
        return loaded

    def _show(self, stage: Stage, loaded: Loaded, wishes: Interrupts) -> Report | None:
        """Send the jobs and see them through; None when somebody wants an end."""
        jobs = chosen(self._many, loaded.configuration)
        began = time.monotonic()
        ids = stage.client.submit_many(jobs)
        self._step("submit", f"{len(jobs)} jobs to {_targets(jobs)}", began)
        began = time.monotonic()
        with Progress(self._console, self._say) as progress:
            self._see_through(stage, len(ids), wishes, progress)
        if wishes():
            return None
        report = report_of(_records(stage, ids), len(ids), list(loaded.configuration.queues))
        self._step("jobs", f"{report.total.answered} answered with {report.total.attempts} attempts", began)
        self._console.print()
        self._console.print(table_of(report))
        self._console.print()
        self._step("simulator", _compared(stage, report))
        return report

    def _see_through(self, stage: Stage, many: int, wishes: Interrupts, progress: Progress) -> None:
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            status = stage.client.cluster_status()
            progress.show(status)
            stage.cluster.look()
            if ended(status.totals) >= many or wishes.wait(_LOOK_EVERY_S):
                return

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _step(self, name: str, text: str, began: float | None = None) -> None:
        took = "" if began is None else f" ({time.monotonic() - began:.1f} s)"
        self._say(f"{name:<14}{text}{took}")


def _targets(jobs: Sequence[Job]) -> str:
    """`41 targets: 3 groups, 20 echelons, 3 pools, ...`."""
    kinds = {"pool": "pools", "node": "nodes", "model": "models"}
    targets = {str(job["target"]) for job in jobs}
    counted = Counter(
        kinds.get(target.partition(".")[0], "echelons" if "." in target else "groups") for target in targets
    )
    return f"{len(targets)} targets: {', '.join(f'{many} {kind}' for kind, many in counted.most_common())}"


def _records(stage: Stage, ids: Sequence[str]) -> Iterator[JobRecord]:
    for job_id in ids:
        try:
            yield stage.client.status(job_id)
        except UnknownJob:
            continue  # it will be missing in the report: lost


def _compared(stage: Stage, report: Report) -> str:
    """What arrived at the providers beside what we have on record; counted on both sides."""
    arrived, attempts = int(stage.simulator.counts()["arrivals"]), report.total.attempts
    if arrived == attempts:
        return f"{arrived} calls arrived, {attempts} attempts on record: the same"
    return f"{arrived} calls arrived, {attempts} attempts on record: {abs(arrived - attempts)} apart"
