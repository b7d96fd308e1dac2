"""Events for Flower, sent without ever holding up a job or Celery's main thread.

Celery's dispatcher publishes from whichever thread sends the event: of a job, the loop that all calls run in; of the
worker itself, the main thread, which then does not see that it is to stop. Here a sent event is only put aside; a
thread of its own publishes what has gathered, every few milliseconds in one message of a group.
"""

import sys
import threading
from collections import deque
from typing import Any

from celery.app.events import Events as CeleryEvents
from celery.events.dispatcher import EventDispatcher
from celery.utils.log import get_logger

logger = get_logger(__name__)

GATHER_S = 0.02
#: While the broker is away, events beyond this are let go: they are for watching, not for keeping.
MOST_WAITING = 50_000
#: How long a dispatcher that ends waits for its last events to be published.
LAST_S = 2.0
#: In the order in which they are published: the worker says that it is offline after what it says of its last jobs.
GROUPS = ("task", "worker")


class Dispatcher(EventDispatcher):
    """Celery's dispatcher with its buffered groups published by a thread."""

    # Celery's, which its stubs do not know.
    buffer_group: Any
    mutex: threading.Lock
    _closed: bool
    _group_buffer: dict[str, list[Any]]
    _outbound_buffer: deque[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._due = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None
        super().__init__(*args, **kwargs)
        if self.buffer_group:
            self.buffer_group = frozenset(GROUPS)
            for group in GROUPS:  # all there from the start: the thread goes through them while others append
                self._group_buffer[group] = []
            self.buffer_limit = sys.maxsize
            self.on_send_buffered = self._due.set
            self._thread = threading.Thread(target=self._publish_as_they_gather, name="echelon-events", daemon=True)
            self._thread.start()

    def _publish_as_they_gather(self) -> None:
        pause = threading.Event()
        ended = False
        while not ended:
            self._due.wait()
            pause.wait(GATHER_S)
            self._due.clear()
            ended = self._ended  # what was sent before the end is still published
            self._let_go()
            try:
                super().flush()
            except Exception as exc:
                logger.warning("events could not be sent: %r", exc)

    def _let_go(self) -> None:
        for events in self._group_buffer.values():
            del events[: max(0, len(events) - MOST_WAITING)]
        while len(self._outbound_buffer) > MOST_WAITING // 100:
            self._outbound_buffer.popleft()

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Have what has gathered published; Celery calls this in the main thread."""
        if self._thread is None:
            super().flush(errors, groups)
        else:
            self._due.set()

    def extend_buffer(self, other: Any) -> None:
        """Take over what a dispatcher before this one could not publish."""
        super().extend_buffer(other)
        for group, events in other._group_buffer.items():
            self._group_buffer[group].extend(events)

    def retire(self) -> None:
        """Publish what has gathered if the broker answers soon, and end the thread: nothing is sent any more."""
        self._ended = True
        self._due.set()
        if self._thread is not None:
            self._thread.join(LAST_S)

    def close(self) -> None:
        """Celery's, which would wait for as long as a publish under way takes."""
        has_mutex = self.mutex.acquire(timeout=LAST_S)
        self._closed = True
        self.producer = None
        if has_mutex:
            self.mutex.release()


class Events(CeleryEvents):
    """Celery's `app.events` with the dispatcher above."""

    dispatcher_cls = "echelon_workers.events:Dispatcher"
