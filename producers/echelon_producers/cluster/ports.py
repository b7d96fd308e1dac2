"""Ports of 127.0.0.1 to listen on."""

import socket

HOST = "127.0.0.1"

_NEIGHBOURS = 50


class PortTaken(Exception):
    """Something else listens on the port that was asked for."""


def choose_port(wanted: int, *, asked: bool, option: str) -> int:
    """`wanted` if it is free; else the next one that is, unless just this one was `asked` for. 0 is any.

    Raises PortTaken, which names the `option` to change.
    """
    if wanted == 0 or not asked:
        for port in [wanted] if wanted == 0 else range(wanted, min(wanted + _NEIGHBOURS, 65536)):
            if (free := _free(port)) is not None:
                return free
        raise PortTaken(f"the ports {wanted} to {wanted + _NEIGHBOURS - 1} are all in use (would be right: {option} 0)")
    free = _free(wanted)
    if free is None:
        raise PortTaken(f"port {wanted} is in use (would be right: another {option}, or 0 for any that is free)")
    return free


def _free(port: int) -> int | None:
    """The port, if it can be listened on (the one the system chose, for 0), else None."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return None
        return int(probe.getsockname()[1])
