"""How an instance is: its state and figures, worked out in this one place from its scope in Redis.

    healthy      it answers
    degraded     it answers badly: its last attempt failed, too many of the last did, or it is much slower than usual
    unhealthy    it is out: its breaker is open, and no job is sent to it
    recovering   its breaker is half open: probes find out whether it works again

What the fields mean is said in `lua/parts/scopes.lua`, `breaker.lua`, `outcomes.lua` and `probes.lua`.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["healthy", "degraded", "unhealthy", "recovering"]

#: The fields of a scope `model:INSTANCE` that `instance_status` reads, in its order.
FIELDS = ("cl", "cu", "nb", "bf", "bo", "bw", "ew", "hp", "hr")

#: Less than this share of successes, lately, is degraded; as are answers that take so many times what is usual, and so
#: much longer, once there were enough of them.
GOOD_SUCCESS = 0.9
SLOWER, LONGER_MS, ENOUGH_OUTCOMES = 3.0, 1000.0, 10
#: A failure fades from the share of successes with this time (as in `lua/parts/outcomes.lua`).
FORGET_MS = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """One instance at one moment, as the whole fleet sees it.

    `failures`: in a row. `open_ms`: for how long no job is sent to it, None until the configuration is loaded anew, and
    `why` (an outcome's code). `rests_ms`: for how long its provider wants no calls (429). `success_rate` (0 to 1) and
    `latency_ms` of its answers are moving averages, None before there was any. `probed_ms_ago` and `probe`: its last
    health probe and what that came to ("ok" or a code).
    """

    name: str
    state: State
    failures: int = 0
    open_ms: int | None = 0
    why: str = ""
    rests_ms: int = 0
    success_rate: float | None = None
    latency_ms: int | None = None
    in_use: int = 0
    concurrency: int | None = None
    probed_ms_ago: int | None = None
    probe: str = ""

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        return asdict(self)


#: A breaker that is open for longer than this is open until somebody does something about it.
_FOR_EVER_MS = 366 * 86_400_000


def instance_status(name: str, row: Sequence[bytes | None], now_ms: int) -> InstanceStatus:
    """The status of an instance whose scope holds these FIELDS."""
    found = {field: value.decode() for field, value in zip(FIELDS, row, strict=True) if value is not None}
    open_ms = max(0, int(found["bo"]) - now_ms) if "bo" in found else 0
    failures = int(found.get("bf", 0))
    seen, success, latency, usual, at = (float(value) for value in (found.get("ew") or "0 1 0 0 0").split())
    success = 1 - (1 - success) * math.exp(min(0.0, at - now_ms) / FORGET_MS)
    slow = seen >= ENOUGH_OUTCOMES and latency > max(SLOWER * usual, usual + LONGER_MS)
    return InstanceStatus(
        name=name,
        state=_state("bo" in found, open_ms, bad=failures > 0 or success < GOOD_SUCCESS or slow),
        failures=failures,
        open_ms=open_ms if open_ms < _FOR_EVER_MS else None,
        why=found.get("bw", "") if "bo" in found else "",
        rests_ms=max(0, int(found.get("nb", 0)) - now_ms),
        success_rate=round(success, 3) if seen else None,
        latency_ms=round(latency) if latency else None,
        in_use=int(found.get("cu", 0)),
        concurrency=int(found.get("cl", 0)) or None,
        probed_ms_ago=max(0, now_ms - int(found["hp"])) if "hp" in found else None,
        probe=found.get("hr", ""),
    )


def _state(is_out: bool, open_ms: int, *, bad: bool) -> State:
    if is_out:
        return "unhealthy" if open_ms else "recovering"
    return "degraded" if bad else "healthy"
