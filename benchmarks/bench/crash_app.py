"""Stock Celery set up against crashes as well as it can be, for the worker and for the producer.

Beside `acks_late`: `reject_on_worker_lost`, one job fetched for each that runs, and a visibility timeout as long as our
lease. A job of a dead worker is delivered anew when that is over; so is one that merely takes longer, because nobody
renews it, which is why this is safe only where no call takes nearly as long.
"""

import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_ready

from .stock_app import make_app

VISIBILITY_S = 10


def make_crash_app(url: str) -> Celery:
    """The app; it says in the file BENCH_READY when its worker is ready."""
    app = make_app(url)
    app.conf.update(
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        broker_transport_options={"visibility_timeout": VISIBILITY_S},
    )
    return app


if "BENCH_STOCK_URL" in os.environ:
    app = make_crash_app(os.environ["BENCH_STOCK_URL"])


@worker_ready.connect
def _say_so(**_: Any) -> None:
    Path(os.environ["BENCH_READY"]).touch()
