"""The outbox: what Redis cannot take now waits, and stands in nobody's way."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis
from redis._parsers.base import BaseParser
from waiting import until_async

from echelon_workers.ledger.client import NotReplicated
from echelon_workers.ledger.scripts import script
from echelon_workers.ledger.verbs import Verb
from echelon_workers.outbox import MOST_A_ROUND_TRIP, Outbox, passes

#: What a round trip does with its verbs, whose only argument is a number.
Answers = Callable[[list[Any]], list[Any]]


class FakeLedger:
    """Answers round trips as it is told to, and keeps what it was asked."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.asked: list[list[Any]] = []
        self.replicated = False

    async def run_many(self, verbs: Sequence[Verb[Any]], *, replicated: bool = False) -> list[Any]:
        await asyncio.sleep(0)
        self.replicated = replicated
        self.asked.append([verb.args[0] for verb in verbs])
        return self._answers(self.asked[-1])


def numbered(number: int) -> Verb[Any]:
    return Verb(script("finish"), [number], lambda reply: reply)


async def sent(answers: Answers, many: int) -> tuple[list[Any], FakeLedger]:
    """The results of so many verbs, with the ledger that answered them."""
    ledger = FakeLedger(answers)
    outbox = Outbox(ledger)  # type: ignore[arg-type]
    running = asyncio.create_task(outbox.run())
    try:
        verbs = (outbox.send(numbered(number)) for number in range(many))
        return await asyncio.gather(*verbs, return_exceptions=True), ledger
    finally:
        running.cancel()


@pytest.mark.parametrize(
    ("said", "does"),
    [
        ("MISCONF Errors writing to the AOF file: No space left on device", True),
        ("READONLY You can't write against a read only replica.", True),
        ("LOADING Redis is loading the dataset in memory", True),
        ("MASTERDOWN Link with MASTER is down", True),
        ("OOM command not allowed when used memory > 'maxmemory'.", True),
        ("CLUSTERDOWN The cluster is down", True),
        ("NOREPLICAS Not enough good replicas to write.", True),
        ("BUSY Redis is busy running a script.", True),
        ("ERR value is not an integer or out of range", False),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", False),
        ("NOPERM this user has no permissions", False),
        ("NOSCRIPT No matching script.", False),
    ],
)
def test_what_redis_says_while_it_cannot_work_passes_and_nothing_else(said: str, does: bool) -> None:
    assert passes(BaseParser.parse_error(said)) is does


@pytest.mark.parametrize(
    "error", [redis.ConnectionError(), redis.TimeoutError(), ConnectionResetError(), NotReplicated()]
)
def test_a_server_that_is_away_passes(error: Exception) -> None:
    assert passes(error)


def test_everything_arrives_once_the_server_is_back() -> None:
    away = 3

    def answers(asked: list[Any]) -> list[Any]:
        nonlocal away
        away -= 1
        if away >= 0:
            raise redis.ConnectionError("refused")
        return asked

    results, ledger = asyncio.run(sent(answers, 3))
    assert results == [0, 1, 2]
    assert ledger.asked == [[0, 1, 2]] * 4


def test_a_call_that_redis_has_no_memory_for_holds_up_no_other() -> None:
    tries = 0

    def answers(asked: list[Any]) -> list[Any]:
        nonlocal tries
        tries += 0 in asked
        return [redis.OutOfMemoryError("full") if number == 0 and tries < 5 else number for number in asked]

    many = 2 * MOST_A_ROUND_TRIP
    results, ledger = asyncio.run(sent(answers, many))
    assert results == list(range(many))
    assert sorted({*ledger.asked[0], *ledger.asked[1]}) == list(range(many))


def test_a_call_that_redis_refuses_fails_alone() -> None:
    refused = redis.ResponseError("ERR no")

    def answers(asked: list[Any]) -> list[Any]:
        return [refused if number == 1 else number for number in asked]

    results, _ = asyncio.run(sent(answers, 3))
    assert results == [0, refused, 2]


def test_a_call_that_cannot_be_sent_fails_alone() -> None:
    def answers(asked: list[Any]) -> list[Any]:
        if 1 in asked:
            raise redis.DataError("cannot be encoded")
        return asked

    results, _ = asyncio.run(sent(answers, 3))
    assert [type(result) for result in results] == [int, redis.DataError, int]


def test_outcomes_that_are_to_be_on_a_replica_wait_until_they_are() -> None:
    async def replicated() -> None:
        there = False

        def answers(asked: list[Any]) -> list[Any]:
            if not there:
                raise NotReplicated
            return asked

        ledger = FakeLedger(answers)
        outbox = Outbox(ledger)  # type: ignore[arg-type]
        outbox.replicated = True
        running = asyncio.create_task(outbox.run())
        sending = asyncio.create_task(outbox.send(numbered(7)))
        await until_async(lambda: len(ledger.asked) >= 3, what="it has been sent again")
        assert not sending.done()
        there = True
        assert await sending == 7
        assert ledger.replicated
        running.cancel()

    asyncio.run(replicated())
