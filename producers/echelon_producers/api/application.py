"""The FastAPI application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from echelon_producers.client import AsyncClient

from . import cluster, jobs
from .documented import document
from .refusals import handle_refusals


def create_api(client: AsyncClient | None = None) -> FastAPI:
    """Make the API over a client. One that is given stays the caller's to close; without one, ECHELON_REDIS_URL (or
    REDIS_URL) says where Redis is.

    Redis may be away when it starts: until it is back, the answer is 503. Raises EchelonError without a URL.
    """
    chosen = client or AsyncClient()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if client is None:
            await chosen.aclose()

    api = FastAPI(
        title="Echelon",
        version=version("echelon-cluster"),
        description="Jobs for language models: submit them, read their answers, see the cluster.",
        lifespan=lifespan,
        # The pages of Swagger and ReDoc would load their scripts from another site.
        docs_url=None,
        redoc_url=None,
        # A redirect would be answered with this server's own scheme and host, which a proxy's caller cannot reach.
        redirect_slashes=False,
    )
    api.state.client = chosen
    #: set when the server stops: whoever waits for an answer is told at once how far his job is
    api.state.closing = asyncio.Event()
    api.include_router(jobs.router)
    api.include_router(cluster.router)
    handle_refusals(api)
    document(api)
    return api
