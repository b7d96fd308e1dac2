"""The Celery tasks: one for every queue of the configuration, all with the same body."""

from typing import TYPE_CHECKING, Any

from celery import Task
from celery.exceptions import Ignore, Retry
from celery.utils.log import get_logger

from .pool import wait_for

if TYPE_CHECKING:
    from celery.app.base import Celery

    from .runtime import Runtime

logger = get_logger(__name__)


class JobDied(Exception):
    """The job has run out of decisions. Flower shows its task as failed, with the reason."""


class JobTask(Task[Any, Any]):
    """One attempt of one job. An attempt that does not end its job ends its Celery task as a retry; one whose job was
    cancelled, as revoked."""

    abstract = True
    runtime: "Runtime"
    throws = (JobDied,)
    ignore_result = True
    acks_late = True
    max_retries = None

    def run(self) -> str:
        """The request is read before awaiting: it is empty on the other side of the switch."""
        request: Any = self.request
        id, lease = request.id, request.echelon_lease
        end = wait_for(self.runtime.delivery.attempt(id, lease))
        if end.kind == "dead":
            raise JobDied(end.line)
        if end.kind == "cancelled":
            logger.info("Task %s[%s] revoked: %s", self.name, id, end.line)
            self._say("task-revoked", uuid=id, terminated=True, signum=None, expired=False)
            raise Ignore(end.line)
        if end.fallback:
            # Only here, just before the retry: otherwise Flower would keep showing the event's own state.
            self._say("task-fallback", uuid=id, to=end.fallback, reason=end.line)
        if end.kind != "answered":
            raise Retry(end.line, exc=None)
        return end.line

    def _say(self, event: str, **fields: Any) -> None:
        """With the worker's own dispatcher, which sends events in their order and never waits."""
        dispatcher = self.runtime.dispatcher()
        if dispatcher is not None and dispatcher.enabled:
            dispatcher.send(event, **fields)


def register(app: "Celery", runtime: "Runtime") -> None:
    """Register the task of every queue in force, under the queue's own name."""
    for queue in runtime.configuration.queues:
        if queue not in app.tasks:
            cls = type("QueueTask", (JobTask,), {"name": queue, "abstract": False, "__module__": __name__})
            app.register_task(cls())
        task: Any = app.tasks[queue]
        task.runtime = runtime
