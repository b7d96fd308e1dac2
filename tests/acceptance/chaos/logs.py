"""What workers wrote: a traceback says that something was not foreseen, unless it is that Redis is away."""

import re
from pathlib import Path

_START = "Traceback (most recent call last):"
#: What a connection that is cut or refused raises, by redis-py, kombu and Python.
_AWAY = re.compile(
    r"^(redis\.exceptions\.(Connection|Timeout|BusyLoading)\w*|kombu\.exceptions\.OperationalError|"
    r"\w*\.?(Connection\w*Error|BrokenPipeError|TimeoutError|IncompleteReadError)|OSError)\b"
)
_LAST = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Away|Lapsed|\w+)(:|$)")


def unforeseen(log: Path) -> list[str]:
    """The tracebacks in a worker's log that are about something else."""
    lines = log.read_text(errors="replace").splitlines()
    found = []
    for number, line in enumerate(lines):
        if line.strip() != _START:
            continue
        last = next((text for text in lines[number + 1 :] if text[:1] not in ("", " ") and _LAST.match(text)), "")
        if not _AWAY.match(last):
            found.append(f"{log.name}: {last}\n" + "\n".join(lines[number : number + 40]))
    return found
