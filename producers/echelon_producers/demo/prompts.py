"""The demo's prompts: real questions and tasks in many languages, each with the target it is sent to."""

import json
from collections.abc import Mapping
from importlib.resources import files
from itertools import cycle, islice
from typing import Any

from echelon_configs import Configuration, UnknownTarget

Job = Mapping[str, Any]


def prompts() -> list[Job]:
    """All of them, in an order in which any beginning is a fair sample of the whole."""
    text = files("echelon_producers.demo").joinpath("prompts.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def chosen(many: int, configuration: Configuration) -> list[Job]:
    """So many jobs for this configuration: a target that it does not have is replaced by one of its queues, in turn."""
    queues = cycle(configuration.queues)
    fitting = [_fitting(job, configuration) or _sent_to(job, next(queues)) for job in islice(cycle(prompts()), many)]
    return [_with_a_way_out(job, configuration) for job in fitting]


def _fitting(job: Job, configuration: Configuration) -> Job | None:
    try:
        configuration.resolve(job["target"], job.get("node"))
    except UnknownTarget:
        return None
    return job


def _sent_to(job: Job, queue: str) -> Job:
    return {**{name: value for name, value in job.items() if name != "node"}, "target": queue}


def _with_a_way_out(job: Job, configuration: Configuration) -> Job:
    """A single model has nowhere to go when it is away for longer than it is tried: such a job names a group itself."""
    groups = list(configuration.groups)[:1]
    return {**job, "fallback_groups": groups} if job["target"].startswith("model.") and groups else job
