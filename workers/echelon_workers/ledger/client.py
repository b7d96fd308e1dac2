"""Running the ledger's verbs: in a thread, in an event loop, or many in one round trip."""

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.exceptions import NoScriptError, ReadOnlyError

from .address import Address
from .verbs import Verb

T = TypeVar("T")

#: How long a replica may take to say that it has what was written.
REPLICATED_WITHIN_MS = 1000
_WAIT = ("WAIT", 1, REPLICATED_WITHIN_MS)


class NotReplicated(redis.RedisError):
    """What was written is in this Redis, and no replica has said within a second that it has it too: should this Redis
    be lost now, so is that. Verbs may be repeated, and are then acknowledged as a whole."""

    def __init__(self) -> None:
        super().__init__(
            "it was accepted there, but no replica has said that it has it too (durability: replicated); the same "
            "call again is safe and changes nothing but that"
        )


class Ledger:
    """The ledger for threads."""

    def __init__(self, address: Address, redis_client: "redis.Redis | None" = None) -> None:
        self.address = address
        self.keys = address.keys
        self.redis = redis_client or address.client()

    def run(self, verb: Verb[T], *, replicated: bool = False) -> T:
        """Run one verb. A server that lost its script cache (a restart) is told the script again.

        With `replicated` it counts only when a replica has it too. Raises redis.RedisError when Redis cannot be
        reached or refuses: NotReplicated when it was done here, and no replica says so in time.
        """
        try:
            return verb.read(self._told(verb, replicated))
        except ReadOnlyError:
            # It is a replica by now. Where its name or a proxy leads to the new primary, a new connection gets there.
            self.redis.connection_pool.disconnect(inuse_connections=False)
            raise

    def _told(self, verb: Verb[Any], replicated: bool) -> Any:
        try:
            return self._reply(("EVALSHA", verb.script.sha), verb, replicated)
        except NoScriptError:
            return self._reply(("EVAL", verb.script.text), verb, replicated)

    def _reply(self, command: tuple[str, str], verb: Verb[Any], replicated: bool) -> Any:
        call = (*command, *_arguments(self, verb))
        client: Any = self.redis
        if not replicated:
            return client.execute_command(*call)
        with client.pipeline(transaction=False) as pipe:  # WAIT is about the connection that it comes over
            pipe.execute_command(*call)
            pipe.execute_command(*_WAIT)
            return _replicated(*pipe.execute(raise_on_error=False))

    def follow(self, walk: Generator[Verb[Any], Any, T], *, replicated: bool = False) -> T:
        """Run the verbs that a walk yields, one after the other, and return what it comes to. Raises as `run`."""
        try:
            verb = next(walk)
            while True:
                verb = walk.send(self.run(verb, replicated=replicated))
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

    async def run(self, verb: Verb[T], *, replicated: bool = False) -> T:
        """As `Ledger.run`."""
        try:
            return verb.read(await self._told(verb, replicated))
        except ReadOnlyError:
            await self._leave()
            raise

    async def _told(self, verb: Verb[Any], replicated: bool) -> Any:
        try:
            return await self._reply(("EVALSHA", verb.script.sha), verb, replicated)
        except NoScriptError:
            return await self._reply(("EVAL", verb.script.text), verb, replicated)

    async def _leave(self) -> None:
        """As `Ledger.run` does when it is told READONLY."""
        await self.redis.connection_pool.disconnect(inuse_connections=False)

    async def _reply(self, command: tuple[str, str], verb: Verb[Any], replicated: bool) -> Any:
        call = (*command, *_arguments(self, verb))
        client: Any = self.redis
        if not replicated:
            return await client.execute_command(*call)
        return _replicated(*await self._sent([call, _WAIT]))

    async def follow(self, walk: Generator[Verb[Any], Any, T], *, replicated: bool = False) -> T:
        """As `Ledger.follow`."""
        try:
            verb = next(walk)
            while True:
                verb = walk.send(await self.run(verb, replicated=replicated))
        except StopIteration as end:
            result: T = end.value
            return result

    async def run_many(self, verbs: Sequence[Verb[T]], *, replicated: bool = False) -> list[T | Exception]:
        """Run verbs in one round trip, in order. An error of one is its result; the others run all the same.

        Raises redis.ConnectionError when the round trip itself failed, and NotReplicated as `Ledger.run`: any of them
        may have run, all may be repeated.
        """
        replies = await self._round_trip([("EVALSHA", verb.script.sha, verb) for verb in verbs], replicated)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            again = await self._round_trip([("EVAL", verbs[i].script.text, verbs[i]) for i in missing], replicated)
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            await self._leave()
        return [
            reply if isinstance(reply, Exception) else verb.read(reply)
            for verb, reply in zip(verbs, replies, strict=True)
        ]

    async def _round_trip(self, calls: list[tuple[str, str, Verb[T]]], replicated: bool) -> list[Any]:
        commands = [(command, text, *_arguments(self, verb)) for command, text, verb in calls]
        if not replicated:
            return await self._sent(commands)
        *replies, acknowledged = await self._sent([*commands, _WAIT])
        _check(acknowledged)
        return replies

    async def _sent(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """One round trip over one connection."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return list(await pipe.execute(raise_on_error=False))

    async def aclose(self) -> None:
        """Close the connections."""
        await self.redis.aclose()


def _replicated(reply: Any, acknowledged: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    _check(acknowledged)
    return reply


def _check(acknowledged: Any) -> None:
    """What `WAIT` said: how many replicas have all that this connection has written."""
    if not isinstance(acknowledged, int) or acknowledged < 1:
        raise NotReplicated


def _arguments(ledger: Ledger | AsyncLedger, verb: Verb[Any]) -> tuple[Any, ...]:
    return (2, ledger.keys.own, ledger.keys.queue_prefix, *verb.args)
