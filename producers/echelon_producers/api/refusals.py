"""Every way a request can fail, as a status and a JSON error that says what and where."""

from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from echelon_configs import UnknownTarget
from echelon_producers.errors import (
    EchelonError,
    IdempotencyConflict,
    NoConfiguration,
    NotListed,
    QueueDraining,
    QueueFull,
    SubmitInvalid,
    Unavailable,
    UnknownJob,
)

from .replies import error_reply

#: Redis is usually back soon; a configuration waits for somebody to start a cluster.
RETRY_UNAVAILABLE_S = 1
RETRY_UNCONFIGURED_S = 5

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
_PATHS = (
    "POST /v1/jobs, GET /v1/jobs, GET /v1/jobs/ID, POST /v1/jobs/ID/cancel, POST /v1/jobs/ID/redrive, GET /v1/status, "
    "GET /healthz, GET /readyz"
)


class Refused(Exception):
    """A request that is refused for what it is, before any job is looked at."""

    def __init__(
        self, status: int, code: str, message: str, where: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.reply = error_reply(status, code, message, where, headers)


async def _refused(_: Request, exc: Any) -> Response:
    return exc.reply  # type: ignore[no-any-return]


async def _invalid(_: Request, exc: Any) -> Response:
    problems = [{"where": where, "message": what} for where, what in exc.problems]
    return error_reply(422, exc.code, str(exc), problems[0]["where"], problems=problems)


async def _unknown(_: Request, exc: Exception) -> Response:
    return error_reply(404, "unknown_job", str(exc), "path")


async def _not_listed(_: Request, exc: Any) -> Response:
    return error_reply(422, "invalid_query", str(exc), exc.where)


async def _no_such_queue(_: Request, exc: Exception) -> Response:
    return error_reply(422, "unknown_target", str(exc), "queue")


async def _full(_: Request, exc: Any) -> Response:
    retry = {"Retry-After": str(max(1, ceil(exc.retry_after_s)))}
    about = {"scope": exc.scope, "limit": exc.limit, "waiting": exc.waiting}
    return error_reply(429, "queue_full", str(exc), "target", retry, **about, **_on_their_way(exc))


async def _reused(_: Request, exc: Any) -> Response:
    """As the draft standard says (draft-ietf-httpapi-idempotency-key-header, 2.7): 422 for another payload."""
    return error_reply(422, "idempotency_key_reused", str(exc), "id", id=exc.job_id, **_on_their_way(exc))


async def _draining(_: Request, exc: Any) -> Response:
    return error_reply(503, "queue_draining", str(exc), "target", queue=exc.queue, **_on_their_way(exc))


def _on_their_way(exc: Any) -> dict[str, Any]:
    """Some of many may have been accepted before: with these ids the same request can be sent again."""
    return {"job_ids": list(exc.job_ids), "accepted": list(exc.accepted)} if exc.accepted else {}


async def _unavailable(_: Request, exc: Any) -> Response:
    retry = {"Retry-After": str(RETRY_UNAVAILABLE_S)}
    # With these as the jobs' ids the same request can be sent again, whatever became of the first.
    safe = {"job_ids": list(exc.job_ids)} if exc.job_ids else {}
    return error_reply(503, "unavailable", str(exc), "redis", retry, **safe)


async def _unconfigured(_: Request, exc: Exception) -> Response:
    retry = {"Retry-After": str(RETRY_UNCONFIGURED_S)}
    return error_reply(503, "no_configuration", str(exc), "redis", retry)


async def _failed(_: Request, exc: Exception) -> Response:
    return error_reply(500, "failed", f"{type(exc).__name__}: {exc}", "server")


async def _http(request: Request, exc: Any) -> Response:
    code = _HTTP_CODES.get(exc.status_code, "refused")
    message = f"no {request.method} {request.url.path[:200]} (there is: {_PATHS})"
    return error_reply(exc.status_code, code, message, "path", exc.headers)


async def _internal(_: Request, exc: Exception) -> Response:
    return error_reply(500, "internal", f"a fault of the API itself ({type(exc).__name__}); its log has more", "server")


_HANDLERS: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
    Refused: _refused,
    SubmitInvalid: _invalid,
    UnknownJob: _unknown,
    NotListed: _not_listed,
    UnknownTarget: _no_such_queue,
    QueueFull: _full,
    QueueDraining: _draining,
    IdempotencyConflict: _reused,
    Unavailable: _unavailable,
    NoConfiguration: _unconfigured,
    EchelonError: _failed,
    HTTPException: _http,
    Exception: _internal,
}


def handle_refusals(api: FastAPI) -> None:
    """Let every failure answer in the one form."""
    for kind, handler in _HANDLERS.items():
        api.add_exception_handler(kind, handler)
