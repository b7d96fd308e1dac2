"""Shares by weight, and by how well each instance does."""

from collections.abc import Mapping, Sequence

from typing_extensions import override

from .scheduler import Scheduler, Standing

#: Whatever an instance does, so much of its weight is left: what gets no work cannot show that it is well again.
LEAST = 0.05
#: The slowest instance has so much of what the fastest has, of equal weight.
LEAST_FOR_LATENCY = 0.2
#: An instance at its limit of concurrency has so much of what an idle one has.
LEAST_FOR_LOAD = 0.5


class Weighted(Scheduler):
    """weight x success rate squared x (fastest latency / own latency) x (1 - half of the share of its limit in use)."""

    @override
    def scores(self, standings: Sequence[Standing]) -> Mapping[str, float]:
        fastest = min((each.latency_ms for each in standings if each.latency_ms), default=None)
        return {each.instance: each.weight * max(LEAST, _factor(each, fastest)) for each in standings}


def _factor(standing: Standing, fastest: float | None) -> float:
    factor = standing.success_rate**2
    if fastest and standing.latency_ms:
        factor *= max(LEAST_FOR_LATENCY, fastest / standing.latency_ms)
    if standing.concurrency:
        factor *= 1 - (1 - LEAST_FOR_LOAD) * min(1.0, standing.in_use / standing.concurrency)
    return factor
