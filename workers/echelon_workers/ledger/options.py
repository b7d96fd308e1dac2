"""What a job states beside its request, in the `options` field of its record: JSON that Redis never looks into."""

import json
from dataclasses import dataclass

from echelon_configs import Configuration, UnknownTarget

#: A job passes few queues within its budget; more than these are a mistake.
MOST_FALLBACKS = 20


class OptionsInvalid(ValueError):
    """Options that a job cannot have; the message says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`fallback_groups`: where the job goes after its own queue, in order; empty: nowhere; None: it says nothing, and
    its node or its group decides."""

    fallback_groups: tuple[str, ...] | None = None

    def to_json(self) -> str:
        """The text of the field; empty when nothing is stated."""
        if self.fallback_groups is None:
            return ""
        return json.dumps({"fallback_groups": self.fallback_groups}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Options":
        """Read what `to_json` wrote."""
        stated = json.loads(text).get("fallback_groups") if text else None
        return cls(fallback_groups=None if stated is None else tuple(stated))


def fallbacks_stated(configuration: Configuration, value: object) -> tuple[str, ...] | None:
    """The `fallback_groups` of a job as a producer gives them: a list of targets, or None.

    Raises OptionsInvalid; UnknownTarget for one that there is not.
    """
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(isinstance(target, str) for target in value):
        raise OptionsInvalid("not a list of targets (would be right: a list such as ['fast_group.echelon2'])")
    if len(value) > MOST_FALLBACKS:
        raise OptionsInvalid(f"{len(value)} targets (would be right: at most {MOST_FALLBACKS})")
    for target in value:
        if target.startswith("node."):
            raise OptionsInvalid(f"{target:.100} has no queue (would be right: the target of that node)")
        if len(target) > 300:
            raise UnknownTarget(f"{target[:50]}...")
        configuration.resolve(target)
    return tuple(dict.fromkeys(value))
