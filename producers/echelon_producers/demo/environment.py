"""Whether this machine has what the demo needs."""

import platform
import sys
from importlib import metadata
from importlib.util import find_spec

from echelon_workers.ledger.server import ServerUnavailable
from echelon_workers.ledger.server_binary import find_server_binary

#: what is imported -> the extra of the distribution that brings it
_MODULES = {
    "celery": "",
    "greenlet": "workers",
    "httpx2": "workers",
    "genai_prices": "workers",
    "aiohttp": "simulator",
}
_OLDEST = (3, 11)


def missing() -> list[str]:
    """What is missing, each with what to do about it; empty when the demo can run."""
    found = []
    if sys.version_info < _OLDEST:
        found.append(f"Python is {platform.python_version()} (would be right: {_OLDEST[0]}.{_OLDEST[1]} or newer)")
    for module, extra in _MODULES.items():
        if not _is_there(module):
            found.append(f"{module} is not installed (would be right: pip install 'echelon-cluster[{extra or 'all'}]')")
    try:
        find_server_binary()
    except ServerUnavailable as unavailable:
        found.append(str(unavailable))
    return found


def described() -> str:
    """What there is, in one line."""
    system = f"{platform.system()} {platform.machine()}"
    return f"Python {platform.python_version()}, Celery {metadata.version('celery')}, {system}"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
