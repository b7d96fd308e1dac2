"""Redis as producers see it: where it is, and what is wrong with it, said in words and with what to do."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import redis
from redis.exceptions import NoPermissionError, OutOfMemoryError

from echelon_workers.ledger.address import URL_VARIABLES, Address
from echelon_workers.ledger.client import NotReplicated

from .errors import EchelonError, Unavailable, UnknownJob

_Told = tuple[str, str]

#: What an error of redis-py means, and what would be right. The first class that fits counts.
_CLASSES: tuple[tuple[type[Exception], _Told], ...] = (
    (NotReplicated, ("its replica is not heard of", "the same call again, which changes nothing")),
    (redis.BusyLoadingError, ("it still loads its data", "try again in a moment")),
    (redis.AuthenticationError, ("it does not accept the user or the password", "redis://USER:PASSWORD@HOST:PORT/DB")),
    (redis.TimeoutError, ("it does not answer", "try again later")),
    (redis.ConnectionError, ("it cannot be reached", "try again when it is back; or another URL")),
    (redis.ReadOnlyError, ("it is a read-only replica", "the URL of its primary; during a failover, try again later")),
    (
        OutOfMemoryError,
        ("its memory is full", "try again when jobs have ended and their records are gone; or a larger maxmemory"),
    ),
    (
        NoPermissionError,
        ("its access list forbids it", "a user who may run all commands on these keys"),
    ),
    (OSError, ("it cannot be reached", "try again when it is back; or another URL")),
)
#: The same for errors that redis-py has no class for, by the word that they begin with.
_WORDS: dict[str, _Told] = {
    "MISCONF": ("it cannot write its disk", "room on its disk, its log says which; then try again"),
    "NOREPLICAS": ("too few of its replicas are there", "try again when they are back"),
    "BUSY": ("it is busy with somebody's script", "try again in a moment"),
    "MASTERDOWN": ("it is a replica without its primary", "try again when the failover is over"),
    "MOVED": ("it is part of a Redis Cluster", "a server that is not in cluster mode"),
    "CLUSTERDOWN": ("it is part of a Redis Cluster", "a server that is not in cluster mode"),
    "WRONGTYPE": ("somebody wrote to a key of the cluster", "delete that key"),
}


def address_of(redis_url: str | None, namespace: str | None) -> Address:
    """Where a client's Redis is: what it was given, else what the environment says. Raises EchelonError, and
    AddressInvalid for a URL that is none."""
    found = Address(redis_url, os.environ.get("ECHELON_NAMESPACE", "")) if redis_url else Address.from_environment()
    if found is None:
        variables = " or ".join(URL_VARIABLES)
        raise EchelonError(f"no Redis given (would be right: Client('redis://HOST:PORT/DB'), or {variables})")
    return found if namespace is None else Address(found.url, namespace)


@contextmanager
def reaching(address: Address, job_ids: Sequence[str] = ()) -> Iterator[None]:
    """While Redis is asked: its errors are raised as Unavailable, with the ids of the jobs that a submit is about."""
    try:
        yield
    except EchelonError:
        raise
    except (redis.RedisError, OSError) as exc:
        raise Unavailable(f"Redis at {address.redacted} cannot be used: {said(exc)}", job_ids) from exc
    except UnicodeEncodeError as exc:  # jobs are validated before, so it is an id that was asked for
        raise UnknownJob(f"no job {ascii(exc.object)[:200]} (an id is Unicode text)") from exc


def is_away(unavailable: Unavailable) -> bool:
    """Whether Redis could not be asked at all, so that whoever asks now fares the same."""
    return isinstance(unavailable.__cause__, redis.ConnectionError | redis.TimeoutError | OSError)


def said(error: Exception) -> str:
    """What is wrong with Redis, what it said itself, and what would be right."""
    told = next((told for kind, told in _CLASSES if isinstance(error, kind)), None)
    told = told or _WORDS.get(_first_word(error))
    if told is None:
        return f"it refuses: {error}"
    what, right = told
    return f"{what}: {error} (would be right: {right})"


def _first_word(error: Exception) -> str:
    return getattr(error, "status_code", None) or str(error).partition(" ")[0]
