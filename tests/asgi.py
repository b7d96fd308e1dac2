"""Calling the HTTP API in this process and event loop, with nothing in between."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from byhand import QUEUES
from fastapi import FastAPI

from echelon_producers import AsyncClient
from echelon_producers.api import create_api
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger


@dataclass(frozen=True, slots=True)
class Reply:
    """What the application sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    app: Any,
    method: str,
    path: str,
    body: object = b"",
    *,
    headers: dict[str, str] | None = None,
    chunks: Iterable[bytes] | None = None,
    gone: asyncio.Event | None = None,
    cut: bool = False,
) -> Reply:
    """Send one request; a body that is not bytes is sent as JSON.

    The caller goes away when `gone` is set, or (`cut`) before the body has ended.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    parts = iter([content] if chunks is None else chunks)
    leaves = gone or asyncio.Event()
    sent: list[dict[str, Any]] = []
    part: bytes | None = next(parts, b"")

    async def receive() -> dict[str, Any]:
        nonlocal part
        if part is None:
            if not cut:
                await leaves.wait()
            return {"type": "http.disconnect"}
        now, part = part, next(parts, None)
        return {"type": "http.request", "body": now, "more_body": cut or part is not None}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    named = {"host": "api.test", **(headers or {})}
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in named.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    start = sent[0]
    given = {name.decode(): value.decode() for name, value in start["headers"]}
    return Reply(start["status"], given, b"".join(message.get("body", b"") for message in sent[1:]))


@asynccontextmanager
async def api_at(address: Address) -> AsyncIterator[FastAPI]:
    async with AsyncClient(address.url, namespace=address.namespace) as client:
        yield create_api(client)


def asked(address: Address, method: str, path: str, body: object = b"", **more: Any) -> Reply:
    """One request to an API of its own."""

    async def main() -> Reply:
        async with api_at(address) as api:
            return await call(api, method, path, body, **more)

    return asyncio.run(main())


def posted(address: Address, body: object, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asked(address, "POST", "/v1/jobs", body, headers=named)


def waiting_jobs(address: Address) -> int:
    ledger = Ledger(address)
    try:
        lists = [key for queue in QUEUES for key in ledger.keys.queue_lists(queue)]
        return sum(int(ledger.redis.llen(key)) for key in lists)  # type: ignore[arg-type]
    finally:
        ledger.close()


def error_of(reply: Reply) -> dict[str, Any]:
    error: dict[str, Any] = reply.json["error"]
    assert error["code"]
    assert error["message"]
    assert "where" in error
    assert reply.headers["content-type"] == "application/json"
    return error
