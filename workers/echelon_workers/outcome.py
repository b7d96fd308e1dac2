"""The end of one attempt in words that the ledger, Celery and Flower understand."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

#: How a task of ours ends in Celery.
EndKind = Literal["answered", "moved", "dead", "given_back", "cancelled"]


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended its Celery task, and one line for people who watch Flower; `fallback` is the queue where its
    job goes on, if that is another one."""

    kind: EndKind
    line: str
    fallback: str = ""


def celery_success(id: str, answer: dict[str, Any]) -> str:
    """What Celery's Redis result backend stores for a success (celery/backends/base.py `_get_result_meta`)."""
    return _meta(id, "SUCCESS", answer)


def celery_failure(id: str, message: str, exc_type: str = "RuntimeError") -> str:
    """The same for one that failed. A built-in exception, so that any Celery client can raise it."""
    error = {"exc_type": exc_type, "exc_message": [message], "exc_module": "builtins"}
    return _meta(id, "FAILURE", error)


def celery_revoked(id: str, message: str) -> str:
    """The same for one that was cancelled (celery/backends/base.py `mark_as_revoked`)."""
    error = {"exc_type": "TaskRevokedError", "exc_message": [message], "exc_module": "celery.exceptions"}
    return _meta(id, "REVOKED", error)


def _meta(id: str, status: str, result: object) -> str:
    done = datetime.now(UTC).isoformat()
    meta = {"status": status, "result": result, "traceback": None, "children": [], "date_done": done, "task_id": id}
    return compact(meta)


def compact(value: Mapping[str, Any]) -> str:
    """JSON as the ledger keeps it, without spaces."""
    return json.dumps(value, separators=(",", ":"))
