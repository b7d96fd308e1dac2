"""The demo from beginning to end."""

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import copytree

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
from .script import AWAY_FROM_S, AWAY_INSTANCE, AWAY_PROVIDER, AWAY_TO_S, script
from .stage import SLOTS, WORKERS, Stage

#: The jobs take some seconds; whatever has not ended by then is counted as lost.
WAIT_S = 120.0
#: `recovery_time` of the demo's breakers, and `max_attempts` of its jobs.
RECOVERY_S, ATTEMPTS = 1, 8

_LOOK_EVERY_S = 0.2
HASTENED = f"for the demo breakers recover after {RECOVERY_S} s, and a job has {ATTEMPTS} attempts"


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
        configs = stage.folder / "configs"
        if self._configs is None:
            write_starter(configs)
        else:
            copytree(self._configs, configs)
        _hasten(configs)
        loaded = load(configs)
        size = f"{len(loaded.configuration.queues)} queues, {len(loaded.configuration.instances)} instances"
        self._step("configuration", f"{self._configs or 'the starter of `echelon init`'}: {size}; {HASTENED}")
        began = time.monotonic()
        stage.start(loaded, configs)
        self._step("cluster", f"{stage.hold.version}, simulator, {WORKERS} workers with {SLOTS} slots each", began)
        return loaded

    def _show(self, stage: Stage, loaded: Loaded, wishes: Interrupts) -> Report | None:
        """Send the jobs and see them through; None when somebody wants an end."""
        jobs = chosen(self._many, loaded.configuration)
        began = time.monotonic()
        stage.simulator.load(script())  # its times begin now
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
        for line in report.died:
            self._say(line)
        self._step("outage", _outage(stage, report))
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


def _hasten(configs: Path) -> None:
    """Nobody watches a demo for the minute that a breaker of the starter stays open; and where a third of all calls
    fails for some seconds, three attempts may all be among them."""
    for file in configs.rglob("*.yaml"):
        text = re.sub(r"(recovery_time: )\d+", rf"\g<1>{RECOVERY_S}", file.read_text("utf-8"))
        file.write_text(re.sub(r"(max_(?:instance_)?attempts: )\d+", rf"\g<1>{ATTEMPTS}", text), "utf-8")


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


def _outage(stage: Stage, report: Report) -> str:
    """What the outage cost: the calls that it swallowed, and where their jobs went."""
    failed = stage.simulator.counts()["faults"].get("outage", 0)
    away = f"{AWAY_PROVIDER} and {AWAY_INSTANCE} were away from second {AWAY_FROM_S:g} to {AWAY_TO_S:g}"
    return f"{away}: {failed} calls failed, {report.total.fell_back} jobs fell back to another queue"


def _compared(stage: Stage, report: Report) -> str:
    """What arrived at the providers beside what we have on record; counted on both sides."""
    calls = stage.simulator.arrivals(operation="call")
    arrived, attempts = sum(bool(call["job"]) for call in calls), report.total.attempts
    apart = "the same" if arrived == attempts else f"{abs(arrived - attempts)} apart"
    probes = f" (and {len(calls) - arrived} health probes)" if len(calls) > arrived else ""
    return f"{arrived} calls arrived, {attempts} attempts on record: {apart}{probes}"
