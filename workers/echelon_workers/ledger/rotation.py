"""How the members of a queue take turns, as take knows it: three ways (`lua/parts/turns.lua`).

`rotate` and `least` are all that two schedulers need; every other one publishes scores. What a scheduler works its
scores out from, and when, is the workers' (`echelon_workers.schedulers`).
"""

from typing import Literal

from echelon_configs import Configuration, Queue

#: `rotate`: one after the other; `least`: the one granted longest ago; `score`: in shares as their scores.
Primitive = Literal["rotate", "least", "score"]

_WITHOUT_SCORES: dict[str, Primitive] = {"round_robin": "rotate", "least_recently_used": "least"}


def primitive_of(rotation: str) -> Primitive:
    """The way in which a scheduler's queues take turns; `rotation` is its name or `package.module:Class`."""
    return _WITHOUT_SCORES.get(rotation, "score")


def turns_of(configuration: Configuration, queue: Queue) -> str:
    """What stands before the members in a queue's plan. Until scores are published the weights are the scores."""
    match primitive_of(queue.rotation):
        case "rotate":
            return ""
        case "least":
            return "=least;"
        case "score":
            weights = {member.instance: configuration.instances[member.instance].weight for member in queue.members}
            return f"=score {' '.join(f'{instance}={weight:.9g}' for instance, weight in weights.items())};"


def ordered_instances(configuration: Configuration) -> frozenset[str]:
    """The instances of which it is noted when they were granted, because a queue goes by that."""
    queues = [queue for queue in configuration.queues.values() if primitive_of(queue.rotation) == "least"]
    return frozenset(member.instance for queue in queues for member in queue.members)
