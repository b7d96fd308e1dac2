"""The output file of a run: appended to, and read again when the run is resumed."""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from .answers import base_id


class OutputBusy(Exception):
    """Another run is writing this file."""


class Output:
    """An output file in the hands of one run. `answered`: the first ids of the lines that are answered in it."""

    def __init__(self, path: Path) -> None:
        """Open it, and drop from it whatever is no answer: failed lines, a line cut short by a kill.

        Raises OSError, OutputBusy.
        """
        self._file = _locked(path)
        try:
            self.answered, dirty = _scan(path)
            if dirty:
                self._file = _replaced(path, self._file)
        except BaseException:
            self._file.close()
            raise

    def write(self, lines: list[bytes]) -> None:
        """Append whole lines. Raises OSError."""
        self._file.write(b"".join(lines))
        self._file.flush()

    def close(self) -> None:
        """Let go of it."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _locked(path: Path) -> BinaryIO:
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise OutputBusy(f"{path}: another run is writing it (would be right: wait for it, or another --out)") from None
    return file


def _scan(path: Path) -> tuple[set[str], bool]:
    """The ids that are answered, and whether there is anything else in the file."""
    answered: set[str] = set()
    dirty = False
    for _, id in _read(path):
        answered.add(id) if id else None
        dirty = dirty or not id
    return answered, dirty


def _replaced(path: Path, old: BinaryIO) -> BinaryIO:
    """The file with its answers only; it is locked before it takes the place of the old one."""
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    new = _locked(beside)
    new.writelines(raw for raw, id in _read(path) if id)
    new.flush()
    os.fsync(new.fileno())
    os.chmod(beside, os.fstat(old.fileno()).st_mode & 0o7777)
    beside.replace(path)
    old.close()
    return new


def _read(path: Path) -> Iterator[tuple[bytes, str]]:
    """Every line, with the first id of its job if it is an answer, else ''."""
    with path.open("rb") as file:
        for raw in file:
            yield raw, _answered_id(raw)


def _answered_id(raw: bytes) -> str:
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return ""
    is_answer = raw.endswith(b"\n") and isinstance(line, dict) and line.get("response") and not line.get("error")
    return base_id(line["id"]) if is_answer and isinstance(line.get("id"), str) else ""
