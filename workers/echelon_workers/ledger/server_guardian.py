"""The process that keeps the embedded server alive while anyone holds it, and stops it when nobody does.

`server_folder.py` runs this file as a script of its own, with `python -I -S`: it imports the standard library only,
so that it stays small and nothing of the cluster's environment can break it.

    server_guardian.py guard FOLDER SOCKET LOCK_FD PROGRAM OPTION...     the guardian; returns at once, detached
    server_guardian.py become PARENT PROGRAM OPTION...                   turns into the server, tied to its parent

Every holder has a shared flock on FOLDER/holders, which the kernel drops however the holder ends. The guardian waits
for an exclusive one; having it, nobody is left and nobody can come until the guardian has gone.
LOCK_FD is an exclusive flock on FOLDER/guardian, inherited from the starter: while it is held, a guardian lives.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Literal

#: A server that has not written its data and left by then is killed. Nothing is lost: its writes are in the file.
STOP_S = 10.0

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 5.0
_HEALTHY_S = 30.0
#: It was told to end, or killed: that is no reason to believe that it cannot run.
_ENDED_BY_OTHERS = (0, -signal.SIGTERM, -signal.SIGKILL)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def answer(path: str, timeout_s: float = 1.0) -> Literal["ready", "loading", "none"]:
    """What a server on this unix socket says to a PING; `loading` while it reads its data back."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(path)
            connection.sendall(b"PING\r\n")
            said = connection.recv(64)
    except OSError:
        return "none"
    if said.startswith(b"+PONG"):
        return "ready"
    return "loading" if said.startswith(b"-LOADING") else "none"


class Guardian:
    """The parent of one server."""

    def __init__(self, folder: str, socket_path: str, command: list[str]) -> None:
        self._folder = folder
        self._socket = socket_path
        self._command = command
        self._holders = os.open(os.path.join(folder, "holders"), os.O_RDWR | os.O_CREAT, 0o600)
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Keep the server running until the last holder has gone. 1 when it never came up, else 0."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            # In a thread: the main thread may be inside `_start`, with its lock.
            signal.signal(number, lambda *_: threading.Thread(target=self._stop).start())
        threading.Thread(target=self._stop_after_the_last_holder, daemon=True).start()
        came_up = self._keep_running()
        self._tidy()
        return 0 if came_up else 1

    def _keep_running(self) -> bool:
        came_up = False
        delay_s = _FIRST_DELAY_S
        while (server := self._start()) is not None:
            began = time.monotonic()
            came_up = came_up or self._comes_up(server)
            code = server.wait()
            if self._stopping.is_set():
                break
            if not came_up and code not in _ENDED_BY_OTHERS:
                _say(f"the server ended with {code} before it answered")
                return False
            if time.monotonic() - began > _HEALTHY_S:
                delay_s = _FIRST_DELAY_S
            _say(f"the server ended with {code}; starting it again in {delay_s:g} s")
            self._stopping.wait(delay_s)
            delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
        return True

    def _start(self) -> "subprocess.Popen[bytes] | None":
        """A new server, or None when it is time to leave. In the main thread: the kernel ties the server to it."""
        with self._starting:
            if self._stopping.is_set():
                return None
            become = [sys.executable, "-I", "-S", __file__, "become", str(os.getpid())]
            self._server = subprocess.Popen([*become, *self._command], stdin=subprocess.DEVNULL)
            return self._server

    def _comes_up(self, server: "subprocess.Popen[bytes]") -> bool:
        while server.poll() is None:
            if answer(self._socket) == "ready":
                return True
            time.sleep(0.01)
        return False

    def _stop_after_the_last_holder(self) -> None:
        fcntl.flock(self._holders, fcntl.LOCK_EX)
        self._stop()

    def _stop(self) -> None:
        with self._starting:
            self._stopping.set()
            server = self._server
        if server is None:
            return
        if self._is_replaced():
            server.kill()  # on SIGTERM it would remove the socket of its successor
        else:
            server.terminate()
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            _say(f"the server has not ended {STOP_S:g} s after SIGTERM; killing it")
            server.kill()

    def _is_replaced(self) -> bool:
        """Whether somebody removed the folder under the running server; another may be there by now."""
        try:
            return not os.path.samestat(os.fstat(self._holders), os.stat(os.path.join(self._folder, "holders")))
        except OSError:
            return True

    def _tidy(self) -> None:
        if self._is_replaced():
            return
        for path in (self._socket, os.path.join(self._folder, "server.json")):
            with contextlib.suppress(OSError):
                os.unlink(path)
        if os.path.dirname(self._socket) != self._folder:
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(self._socket))


def _become(parent: int, command: list[str]) -> None:
    """Turn this process into the server; where the kernel can (Linux), it ends when the guardian is killed."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:  # else the guardian ended before the tie was made
        os.execv(command[0], command)  # noqa: S606


def _say(text: str) -> None:
    print(f"{os.getpid()}:guardian {time.strftime('%d %b %Y %H:%M:%S')} # {text}", flush=True)


def main(arguments: list[str]) -> int:
    """Run as the module's docstring says."""
    if arguments[0] == "become":
        _become(int(arguments[1]), arguments[2:])
        return 1
    guardian = Guardian(arguments[1], arguments[2], arguments[4:])
    # LOCK_FD (3) is only inherited. Its flock ends with this process, and the server does not inherit it.
    os.set_inheritable(int(arguments[3]), False)
    if os.fork():
        os._exit(0)  # the starter waits for this process only, and never has a child left to reap
    return guardian.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
