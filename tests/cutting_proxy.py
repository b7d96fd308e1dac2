"""A TCP proxy in front of Redis that loses replies: what was asked is done, and whoever asked does not hear of it.

`drop`: the share of requests with a script in them whose reply is dropped: the whole request goes to the server, and
both connections are closed when its reply comes. `cut`: the share that is cut on its way there: the server gets the
beginning (of a pipeline perhaps some of its commands) and nothing else. All others pass, subscriptions too.
"""

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, Self

_CHUNK = 1 << 16


@dataclass(slots=True, eq=False)
class _Passage:
    """One client's connection and its own to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    #: the next reply is dropped
    doomed: bool = False

    def close(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


class CuttingProxy:
    """`with CuttingProxy(port, seed=7) as proxy: proxy.url; proxy.drop = 0.02`, in a thread of its own."""

    def __init__(self, server_port: int, *, seed: int, drop: float = 0.0, cut: float = 0.0) -> None:
        self.drop, self.cut = drop, cut
        #: replies dropped, requests cut
        self.dropped = self.cuts = 0
        self.port = 0
        self._server_port = server_port
        self._draw = Random(seed)
        self._passages: set[_Passage] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cutting-proxy", daemon=True)

    @property
    def url(self) -> str:
        """As ECHELON_REDIS_URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def cut_all(self) -> None:
        """Close every connection that there is."""
        self._loop.call_soon_threadsafe(self._close_all)

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._come, "127.0.0.1", 0, limit=_CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        self._close_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _close_all(self) -> None:
        for passage in list(self._passages):
            passage.close()

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._pass(reader, writer)
        except OSError:
            pass  # either side has gone, which is what this is about
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port, limit=_CHUNK)
        passage = _Passage(writer, to_server)
        self._passages.add(passage)
        back = asyncio.create_task(self._replies(from_server, passage))
        try:
            await self._requests(reader, passage)
        finally:
            passage.close()
            self._passages.discard(passage)
            await asyncio.gather(back, return_exceptions=True)

    async def _requests(self, reader: asyncio.StreamReader, passage: _Passage) -> None:
        while request := await reader.read(_CHUNK):
            if b"EVAL" in request:
                chance = self._draw.random()
                if chance < self.cut:
                    self.cuts += 1
                    passage.server.write(request[: self._draw.randrange(len(request))])
                    await passage.server.drain()
                    passage.server.close()  # with what was written, and not before it
                    return
                passage.doomed = passage.doomed or chance < self.cut + self.drop
            passage.server.write(request)
            await passage.server.drain()

    async def _replies(self, reader: asyncio.StreamReader, passage: _Passage) -> None:
        try:
            while reply := await reader.read(_CHUNK):
                if passage.doomed:
                    self.dropped += 1
                    return
                passage.client.write(reply)
                await passage.client.drain()
        finally:
            passage.close()
