"""`/v1/status`, and what orchestrators ask: does it live, is it ready."""

from fastapi import APIRouter, Request, Response

from echelon_producers.client import AsyncClient

from .documented import HEALTHY, READY, STATUS
from .replies import JsonReply
from .waiting import redis_in_time

router = APIRouter(tags=["cluster"])


@router.get("/v1/status", summary="The cluster's status", **STATUS)
async def status(request: Request) -> Response:
    """The queues, the workers and the server, all as of one moment."""
    async with redis_in_time():
        return JsonReply((await _client(request).cluster_status()).to_json())


@router.get("/healthz", summary="Does the process live?", **HEALTHY)
async def healthy() -> Response:
    """Asks nothing of Redis."""
    return JsonReply({"status": "alive"})


@router.get("/readyz", summary="Can jobs be submitted?", **READY)
async def ready(request: Request) -> Response:
    """Redis is reached and a configuration is in force; otherwise 503."""
    async with redis_in_time():
        await _client(request).configuration(fresh=True)
    return JsonReply({"status": "ready"})


def _client(request: Request) -> AsyncClient:
    client: AsyncClient = request.app.state.client
    return client
