"""Starts the simulator as a process of its own and talks to it: for tests, benchmarks and the demo."""

import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

_STOP_WITHIN_S = 5.0


class SimulatorControl:
    """A running simulator's own paths; `url` is what it printed."""

    def __init__(self, url: str) -> None:
        self.url = url

    def counts(self) -> dict[str, Any]:
        """Totals, overall and by provider, model and instance."""
        counts: dict[str, Any] = self._ask("GET", "counts")
        return counts

    def arrivals(self, **where: Any) -> list[dict[str, Any]]:
        """The logged arrivals; `where` may hold `since`, `limit`, and values of columns to match."""
        rows: list[dict[str, Any]] = self._ask("GET", "arrivals", where)["rows"]
        return rows

    def windows(self, seconds: float = 60, **where: Any) -> dict[str, Any]:
        """The busiest trailing window of `seconds`, for calls, admitted calls, tokens, and calls at once."""
        windows: dict[str, Any] = self._ask("GET", "windows", {"seconds": seconds, **where})
        return windows

    def ready(self) -> dict[str, Any]:
        """The server's process: its `pid`, `uptime_s` and `cpu_s`."""
        ready: dict[str, Any] = self._ask("GET", "ready")
        return ready

    def load(self, script: Mapping[str, Any]) -> None:
        """Put a script in force; raises `ValueError` with what is wrong with it."""
        self._ask("POST", "script", body=script)

    def script(self) -> dict[str, Any]:
        """The script in force."""
        script: dict[str, Any] = self._ask("GET", "script")
        return script

    def unload(self) -> None:
        """Back to the script that the simulator was started with."""
        self._ask("DELETE", "script")

    def reset(self) -> None:
        """Forget what arrived and what the quotas hold."""
        self._ask("POST", "reset")

    def _ask(self, method: str, path: str, query: Mapping[str, Any] | None = None, body: object = None) -> Any:
        url = f"{self.url}/_sim/{path}?{urllib.parse.urlencode(query or {})}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)  # noqa: S310 - the URL is the simulator's
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.loads(error.read())["error"]) from None


class SimulatorProcess(SimulatorControl):
    """The simulator as a child process: `with SimulatorProcess() as simulator: ... simulator.url`."""

    def __init__(self, *options: str, python: Sequence[str] = (sys.executable,)) -> None:
        super().__init__("")
        self._command = [*python, "-m", "echelon_producers.simulator", *options]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Start it and wait until it listens; its URL. Raises `RuntimeError` when it does not come up."""
        # A file, because a pipe that nobody reads would stop the server once it is full.
        with tempfile.TemporaryFile("w+") as complaints:
            process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=complaints, text=True)
            assert process.stdout is not None
            # The first line comes when it listens; without one it has ended, and standard error says why.
            line = process.stdout.readline()
            if not line.startswith("simulator: "):
                process.communicate()
                complaints.seek(0)
                raise RuntimeError(f"the simulator did not start: {complaints.read().strip() or 'it printed nothing'}")
        self._process = process
        self.url = line.removeprefix("simulator: ").strip()
        return self.url

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> int:
        """Stop it and wait for its end; its exit code."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.terminate()
        try:
            process.communicate(timeout=_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        return process.returncode

    def __enter__(self) -> "SimulatorProcess":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
