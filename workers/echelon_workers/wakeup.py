"""Being woken by a publish, so that a new job starts in milliseconds and an idle worker asks nothing."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from .ledger.client import AsyncLedger

logger = get_logger(__name__)


async def listen(ledger: AsyncLedger, hear: Mapping[str, Callable[[bytes], None]]) -> None:
    """Call what belongs to a channel with every message that is published on it, and with an empty one whenever it is
    listened to anew, until cancelled.

    A lost connection is made anew; the safety poll of the take loop covers the meantime.
    """
    while True:
        pubsub = ledger.redis.pubsub()
        try:
            await pubsub.subscribe(*hear)
            async for message in pubsub.listen():
                said = message["data"] if message["type"] == "message" else b""
                hear[message["channel"].decode()](said)
        except (RedisError, OSError) as exc:
            logger.debug("the wake-up connection is made anew: %r", exc)
            await asyncio.sleep(0.1)
        finally:
            await _close(pubsub)


async def _close(pubsub: Any) -> None:
    try:
        await pubsub.aclose()
    except (RedisError, OSError, RuntimeError) as exc:
        logger.debug("closing the wake-up connection: %r", exc)
