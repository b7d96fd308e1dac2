"""Task events for Flower, sent without ever holding up a job.

Celery's dispatcher publishes from whichever thread sends the event: for us, the loop that all calls run in. Here a
sent event is only put aside; a thread of its own publishes what has gathered, every few milliseconds in one message.
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


class Dispatcher(EventDispatcher):
    """Celery's dispatcher with its buffered group flushed by a thread."""

    # Celery's, which its stubs do not know.
    buffer_group: Any
    _group_buffer: dict[str, list[Any]]
    _outbound_buffer: deque[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._due = threading.Event()
        self._ended = False
        super().__init__(*args, **kwargs)
        if self.buffer_group:
            self.buffer_limit = sys.maxsize
            self.on_send_buffered = self._gathered
            threading.Thread(target=self._flush_as_they_gather, name="echelon-events", daemon=True).start()

    def _gathered(self) -> None:
        self._due.set()

    def _flush_as_they_gather(self) -> None:
        pause = threading.Event()
        while not self._ended:
            self._due.wait()
            pause.wait(GATHER_S)
            self._due.clear()
            self._let_go()
            try:
                self.flush()
            except Exception as exc:
                logger.warning("events could not be sent: %r", exc)

    def _let_go(self) -> None:
        for events in self._group_buffer.values():
            del events[: max(0, len(events) - MOST_WAITING)]
        while len(self._outbound_buffer) > MOST_WAITING // 100:
            self._outbound_buffer.popleft()

    def close(self) -> None:
        """Send what has gathered, then close."""
        if self.buffer_group and not self._ended and self.enabled:
            self._flush_quietly()
        super().close()

    def retire(self) -> None:
        """End the thread: this dispatcher will not be used again."""
        self._ended = True
        self._due.set()

    def _flush_quietly(self) -> None:
        try:
            self.flush()
        except Exception as exc:
            logger.debug("events could not be sent while closing: %r", exc)


class Events(CeleryEvents):
    """Celery's `app.events` with the dispatcher above."""

    dispatcher_cls = "echelon_workers.events:Dispatcher"
