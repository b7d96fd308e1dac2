"""Locks on files that end with their process, however it ends."""

import contextlib
import fcntl
import os
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

_LOOK_EVERY_S = 0.005


class FileLock:
    """One flock(2) on a file, made when it is missing. The kernel drops it when the process ends.

    Programs that this process starts do not inherit it, and a forked child lets go of it at once: a child that
    outlives its parent must not look like a holder.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _open_locks.add(self)

    @property
    def closed(self) -> bool:
        """Whether it was closed, or is a forked child's copy."""
        return self._fd < 0

    def is_at(self, path: Path) -> bool:
        """Whether the file is still the one at `path`: nobody removed or replaced it."""
        try:
            return os.path.samestat(os.fstat(self._fd), path.stat())
        except OSError:
            return False

    def fileno(self) -> int:
        """The file descriptor, for a program that is to inherit the lock."""
        return self._fd

    def try_exclusive(self) -> bool:
        """Take it alone, if nobody else has it."""
        return self._try(fcntl.LOCK_EX)

    def try_shared(self) -> bool:
        """Take it together with others, if nobody has it alone."""
        return self._try(fcntl.LOCK_SH)

    def unlock(self) -> None:
        """Let go of the lock and keep the file open."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the lock, even if a process that could not be told has a copy of it. May be repeated."""
        if not self.closed:
            self.unlock()
        self.leave()

    def leave(self) -> None:
        """Close the file only: a program that inherited the lock keeps it. May be repeated."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _try(self, operation: int) -> bool:
        try:
            fcntl.flock(self._fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextlib.contextmanager
def opened(path: Path) -> Iterator[FileLock]:
    """A lock that is let go of at the end of the block; it is not taken yet."""
    lock = FileLock(path)
    try:
        yield lock
    finally:
        lock.close()


def wait_until(deadline: float) -> Iterator[None]:
    """Turns of a loop that looks again and again until `deadline` (of time.monotonic); at least one turn."""
    yield
    while time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
        yield


_open_locks: "weakref.WeakSet[FileLock]" = weakref.WeakSet()


def _forget_locks() -> None:
    for lock in list(_open_locks):
        lock.leave()


os.register_at_fork(after_in_child=_forget_locks)
