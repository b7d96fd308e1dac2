"""A whole file of jobs: submitted a part at a time, followed to their ends, their answers written as they come."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from typing import Any, BinaryIO, TypeVar

import redis

from echelon_configs import Configuration
from echelon_producers.reaching import reaching
from echelon_workers.ledger.client import AsyncLedger
from echelon_workers.ledger.ending import end_tasks
from echelon_workers.ledger.record import FIELDS, JobRecord, read_record
from echelon_workers.ledger.verbs import MOST_JOBS_A_CALL, Refusal, Verb

from .answers import answer_line, successor
from .endings import Endings
from .lines import BadLine, Line, LineReader, read_lines
from .output import Output
from .sending import Sending
from .tally import Tally

T = TypeVar("T")
Tell = Callable[[str], None]

#: How long a Redis that is away is waited for.
PATIENCE_S = 60.0
#: The records of some of the jobs under way are looked at this often, should word of an end have been lost.
LOOK_AGAIN_S = 2.0

_MOST_BYTES_A_CALL = 8_000_000
_MOST_BYTES_UNDER_WAY = 250_000_000
_RECORDS_A_READ = 200


class Work:
    """One run of one file, in an event loop."""

    def __init__(
        self,
        ledger: AsyncLedger,
        output: Output,
        target: str | None,
        tell: Tell,
        *,
        tally: Tally | None = None,
        most_under_way: int = 5_000,
    ) -> None:
        """`tell` is told of every line that is wrong, and of every job that has ended without an answer."""
        self.tally = tally or Tally()
        self._ledger = ledger
        self._output = output
        self._target = target
        self._tell = tell
        self._most = most_under_way
        self._under_way: dict[str, Line] = {}
        self._bytes = 0
        self._again: asyncio.Queue[list[Line]] = asyncio.Queue()
        self._room = asyncio.Event()
        self._fed = False
        self._endings = Endings(ledger.address)
        self._sending = Sending(self._submit, self._accepted, self.tally)

    async def run(self, source: BinaryIO, configuration: Configuration) -> None:
        """Run the whole file.

        Raises Unavailable when Redis stays away, QueueDraining and IdempotencyConflict when jobs are not accepted,
        OSError when the output cannot be written.
        """
        self._began_ms = await self._patiently(self._server_ms)
        listening = asyncio.create_task(self._endings.listen())
        feeding = asyncio.create_task(self._feed(source, configuration))
        resending = asyncio.create_task(self._resend())
        try:
            again_at = time.monotonic() + LOOK_AGAIN_S
            while self._under_way or not self._fed:
                ids = await self._endings.wait(LOOK_AGAIN_S)
                await self._look(ids & self._under_way.keys())
                if time.monotonic() > again_at:
                    await self._look(self._oldest())
                    again_at = time.monotonic() + LOOK_AGAIN_S
                for task in (feeding, resending):
                    if task.done():
                        task.result()
        finally:
            await end_tasks([listening, feeding, resending])

    # Submitting

    async def _feed(self, source: BinaryIO, configuration: Configuration) -> None:
        # What ends before the subscription is in place is found out later, by looking.
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN_S):
                await self._endings.listening.wait()
        lines = self._wanted(source, configuration)
        while part := _part(lines, min(MOST_JOBS_A_CALL, self._most)):
            while len(self._under_way) + len(part) > self._most or self._bytes > _MOST_BYTES_UNDER_WAY:
                self._room.clear()
                await self._room.wait()
            self._enter(part)
            await self._send(part)
        self._fed = True
        self._endings.add([""])

    def _wanted(self, source: BinaryIO, configuration: Configuration) -> Iterator[Line]:
        """The lines to be submitted; bad ones are told of."""
        reader = LineReader(configuration, self._target)
        for number, raw in read_lines(source):
            line = reader.read(raw, number)
            if isinstance(line, BadLine):
                self.tally.bad += 1
                for cause in line.why.splitlines():
                    self._tell(f"line {number}: {cause}")
            elif line.job.id in self._output.answered:
                self.tally.kept += 1
            else:
                yield line

    def _enter(self, part: list[Line]) -> None:
        """Before the call: a job may end before its reply comes."""
        self._under_way.update({line.job.id: line for line in part})
        self._bytes += sum(len(line.job.request) for line in part)
        self._sending.ids |= {line.job.id for line in part}

    async def _send(self, part: list[Line]) -> None:
        await self._sending.send([line.job for line in part])

    def _accepted(self, known: list[str]) -> None:
        self._count_under_way()
        self._endings.add(known)

    async def _resend(self) -> None:
        """What `_look` finds to be sent again: it goes on looking while that waits for its place."""
        while True:
            await self._send(await self._again.get())

    def _leave(self, job_id: str) -> Line:
        line = self._under_way.pop(job_id)
        self._bytes -= len(line.job.request)
        self._count_under_way()
        self._room.set()
        self._sending.one_left()
        return line

    def _count_under_way(self) -> None:
        # Some of those being sent may have ended already.
        self.tally.under_way = max(0, len(self._under_way) - len(self._sending.ids))

    # Following

    def _oldest(self) -> list[str]:
        """Some of the jobs that have been under way longest; the next time, others."""
        ids = list(islice(self._under_way, MOST_JOBS_A_CALL))
        for id in ids:
            self._under_way[id] = self._under_way.pop(id)
        return ids

    async def _look(self, ids: "Sequence[str] | set[str]") -> None:
        rest = iter(ids)
        while some := list(islice(rest, _RECORDS_A_READ)):
            records = await self._patiently(lambda some=some: self._records(some))  # type: ignore[misc]
            ended = {id: record for id, record in records.items() if record is not None and record.has_ended}
            before = {id for id, record in ended.items() if record.answer is None and record.ended_ms < self._began_ms}
            self._write([record for id, record in ended.items() if id not in before])
            # A server that lost its last two seconds in a crash does not know them any more.
            lost = [id for id, record in records.items() if record is None and id not in self._sending.ids]
            again = [self._successor(id) for id in before] + [self._leave(id) for id in lost]
            if again:
                self._enter(again)
                self._again.put_nowait(again)

    async def _records(self, ids: Sequence[str]) -> dict[str, JobRecord | None]:
        keys = self._ledger.keys
        async with self._ledger.redis.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hmget(keys.of("job", id), FIELDS)
            replies: list[Any] = await pipe.execute()
        return {id: read_record(id, values) for id, values in zip(ids, replies, strict=True)}

    def _write(self, records: list[JobRecord]) -> None:
        lines = []
        for record in records:
            line = self._leave(record.id)
            lines.append(answer_line(record, line.custom_id))
            self._count(record, line)
        self._output.write(lines)

    def _count(self, record: JobRecord, line: Line) -> None:
        if record.answer is None:
            self.tally.failed += 1
            why = (record.error or {}).get("message", "no reason on record")
            self._tell(f"line {line.number}: job {record.id} is {record.state}: {why}")
            return
        self.tally.answered += 1
        self.tally.input_tokens += record.answer.usage.input_tokens
        self.tally.output_tokens += record.answer.usage.output_tokens
        self.tally.cost_usd += Decimal(record.answer.cost_usd or 0)

    def _successor(self, job_id: str) -> Line:
        """A job that failed in an earlier run has a successor, whose id follows from its own."""
        line = self._leave(job_id)
        return replace(line, job=replace(line.job, id=successor(job_id)))

    # Redis

    async def _server_ms(self) -> int:
        seconds, microseconds = await self._ledger.redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def _submit(self, verb: Verb[list[bool] | Refusal]) -> list[bool] | Refusal:
        return await self._patiently(lambda: self._ledger.run(verb))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Wait for a Redis that is away for a while. Everything called here may be repeated. Raises Unavailable."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await call()
            except redis.RedisError as failed:
                away = isinstance(failed, redis.ConnectionError | redis.TimeoutError | redis.ReadOnlyError)
                if not away or time.monotonic() > end:
                    with reaching(self._ledger.address):
                        raise
                await asyncio.sleep(0.5)


def _part(lines: Iterator[Line], most: int) -> list[Line]:
    """The next lines for one call: neither too many nor too long together."""
    part, size = [], 0
    for line in lines:
        part.append(line)
        size += len(line.job.request)
        if len(part) >= most or size >= _MOST_BYTES_A_CALL:
            break
    return part
