"""The processes of one cluster together: started in order, watched, and stopped in order."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .process import Part, Process, ProcessFailed

#: What dies is started again after this long, then twice as long, up to LONGEST_BACK_OFF_S.
FIRST_BACK_OFF_S = 0.5
LONGEST_BACK_OFF_S = 30.0
#: Having run for this long, it starts with the first delay again.
HEALTHY_S = 60.0
#: A worker that was told to hurry gives its jobs back; it is killed after this long.
HURRY_S = 5.0

_LOOK_EVERY_S = 0.05

Say = Callable[[str], None]
Urgency = Callable[[], int]


class Cluster:
    """Starts stages of processes one after the other and stops them in the order that loses nothing."""

    def __init__(self, logs: Path, say: Say, *, verbose: bool = False) -> None:
        """`say` is told one line for everything that happens; with `verbose`, also all that the processes write."""
        self._logs = logs
        self._say = say
        self._verbose = verbose
        self._processes: list[Process] = []
        self._troubles: dict[str, _Trouble] = {}

    def __iter__(self) -> Iterator[Process]:
        return iter(self._processes)

    def start(self, parts: Sequence[Part], *, urgency: Urgency = lambda: 0) -> list[Process]:
        """Start these together and wait until each is ready, or until somebody wants an end (`urgency` above 0).

        Where an end is wanted already, nothing is started. Raises ProcessFailed or OSError; whatever was started is
        then for `stop`.
        """
        if urgency():
            return []
        started = [Process(part, self._logs) for part in parts]
        for process in started:
            self._processes.append(process)
            process.start()
        # All are asked each time: one that has died is noticed while another still starts.
        while not urgency() and [process for process in started if not process.is_ready()]:
            self._relay()
            time.sleep(_LOOK_EVERY_S)
        return started

    def look(self) -> None:
        """See to what has died; to be called a few times a second."""
        self._relay()
        for process in self._processes:
            process.log.trim()
            if not process.runs:
                self._see_to(process)

    def stop(self, *, urgency: Urgency = lambda: 1) -> None:
        """Stop everything: workers first, which finish their jobs; then who serves others. Returns when all ended.

        `urgency` counts how often an end was asked for: at 2 workers give their jobs back, at 3 all are killed.
        """
        workers = [process for process in self._processes if process.part.works]
        others = [process for process in self._processes if not process.part.works]
        # The last one started is what all others lean on least: the simulator, started first, goes last.
        for stage in (workers, *([process] for process in reversed(others))):
            self._stop_all(stage, urgency)
        self._relay()

    def _stop_all(self, stage: Sequence[Process], urgency: Urgency) -> None:
        began, hurried_at, reached = time.monotonic(), None, 1
        for process in stage:
            process.send(signal.SIGTERM)
        while running := [process for process in stage if process.runs]:
            self._relay()
            if urgency() >= 2 > reached:
                reached, hurried_at = 2, time.monotonic()
                for process in running:
                    process.send(signal.SIGQUIT if process.part.works else signal.SIGTERM)
            for process in running:
                late = time.monotonic() - began > process.part.stop_s
                hurry_over = hurried_at is not None and time.monotonic() - hurried_at > HURRY_S
                if urgency() >= 3 or late or hurry_over:
                    self._say(f"{process.name} is killed")
                    process.send(signal.SIGKILL)
            time.sleep(_LOOK_EVERY_S)

    def _see_to(self, process: Process) -> None:
        trouble = self._troubles.get(process.name)
        if trouble is None or trouble.pid != process.pid:
            trouble = self._troubles[process.name] = _Trouble(process, trouble)
            again = f"it is started again in {trouble.wait_s:g} s" if process.part.revives else "it is not restarted"
            self._say(f"{process.name} ended {process.ending()}; {again}{process.quoted()}")
        if process.part.revives and time.monotonic() >= trouble.again_at:
            try:
                process.start()
            except OSError as failed:
                trouble.again_at = time.monotonic() + LONGEST_BACK_OFF_S
                self._say(f"{process.name} cannot be started: {failed}; tried again in {LONGEST_BACK_OFF_S:g} s")

    def _relay(self) -> None:
        if self._verbose:
            for process in self._processes:
                for line in process.log.news():
                    self._say(f"{process.name} | {line}")


class _Trouble:
    """One death of a process, and when to start it again."""

    wait_s: float
    again_at: float

    def __init__(self, process: Process, before: "_Trouble | None") -> None:
        self.pid = process.pid
        now = time.monotonic()
        soon = before is None or now - before.again_at > HEALTHY_S
        self.wait_s = FIRST_BACK_OFF_S if before is None or soon else min(before.wait_s * 2, LONGEST_BACK_OFF_S)
        self.again_at = now + self.wait_s


__all__ = ["Cluster", "Part", "Process", "ProcessFailed"]
