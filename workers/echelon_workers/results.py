"""Celery's `AsyncResult` over the job's record: the answer is where the job is, and is stored once."""

import json
import time
from collections.abc import Callable
from typing import Any

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeoutError

from .ledger.client import Ledger

_STATES = {
    "queued": states.PENDING,
    "delayed": states.RETRY,
    "running": states.STARTED,
    "answered": states.SUCCESS,
    "dead": states.FAILURE,
    "expired": states.FAILURE,
    "cancelled": states.REVOKED,
}


class RecordBackend(BaseBackend):
    """Reads states and answers; writes nothing, because `finish` has written them already."""

    app: Any
    supports_native_join = False
    persistent = True

    def __init__(self, app: Any = None, **kwargs: Any) -> None:
        super().__init__(app=app, **kwargs)
        self._ledger: Ledger | None = None

    @property
    def ledger(self) -> Ledger:
        """Connected when first asked."""
        if self._ledger is None:
            self._ledger = Ledger(self.app.echelon_settings.address)
        return self._ledger

    def _store_result(self, *_: Any, **__: Any) -> None:
        """Nothing: the record has it."""

    store_result = _store_result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        reply: Any = self.ledger.redis.hmget(self.ledger.keys.of("job", task_id), ["state", "answer", "error"])
        state, answer, error = reply
        status = _STATES.get(state.decode(), states.PENDING) if state else states.PENDING
        result = json.loads(answer) if status == states.SUCCESS else None
        if status in states.EXCEPTION_STATES and error:
            result = self._exception(json.loads(error), status)
        return {"status": status, "result": result, "traceback": None, "children": [], "task_id": task_id}

    @staticmethod
    def _exception(error: dict[str, Any], status: str) -> Exception:
        kind = TaskRevokedError if status == states.REVOKED else RuntimeError
        return kind(f"{error.get('code', 'failed')}: {error.get('message', '')}")

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,  # noqa: ARG002 - Celery passes it
        on_interval: Callable[[], object] | None = None,
    ) -> dict[str, Any]:
        """Wait until the job has ended; told by a publish, not by polling. Raises celery.exceptions.TimeoutError."""
        end = None if timeout is None else time.monotonic() + timeout
        with self.ledger.redis.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
            pubsub.subscribe(self.ledger.keys.of("ended", task_id))
            while True:
                meta = self.get_task_meta(task_id)
                if meta["status"] in states.READY_STATES:
                    return dict(meta)
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    raise CeleryTimeoutError("The operation timed out.")
                if on_interval:
                    on_interval()
                pubsub.get_message(timeout=min(interval, left or interval))
