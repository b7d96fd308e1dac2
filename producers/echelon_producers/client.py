"""The Python client, for threads and for event loops.

    from echelon_producers import Client

    client = Client("redis://127.0.0.1:6379/0")
    job = client.submit("fast_group", "Explain queues in one sentence.")
    print(client.result(job).text)

`AsyncClient` has the same methods, to be awaited.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from redis.client import PubSub

from echelon_configs import Configuration
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import AsyncLedger, Ledger
from echelon_workers.ledger.fallbacks import Fallbacks, fallbacks, fallbacks_async
from echelon_workers.ledger.job import Answer
from echelon_workers.ledger.listing import redrive_jobs
from echelon_workers.ledger.record import FIELDS, JobRecord, read_record, with_wait
from echelon_workers.ledger.status import ClusterStatus, cluster_status, cluster_status_async
from echelon_workers.ledger.verbs import Cancelled, NewJob, Order, Redriven

from .cancelling import cancel_jobs, known
from .catalogue import Catalogue
from .draft import Drafter
from .ears import Ears
from .errors import ResultTimeout, Unavailable
from .listed import wanted, wanted_again
from .reaching import address_of, is_away, reaching
from .records import Records, answer_of, found
from .sending import JobLike, accepted, drafts_of, one_job, submits
from .steering import move_jobs, ordered

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
        self._ledger = Ledger(address_of(redis_url, namespace))
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

        Raises SubmitInvalid, IdempotencyConflict, QueueFull, QueueDraining, NoConfiguration, Unavailable.
        """
        return self.submit_job(one_job(target, prompt, job))

    def submit_job(self, job: Mapping[str, Any]) -> str:
        """Submit one job that is a mapping, with the same fields and errors as `submit`."""
        return self._send([Drafter(self.configuration()).draft(job)])[0]

    def submit_many(self, jobs: Iterable[JobLike], *, target: str | None = None) -> list[str]:
        """Submit many jobs and return their ids in order; each is a prompt or a mapping as `submit` takes. `target`
        is for those that name none of their own.

        Every job is validated before the first is sent. They are sent 500 at a time, and of each such part all jobs
        are accepted or none: where a later part finds a queue full or draining, or an id of another job, the parts
        before it are on their way, and the error's `accepted` names them. Raises as `submit`, naming the first job that
        is wrong.
        """
        return self._send(list(drafts_of(self.configuration(), jobs, target)))

    def _send(self, drafts: Sequence[NewJob]) -> list[str]:
        ids, replicated = [job.id for job in drafts], self.configuration().defaults.is_replicated
        with reaching(self._ledger.address, ids):
            for sent, verb in submits(drafts):
                accepted(self._ledger.run(verb, replicated=replicated), ids, sent)
        return ids

    def status(self, job_id: str) -> JobRecord:
        """What is known of a job, and what it waits for. Raises UnknownJob, Unavailable."""
        record = self._record(job_id)
        if record.state != "queued":
            return record
        redis, keys = self._ledger.redis, self._ledger.keys
        with reaching(self._ledger.address):
            mark: Any = redis.hget(keys.of("blocked"), record.queue)
            paused, dropped = (bool(redis.sismember(keys.of(name), record.queue)) for name in ("paused", "dropped"))
        return with_wait(record, mark, paused, dropped)

    def _record(self, job_id: str) -> JobRecord:
        with reaching(self._ledger.address):
            values: Any = self._ledger.redis.hmget(self._ledger.keys.of("job", job_id), FIELDS)
        return found(job_id, read_record(job_id, values))

    def result(self, job_id: str, timeout_s: float | None = None) -> Answer:
        """Wait for a job's answer. Raises ResultTimeout (the job goes on), JobDied, JobExpired, JobCancelled,
        UnknownJob, Unavailable."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        if (record := self._record(job_id)).has_ended:
            return answer_of(record)
        with reaching(self._ledger.address), _pubsub(self._ledger) as pubsub:
            pubsub.subscribe(self._ledger.keys.of("ended", job_id))
            while True:
                record = self._record(job_id)
                if record.has_ended:
                    return answer_of(record)
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
        with reaching(self._ledger.address):
            return self._catalogue.update(revisions.current(self._ledger))

    def cluster_status(self) -> ClusterStatus:
        """The queues, every scope with its limits and their use, the workers and the server, as they are now.

        Raises NoConfiguration, Unavailable.
        """
        configuration = self.configuration()
        with reaching(self._ledger.address):
            return cluster_status(self._ledger, configuration, self._catalogue.number)

    def steer(self, order: Order, queues: Sequence[str]) -> int:
        """Pause queues, drain them, or let them go on (resume, from both); returns how many that changed. A paused
        queue takes jobs and starts none; one that drains takes no new ones and starts those it has.

        Raises UnknownTarget for a queue that the configuration does not have, NoConfiguration, Unavailable.
        """
        verb = ordered(self.configuration(fresh=True), order, queues)
        with reaching(self._ledger.address):
            return self._ledger.run(verb)

    def move(self, source: str, target: str) -> int:
        """Move all jobs that wait in a queue, or are delayed, to another, and return how many that were. What runs goes
        on. The source may be a queue that the configuration in force has dropped.

        Raises UnknownTarget, ValueError for a queue and itself, NoConfiguration, Unavailable.
        """
        walk = move_jobs(self.configuration(fresh=True), source, target)
        with reaching(self._ledger.address):
            return self._ledger.follow(walk)

    def jobs(self, state: str | None = None, *, queue: str | None = None, limit: int = 100) -> list[JobRecord]:
        """At most `limit` jobs that are queued, delayed, running or dead (all of these without a state), the newest
        first; with a queue, only those that are, or died, there. Of each queue and state the last 20,000 are looked at.

        Raises NotListed for another state, UnknownTarget, NoConfiguration, Unavailable.
        """
        walk = wanted(self.configuration(), state, queue, limit)
        with reaching(self._ledger.address):
            return self._ledger.follow(walk)

    def cancel(self, job_id: str, reason: str = "") -> Cancelled:
        """Cancel a job that waits or runs: it is not called any more, and a call that is under way is closed.

        Returns "cancelled"; "stopping" (it runs, its worker closes the call and it will be cancelled, unless its answer
        was there first); or the state in which it had ended: "answered", "dead", "expired". Again, it changes nothing.

        Raises UnknownJob, NoConfiguration, Unavailable.
        """
        return known(job_id, self.cancel_many([job_id], reason)[job_id])

    def cancel_many(self, job_ids: Iterable[str], reason: str = "") -> dict[str, Cancelled]:
        """As `cancel`, many, 100 at a time; says of each what `cancel` returns, or "unknown". Raises NoConfiguration,
        Unavailable."""
        configuration = self.configuration()
        walk = cancel_jobs(configuration, job_ids, reason)
        with reaching(self._ledger.address):
            return self._ledger.follow(walk, replicated=configuration.defaults.is_replicated)

    def redrive(self, job_ids: Iterable[str]) -> dict[str, Redriven]:
        """Send jobs that are dead, expired or cancelled again: back to their home queues, as if they were new, with as
        much time as they had. What has been tried stays on record.

        Of each job the reply says "done"; or "not ended", "answered", "unknown", "no job" (a message that never became
        one) or "no queue" (its home is not in this configuration). Raises NoConfiguration, Unavailable; the same call
        again sends none of them twice.
        """
        replicated = self.configuration().defaults.is_replicated
        with reaching(self._ledger.address):
            return self._ledger.follow(redrive_jobs(job_ids), replicated=replicated)

    def redrive_dead(self, *, queue: str | None = None, code: str | None = None) -> dict[str, Redriven]:
        """As `redrive`, all the dead; or those that died in this queue, or of this code (`timed_out`), or both.

        Raises UnknownTarget, NoConfiguration, Unavailable.
        """
        configuration = self.configuration()
        walk = wanted_again(configuration, queue, code)
        with reaching(self._ledger.address):
            return self._ledger.follow(walk, replicated=configuration.defaults.is_replicated)

    def fallbacks(self) -> Fallbacks:
        """How often each strategy was used, where to, at what cost in time, and the last fallbacks. Raises
        Unavailable."""
        with reaching(self._ledger.address):
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
        address = address_of(redis_url, namespace)
        # One connection more than there are turns: it is the one that reads the records of jobs.
        self._ledger = AsyncLedger(address, address.async_client(connections=CONNECTIONS + 1))
        self._catalogue = Catalogue()
        self._ears = Ears(address)
        self._records = Records(self._ledger)
        self._turns = asyncio.Semaphore(CONNECTIONS)
        #: when Redis was last found to be away, and how
        self._away_at, self._away = 0.0, ""

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
        ids, replicated = [job.id for job in drafts], (await self.configuration()).defaults.is_replicated
        async with self._reaching(ids):
            for sent, verb in submits(drafts):
                accepted(await self._ledger.run(verb, replicated=replicated), ids, sent)
        return ids

    async def status(self, job_id: str) -> JobRecord:
        """As `Client.status`."""
        with reaching(self._ledger.address):
            return found(job_id, await self._records.read(job_id))

    async def result(self, job_id: str, timeout_s: float | None = None) -> Answer:
        """As `Client.result`."""
        return answer_of(await self.ended(job_id, timeout_s))

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

    async def steer(self, order: Order, queues: Sequence[str]) -> int:
        """As `Client.steer`."""
        verb = ordered(await self.configuration(fresh=True), order, queues)
        async with self._reaching():
            return await self._ledger.run(verb)

    async def move(self, source: str, target: str) -> int:
        """As `Client.move`."""
        walk = move_jobs(await self.configuration(fresh=True), source, target)
        async with self._reaching():
            return await self._ledger.follow(walk)

    async def jobs(self, state: str | None = None, *, queue: str | None = None, limit: int = 100) -> list[JobRecord]:
        """As `Client.jobs`."""
        walk = wanted(await self.configuration(), state, queue, limit)
        async with self._reaching():
            return await self._ledger.follow(walk)

    async def cancel(self, job_id: str, reason: str = "") -> Cancelled:
        """As `Client.cancel`."""
        return known(job_id, (await self.cancel_many([job_id], reason))[job_id])

    async def cancel_many(self, job_ids: Iterable[str], reason: str = "") -> dict[str, Cancelled]:
        """As `Client.cancel_many`."""
        configuration = await self.configuration()
        walk = cancel_jobs(configuration, job_ids, reason)
        async with self._reaching():
            return await self._ledger.follow(walk, replicated=configuration.defaults.is_replicated)

    async def redrive(self, job_ids: Iterable[str]) -> dict[str, Redriven]:
        """As `Client.redrive`."""
        replicated = (await self.configuration()).defaults.is_replicated
        async with self._reaching():
            return await self._ledger.follow(redrive_jobs(job_ids), replicated=replicated)

    async def redrive_dead(self, *, queue: str | None = None, code: str | None = None) -> dict[str, Redriven]:
        """As `Client.redrive_dead`."""
        configuration = await self.configuration()
        walk = wanted_again(configuration, queue, code)
        async with self._reaching():
            return await self._ledger.follow(walk, replicated=configuration.defaults.is_replicated)

    async def fallbacks(self) -> Fallbacks:
        """As `Client.fallbacks`."""
        async with self._reaching():
            return await fallbacks_async(self._ledger)

    @asynccontextmanager
    async def _reaching(self, job_ids: Sequence[str] = ()) -> AsyncIterator[None]:
        came = time.monotonic()
        async with self._turns:
            if came < self._away_at:  # it stood in line while Redis was found to be away
                raise Unavailable(self._away, job_ids)
            try:
                with reaching(self._ledger.address, job_ids):
                    yield
            except Unavailable as exc:
                if is_away(exc):
                    self._away_at, self._away = time.monotonic(), str(exc)
                raise

    async def aclose(self) -> None:
        """Close the connections."""
        await self._ears.aclose()
        await self._records.aclose()
        await self._ledger.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _pubsub(ledger: Ledger) -> PubSub:
    pubsub: PubSub = ledger.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    return pubsub


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
