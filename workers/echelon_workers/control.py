"""Remote control that Celery answers too hastily: what cannot be done is said to whoever asked for it."""

from typing import Any

from celery.worker.control import control_command


@control_command(
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue> [exchange [type [routing_key]]]",
)
def add_consumer(state: Any, queue: str, *_: Any, **__: Any) -> Any:
    """Tell worker(s) to serve one more queue of the configuration in force."""
    source = state.consumer.task_consumer
    if source is None or not source.knows(queue):
        return {"error": f"{queue} is not a queue of the configuration in force"}
    state.consumer.call_soon(state.consumer.add_task_queue, queue)
    return {"ok": f"add consumer {queue}"}
