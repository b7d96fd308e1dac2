"""The Python client, for threads and for event loops.

    from echelon_producers import Client

    client = Client("redis://127.0.0.1:6379/0")
    job = client.submit("fast_group", "Explain queues in one sentence.")
    print(client.result(job).text)

`AsyncClient` has the same methods, to be awaited.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal, Self

import redis
from redis.client import PubSub

from echelon_configs import Configuration, UnknownTarget
from echelon_configs.problems import nearest
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import URL_VARIABLES, Address
from echelon_workers.ledger.client import AsyncLedger, Ledger
from echelon_workers.ledger.fallbacks import Fallbacks, fallbacks, fallbacks_async
from echelon_workers.ledger.job import Answer
from echelon_workers.ledger.listing import redrive_jobs
from echelon_workers.ledger.record import FIELDS, JobRecord, read_record, with_wait
from echelon_workers.ledger.status import ClusterStatus, cluster_status, cluster_status_async
from echelon_workers.ledger.verbs import NewJob, Redriven, steer

from .catalogue import Catalogue
from .draft import Drafter
from .ears import Ears
from .errors import (
    EchelonError,
    ResultTimeout,
    Unavailable,
    UnknownJob,
    ended_without_answer,
)
from .listed import wanted, wanted_again
from .records import Records
from .sending import JobLike, accepted, drafts_of, one_job, submits

#: Who waits for an answer is told by a publish; should that be lost, the record is looked at this often.
LOOK_AGAIN_S = 10.0

#: Commands that an AsyncClient has under way at a time; more wait their turn, however many coroutines use it.
CONNECTIONS = 16

#: Jobs that an AsyncClient validates before it lets the event loop do something else: some milliseconds.
DRAFTS_A_TURN = 200


class Client:
    """Submits jobs and reads their answers, from threads. Safe to share between them."""

    def __init__(self, redis_url: str | None = None, *, namespace: str | None = None) -> None:
        """Without a URL: ECHELON_REDIS_URL, or REDIS_URL. Connects when first used."""
        self._ledger = Ledger(_address(redis_url, namespace))
        self._catalogue = Catalogue()

    @property
    def address(self) -> Address:
        """Where its Redis is, and the cluster in it."""
        return self._ledger.address

    def submit(self, target: str | None, prompt: str | None = None, **job: Any) -> str:
        """Submit one job and return its id.

        `target`: group.echelon, group, pool.NAME, node.NAME or model.NAME. Beside the prompt (or `messages`) any field
        of the request (system, temperature, max_tokens, tools, function_calling, response_format, thinking, metadata)
        and the options `node`, `priority` (0-9, higher first), `deadline_s`, `fallback_groups` (targets to go to, in
        order, in place of those configured; an empty list: nowhere) and `id`: the same id again is the same job.

        Raises SubmitInvalid, QueueFull, NoConfiguration, Unavailable.
        """
        return self.submit_job(one_job(target, prompt, job))

    def submit_job(self, job: Mapping[str, Any]) -> str:
        """Submit one job that is a mapping, with the same fields and errors as `submit`."""
        return self._send([Drafter(self.configuration()).draft(job)])[0]

    def submit_many(self, jobs: Iterable[JobLike], *, target: str | None = None) -> list[str]:
        """Submit many jobs and return their ids in order; each is a prompt or a mapping as `submit` takes. `target`
        is for those that name none of their own.

        Every job is validated before the first is sent. They are sent 500 at a time, and of each such part all jobs
        are accepted or none: where a later part finds a queue full, the parts before it are on their way, and
        `QueueFull.accepted` names them. Raises as `submit`, naming the first job that is wrong.
        """
        return self._send(list(drafts_of(self.configuration(), jobs, target)))

    def _send(self, drafts: Sequence[NewJob]) -> list[str]:
        ids = [job.id for job in drafts]
        with _reaching(self._ledger.address, ids):
            for sent, verb in submits(drafts):
                accepted(self._ledger.run(verb), ids, sent)
        return ids

    def status(self, job_id: str) -> JobRecord:
        """What is known of a job, and what it waits for. Raises UnknownJob, Unavailable."""
        record = self._record(job_id)
        if record.state != "queued":
            return record
        redis, keys = self._ledger.redis, self._ledger.keys
        with _reaching(self._ledger.address):
            mark: Any = redis.hget(keys.of("blocked"), record.queue)
            paused = bool(redis.sismember(keys.of("paused"), record.queue))
        return with_wait(record, mark, paused)

    def _record(self, job_id: str) -> JobRecord:
        with _reaching(self._ledger.address):
            values: Any = self._ledger.redis.hmget(self._ledger.keys.of("job", job_id), FIELDS)
        return _found(job_id, read_record(job_id, values))

    def result(self, job_id: str, timeout_s: float | None = None) -> Answer:
        """Wait for a job's answer. Raises ResultTimeout (the job goes on), JobDied, JobExpired, JobCancelled,
        UnknownJob, Unavailable."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        if (record := self._record(job_id)).has_ended:
            return _answer(record)
        with _reaching(self._ledger.address), _pubsub(self._ledger) as pubsub:
            pubsub.subscribe(self._ledger.keys.of("ended", job_id))
            while True:
                record = self._record(job_id)
                if record.has_ended:
                    return _answer(record)
                left = LOOK_AGAIN_S if end is None else end - time.monotonic()
                if left <= 0:
                    raise ResultTimeout(f"job {job_id} is {record.state} after {timeout_s:g} s; it is still on its way")
                pubsub.get_message(timeout=min(LOOK_AGAIN_S, left))

    def configuration(self, *, fresh: bool = False) -> Configuration:
        """The configuration in force, as it was at most five seconds ago, or with `fresh` as it is now.

        Raises NoConfiguration, Unavailable.
        """
        if not fresh and (kept := self._catalogue.fresh) is not None:
            return kept
        with _reaching(self._ledger.address):
            return self._catalogue.update(revisions.current(self._ledger))

    def cluster_status(self) -> ClusterStatus:
        """The queues, every scope with its limits and their use, the workers and the server, as they are now.

        Raises NoConfiguration, Unavailable.
        """
        configuration = self.configuration()
        with _reaching(self._ledger.address):
            return cluster_status(self._ledger, configuration, self._catalogue.number)

    def steer(self, order: Literal["pause", "resume"], queues: Sequence[str]) -> int:
        """Pause queues, or let them go on; returns how many that changed. A paused queue takes jobs and starts none.

        Raises UnknownTarget for a queue that the configuration does not have, NoConfiguration, Unavailable.
        """
        known = self.configuration().queues
        for queue in queues:
            if queue not in known:
                raise UnknownTarget(queue, nearest(queue, known, 3))
        with _reaching(self._ledger.address):
            return self._ledger.run(steer(order, queues))

    def jobs(self, state: str | None = None, *, queue: str | None = None, limit: int = 100) -> list[JobRecord]:
        """At most `limit` jobs that are queued, delayed, running or dead (all of these without a state), the newest
        first; with a queue, only those that are, or died, there. Of each queue and state the last 20,000 are looked at.

        Raises NotListed for another state, UnknownTarget, NoConfiguration, Unavailable.
        """
        walk = wanted(self.configuration(), state, queue, limit)
        with _reaching(self._ledger.address):
            return self._ledger.follow(walk)

    def redrive(self, job_ids: Iterable[str]) -> dict[str, Redriven]:
        """Send jobs that are dead, expired or cancelled again: back to their home queues, as if they were new, with as
        much time as they had. What has been tried stays on record.

        Of each job the reply says "done"; or "not ended", "answered", "unknown", "no job" (a message that never became
        one) or "no queue" (its home is not in this configuration). Raises Unavailable; the same call again sends none
        of them twice.
        """
        with _reaching(self._ledger.address):
            return self._ledger.follow(redrive_jobs(job_ids))

    def redrive_dead(self, *, queue: str | None = None, code: str | None = None) -> dict[str, Redriven]:
        """As `redrive`, all the dead; or those that died in this queue, or of this code (`timed_out`), or both.

        Raises UnknownTarget, NoConfiguration, Unavailable.
        """
        walk = wanted_again(self.configuration(), queue, code)
        with _reaching(self._ledger.address):
            return self._ledger.follow(walk)

    def fallbacks(self) -> Fallbacks:
        """How often each strategy was used, where to, at what cost in time, and the last fallbacks. Raises
        Unavailable."""
        with _reaching(self._ledger.address):
            return fallbacks(self._ledger)

    def close(self) -> None:
        """Close the connections."""
        self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """The same for one event loop. Thousands may wait for answers at a time, over one connection."""

    def __init__(self, redis_url: str | None = None, *, namespace: str | None = None) -> None:
        """As `Client`."""
        address = _address(redis_url, namespace)
        # One connection more than there are turns: it is the one that reads the records of jobs.
        self._ledger = AsyncLedger(address, address.async_client(connections=CONNECTIONS + 1))
        self._catalogue = Catalogue()
        self._ears = Ears(address)
        self._records = Records(self._ledger)
        self._turns = asyncio.Semaphore(CONNECTIONS)

    async def submit(self, target: str | None, prompt: str | None = None, **job: Any) -> str:
        """As `Client.submit`."""
        return await self.submit_job(one_job(target, prompt, job))

    async def submit_job(self, job: Mapping[str, Any]) -> str:
        """As `Client.submit_job`."""
        return (await self._send([Drafter(await self.configuration()).draft(job)]))[0]

    async def submit_many(self, jobs: Iterable[JobLike], *, target: str | None = None) -> list[str]:
        """As `Client.submit_many`."""
        drafts: list[NewJob] = []
        for job in drafts_of(await self.configuration(), jobs, target):
            drafts.append(job)
            if not len(drafts) % DRAFTS_A_TURN:
                await asyncio.sleep(0)
        return await self._send(drafts)

    async def _send(self, drafts: Sequence[NewJob]) -> list[str]:
        ids = [job.id for job in drafts]
        async with self._reaching(ids):
            for sent, verb in submits(drafts):
                accepted(await self._ledger.run(verb), ids, sent)
        return ids

    async def status(self, job_id: str) -> JobRecord:
        """As `Client.status`."""
        with _reaching(self._ledger.address):
            return _found(job_id, await self._records.read(job_id))

    async def result(self, job_id: str, timeout_s: float | None = None) -> Answer:
        """As `Client.result`."""
        return _answer(await self.ended(job_id, timeout_s))

    async def ended(self, job_id: str, timeout_s: float | None = None) -> JobRecord:
        """Wait until a job has ended, however it ends, and return its record. Raises ResultTimeout, UnknownJob,
        Unavailable."""
        record = await self.status(job_id)
        if record.has_ended:
            return record
        try:
            async with asyncio.timeout(timeout_s), self._ears.on(job_id) as heard:
                while not record.has_ended:
                    await _within(heard, LOOK_AGAIN_S)
                    heard.clear()
                    record = await self.status(job_id)
        except TimeoutError as exc:
            raise ResultTimeout(f"job {job_id} is {record.state} after {timeout_s} s; it is still on its way") from exc
        return record

    async def configuration(self, *, fresh: bool = False) -> Configuration:
        """As `Client.configuration`."""
        if not fresh and (kept := self._catalogue.fresh) is not None:
            return kept
        async with self._reaching():
            if not fresh and (kept := self._catalogue.fresh) is not None:
                return kept  # somebody else read it in the meantime
            return self._catalogue.update(await revisions.current_async(self._ledger))

    async def cluster_status(self) -> ClusterStatus:
        """As `Client.cluster_status`."""
        configuration = await self.configuration()
        async with self._reaching():
            return await cluster_status_async(self._ledger, configuration, self._catalogue.number)

    async def jobs(self, state: str | None = None, *, queue: str | None = None, limit: int = 100) -> list[JobRecord]:
        """As `Client.jobs`."""
        walk = wanted(await self.configuration(), state, queue, limit)
        async with self._reaching():
            return await self._ledger.follow(walk)

    async def redrive(self, job_ids: Iterable[str]) -> dict[str, Redriven]:
        """As `Client.redrive`."""
        async with self._reaching():
            return await self._ledger.follow(redrive_jobs(job_ids))

    async def redrive_dead(self, *, queue: str | None = None, code: str | None = None) -> dict[str, Redriven]:
        """As `Client.redrive_dead`."""
        walk = wanted_again(await self.configuration(), queue, code)
        async with self._reaching():
            return await self._ledger.follow(walk)

    async def fallbacks(self) -> Fallbacks:
        """As `Client.fallbacks`."""
        async with self._reaching():
            return await fallbacks_async(self._ledger)

    @asynccontextmanager
    async def _reaching(self, job_ids: Sequence[str] = ()) -> AsyncIterator[None]:
        async with self._turns:
            with _reaching(self._ledger.address, job_ids):
                yield

    async def aclose(self) -> None:
        """Close the connections."""
        await self._ears.aclose()
        await self._records.aclose()
        await self._ledger.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _address(redis_url: str | None, namespace: str | None) -> Address:
    found = Address(redis_url) if redis_url else Address.from_environment()
    if found is None:
        variables = " or ".join(URL_VARIABLES)
        raise EchelonError(f"no Redis given (would be right: Client('redis://HOST:PORT/DB'), or {variables})")
    return found if namespace is None else Address(found.url, namespace)


def _pubsub(ledger: Ledger) -> PubSub:
    pubsub: PubSub = ledger.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    return pubsub


def _found(job_id: str, record: JobRecord | None) -> JobRecord:
    if record is None:
        raise UnknownJob(f"no job {job_id} (it was never submitted here, or its retention is over)")
    return record


def _answer(record: JobRecord) -> Answer:
    if record.answer is None:
        raise ended_without_answer(record)
    return record.answer


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


@contextmanager
def _reaching(address: Address, job_ids: Sequence[str] = ()) -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError) as exc:
        if isinstance(exc, EchelonError):
            raise
        raise Unavailable(f"Redis at {address.redacted} cannot be used: {exc}", job_ids) from exc
