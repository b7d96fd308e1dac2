"""The worker's pool: one asyncio loop in one thread, and a greenlet for each job.

Celery's tracer is synchronous. It runs unchanged in a greenlet; `wait_for` in a task's body hands an awaitable to
the loop and returns when it is done, without a thread (SQLAlchemy bridges to asyncio the same way). Hundreds of jobs
wait for their providers at the cost of a greenlet and a coroutine each.
"""

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import greenlet  # type: ignore[import-untyped]
from celery.concurrency.base import BasePool, apply_target
from celery.utils.log import get_logger
from celery.worker import state

from .loop import new_loop

T = TypeVar("T")
logger = get_logger(__name__)


def wait_for(awaitable: Awaitable[T]) -> T:
    """Await from synchronous code that runs in a job's greenlet. The greenlet's own request stack is not visible
    to what is awaited: read what is needed before."""
    loop: Any = greenlet.getcurrent().parent
    value: T = loop.switch(awaitable)
    return value


async def _drive(function: Callable[..., object], *args: object) -> None:
    """Run a function in a greenlet, awaiting for it what it hands over."""
    job = greenlet.greenlet(function, greenlet.getcurrent())
    handed = job.switch(*args)
    while not job.dead:
        try:
            value = await handed
        except BaseException as exc:
            handed = job.throw(exc)
        else:
            handed = job.switch(value)


class TaskPool(BasePool):
    """Celery's pool interface over one event loop. `limit` is the number of slots: jobs at the same time."""

    limit: int
    body_can_be_buffer = True
    signal_safe = False

    def on_start(self) -> None:
        """Start the loop's thread."""
        self.loop = new_loop()
        self.busy: dict[int, asyncio.Task[None]] = {}
        self.ended: Callable[[asyncio.Task[None]], None] = _nothing
        self.stop_job: Callable[[asyncio.Task[None]], object] = _cancel
        self.grown: Callable[[], None] = _no_one_asked
        self.finish_all: Callable[[bool], None] | None = None
        self._tokens = itertools.count(1)
        self._thread = threading.Thread(target=self._run_loop, name="echelon-loop", daemon=True)
        self._thread.start()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    @property
    def free(self) -> int:
        """How many more jobs may start now."""
        return max(0, self.limit - len(self.busy))

    @property
    def in_loop(self) -> bool:
        """Whether the caller is in the loop's thread."""
        return threading.get_ident() == self._thread.ident

    def on_apply(
        self,
        target: Callable[..., object],
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        **_: object,
    ) -> None:
        """Start one job. Celery expects a pid of the process that runs it; it gets a token of the job's own."""
        start = (target, args, kwargs, callback, accept_callback)
        if self.in_loop:
            self._start(*start)
        else:
            self.loop.call_soon_threadsafe(self._start, *start)

    def _start(self, *start: object) -> None:
        token = next(self._tokens)
        task = self.loop.create_task(_drive(apply_target, *start, token))
        self.busy[token] = task
        task.add_done_callback(lambda done: self._ended(token, done))

    def _ended(self, token: int, task: "asyncio.Task[None]") -> None:
        del self.busy[token]
        if not task.cancelled() and (error := task.exception()):
            logger.error("a job ended outside its tracer: %r", error, exc_info=error)
        self.ended(task)

    def grow(self, n: int = 1) -> None:
        """More slots, from now on (Celery's `pool_grow`)."""
        self.limit += n
        self.loop.call_soon_threadsafe(self.grown)

    def shrink(self, n: int = 1) -> None:
        """Fewer slots, at least one. Jobs that run go on; no new ones start until there is room."""
        self.limit = max(1, self.limit - n)

    def terminate_job(self, pid: int, signal: object = None) -> None:  # noqa: ARG002 - Celery passes it
        """Cancel one job by its token: its call is closed, and it is settled by its attempt."""
        task = self.busy.get(pid)
        if task is not None:
            self.loop.call_soon_threadsafe(self.stop_job, task)

    def on_stop(self) -> None:
        """Warm: `finish_all` ends every job or gives it back within its grace, then the loop stops.

        Celery's cold shutdown (SIGQUIT) comes here too, and says so in its state.
        """
        self._shut(warm=not state.should_terminate)

    def on_terminate(self) -> None:
        """Cold: every job is given back at once."""
        self._shut(warm=False)

    def _shut(self, *, warm: bool) -> None:
        if not self._thread.is_alive():
            return
        if self.finish_all is not None:
            self.finish_all(warm)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)

    def _get_info(self) -> dict[str, object]:
        busy = list(getattr(self, "busy", ()))
        return {
            **super()._get_info(),  # type: ignore[misc]  # not in the stubs
            "slots": self.limit,
            "busy": len(busy),
            "processes": busy,
        }


def _nothing(task: "asyncio.Task[None]") -> None:
    """What `ended` does until somebody wants to know."""


def _no_one_asked() -> None:
    """What `grown` does until somebody wants to know."""


def _cancel(task: "asyncio.Task[None]") -> None:
    """What `stop_job` does until somebody knows better."""
    task.cancel()
