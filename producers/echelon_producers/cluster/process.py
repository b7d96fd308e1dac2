"""One process of a cluster: started in a session of its own, its output in a log file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import lifeline
from .log import Log

#: How long a process may take until it is ready.
READY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a process is: a module with its arguments, and how to see that it is ready.

    `ready` is asked again and again and returns what there is to know of it (a URL, or any text), or "" for not yet.
    `stop_s` is how long it may take to stop; then it is killed. `works`: it is a worker, which stops first and gives
    its jobs back at a SIGQUIT. `revives`: it is started again when it dies.
    """

    name: str
    arguments: tuple[str, ...]
    ready: "Callable[[Process], str]"
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_s: float = 5.0
    works: bool = False
    revives: bool = False


class ProcessFailed(Exception):
    """A process ended, or did not come up; the message quotes the end of its log."""


class Process:
    """A part while it runs. It must be started from the main thread: on Linux the kernel ties it to that one."""

    def __init__(self, part: Part, logs: Path) -> None:
        """Raises OSError when the folder of the logs cannot be written."""
        self.part = part
        self.log = Log(logs / f"{part.name}.log")
        self.told = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._until = 0.0

    @property
    def name(self) -> str:
        """Its name, as its log file's."""
        return self.part.name

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its session; 0 before it was ever started."""
        return self._child.pid if self._child else 0

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._child.poll() if self._child else None

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start it; `is_ready` says when it is of use. Raises OSError when there are no processes left to start."""
        self.told = ""
        environment = {**os.environ, **self.part.environment, lifeline.PARENT: str(os.getpid())}
        log = self.log.open()
        try:
            # A session of its own: a Ctrl-C in the terminal is for us, and we stop things in order.
            self._child = subprocess.Popen(
                [sys.executable, "-m", "echelon_producers.cluster.child", *self.part.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._until = time.monotonic() + READY_S

    def is_ready(self) -> bool:
        """Look whether it is ready; then `told` says what its part's `ready` told. Raises ProcessFailed."""
        if self.exit_code is not None:
            raise ProcessFailed(f"{self.name} ended {self.ending()}{self.quoted()}")
        if not self.told:
            self.told = self.part.ready(self)
        if not self.told and time.monotonic() > self._until:
            raise ProcessFailed(f"{self.name} was not ready after {READY_S:g} s{self.quoted()}")
        return bool(self.told)

    def ending(self) -> str:
        """How it ended, for people."""
        code = self.exit_code
        if code is None or code >= 0:
            return f"with exit code {code}"
        try:
            return f"by {signal.Signals(-code).name}"
        except ValueError:
            return f"by signal {-code}"

    def quoted(self) -> str:
        """The end of its log, to be put behind an error."""
        lines = self.log.last_lines()
        return "".join(f"\n  {self.name}: {line}" for line in lines) + f"\n  (all of it: {self.log.path})"

    def send(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)
