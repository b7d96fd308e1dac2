"""An instance made ready for calls, and the one way a call goes: body, request, reply, answer.

This module and the providers' load aiohttp and the price list; `calls.py` imports them with the first instance.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx2

from echelon_configs import Instance
from echelon_workers.errors import TimedOut
from echelon_workers.providers.adapter import Adapter, Endpoint, split_parameters
from echelon_workers.providers.ask import ask_of
from echelon_workers.providers.call import Call, GrantLapsed, ProviderAnswer
from echelon_workers.providers.failures import failure_of, unreadable
from echelon_workers.providers.json_api import HttpFailed, JsonApi
from echelon_workers.providers.over_aiohttp import sending_now
from echelon_workers.providers.prices import Whose
from echelon_workers.providers.reply import Origin, Reply, answer_of
from echelon_workers.providers.transport import phase_timeouts, rate_limit_headers
from echelon_workers.providers.turns import Turns

T = TypeVar("T")

# Sent where an instance has no key; servers without keys take any.
PLACEHOLDER_KEY = "not-needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One instance with its adapter and address; built anew when the instance or its key changes."""

    instance: Instance
    key: str
    adapter: Adapter
    api: JsonApi
    origin: Origin
    turns: Turns

    def __repr__(self) -> str:
        return f"Target({self.instance.name})"

    @classmethod
    def build(
        cls,
        instance: Instance,
        provider: type[Adapter],
        http: httpx2.AsyncBaseTransport,
        turns: Turns,
        *,
        base_url: str | None,
        key: str,
    ) -> Target:
        """Raises InstanceUnusable when the instance cannot be called as it is configured."""
        known, extra = split_parameters(instance.parameters)
        adapter = provider(
            Endpoint(
                instance=instance.name,
                base_url=base_url,
                api_key=key or PLACEHOLDER_KEY,
                model=instance.model,
                known=known,
                extra=extra,
            )
        )
        return cls(
            instance=instance,
            key=key,
            adapter=adapter,
            api=JsonApi(http, adapter.url, adapter.headers),
            origin=Origin(
                instance=instance.name, model=instance.model, price_list=adapter.price_list, base_url=instance.base_url
            ),
            turns=turns,
        )

    @property
    def whose_prices(self) -> Whose:
        """Whom the prices are to be loaded of."""
        name = self.origin.price_list
        return (name, None if name else self.origin.base_url)

    def fits(self, instance: Instance, key: str) -> bool:
        """Whether this was built for this instance as it is configured now, and this key."""
        return self.key == key and (self.instance is instance or self.instance == instance)

    async def complete(self, call: Call, headers: dict[str, str], secrets: tuple[str, ...]) -> ProviderAnswer:
        """Make one call, once. Raises an AttemptFailed for whatever goes wrong, and GrantLapsed as `Call.sending`;
        cancelling closes the connection."""
        seen: dict[str, str] = {}
        try:
            return await self._complete(call, headers, seen)
        except GrantLapsed:
            raise
        except HttpFailed as exc:
            limits = rate_limit_headers(exc.headers) or seen
            failure = failure_of(exc, instance=call.instance.name, secrets=secrets, headers=limits)
        except Exception as exc:
            failure = failure_of(exc, instance=call.instance.name, secrets=secrets, headers=seen)
        # Raised out here, so that what was caught, which may hold the request and the key, does not hang on it.
        raise failure

    async def _complete(self, call: Call, headers: dict[str, str], seen: dict[str, str]) -> ProviderAnswer:
        await self.turns.mine()
        ask = ask_of(call)
        body = self.adapter.body(ask, call.request)
        started = time.monotonic()
        sending = sending_now.set(call.sending)
        try:
            content, received = await self._post(body, headers, call.timeout_s)
        finally:
            sending_now.reset(sending)
        latency_ms = round((time.monotonic() - started) * 1000)
        await self.turns.mine()
        seen.update(rate_limit_headers(received))
        answer = answer_of(self._read(content, received), ask, self.origin, latency_ms)
        return ProviderAnswer(answer=answer, rate_limits=seen)

    async def look(self, headers: dict[str, str], secrets: tuple[str, ...], timeout_s: float) -> bool:
        """See whether the provider answers, where it lists its models; False when there is no telling that way.

        Raises an AttemptFailed when it does not answer, or with an error of its own.
        """
        url = self.adapter.models_url
        if url is None:
            return False
        try:
            await self._whole(timeout_s, lambda phases: self.api.get(url, headers, phases))
            return True
        except HttpFailed as exc:
            if exc.status < 500 and exc.status not in (408, 429):
                return False  # a key may be good for calls, and not for this
            failure = failure_of(exc, instance=self.instance.name, secrets=secrets)
        except Exception as exc:
            failure = failure_of(exc, instance=self.instance.name, secrets=secrets)
        raise failure

    async def _post(
        self, body: dict[str, object], headers: dict[str, str], timeout_s: float
    ) -> tuple[bytes, httpx2.Headers]:
        return await self._whole(timeout_s, lambda phases: self.api.post(body, headers, phases))

    async def _whole(self, timeout_s: float, request: Callable[[dict[str, float | None]], Awaitable[T]]) -> T:
        """The bounds of the phases do not bound the whole: a provider that trickles would never end."""
        bounds = self.instance.timeouts
        phases = phase_timeouts(timeout_s, connect_s=bounds.connect_s, read_s=bounds.read_s, write_s=bounds.write_s)
        deadline = asyncio.timeout(timeout_s)
        try:
            async with deadline:
                return await request(phases)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise TimedOut(f"{self.instance.name}: no whole answer within {timeout_s:g} s") from None

    def _read(self, content: bytes, headers: httpx2.Headers) -> Reply:
        """Raises Unreadable for a body of another shape."""
        try:
            return self.adapter.read(content, headers)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
            raise unreadable(exc) from None
