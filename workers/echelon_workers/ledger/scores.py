"""The ledger's verb for scores, `lua/score.lua`, as plain values: read how instances are, publish what follows from it.

Only one worker of the fleet does either: whichever was first, for as long as it goes on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .instances import FIELDS, InstanceStatus, instance_status
from .scripts import script
from .verbs import Verb


def read_standings(worker: str, instances: Sequence[str], *, holds_ms: int) -> Verb[dict[str, InstanceStatus] | None]:
    """How these instances are, if it is this worker that publishes scores, or nobody; else None.

    For `holds_ms` from now it is this one.
    """

    def read(reply: list[Any]) -> dict[str, InstanceStatus] | None:
        if not reply:
            return None
        now_ms, rows = int(reply[0]), reply[1:]
        return {name: instance_status(name, row, now_ms) for name, row in zip(instances, rows, strict=True)}

    return Verb(script("score"), ["read", worker, holds_ms, " ".join(FIELDS), *instances], read)


def publish_scores(worker: str, scores: Mapping[str, Mapping[str, float]], *, valid_ms: int) -> Verb[bool]:
    """Publish the scores of queues, by instance; False: it is another worker that does so by now.

    A queue without scores goes by its weights, as all do after `valid_ms`.
    """
    args: list[str | bytes | int | float] = ["publish", worker, valid_ms]
    for queue, of_queue in scores.items():
        args += (queue, len(of_queue))
        for instance, score in of_queue.items():
            args += (instance, f"{score:.9g}")
    return Verb(script("score"), args, lambda reply: reply == b"1")
