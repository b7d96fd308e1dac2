"""What jobs take of the server's memory, waiting and answered; beside it, what stock Celery's messages take."""

from collections.abc import Callable
from typing import Any

import redis
from celery import Celery

from .arena import Arena
from .side import PROMPT


def bytes_each(client: "redis.Redis", many: int, work: Callable[[], object]) -> float:
    """By how many bytes for each of so many jobs the server has grown after this work."""
    before = _used(client)
    work()
    return (_used(client) - before) / many


def stock_message_bytes(arena: Arena, db: int, many: int) -> float:
    """The same for tasks of stock Celery that wait in their queue, each with the same prompt."""
    app = Celery(broker=arena.url(db))

    def send() -> None:
        with app.producer_or_acquire() as producer:
            for _ in range(many):
                app.send_task("bench.call", kwargs={"prompt": PROMPT}, producer=producer)

    try:
        return bytes_each(arena.client(db), many, send)
    finally:
        app.close()


def _used(client: "redis.Redis") -> int:
    info: Any = client.info("memory")
    return int(info["used_memory"])
