"""Reading the records of jobs in an event loop: what many ask for at a time is read in one round trip."""

import asyncio
from collections.abc import Collection
from typing import Any, TypeGuard

from echelon_workers.ledger.client import AsyncLedger
from echelon_workers.ledger.ending import end_tasks
from echelon_workers.ledger.job import Answer
from echelon_workers.ledger.record import FIELDS, JobRecord, read_record, with_wait

from .errors import UnknownJob, ended_without_answer

MOST_A_ROUND_TRIP = 200


def found(job_id: str, record: JobRecord | None) -> JobRecord:
    """The record that was asked for. Raises UnknownJob."""
    if record is None:
        raise UnknownJob(f"no job {job_id} (it was never submitted here, or its retention is over)")
    return record


def answer_of(record: JobRecord) -> Answer:
    """The answer of a job that has ended. Raises JobDied, JobExpired, JobCancelled."""
    if record.answer is None:
        raise ended_without_answer(record)
    return record.answer


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
                replies = await self._records([job_id for job_id, _ in asked])
            except Exception as exc:
                # Who asked meanwhile would wait as long again, and be told the same.
                asked += self._asked
                self._asked.clear()
                replies = [exc] * len(asked)
            except asyncio.CancelledError:
                _give_up(asked)
                raise
            for (_, answer), reply in zip(asked, replies, strict=True):
                if not answer.done():
                    _give(answer, reply)

    async def _records(self, job_ids: list[str]) -> "list[JobRecord | Exception | None]":
        async with self._ledger.redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hmget(self._ledger.keys.of("job", job_id), FIELDS)
            replies = await pipe.execute(raise_on_error=False)
        records = [_record(job_id, reply) for job_id, reply in zip(job_ids, replies, strict=True)]
        waits = await self._waits({record.queue for record in records if _is_queued(record)})
        return [with_wait(record, *waits[record.queue]) if _is_queued(record) else record for record in records]

    async def _waits(self, queues: Collection[str]) -> dict[str, tuple[bytes | None, bool, bool]]:
        """Of each queue, what holds it back, whether it is paused, and whether it is dropped."""
        if not queues:
            return {}
        names, keys = list(queues), self._ledger.keys
        async with self._ledger.redis.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.of("blocked"), names)
            pipe.smismember(keys.of("paused"), names)
            pipe.smismember(keys.of("dropped"), names)
            marks, paused, dropped = await pipe.execute()
        each = zip(names, marks, map(bool, paused), map(bool, dropped), strict=True)
        return {name: (mark, is_paused, is_dropped) for name, mark, is_paused, is_dropped in each}

    async def aclose(self) -> None:
        """Stop reading. Who still waits is cancelled."""
        if self._reading is not None:
            await end_tasks([self._reading])
        _give_up(self._asked)


def _record(job_id: str, reply: Any) -> JobRecord | Exception | None:
    if isinstance(reply, Exception):
        return reply
    try:
        return read_record(job_id, reply)
    except Exception as exc:  # one that cannot be read is its own reader's trouble
        return exc


def _is_queued(record: JobRecord | Exception | None) -> TypeGuard[JobRecord]:
    return isinstance(record, JobRecord) and record.state == "queued"


def _give(answer: "asyncio.Future[JobRecord | None]", record: JobRecord | Exception | None) -> None:
    if isinstance(record, Exception):
        answer.set_exception(record)
    else:
        answer.set_result(record)


def _give_up(asked: "list[tuple[str, asyncio.Future[JobRecord | None]]]") -> None:
    for _, answer in asked:
        answer.cancel()
