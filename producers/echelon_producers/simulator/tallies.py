"""Totals of the calls, overall and for each provider, model and instance, kept as they come."""

from collections import defaultdict
from typing import Any

_TOTALS = ("arrivals", "admitted", "in_flight", "max_in_flight", "client_gone", "tokens_in", "tokens_out")


class Tally:
    """What one scope has seen since the last reset."""

    __slots__ = ("admitted", "arrivals", "client_gone", "faults", "in_flight", "max_in_flight", "statuses",
                 "tokens_in", "tokens_out")  # fmt: skip

    def __init__(self) -> None:
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything but the calls still in flight."""
        self.arrivals = self.admitted = self.client_gone = self.tokens_in = self.tokens_out = 0
        self.max_in_flight = self.in_flight
        self.statuses: dict[int, int] = {}
        self.faults: dict[str, int] = {}

    def arrive(self, fault: str) -> None:
        """A call came in."""
        self.arrivals += 1
        self.in_flight += 1
        if self.in_flight > self.max_in_flight:
            self.max_in_flight = self.in_flight
        if fault:
            self.faults[fault] = self.faults.get(fault, 0) + 1

    def admit(self, tokens_in: int, tokens_out: int) -> None:
        """The call passed every limit, so its tokens count."""
        self.admitted += 1
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out

    def leave(self, status: int, gone: bool) -> None:
        """The call is over; status 0 is no answer at all."""
        self.in_flight -= 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.client_gone += gone

    def to_json(self) -> dict[str, Any]:
        """The totals as JSON; a call that got no answer counts under the status `none`."""
        totals = {name: getattr(self, name) for name in _TOTALS}
        statuses = {str(status) if status else "none": count for status, count in sorted(self.statuses.items())}
        return {**totals, "statuses": statuses, "faults": dict(sorted(self.faults.items()))}


class Tallies:
    """The tallies of every scope. Model listings are counted apart, so that probes do not blur the calls."""

    def __init__(self) -> None:
        self.calls = Tally()
        self.listings = Tally()
        self._scopes: dict[str, dict[str, Tally]] = {
            "providers": defaultdict(Tally), "models": defaultdict(Tally), "instances": defaultdict(Tally),
        }  # fmt: skip

    def of(self, provider: str, model: str, instance: str) -> tuple[Tally, ...]:
        """The tallies that a call counts in; the last is the model's."""
        scopes = self._scopes
        found = [self.calls, scopes["providers"][provider]]
        if instance:
            found.append(scopes["instances"][instance])
        if model:
            found.append(scopes["models"][model])
        return tuple(found)

    def reset(self) -> None:
        """Start counting anew; calls still in flight stay in flight."""
        for tally in (self.calls, self.listings):
            tally.reset()
        for scope in self._scopes.values():
            for name, tally in list(scope.items()):
                tally.reset()
                if not tally.in_flight:
                    del scope[name]

    def to_json(self) -> dict[str, Any]:
        """Everything counted, as JSON."""
        scopes = {scope: {name: tally.to_json() for name, tally in sorted(tallies.items())}
                  for scope, tallies in self._scopes.items()}  # fmt: skip
        return {**self.calls.to_json(), "listings": self.listings.to_json(), **scopes}
