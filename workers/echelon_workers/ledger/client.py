"""Running the ledger's verbs: in a thread, in an event loop, or many in one round trip."""

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from .address import Address
from .verbs import Verb

T = TypeVar("T")


class Ledger:
    """The ledger for threads."""

    def __init__(self, address: Address, redis_client: "redis.Redis | None" = None) -> None:
        self.address = address
        self.keys = address.keys
        self.redis = redis_client or address.client()

    def run(self, verb: Verb[T]) -> T:
        """Run one verb. A server that lost its script cache (a restart) is told the script again.

        Raises redis.RedisError when Redis cannot be reached or refuses.
        """
        try:
            reply: Any = self.redis.evalsha(verb.script.sha, *_arguments(self, verb))
        except NoScriptError:
            reply = self.redis.eval(verb.script.text, *_arguments(self, verb))
        return verb.read(reply)

    def follow(self, walk: Generator[Verb[Any], Any, T]) -> T:
        """Run the verbs that a walk yields, one after the other, and return what it comes to. Raises as `run`."""
        try:
            verb = next(walk)
            while True:
                verb = walk.send(self.run(verb))
        except StopIteration as end:
            result: T = end.value
            return result

    def close(self) -> None:
        """Close the connections."""
        self.redis.close()


class AsyncLedger:
    """The ledger for one event loop."""

    def __init__(self, address: Address, redis_client: "redis.asyncio.Redis | None" = None) -> None:
        self.address = address
        self.keys = address.keys
        self.redis = redis_client or address.async_client()

    async def run(self, verb: Verb[T]) -> T:
        """As `Ledger.run`."""
        try:
            reply: Any = await self.redis.evalsha(verb.script.sha, *_arguments(self, verb))
        except NoScriptError:
            reply = await self.redis.eval(verb.script.text, *_arguments(self, verb))
        return verb.read(reply)

    async def follow(self, walk: Generator[Verb[Any], Any, T]) -> T:
        """As `Ledger.follow`."""
        try:
            verb = next(walk)
            while True:
                verb = walk.send(await self.run(verb))
        except StopIteration as end:
            result: T = end.value
            return result

    async def run_many(self, verbs: Sequence[Verb[T]]) -> list[T | Exception]:
        """Run verbs in one round trip, in order. An error of one is its result; the others run all the same.

        Raises redis.ConnectionError when the round trip itself failed: any of them may have run, all may be repeated.
        """
        replies = await self._round_trip([("EVALSHA", verb.script.sha, verb) for verb in verbs])
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            again = await self._round_trip([("EVAL", verbs[i].script.text, verbs[i]) for i in missing])
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        return [
            reply if isinstance(reply, Exception) else verb.read(reply)
            for verb, reply in zip(verbs, replies, strict=True)
        ]

    async def _round_trip(self, calls: list[tuple[str, str, Verb[T]]]) -> list[Any]:
        async with self.redis.pipeline(transaction=False) as pipe:
            for command, text, verb in calls:
                pipe.execute_command(command, text, *_arguments(self, verb))
            return list(await pipe.execute(raise_on_error=False))

    async def aclose(self) -> None:
        """Close the connections."""
        await self.redis.aclose()


def _arguments(ledger: Ledger | AsyncLedger, verb: Verb[Any]) -> tuple[Any, ...]:
    return (2, ledger.keys.own, ledger.keys.queue_prefix, *verb.args)
