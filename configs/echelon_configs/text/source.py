"""Reads a configuration file: only regular files, only UTF-8, only so large."""

import os
import stat
from pathlib import Path

from echelon_configs.problems import Problems
from echelon_configs.text.marked import Place

MOST_BYTES = 1024 * 1024  # one file; ours has 12 KB


def read_text(path: Path, problems: Problems) -> str | None:
    """The text of a file, or None with the reason among `problems`."""
    place = Place(str(path))
    try:
        content = _read_bytes(path)
    except FileNotFoundError:
        problems.error(place, "there is no such file", _instead_of_missing(path))
    except PermissionError:
        problems.error(place, "may not be read", "give this user read permission on it")
    except IsADirectoryError:
        problems.error(place, "is a directory", "a YAML file is expected here")
    except _NotRegularError:
        problems.error(place, "is not a regular file", "a YAML file is expected here")
    except _TooLargeError as too_large:
        problems.error(
            place,
            f"has {too_large.size:,} bytes",
            f"a configuration file has at most {MOST_BYTES:,}; split it with `file:`",
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "the name cannot be used"
        problems.error(place, f"cannot be read: {reason}", "check the path and the file system")
    else:
        return _decode(content, place, problems)
    return None


class _NotRegularError(Exception):
    """A pipe, a socket or a device: opening it might wait for ever."""


class _TooLargeError(Exception):
    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(size)


def _read_bytes(path: Path) -> bytes:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(path)
    if not stat.S_ISREG(status.st_mode):
        raise _NotRegularError
    if status.st_size > MOST_BYTES:
        raise _TooLargeError(status.st_size)
    with path.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise _TooLargeError(os.stat(path).st_size)
    return content


def _decode(content: bytes, place: Place, problems: Problems) -> str | None:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.error(Place(place.file, line), "is not UTF-8 text", "save the file in UTF-8")
        return None


def _instead_of_missing(path: Path) -> str:
    other = path.with_suffix(".yml")
    if path.suffix == ".yaml" and other.exists():
        return f"there is {other.name}: rename it to {path.name}"
    return "write it, or correct the name"
