"""A provider that redirects: the key goes to nobody else."""

import asyncio
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from echelon_configs import CallSettings, Instance, SecretReference
from echelon_workers.errors import InstanceUnusable
from echelon_workers.ledger.job import parse_request
from echelon_workers.providers import Call, Providers


class Server(ThreadingHTTPServer):
    """Answers every request with a redirect, or notes it."""

    def __init__(self, location: str | None = None) -> None:
        self.arrived: list[str] = []
        self.location = location
        super().__init__(("127.0.0.1", 0), _Answer)
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.arrived.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.send_response(307 if self.server.location else 200)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    with Server() as server:
        yield server
        server.shutdown()


@pytest.fixture
def provider(elsewhere: Server) -> Iterator[Server]:
    with Server(location=f"{elsewhere.url}/taken") as server:
        yield server
        server.shutdown()


@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini", "openai_compatible"])
def test_a_redirect_is_not_followed(name: str, provider: Server, elsewhere: Server) -> None:
    key = SecretReference(env="KEY")
    instance = Instance(name="one", provider=name, vendor=name, model="m", base_url=provider.url, api_key=key)
    request = parse_request({"prompt": "hello"})

    async def call() -> None:
        providers = Providers(environment={"KEY": "a-secret"}, max_connections=2)
        try:
            await providers.complete(Call(instance=instance, request=request, settings=CallSettings(), timeout_s=10))
        finally:
            await providers.aclose()

    with pytest.raises(InstanceUnusable):
        asyncio.run(call())
    assert (len(provider.arrived), elsewhere.arrived) == (1, [])
