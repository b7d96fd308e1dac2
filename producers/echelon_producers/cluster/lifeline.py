"""A child process does not outlive the process that started it, however that one ends."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping

#: Names the process that a child must not outlive; set by who starts it.
PARENT = "ECHELON_PARENT_PID"

#: A child that has lost its parent ends as on SIGTERM; after this many seconds it is killed.
GRACE_S = 10.0

_LOOK_EVERY_S = 0.5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def hold(environment: Mapping[str, str] = os.environ) -> None:
    """Tie this process to the one that ECHELON_PARENT_PID names; without it, do nothing.

    On Linux the kernel sends SIGTERM at the parent's end; everywhere a thread looks twice a second. Ends the process
    at once when the parent has gone already. Raises ValueError when the variable is not a number.
    """
    parent = int(environment.get(PARENT) or 0)
    if not parent:
        return
    told = _ask_kernel()
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_watch, args=(parent, told), name="lifeline", daemon=True).start()


def _ask_kernel() -> bool:
    """Whether the kernel will send SIGTERM when the parent ends."""
    if sys.platform != "linux":
        return False
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) == 0)
    return False


def _watch(parent: int, told: bool) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    if not told:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)
