"""Handing granted jobs to Celery, and settling them whatever Celery does with them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from celery.utils.log import get_logger

from .attempt import attempt, put_away
from .hand import Hand, Held
from .ledger.verbs import Ending, Grant
from .outcome import End

if TYPE_CHECKING:
    import asyncio

    from .runtime import Runtime

logger = get_logger(__name__)

#: Gives one held job to Celery (`Consumer.receive`).
Deliver = Callable[[Held], None]


class Delivery:
    """The way of a job through Celery, from its grant to its end."""

    def __init__(self, runtime: "Runtime", hand: Hand) -> None:
        self._runtime = runtime
        self._hand = hand
        self._pool = runtime.pool
        self._behind = 0
        self._pool.ended, self._pool.stop_job = self._task_ended, self._stop_task

    @property
    def free(self) -> int:
        """How many more jobs this worker can start now."""
        return max(0, self._pool.free - self._behind)

    def hand_over(self, grant: Grant, asked_at: float, deliver: Deliver) -> None:
        """Give one grant to Celery. A job that comes back before Celery has done with its last attempt waits for that:
        Celery knows a task by its id, and two of them at a time would mix up its events and its revokes."""
        held = self._hand.take_up(grant, asked_at)
        earlier = self._hand.task_of_job(grant.id)
        if earlier is None:
            self._start(held, deliver)
            return
        self._behind += 1

        def now(_: object) -> None:
            self._behind -= 1
            self._start(held, deliver)

        earlier.add_done_callback(now)

    def _start(self, held: Held, deliver: Deliver) -> None:
        if held.done:
            return
        before = len(self._pool.busy)
        reason = "Celery let it go without running it"
        try:
            deliver(held)
        except Exception as exc:
            logger.exception("Celery could not start job %s of %s", held.grant.id, held.grant.queue)
            reason = f"Celery could not start it: {type(exc).__name__}: {exc}"
        if len(self._pool.busy) > before:
            self._hand.runs_in(held, next(reversed(self._pool.busy.values())))
        else:
            self._settle(held, "cancel" if held.stop == "cancel" else "bury", reason)

    def _settle(self, held: Held, ending: Ending, message: str) -> None:
        reason = {"code": "cancelled" if ending == "cancel" else "not_run", "message": message}
        self._runtime.in_background(put_away(self._runtime, held, ending, reason))

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        self._runtime.taker.wake()
        held = self._hand.ended(task)
        if held is not None and not held.done:
            self._settle(held, "bury", "it ended in Celery without an outcome")

    def _stop_task(self, task: "asyncio.Task[None]") -> None:
        held = self._hand.of_task(task)
        if held is not None:
            held.halt("cancel")

    def let_go(self, held: Held) -> None:
        """Celery acknowledged or rejected the message of a job: unless the job has ended, that cancels it.

        Called from Celery's main thread too (remote control).
        """
        if held.done:
            return
        if self._pool.in_loop:
            held.halt("cancel")
        else:
            self._pool.loop.call_soon_threadsafe(held.halt, "cancel")

    async def attempt(self, id: str, lease: str) -> End:
        """One attempt of a job that is held; the body of every task."""
        held = self._hand.of(id, lease)
        if held is None:
            return End("given_back", "this worker holds no such lease")
        return await attempt(self._runtime, held)
