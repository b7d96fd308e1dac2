"""Whether anything that was started still runs: looked up at the system, not in our own books."""

import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_WAIT_S = 3.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A process of this machine."""

    pid: int
    session: int
    command: str


def leftovers(sessions: Collection[int], folder: Path) -> list[str]:
    """The processes of these sessions, and those that name the folder; for those that are ending it waits a moment."""
    end = time.monotonic() + _WAIT_S
    while (left := _left(sessions, folder)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def _left(sessions: Collection[int], folder: Path) -> list[str]:
    return [
        f"{seen.pid}: {seen.command}"
        for seen in (_from_proc() if sys.platform == "linux" else _from_ps())
        if seen.pid != os.getpid() and (seen.session in sessions or str(folder) in seen.command)
    ]


def _from_proc() -> Iterator[Seen]:
    """From /proc: a slim container has no ps."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = entry.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            # The command stands in parentheses and may hold spaces: state, parent, group, session follow it (proc(5)).
            state, _, _, session = entry.joinpath("stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it ended while we looked
        if state != "Z":
            yield Seen(int(entry.name), int(session), command)


def _from_ps() -> Iterator[Seen]:
    """From ps, where sessions are not to be had as numbers: a process we started leads its own group, too."""
    told = subprocess.run(["ps", "-axo", "pid=,pgid=,args="], capture_output=True, text=True, check=False).stdout
    for line in told.splitlines():
        pid, group, command = line.split(None, 2)
        yield Seen(int(pid), int(group), command)
