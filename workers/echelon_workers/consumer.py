"""Celery's consumer with the take step where its *Tasks* step was (docs/internals.md).

Celery's strategies, requests, tracer, events and remote control are unchanged. What is replaced is the fetching of
messages: no job passes through kombu's channel, so there is no window in which a killed worker loses one.
"""

from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.exceptions import WorkerShutdown
from celery.utils.log import get_logger
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.consumer.consumer import STOP_CONDITIONS  # type: ignore[attr-defined]  # not in the stubs
from celery.worker.consumer.control import Control as CeleryControl
from celery.worker.consumer.events import Events as CeleryEvents
from celery.worker.consumer.heart import Heart as CeleryHeart
from celery.worker.state import maybe_shutdown
from kombu import Queue
from kombu.common import QoS
from kombu.message import Message
from redis.exceptions import RedisError

from . import control  # noqa: F401 - registers its commands
from .hand import Held
from .pool import TaskPool
from .runtime import NothingPublished, Runtime
from .tasks import register
from .watchdog import Watchdog

logger = get_logger(__name__)

#: Celery's default of two seconds is more than an idle worker needs to say.
HEARTBEAT_S = 5.0
_BODY = b'[[],{},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'


def message_of(held: Held) -> Message:
    """The Celery message of a grant. The payload stays in the hand: Celery decodes a body of no arguments."""
    grant = held.grant
    headers: dict[str, Any] = {
        "lang": "py",
        "task": grant.queue,
        "id": grant.id,
        "root_id": grant.id,
        "parent_id": None,
        "group": None,
        "retries": grant.attempts,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": f"{{'target': {grant.target!r}, 'instance': {grant.instance!r}, 'node': {grant.node!r}}}",
        "origin": "echelon",
        "ignore_result": True,
        "echelon_lease": grant.lease,
    }
    return Message(
        body=_BODY,  # type: ignore[arg-type]  # kombu takes bytes too
        delivery_tag=f"{grant.id}:{grant.lease}",
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"exchange": "", "routing_key": grant.queue, "redelivered": grant.attempts > 0},
        properties={"reply_to": "", "correlation_id": grant.id},
        headers=headers,
    )


class Source:
    """What Celery finds where its TaskConsumer was: the queues this worker serves, and the tap."""

    def __init__(self, consumer: "Consumer", runtime: Runtime, queues: list[str]) -> None:
        self._consumer = consumer
        self._runtime = runtime
        self._names = queues
        self.on_message: Callable[[Message], None] | None = None

    @property
    def queues(self) -> list[Queue]:
        """For `inspect active_queues`, and so for Flower."""
        return [Queue(name) for name in self._names]

    def consume(self) -> None:
        """Serve the queues as they are now."""
        self._runtime.pool.loop.call_soon_threadsafe(self._serve)

    def _serve(self) -> None:
        self._runtime.serve(self._names, self._deliver)

    def _deliver(self, held: Held) -> None:
        self._consumer.receive(held)

    def consuming_from(self, queue: "Queue | str") -> bool:
        """Whether a queue is served."""
        return getattr(queue, "name", queue) in self._names

    def add_queue(self, queue: "Queue | str") -> None:
        """Celery's `add_consumer`: serve one more queue of the configuration."""
        name = str(getattr(queue, "name", queue))
        if self.knows(name) and name not in self._names:
            self._names.append(name)

    def knows(self, queue: str) -> bool:
        """Whether the configuration in force has this queue."""
        return queue in self._runtime.configuration.queues

    def follow(self, named: list[str]) -> None:
        """Serve what the revision in force has of the queues named with -Q, or all that it has."""
        known = self._runtime.configuration.queues
        if gone := [name for name in named if name not in known]:
            logger.warning("no longer served, because revision %d has no such queue: %s", self._runtime.revision, gone)
        self._names[:] = [name for name in named or known if name in known]
        self._serve()

    def cancel_by_queue(self, queue: str) -> None:
        """Celery's `cancel_consumer`: serve this queue no more. Its jobs stay where they are."""
        if queue in self._names:
            self._names.remove(queue)
            self.consume()

    def cancel(self) -> None:
        """Take nothing more. What runs goes on."""
        self._runtime.pool.loop.call_soon_threadsafe(self._runtime.taker.pause)

    close = cancel


class Events(CeleryEvents):
    """Celery's events step; a dispatcher that is replaced, or not needed any more, ends its thread."""

    def _close(self, c: Any) -> Any:
        if c.event_dispatcher is not None:
            c.event_dispatcher.retire()  # while its connection is open: it has last events
        return super()._close(c)  # type: ignore[misc]  # not in the stubs


class Take(bootsteps.StartStopStep):
    """Starts the runtime once, and the taking again after every loss of the broker connection."""

    name = "Take"
    requires = (Events,)

    def __init__(self, c: Any, **kwargs: Any) -> None:
        c.task_consumer = c.qos = c.runtime = None
        super().__init__(c, **kwargs)

    def start(self, parent: Any) -> None:
        """Runs in Celery's main thread, on every (re)connect."""
        c = parent
        if c.runtime is None:
            c.runtime = _started(c)
        register(c.app, c.runtime)
        c.update_strategies()
        c.qos_global = True
        c.qos = QoS(_no_prefetch, c.initial_prefetch_count)
        c.task_consumer = Source(c, c.runtime, _served(c.app, c.runtime))
        c.runtime.revised = c.revised
        c.runtime.dispatcher = lambda: c.event_dispatcher

    def stop(self, parent: Any) -> None:
        """The connection is lost, or the worker stops."""
        if parent.task_consumer:
            parent.task_consumer.cancel()

    shutdown = stop

    def info(self, c: Any) -> dict[str, object]:  # type: ignore[override]  # as Celery's own steps
        """For `inspect stats`."""
        return {"prefetch_count": 0, "held": len(c.runtime.hand) if c.runtime else 0}


