"""Stock Celery for comparison: its own consumer, its Redis result backend with results kept, `acks_late`, events on.

`acks_late` is the promise nearest to ours: a job whose worker dies is not gone with it. The tasks do what our jobs do,
through the same provider objects. They run in Celery's threads pool, with the provider library's loop in a thread
beside, or in an asyncio pool (ours, which runs by itself: the best one we know), where they await.
"""

import asyncio
import os
import threading
import time
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from celery import Celery

from echelon_configs import Configuration, load
from echelon_workers.ledger.job import JobRequest
from echelon_workers.loop import new_loop
from echelon_workers.pool import wait_for
from echelon_workers.providers import Call

from .worker_providers import Measured, napped

T = TypeVar("T")
QUEUE = "bench"


def make_app(url: str) -> Celery:
    """The app, for the worker and for the producer."""
    app = Celery("bench", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        task_acks_late=True,
        task_serializer="json",
        accept_content=["json"],
        worker_send_task_events=True,
        broker_connection_retry_on_startup=True,
    )
    app.task(name="bench.nap")(nap)
    app.task(name="bench.call", bind=True, rate_limit=os.environ.get("BENCH_STOCK_RATE"))(call)
    return app


def nap(prompt: str, instance: str) -> dict[str, Any]:
    """Wait as our napping provider does, and answer the same."""
    nap_s = float(os.environ["BENCH_NAP_S"])
    if _in_asyncio_pool():
        wait_for(asyncio.sleep(nap_s))
    else:
        time.sleep(nap_s)
    return napped(prompt, _configuration().instances[instance]).model_dump(mode="json")


def call(self: Any, prompt: str, instance: str) -> dict[str, Any]:
    """Make the call that our attempt makes."""
    configuration = _configuration()
    (queue,) = (queue for queue in configuration.queues.values() if queue.kind == "echelon")
    settings = configuration.settings_of(queue.members[0].home, instance)
    answering = _complete(
        Call(
            instance=configuration.instances[instance],
            request=JobRequest(prompt=prompt),
            settings=settings,
            timeout_s=settings.timeout_s,
            job_id=self.request.id,
            attempt=1,
        )
    )
    return wait_for(answering) if _in_asyncio_pool() else _in_loop_thread(answering)


async def _complete(call: Call) -> dict[str, Any]:
    answered = await _providers().complete(call)
    return answered.answer.model_dump(mode="json")


def _in_loop_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(coroutine, _loop()).result()


def _in_asyncio_pool() -> bool:
    return bool(os.environ.get("CELERY_CUSTOM_WORKER_POOL"))


@cache
def _configuration() -> Configuration:
    return load(Path(os.environ["BENCH_CONFIGS"])).configuration


@cache
def _providers() -> Measured:
    """Made in the loop that makes the calls."""
    url = os.environ["ECHELON_SIMULATOR_URL"]
    return Measured(environment=os.environ, max_connections=4096, simulator_url=url)


_making = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    with _making:
        return _loop_thread()


@cache
def _loop_thread() -> asyncio.AbstractEventLoop:
    loop = new_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


if "BENCH_STOCK_URL" in os.environ:
    app = make_app(os.environ["BENCH_STOCK_URL"])
