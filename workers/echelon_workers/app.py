"""The Celery app. `celery -A echelon_workers.app worker -Q fast_group.echelon1` serves one queue of the cluster.

How a job gets from `echelon submit` to a provider and back, file by file: docs/internals.md.
"""

import os
import warnings
from typing import Any

from celery import Celery
from celery.exceptions import CPendingDeprecationWarning

from .ledger.keys import GUESTS, PRIORITIES
from .settings import WorkerSettings


def make_app(settings: WorkerSettings) -> Celery:
    """A Celery app for the cluster at `settings.address`. It connects to nothing until it is used."""
    # Celery warns at every lost connection that this setting's default will change; it is set below.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning, module=r"celery\.worker\.consumer")
    address = settings.address
    app = Celery("echelon", broker=address.broker_url, events="echelon_workers.events:Events", set_as_current=False)
    app.echelon_settings = settings  # type: ignore[attr-defined]
    app.conf.update(
        result_backend="echelon_workers.results:RecordBackend",
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=settings.inbox,
        task_ignore_result=True,
        task_acks_late=True,
        task_create_missing_queues=True,
        task_routes=(_route,),
        worker_consumer="echelon_workers.consumer:Consumer",
        worker_pool="echelon_workers.pool:TaskPool",
        worker_concurrency=settings.slots,
        worker_prefetch_multiplier=1,
        worker_disable_rate_limits=True,
        worker_send_task_events=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": address.keys.queue_prefix,
            "priority_steps": [*PRIORITIES, GUESTS],
            "health_check_interval": 10,
            "socket_keepalive": True,
            "socket_connect_timeout": 5,
            # Celery's main thread waits this long for a silent server, at stopping a few times over.
            "socket_timeout": 5,
            **address.broker_options,
        },
    )
    return app


def _route(name: str, *_: Any, **__: Any) -> dict[str, str] | None:
    """A task named like a queue goes to that queue; Celery's own tasks go where they always went."""
    return {"queue": name} if "." in name and not name.startswith("celery.") else None


app = make_app(WorkerSettings.from_environment(os.environ))
