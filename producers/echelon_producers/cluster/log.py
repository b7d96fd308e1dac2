"""The log file that a child process writes, as its parent reads it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: A log that has grown beyond this is moved aside once, to NAME.1.
MOST_BYTES = 10_000_000

_TAIL_BYTES = 16_000


@contextmanager
def own_folder(folder: Path) -> Iterator[Path]:
    """A folder for one cluster's logs: this one, or one beside it while another cluster has it.

    Two clusters that wrote to one file would read each other's addresses in it. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            beside = folder.with_name(f"{folder.name}.{os.getpid()}")
            beside.mkdir(exist_ok=True)
            yield beside
        else:
            yield folder


class Log:
    """One child's output. The child appends to the file by itself, so nothing it says is lost with its parent."""

    def __init__(self, path: Path) -> None:
        """Make the folder. Raises OSError when it cannot be written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._begin = self._told = path.stat().st_size if path.exists() else 0

    def open(self) -> int:
        """A file descriptor for the child to append to; to be closed by the caller."""
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def text(self) -> str:
        """What was written since this object was made, at most its last 16 kB."""
        return self._read(max(self._begin, self._size() - _TAIL_BYTES))

    def last_lines(self, most: int = 12) -> list[str]:
        """The last lines that say something."""
        return [line.rstrip() for line in self.text().splitlines() if line.strip()][-most:]

    def news(self) -> list[str]:
        """The whole lines written since the last call."""
        text = self._read(self._told)
        whole = text[: text.rfind("\n") + 1]
        self._told += len(whole.encode(errors="surrogateescape"))
        return whole.splitlines()

    def trim(self) -> None:
        """Keep the file bounded: copy what is in it aside and empty it (its writer appends, so it may go on)."""
        if self._size() > MOST_BYTES:
            self.path.with_name(f"{self.path.name}.1").write_bytes(self.path.read_bytes())
            os.truncate(self.path, 0)
            self._begin = self._told = 0

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def _read(self, start: int) -> str:
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                return file.read().decode(errors="surrogateescape")
        except OSError:
            return ""
