"""What one worker process is made of, beside Celery: its ledger, its configuration, its providers, what it holds.

Everything here lives in the pool's event loop. Celery's main thread reaches it through `call` only.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar
from uuid import uuid4

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from echelon_configs import Configuration, ConfigurationInvalid, load

from .attempt import attempt, put_away
from .errors import AttemptFailed
from .hand import Hand, Held
from .ledger import revisions
from .ledger.client import AsyncLedger, Ledger
from .ledger.verbs import Grant, renew
from .outbox import Outbox
from .outcome import End
from .pool import TaskPool
from .settings import WorkerSettings
from .taking import Taker

T = TypeVar("T")
logger = get_logger(__name__)

#: The pool bounds the calls in flight, and it may grow; the HTTP client is only not to be in its way.
MOST_CONNECTIONS = 4096


class NothingPublished(RuntimeError):
    """There is no configuration in force, so a worker cannot know what to serve."""


class Runtime:
    """One worker's life. Made and started in the pool's loop (`start`), ended by `finish_all`."""

    def __init__(self, pool: TaskPool, settings: WorkerSettings, hostname: str) -> None:
        self.pool = pool
        self.settings = settings
        self.hostname = hostname
        #: this incarnation of the worker; a restarted one is another
        self.name = f"{hostname}:{os.getpid()}:{uuid4().hex[:8]}"
        self.hand = Hand()
        self.revision = 0
        self._served: tuple[str, ...] = ()
        self._clock_offset_ms = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._finishing: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._behind = 0

    # Starting and ending

    async def start(self) -> None:
        """Connect, read the configuration in force, and begin to beat. Raises redis.RedisError, NothingPublished."""
        self.ledger = AsyncLedger(self.settings.address)
        self.outbox = Outbox(AsyncLedger(self.settings.address))
        revision = await revisions.current_async(self.ledger)
        if revision is None:
            revision = await asyncio.to_thread(self._publish_own)
        self.revision = revision.number
        self.configuration = Configuration.model_validate_json(revision.document)
        self.terms = self.settings.terms(self.configuration.defaults.retention_s)
        self.providers = _load(self.settings.providers)(
            environment=os.environ,
            max_connections=max(MOST_CONNECTIONS, self.pool.limit),
            simulator_url=self.settings.simulator_url,
        )
        self.taker = Taker(self)
        self.pool.ended, self.pool.stop_job, self.pool.grown = self._task_ended, self._stop_task, self.taker.wake
        for coroutine in (self.outbox.run(), self._beat(), self._listen(), self.taker.run()):
            self._tasks.append(asyncio.get_running_loop().create_task(coroutine))

    def _publish_own(self) -> revisions.Revision:
        """With nothing in force yet, the configuration of this worker's own folder is put in force."""
        try:
            configuration = load(self.settings.configs).configuration
        except ConfigurationInvalid as exc:
            raise NothingPublished(
                f"no configuration is published in this Redis, and that of {self.settings.configs} cannot be used:\n{exc}"
            ) from exc
        ledger = Ledger(self.settings.address)
        try:
            document = configuration.model_dump_json()
            revisions.publish(ledger, configuration.digest(), document, only_if_none=True)
            published = revisions.current(ledger)
        finally:
            ledger.close()
        if published is None:
            raise NothingPublished("the configuration was published and is gone again: somebody empties this Redis")
        return published

    def call(self, coroutine: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run a coroutine in the loop, from another thread, and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.pool.loop).result(timeout_s)

    def finish_all(self, warm: bool) -> None:
        """End every job or give it back, then close; called from Celery's main thread.

        Called again (a second signal) while it waits for jobs to finish, it waits no longer.
        """
        grace_s = self.settings.grace_s if warm else 0.0
        try:
            self.call(self._finish_once(grace_s), grace_s + 30.0)
        except TimeoutError:
            logger.error("%d jobs could not be given back in time; their leases will lapse", len(self.hand))

    async def _finish_once(self, grace_s: float) -> None:
        if self._finishing is None:
            self._finishing = asyncio.get_running_loop().create_task(self._finish_all(grace_s))
        elif grace_s == 0.0:
            self._hurry.set()
        await asyncio.shield(self._finishing)

    async def _finish_all(self, grace_s: float) -> None:
        self.taker.pause()
        *_, taking = self._tasks
        await _end([taking])
        await self._empty_handed_within(grace_s)
        self._hurry.clear()
        for held in self.hand:
            if held.task is None:
                await put_away(self, held, "return", {})
            else:
                held.halt("return")
        await self._empty_handed_within(10.0)
        await _end([*self._tasks, *self._background])
        await _within(5.0, "the providers", self.providers.aclose())
        await _within(5.0, "this worker's entry", self._forget_worker())
        await _within(5.0, "the connections to Redis", self.ledger.aclose())
        await _within(5.0, "the outbox", self.outbox.aclose())

    async def _empty_handed_within(self, seconds: float) -> None:
        hurry = asyncio.get_running_loop().create_task(self._hurry.wait())
        end = time.monotonic() + seconds
        while not hurry.done() and time.monotonic() < end:
            tasks = [held.task for held in self.hand if held.task is not None]
            if not tasks:
                break
            await asyncio.wait([*tasks, hurry], timeout=end - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()

    async def _forget_worker(self) -> None:
        keys = self.ledger.keys
        try:
            await self.ledger.redis.delete(keys.of("worker", self.name), keys.of("taker", self.name))
            await self.ledger.redis.zrem(keys.of("workers"), self.name)
        except (RedisError, OSError) as exc:
            logger.debug("this worker's entry stays until it expires: %r", exc)

    # Serving

    def usable(self, queue: str) -> str:
        """The queue's instances that this worker has a key for, comma-separated; each once."""
        members = self.configuration.queues[queue].members
        names = dict.fromkeys(member.instance for member in members)
        return ",".join(name for name in names if self.providers.has_key(self.configuration.instances[name]))

    def serve(self, queues: Sequence[str], deliver: Callable[[Held], None]) -> None:
        """Take for these queues, as far as this worker has keys for them. Runs in the loop."""
        usable = [(queue, self.usable(queue)) for queue in queues]
        without = [queue for queue, instances in usable if not instances]
        if without:
            logger.warning(
                "no key on this worker for any instance of: %s (set their environment variables)", ", ".join(without)
            )
        self._served = tuple(queue for queue, instances in usable if instances)

        def hand_over(grant: Grant) -> None:
            self._hand_over(grant, deliver)

        self.taker.serve([(queue, instances) for queue, instances in usable if instances], hand_over)
        self._in_background(self._load_providers({name for _, names in usable for name in names.split(",") if name}))

    async def _load_providers(self, names: set[str]) -> None:
        """Load the providers' libraries now, so that the first job does not wait for that."""
        for name in sorted(names):
            try:
                await asyncio.to_thread(self.providers.prepare, [self.configuration.instances[name]])
            except AttemptFailed as exc:
                logger.warning("instance %s cannot be used: %s", name, exc)

    def _in_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self.pool.loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    @property
    def free(self) -> int:
        """How many more jobs this worker can start now."""
        return max(0, self.pool.free - self._behind)

    def _hand_over(self, grant: Grant, deliver: Callable[[Held], None]) -> None:
        """Give one grant to Celery. A job that comes back before Celery has done with its last attempt waits for that:
        Celery knows a task by its id, and two of them at a time would mix up its events and its revokes."""
        held = self.hand.take_up(grant)
        earlier = self.hand.task_of_job(grant.id)
        if earlier is None:
            self._start(held, deliver)
            return
        self._behind += 1

        def now(_: object) -> None:
            self._behind -= 1
            self._start(held, deliver)

        earlier.add_done_callback(now)

    def _start(self, held: Held, deliver: Callable[[Held], None]) -> None:
        """Whatever Celery does with it, the job is settled."""
        grant = held.grant
        before = len(self.pool.busy)
        reason = "Celery let it go without running it"
        try:
            deliver(held)
        except Exception as exc:
            logger.exception("Celery could not start job %s of %s", grant.id, grant.queue)
            reason = f"Celery could not start it: {type(exc).__name__}: {exc}"
        if len(self.pool.busy) > before:
            self.hand.runs_in(held, next(reversed(self.pool.busy.values())))
        elif not held.done:
            self._settle_later(held, "cancel" if held.stop == "cancel" else "bury", reason)

    def _settle_later(self, held: Held, ending: str, message: str) -> None:
        reason = {"code": "cancelled" if ending == "cancel" else "not_run", "message": message}
        self._in_background(put_away(self, held, ending, reason))

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        self.taker.wake()
        held = self.hand.ended(task)
        if held is not None and not held.done:
            self._settle_later(held, "bury", "it ended in Celery without an outcome")

    def _stop_task(self, task: "asyncio.Task[None]") -> None:
        held = self.hand.of_task(task)
        if held is not None:
            held.halt("cancel")

    def let_go(self, held: Held) -> None:
        """Celery acknowledged or rejected the message of a job: unless the job has ended, that cancels it."""
        if held.done:
            return
        if self.pool.in_loop:
            held.halt("cancel")
        else:
            self.pool.loop.call_soon_threadsafe(held.halt, "cancel")

    async def attempt(self, id: str, lease: str) -> End:
        """One attempt of a job that is held; the body of every task."""
        held = self.hand.of(id, lease)
        if held is None:
            return End("given_back", "this worker holds no such lease")
        return await attempt(self, held)

    # Heartbeat and wake-up

    async def _beat(self) -> None:
        interval_s = self.settings.lease_s / 3
        while True:
            await self._renew()
            await asyncio.sleep(interval_s)

    async def _renew(self) -> None:
        leases = self.hand.leases()
        for first in range(0, max(1, len(leases)), 500):
            verb = renew(
                self.name, self._about(), int(self.settings.lease_s * 2000), leases[first : first + 500], self.terms
            )
            try:
                lost = await self.ledger.run(verb)
            except (RedisError, OSError) as exc:
                logger.warning("the heartbeat did not reach Redis: %s", exc)
                return
            self._stop_lost(lost, dict(leases[first : first + 500]))

    def _stop_lost(self, lost: Sequence[str], renewed: Mapping[str, str]) -> None:
        for id in lost:
            held = self.hand.of(id, renewed[id])
            if held is not None and held.task is not None:
                logger.warning("the lease of job %s is lost: its call is stopped", id)
                held.halt("lost")

    def _about(self) -> str:
        return self.json(
            {
                "name": self.name,
                "hostname": self.hostname,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "slots": self.pool.limit,
                "busy": len(self.pool.busy),
                "queues": self._served,
                "revision": self.revision,
            }
        )

    async def _listen(self) -> None:
        """Be woken by a publish. A lost connection is made anew; the safety poll covers the meantime."""
        channel = self.ledger.keys.of("wake", self.name)
        while True:
            pubsub = self.ledger.redis.pubsub(ignore_subscribe_messages=False)
            try:
                await pubsub.subscribe(channel)
                async for _ in pubsub.listen():
                    self.taker.wake()
            except (RedisError, OSError) as exc:
                logger.debug("the wake-up connection is made anew: %r", exc)
                await asyncio.sleep(0.1)
            finally:
                await _close(pubsub)

    # Time

    def saw_time(self, server_ms: int) -> None:
        """Redis told its time: that is the time of the cluster."""
        self._clock_offset_ms = server_ms - time.time() * 1000

    def now_ms(self) -> int:
        """The cluster's time, as far as this worker knows it."""
        return int(time.time() * 1000 + self._clock_offset_ms)

    @staticmethod
    def json(value: object) -> str:
        """Compact JSON."""
        return json.dumps(value, separators=(",", ":"))


async def _end(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancel tasks until they have ended: a library below may swallow one cancellation while it connects."""
    waiting = set(tasks)
    for _ in range(10):
        for task in waiting:
            task.cancel()
        if not waiting:
            return
        _, waiting = await asyncio.wait(waiting, timeout=0.5)
    logger.error("these would not end: %s", waiting)


async def _within(seconds: float, what: str, closing: Coroutine[Any, Any, None]) -> None:
    """Give something that closes a bounded time: the process ends anyway."""
    try:
        async with asyncio.timeout(seconds):
            await closing
    except TimeoutError:
        logger.warning("%s did not close within %g s", what, seconds)


async def _close(pubsub: Any) -> None:
    try:
        await pubsub.aclose()
    except (RedisError, OSError, RuntimeError) as exc:
        logger.debug("closing the wake-up connection: %r", exc)


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
