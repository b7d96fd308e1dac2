"""Providers for our worker under measurement; it loads them by ECHELON_PROVIDERS."""

import asyncio
import os
from collections.abc import Iterable, Mapping

from echelon_configs import Instance
from echelon_workers.ledger.job import Answer, Usage
from echelon_workers.providers import Call, ProviderAnswer, Providers

from .lag import LagSampler


class Napping:
    """Awaits BENCH_NAP_S and answers: a job that costs nothing but its handling."""

    def __init__(
        self, *, environment: Mapping[str, str], max_connections: int, simulator_url: str | None = None
    ) -> None:
        self._nap_s = float(os.environ["BENCH_NAP_S"])

    def has_key(self, instance: Instance) -> bool:
        """Always."""
        return True

    def prepare(self, instances: Iterable[Instance]) -> None:
        """Nothing to load."""

    async def complete(self, call: Call) -> ProviderAnswer:
        """The answer of an echo after a nap."""
        call.sending()
        await asyncio.sleep(self._nap_s)
        return ProviderAnswer(answer=napped(call.request.prompt or "", call.instance))

    async def aclose(self) -> None:
        """Nothing to close."""


def napped(prompt: str, instance: Instance) -> Answer:
    """What a napping job answers, on both sides."""
    return Answer(
        text=prompt,
        finish_reason="stop",
        usage=Usage(input_tokens=18, output_tokens=18),
        cost_usd="0.0001",
        model=instance.model,
        instance=instance.name,
        latency_ms=50,
    )


class Measured(Providers):
    """The real providers; with BENCH_LAG set, the lag of the loop they run in is sampled into that file."""

    def __init__(
        self, *, environment: Mapping[str, str], max_connections: int, simulator_url: str | None = None
    ) -> None:
        super().__init__(environment=environment, max_connections=max_connections, simulator_url=simulator_url)
        path = os.environ.get("BENCH_LAG")
        self._sampler = LagSampler(path) if path else None

    async def aclose(self) -> None:
        """Write the last samples, and close."""
        if self._sampler is not None:
            self._sampler.stop()
        await super().aclose()
