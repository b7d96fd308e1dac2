"""`python -m echelon_producers.api`: the HTTP API as a process. Its first line on stdout is `api: http://HOST:PORT`."""

import argparse
import logging
import sys

from echelon_producers.client import AsyncClient
from echelon_producers.errors import EchelonError
from echelon_workers.ledger.address import AddressInvalid

from .application import create_api
from .server import ListenFailed, Server


def main() -> int:
    """Serve until a signal. Exit code 0; 1 when the address cannot be had, 2 when no Redis is given."""
    parser = argparse.ArgumentParser(prog="python -m echelon_producers.api", description="The HTTP API of Echelon.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", default=8000, type=int, help="port to listen on, 0 for any (%(default)s)")
    parser.add_argument("--redis", metavar="URL", help="the cluster's Redis (ECHELON_REDIS_URL, or REDIS_URL)")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        Server(create_api(AsyncClient(given.redis))).listen(given.host, given.port)
    except (EchelonError, AddressInvalid) as exc:
        print(f"api: {exc}", file=sys.stderr)
        return 2
    except (ListenFailed, OverflowError) as exc:
        print(f"api: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
