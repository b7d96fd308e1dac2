"""What one worker process is made of, beside Celery: its ledger, its configuration, its providers, what it holds.

Everything here lives in the pool's event loop. Celery's main thread reaches it through `call` only.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from importlib import import_module
from typing import Any, TypeVar
from uuid import uuid4

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from echelon_configs import ConfigurationInvalid, Instance, load

from .attempt import put_away
from .delivery import Deliver, Delivery
from .errors import AttemptFailed
from .hand import Hand
from .health import Health
from .heartbeat import Heartbeat
from .ledger import revisions
from .ledger.arrival import arrives
from .ledger.client import AsyncLedger, Ledger
from .ledger.ending import close_within, end_tasks
from .ledger.status import dropped_queues, left_behind
from .ledger.verbs import readmit
from .loop import collect_less
from .outbox import Outbox
from .pool import TaskPool
from .scoring import Scoring
from .settings import WorkerSettings
from .taking import Taker
from .wakeup import listen

T = TypeVar("T")
logger = get_logger(__name__)

#: The pool bounds the calls in flight, and it may grow; the HTTP client is only not to be in its way.
MOST_CONNECTIONS = 4096


class NothingPublished(RuntimeError):
    """There is no configuration in force, so a worker cannot know what to serve."""


class Runtime:
    """One worker's life. Started in the pool's loop (`start`), ended by `finish_all`."""

    def __init__(self, pool: TaskPool, settings: WorkerSettings, hostname: str) -> None:
        self.pool = pool
        self.settings = settings
        self.hostname = hostname
        #: this incarnation of the worker; a restarted one is another
        self.name = f"{hostname}:{os.getpid()}:{uuid4().hex[:8]}"
        self.hand = Hand(settings.lease_s)
        self.delivery = Delivery(self, self.hand)
        self.revision, self.mark = 0, ""
        #: what Celery's side does about a new revision (`Consumer.revised`)
        self.revised: Callable[[], None] = _nothing
        #: the dispatcher of the worker's task events, which keeps their order; None while there is no broker
        self.dispatcher: Callable[[], Any] = _nothing
        self.served: tuple[str, ...] = ()
        #: instances of its queues that this worker has keys for
        self.callable: tuple[str, ...] = ()
        #: instances whose breaker was open when this worker last took
        self.out: frozenset[str] = frozenset()
        self._clock_offset_ms = 0.0
        self._has_readmitted = False
        self._preparing: object = None
        self._unreadable = ""
        self._background: set[asyncio.Task[None]] = set()
        self._finishing: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    # Starting

    async def start(self) -> None:
        """Connect, read the configuration in force, and begin to beat. Raises redis.RedisError, NothingPublished."""
        address = self.settings.address
        self.ledger = AsyncLedger(address, address.async_client(connected=arrives(address.keys)))
        self.outbox = Outbox(AsyncLedger(self.settings.address))
        revision = await revisions.current_async(self.ledger)
        if revision is None:
            revision = await asyncio.to_thread(self._publish_own)
        self._adopt(revision)
        self.providers = _load(self.settings.providers)(
            environment=os.environ,
            max_connections=max(MOST_CONNECTIONS, self.pool.limit),
            simulator_url=self.settings.simulator_url,
        )
        self.taker = Taker(self)
        self.heartbeat = Heartbeat(self)
        self.pool.grown = self.taker.wake
        self._taking = asyncio.get_running_loop().create_task(self.taker.run())
        self._taking.add_done_callback(self._died)
        self.in_background(self.outbox.run(), vital=True)
        self.in_background(self.heartbeat.run(), vital=True)
        self.in_background(Health(self).run(), vital=True)
        self.in_background(Scoring(self).run(), vital=True)
        keys = self.ledger.keys
        hear = {
            keys.of("wake", self.name): lambda _: self.taker.wake(),
            keys.of("published"): lambda _: self.look_for_revision(),
            keys.of("unwanted", self.name): self._hear_unwanted,
        }
        self.in_background(listen(self.ledger, hear), vital=True)

    def _hear_unwanted(self, said: bytes) -> None:
        """Somebody cancels a job that this worker runs: its id and its lease."""
        held = self.hand.of(*said.decode(errors="replace").partition(" ")[::2])
        if held is not None:
            held.halt("cancel")

    def _adopt(self, revision: revisions.Revision) -> None:
        self.configuration = revision.configuration()
        self.revision, self.mark = revision.number, revision.mark
        self.terms = self.settings.terms(self.configuration.defaults.retention_s)
        self.outbox.replicated = self.configuration.defaults.is_replicated

    def look_for_revision(self) -> None:
        """A configuration was published, or may have been: follow it. What runs goes on as it began."""
        self.in_background(self._follow())

    async def _follow(self) -> None:
        try:
            revision = await revisions.current_async(self.ledger)
        except (RedisError, OSError) as exc:
            logger.warning("the revision in force could not be read, and is asked for again: %s", exc)
            return
        if revision is None:
            await self._publish_again()
        elif revision.mark not in (self.mark, self._unreadable):
            try:
                self._adopt(revision)
            except revisions.RevisionUnreadable as exc:
                self._unreadable = revision.mark
                logger.error("%s; this worker goes on with revision %d", exc, self.revision)
                return
            logger.warning("revision %d of the configuration is in force", revision.number)
            self.revised()
            await self._tell_of_dropped()

    async def _publish_again(self) -> None:
        """Somebody emptied this Redis. Without a configuration in force nothing is taken."""
        logger.error("the configuration in force is gone from Redis: this worker puts revision %d again", self.revision)

        def publish() -> None:
            with contextlib.closing(Ledger(self.settings.address)) as ledger:
                revisions.publish(ledger, self.configuration, only_if_none=True)

        try:
            await asyncio.to_thread(publish)
        except (RedisError, OSError) as exc:
            logger.warning("it could not be published: %s", exc)

    async def _tell_of_dropped(self) -> None:
        """What the new revision leaves behind is an operator's to move."""
        try:
            for queue in await self.ledger.run(dropped_queues()):
                logger.warning("%s", left_behind(queue))
        except (RedisError, OSError) as exc:
            logger.debug("queues that were dropped could not be asked for: %r", exc)

    def _publish_own(self) -> revisions.Revision:
        """With nothing in force yet, the configuration of this worker's own folder is put in force."""
        folder = self.settings.configs
        try:
            configuration = load(folder).configuration
        except ConfigurationInvalid as exc:
            message = f"no configuration is published in this Redis, and that of {folder} cannot be used:\n{exc}"
            raise NothingPublished(message) from exc
        ledger = Ledger(self.settings.address)
        try:
            revisions.publish(ledger, configuration, only_if_none=True)
            published = revisions.current(ledger)
        finally:
            ledger.close()
        if published is None:
            raise NothingPublished("the configuration was published and is gone again: somebody empties this Redis")
        return published

    def call(self, coroutine: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run a coroutine in the loop, from another thread, and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.pool.loop).result(timeout_s)

    def in_background(self, coroutine: Coroutine[Any, Any, None], *, vital: bool = False) -> None:
        """Run a coroutine for as long as the worker lives, or until it ends by itself. Only in the loop.

        A worker is no worker without what is `vital`: when that ends in an error, it gives its jobs back and ends.
        """
        task = self.pool.loop.create_task(coroutine)
        if vital:
            task.add_done_callback(self._died)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _died(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        logger.critical("a vital part of this worker ended, so it stops: %r", error, exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)

    # Serving

    def serve(self, queues: Sequence[str], deliver: Deliver) -> None:
        """Take for these queues, as far as this worker has keys for them. Only in the loop."""
        usable = {queue: self._usable(queue) for queue in queues}
        if without := ", ".join(queue for queue, instances in usable.items() if not instances):
            logger.warning("no key on this worker for any instance of: %s (set their environment variables)", without)
        served = [(queue, ",".join(instances)) for queue, instances in usable.items() if instances]
        self.served = tuple(queue for queue, _ in served)
        names = {name for instances in usable.values() for name in instances}
        self.callable = tuple(sorted(names))
        instances = [self.configuration.instances[name] for name in self.callable]
        self.in_background(self._serve_prepared(served, instances, deliver))

    async def _serve_prepared(self, served: list[tuple[str, str]], instances: list[Instance], deliver: Deliver) -> None:
        self._preparing = mine = object()
        await self._prepare(instances)
        await self._readmit(instances)
        if self._preparing is mine:  # else it was told meanwhile to serve others
            self.taker.serve(served, lambda grant, asked_at: self.delivery.hand_over(grant, asked_at, deliver))
            self.heartbeat.soon()  # it says what is served

    def _usable(self, queue: str) -> list[str]:
        """The queue's instances that this worker has a key for, each once."""
        names = dict.fromkeys(member.instance for member in self.configuration.queues[queue].members)
        return [name for name in names if self.providers.has_key(self.configuration.instances[name])]

    async def _readmit(self, instances: list[Instance]) -> None:
        """A worker that has just started may have another key than the one that was refused."""
        if self._has_readmitted:
            return
        self._has_readmitted = True
        try:
            await self.ledger.run(readmit([instance.name for instance in instances]))
        except (RedisError, OSError) as exc:
            logger.warning("instances whose key was refused stay out until the configuration is published: %s", exc)

    async def _prepare(self, instances: list[Instance]) -> None:
        """Load what the instances need before the first job is taken, and not beside it."""
        for instance in instances:
            try:
                await asyncio.to_thread(self.providers.prepare, [instance])
            except AttemptFailed as exc:
                logger.warning("instance %s cannot be used: %s", instance.name, exc)
        collect_less()

    # Ending

    def finish_all(self, warm: bool) -> None:
        """End every job or give it back, then close; called from Celery's main thread.

        Called again (a second signal) while it waits for jobs to finish, it waits no longer.
        """
        grace_s = self.settings.grace_s if warm else 0.0
        try:
            self.call(self._finish_once(grace_s), grace_s + 40.0)
        except TimeoutError:
            logger.error("%d jobs could not be given back in time; their leases will lapse", len(self.hand))

    async def _finish_once(self, grace_s: float) -> None:
        if self._finishing is None:
            self._finishing = asyncio.get_running_loop().create_task(self._finish_all(grace_s))
        elif grace_s == 0.0:
            self._hurry.set()
        await asyncio.shield(self._finishing)

    async def _finish_all(self, grace_s: float) -> None:
        await self.taker.stop(self._taking)
        await self._empty_handed_within(grace_s)
        self._hurry.clear()
        for held in self.hand:
            if held.task is None:
                await put_away(self, held, "unused", {})
            else:
                held.halt("return")
        await self._empty_handed_within(10.0)
        await end_tasks(self._background)
        await close_within(5.0, "the providers", self.providers.aclose())
        await close_within(5.0, "this worker's entry", self.heartbeat.forget())
        await close_within(5.0, "the connections to Redis", self.ledger.aclose())
        await close_within(5.0, "the outbox", self.outbox.aclose())

    async def _empty_handed_within(self, seconds: float) -> None:
        hurry = asyncio.get_running_loop().create_task(self._hurry.wait())
        end = time.monotonic() + seconds
        while not hurry.done() and time.monotonic() < end:
            tasks = [held.task for held in self.hand if held.task is not None]
            if not tasks:
                break
            await asyncio.wait([*tasks, hurry], timeout=end - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()

    # Time

    def saw_time(self, server_ms: int) -> None:
        """Redis told its time: that is the time of the cluster."""
        self._clock_offset_ms = server_ms - time.time() * 1000

    def now_ms(self) -> int:
        """The cluster's time, as far as this worker knows it."""
        return int(time.time() * 1000 + self._clock_offset_ms)


def _nothing() -> None:
    """Until Celery's side wants to know."""


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