def _started(c: Any) -> Runtime:
    if not isinstance(c.pool, TaskPool):
        logger.critical(
            "jobs run in Echelon's own pool, not in %s (would be right: no -P/--pool)", type(c.pool).__module__
        )
        raise WorkerShutdown(2)
    runtime = Runtime(c.pool, c.app.echelon_settings, c.hostname)
    try:
        runtime.call(runtime.start(), 60)
    except (RedisError, OSError, TimeoutError):
        raise  # Celery connects again, and we with it
    except NothingPublished as exc:
        logger.critical("%s", exc)
        raise WorkerShutdown(2) from exc
    except Exception as exc:
        logger.critical("this worker cannot start: %s: %s", type(exc).__name__, exc)
        raise WorkerShutdown(2) from exc
    c.pool.finish_all = runtime.finish_all
    return runtime


def _served(app: Any, runtime: Runtime) -> list[str]:
    """The queues named with -Q, or all of the configuration."""
    named = _named(app)
    known = runtime.configuration.queues
    unknown = [name for name in named if name not in known]
    if unknown:
        logger.critical("unknown queues: %s (there are: %s)", ", ".join(unknown), ", ".join(known))
        raise WorkerShutdown(2)
    return named or list(known)


def _named(app: Any) -> list[str]:
    return [name for name in app.amqp.queues.consume_from if name != app.conf.task_default_queue]


def _no_prefetch(prefetch_count: int) -> None:
    """There is nothing to prefetch: jobs stay in their queue until a slot is free."""


class Control(CeleryControl):
    """Celery's remote control, after the take step."""

    requires = (Take,)


class Heart(CeleryHeart):
    """Celery's event heartbeat, less often unless told otherwise."""

    requires = (Events,)

    def __init__(self, c: Any, heartbeat_interval: float | None = None, **kwargs: Any) -> None:
        super().__init__(c, heartbeat_interval=heartbeat_interval or HEARTBEAT_S, **kwargs)


_REPLACED = {"Events": Events, "Heart": Heart, "Control": Control, "Tasks": Take}
#: A step that requires another names our class, or Celery's would be started beside it.
#: Mingle and Gossip synchronise revokes and clocks by broadcast; ours are in Redis. DelayedDelivery is RabbitMQ's.
_LEFT_OUT = {"Mingle", "Gossip", "DelayedDelivery"}


def _steps() -> list[Any]:
    names = [(step, step.rpartition(":")[2]) for step in CeleryConsumer.Blueprint.default_steps]
    return [_REPLACED.get(name, step) for step, name in names if name not in _LEFT_OUT]


class Consumer(CeleryConsumer):
    """The consumer that `worker_consumer` names."""

    # Set by Celery and by its steps; its stubs do not know them.
    app: Any
    controller: Any
    task_consumer: Source | None
    update_strategies: Any
    runtime: Runtime | None
    strategies: dict[str, Any]
    on_task_message: set[Any]

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[valid-type,misc]
        """Celery's blueprint with our steps."""

        default_steps: Any = _steps()

    def start(self) -> None:
        """Serve until the worker stops. The watchdog sees to it that it does."""
        Watchdog(self.app.echelon_settings.grace_s, self._stops, self._held).start()
        super().start()

    def _stops(self) -> bool:
        return bool(self.controller.blueprint.state in STOP_CONDITIONS)

    def _held(self) -> int:
        return len(self.runtime.hand) if self.runtime is not None else 0

    def receive(self, held: Held) -> None:
        """Hand one job to Celery's strategy for its task, in the pool's loop."""
        message = message_of(held)
        runtime = self.runtime
        if runtime is None:
            raise AssertionError("a job was taken before the runtime started")

        def let_go(*_: object) -> None:
            runtime.delivery.let_go(held)

        self.strategies[held.grant.queue](message, None, let_go, let_go, self.on_task_message)

    def revised(self) -> None:
        """A new revision is in force: its queues get their tasks, then they are served. Runs in the pool's loop."""
        if self.runtime is not None and self.task_consumer is not None:
            register(self.app, self.runtime)
            self.update_strategies()
            self.task_consumer.follow(_named(self.app))

    def ensure_connected(self, conn: Any) -> Any:
        """Celery's pauses between two tries grow to half a minute; ours stay short, so that work goes on soon."""

        def said(exc: Exception, interval_s: float) -> None:
            logger.error("Cannot connect to %s: %s. Trying again in %.1f s.", conn.as_uri(), exc, interval_s)

        return conn.ensure_connection(
            said, None, interval_start=0.5, interval_step=0.5, interval_max=2, callback=maybe_shutdown
        )

    def cancel_active_requests(self) -> None:
        """Celery's cold shutdown: the pool gives every job back by itself (`TaskPool.on_terminate`)."""
