"""Reading the records of jobs in an event loop: what many ask for at a time is read in one round trip."""

import asyncio
from typing import Any

from echelon_workers.ledger.client import AsyncLedger
from echelon_workers.ledger.ending import end_tasks
from echelon_workers.ledger.record import FIELDS, JobRecord, read_record

MOST_A_ROUND_TRIP = 200


class Records:
    """One reader over one connection.

    A command for each would cost an event loop in which thousands wait several times as much.
    """

    def __init__(self, ledger: AsyncLedger) -> None:
        self._ledger = ledger
        self._asked: list[tuple[str, asyncio.Future[JobRecord | None]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def read(self, job_id: str) -> JobRecord | None:
        """The record of a job as it is now, None when there is none. Raises redis.RedisError."""
        answer: asyncio.Future[JobRecord | None] = asyncio.get_running_loop().create_future()
        self._asked.append((job_id, answer))
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return await answer

    async def _read_all(self) -> None:
        while asked := self._asked[:MOST_A_ROUND_TRIP]:
            del self._asked[:MOST_A_ROUND_TRIP]
            try:
                replies = await self._round_trip([job_id for job_id, _ in asked])
            except Exception as exc:
                replies = [exc] * len(asked)
            except asyncio.CancelledError:
                _give_up(asked)
                raise
            for (job_id, answer), reply in zip(asked, replies, strict=True):
                if not answer.done():
                    _give(answer, job_id, reply)

    async def _round_trip(self, job_ids: list[str]) -> list[Any]:
        async with self._ledger.redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hmget(self._ledger.keys.of("job", job_id), FIELDS)
            return list(await pipe.execute(raise_on_error=False))

    async def aclose(self) -> None:
        """Stop reading. Who still waits is cancelled."""
        if self._reading is not None:
            await end_tasks([self._reading])
        _give_up(self._asked)


def _give(answer: "asyncio.Future[JobRecord | None]", job_id: str, reply: Any) -> None:
    try:
        if isinstance(reply, Exception):
            raise reply
        answer.set_result(read_record(job_id, reply))
    except Exception as exc:
        answer.set_exception(exc)


def _give_up(asked: "list[tuple[str, asyncio.Future[JobRecord | None]]]") -> None:
    for _, answer in asked:
        answer.cancel()
