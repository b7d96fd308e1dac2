"""A worker process: started in a session of its own, measured through /proc (Linux), and never left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_STOP_WITHIN_S = 40.0

#: Becomes the command that follows, and dies with the process whose id it is given, however that ends.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def bound_python(python: str = sys.executable) -> tuple[str, ...]:
    """This Python or another, as the first words of a command that does not outlive this process."""
    return (sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), python)


class Worker:
    """One running worker."""

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], log: Path, python: str = sys.executable
    ) -> None:
        self.log = log
        with log.open("ab") as out:
            command = [*bound_python(python), *arguments]
            self._process = subprocess.Popen(
                command, env=dict(environment), stdout=out, stderr=out, start_new_session=True
            )
        self.pid = self._process.pid

    def check(self) -> None:
        """Raises RuntimeError with the end of its log when it has exited."""
        if self._process.poll() is not None:
            said = self.log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"the worker exited with {self._process.returncode}:\n{said}")

    def pause(self) -> None:
        """Stop its clock (SIGSTOP), so that a queue can be filled without it."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Warm shutdown; SIGKILL when that takes too long."""
        if self._process.poll() is not None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait(10)

    def cpu_s(self) -> float:
        """CPU seconds, user and system, of the process and all its children so far."""
        tree = _children()
        pids, total = [self.pid], 0.0
        while pids:
            pid = pids.pop()
            pids += tree.get(pid, [])
            total += sum(map(int, _stat(pid)[11:15])) * _TICK_S  # utime stime cutime cstime, proc(5)
        return total

    def rss_mb(self) -> float:
        """Resident memory now."""
        return self._memory_mb("VmRSS")

    def peak_rss_mb(self) -> float:
        """The most resident memory it ever had."""
        return self._memory_mb("VmHWM")

    def _memory_mb(self, field: str) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"/proc/{self.pid}/status has no {field}")


def _children() -> dict[int, list[int]]:
    tree: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            tree.setdefault(int(fields[1]), []).append(int(entry.name))
    return tree


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold spaces; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
