"""Remote control that Celery answers otherwise: a revoke cancels, and what cannot be done is said to whoever asked."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger
from celery.worker.control import control_command
from celery.worker.state import REVOKE_EXPIRES
from redis.exceptions import RedisError

from .adoption import is_usable_id
from .ledger.verbs import MOST_CANCELS_A_CALL, cancel

if TYPE_CHECKING:
    from .runtime import Runtime

logger = get_logger(__name__)

#: Celery's main thread waits no longer for Redis: its events and other commands wait with it.
REDIS_S = 5.0
#: So many ids are named in a reply.
_MOST_NAMED = 20
_REASON = json.dumps({"code": "cancelled", "message": "revoked by a Celery client"})


@control_command(
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue> [exchange [type [routing_key]]]",
)
def add_consumer(state: Any, queue: str, *_: Any, **__: Any) -> Any:
    """Tell worker(s) to serve one more queue of the configuration in force."""
    source = state.consumer.task_consumer
    if source is None or not source.knows(queue):
        return {"error": f"{queue} is not a queue of the configuration in force"}
    state.consumer.call_soon(state.consumer.add_task_queue, queue)
    return {"ok": f"add consumer {queue}"}


@control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(state: Any, task_id: Any, **_: Any) -> Any:
    """Cancel job(s) by id, wherever they wait or run.

    With `terminate` or without: a call that is under way is closed. Celery's own would remember the ids in this worker,
    and mark jobs that run as revoked while they run on; a job that is sent again after this one runs.
    """
    return _cancel(state.consumer.runtime, task_id)


@control_command(variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]")
def terminate(state: Any, signal: Any, task_id: Any, **_: Any) -> Any:  # noqa: ARG001 - there is no process to signal
    """As revoke; there is no process to send the signal to."""
    return _cancel(state.consumer.runtime, task_id)


@control_command(variadic="headers", signature="[key1=value1 [key2=value2 [... [keyN=valueN]]]]")
def revoke_by_stamped_headers(state: Any, headers: Any, **_: Any) -> Any:  # noqa: ARG001 - Celery's signature
    """Not supported: jobs have no stamps."""
    return {"error": "jobs have no stamped headers (would be right: revoke, with the ids of the jobs)"}


def _cancel(runtime: "Runtime", task_id: Any) -> dict[str, str]:
    """Every worker is told, and each tells the ledger: the same cancel again changes nothing."""
    given = [task_id] if isinstance(task_id, str) else list(task_id or ())
    wrong = [id for id in given if not is_usable_id(id)]
    if wrong or not given:
        what = f"{wrong[0]!r:.80} is no id of a job" if wrong else "no id"
        return {"error": f"{what} (would be right: up to 200 of A-Z a-z 0-9 . _ : -)"}
    ids = list(dict.fromkeys(given))
    try:
        said = runtime.call(_cancelled(runtime, ids), REDIS_S)
    except TimeoutError:
        return {"ok": f"{_named(ids)}: cancelled as soon as Redis is back"}
    except (RedisError, OSError) as exc:
        logger.error("jobs could not be cancelled: %s: %s", _named(ids), exc)
        return {"error": f"Redis refuses to cancel {_named(ids)}: {exc}"}
    told = _named([f"{id} {'not here yet' if outcome == 'unknown' else outcome}" for id, outcome in said.items()])
    logger.info("revoked: %s", told)
    return {"ok": told}


async def _cancelled(runtime: "Runtime", ids: list[str]) -> dict[str, str]:
    """By way of the outbox, which keeps them while Redis is away. What is not known is a message that was not adopted
    yet: it is remembered for as long as Celery would."""
    said: dict[str, str] = {}
    retention_ms, remember_ms = runtime.terms.retention_ms, int(REVOKE_EXPIRES * 1000)
    for first in range(0, len(ids), MOST_CANCELS_A_CALL):
        some = ids[first : first + MOST_CANCELS_A_CALL]
        verb = cancel(some, _REASON, retention_ms=retention_ms, remember_ms=remember_ms)
        outcomes = await runtime.outbox.send(verb)
        said.update(zip(some, outcomes, strict=True))
    return said


def _named(ids: Iterable[str]) -> str:
    every = list(ids)
    more = f" and {len(every) - _MOST_NAMED:,} more" if len(every) > _MOST_NAMED else ""
    return ", ".join(every[:_MOST_NAMED]) + more
