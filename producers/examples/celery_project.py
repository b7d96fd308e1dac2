"""A Celery project that has nothing of Echelon installed: its own app, the cluster's Redis, a task by its name.

ECHELON_REDIS_URL=redis://127.0.0.1:6379/0 python celery_project.py "Why is the sky blue?"
"""

import os
import sys
from typing import Any

from celery import Celery
from celery.result import AsyncResult

url = os.environ.get("ECHELON_REDIS_URL", "redis://127.0.0.1:6379/0")
app = Celery("project", broker=url, backend=url)


def ask(prompt: str) -> str:
    """Send a job and return its id. The task is named like the queue, and its keyword arguments are the request."""
    return str(app.send_task("fast_group.echelon1", kwargs={"prompt": prompt}, expires=600).id)


def main() -> None:
    jobs = {prompt: ask(prompt) for prompt in sys.argv[1:] or ["Explain queues in one sentence."]}
    for prompt, job in jobs.items():
        answer: dict[str, Any] = AsyncResult(job, app=app).get(timeout=120)
        print(f"{prompt}\n  {answer['text']}\n  ({answer['model']}, {answer['usage']['output_tokens']} tokens)")


if __name__ == "__main__":
    main()
