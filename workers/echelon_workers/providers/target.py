"""An instance made ready for calls, and the one way a call goes: plan, request, answer.

This module loads the provider library; `calls.py` imports it when the first call is made.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from pydantic_ai.direct import model_request
from pydantic_ai.messages import ModelResponse

from echelon_configs import Instance
from echelon_workers.errors import TimedOut
from echelon_workers.providers.adapter import Adapter, Endpoint, Plan, split_parameters
from echelon_workers.providers.ask import ask_of
from echelon_workers.providers.call import Call, ProviderAnswer
from echelon_workers.providers.failures import failure_of
from echelon_workers.providers.reply import Origin, answer_of
from echelon_workers.providers.transport import Exchange, current_exchange, phase_timeouts

# The SDKs insist on a key, and without one take what they find in the environment.
PLACEHOLDER_KEY = "not-needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One instance with its model object, which carries its SDK client; built anew when the instance or key changes."""

    instance: Instance
    key: str
    adapter: Adapter[Any]
    model: Any
    base: dict[str, Any]
    origin: Origin

    def __repr__(self) -> str:
        return f"Target({self.instance.name})"

    @classmethod
    def build(cls, instance: Instance, adapter: Adapter[Any], *, base_url: str | None, key: str) -> Target:
        """Raises InstanceUnusable when the instance cannot be called as it is configured."""
        known, extra = split_parameters(instance.parameters)
        model = adapter.model(
            Endpoint(
                instance=instance.name,
                base_url=base_url,
                api_key=key or PLACEHOLDER_KEY,
                model=instance.model,
                extra=extra,
            )
        )
        return cls(
            instance=instance,
            key=key,
            adapter=adapter,
            model=model,
            base=adapter.base_settings(known, extra),
            origin=Origin(
                instance=instance.name, model=instance.model, price_list=adapter.price_list, base_url=instance.base_url
            ),
        )

    def fits(self, instance: Instance, key: str) -> bool:
        """Whether this was built for this instance as it is configured now, and this key."""
        return self.key == key and (self.instance is instance or self.instance == instance)

    async def complete(self, call: Call, headers: dict[str, str], secrets: tuple[str, ...]) -> ProviderAnswer:
        """Make one call, once. Raises an AttemptFailed for whatever goes wrong; cancelling closes the connection."""
        timeouts = self.instance.timeouts
        exchange = Exchange(
            timeouts=phase_timeouts(
                call.timeout_s, connect_s=timeouts.connect_s, read_s=timeouts.read_s, write_s=timeouts.write_s
            )
        )
        token = current_exchange.set(exchange)
        try:
            return await self._complete(call, headers, exchange)
        except Exception as exc:
            failure = failure_of(exc, instance=call.instance.name, secrets=secrets, headers=exchange.rate_limits)
        finally:
            current_exchange.reset(token)
        # Raised out here, so that the library's exception, which holds the request and the key, does not hang on it.
        raise failure

    async def _complete(self, call: Call, headers: dict[str, str], exchange: Exchange) -> ProviderAnswer:
        ask = ask_of(call)
        base = {**self.base, "timeout": call.timeout_s, "extra_headers": headers}
        plan = self.adapter.plan(self.model, ask, call.request, base)
        started = time.monotonic()
        response = await self._request(plan, call.timeout_s)
        latency_ms = round((time.monotonic() - started) * 1000)
        answer = answer_of(response, ask, self.origin, latency_ms)
        return ProviderAnswer(answer=answer, rate_limits=exchange.rate_limits)

    async def _request(self, plan: Plan, timeout_s: float) -> ModelResponse:
        """The bounds of the phases do not bound the whole: a provider that trickles would never end."""
        deadline = asyncio.timeout(timeout_s)
        try:
            async with deadline:
                return await model_request(
                    self.model,
                    plan.messages,
                    model_settings=plan.settings,
                    model_request_parameters=plan.parameters,
                    instrument=False,
                )
        except TimeoutError:
            if not deadline.expired():
                raise
            raise TimedOut(f"{self.instance.name}: no whole answer within {timeout_s:g} s") from None
