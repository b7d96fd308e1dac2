"""Calls to LLM providers: one object per worker process, over one HTTP client.

Light to import: the HTTP client, a provider's format and its prices load when an instance first needs them.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

from echelon_configs import Instance
from echelon_workers.errors import AttemptFailed, AuthenticationFailed, InstanceUnusable
from echelon_workers.providers.call import Call, ProviderAnswer
from echelon_workers.providers.scrub import scrub
from echelon_workers.providers.transport import open_http
from echelon_workers.providers.turns import Turns

if TYPE_CHECKING:
    import httpx2

    from echelon_workers.providers.adapter import Adapter
    from echelon_workers.providers.target import Target

PROVIDERS: dict[str, str] = {
    "openai": "echelon_workers.providers.openai:OpenAI",
    "anthropic": "echelon_workers.providers.anthropic:Anthropic",
    "gemini": "echelon_workers.providers.gemini:Gemini",
    "openai_compatible": "echelon_workers.providers.openai:OpenAICompatible",
}
"""The providers by the name an instance gives; an instance may also name a class of the user's own by dotted path."""

USER_AGENT = f"echelon/{version('echelon-cluster')}"

_SIMULATED_PATHS = {"anthropic": "/anthropic", "gemini": "/gemini"}


class Providers:
    """Makes calls to every provider, many at a time.

    Built and used on one event loop; close it there with `aclose()`. `environment` is where keys are looked up, at
    each call. With `simulator_url` every instance is pointed at the simulator and no key is needed. `http` is a
    transport to use instead of one of its own; it is not closed.
    """

    #: `Call.sending` is called right before each request goes; of a class that does not say so, before its `complete`.
    announces_sending = True

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        max_connections: int,
        simulator_url: str | None = None,
        http: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._environment = environment
        self._max_connections = max_connections
        self._simulator_url = simulator_url.rstrip("/") if simulator_url else None
        self._http = http
        self._closes_http = http is None
        self._targets: dict[str, Target] = {}
        self._turns = Turns()
        self._building = threading.Lock()

    async def complete(self, call: Call) -> ProviderAnswer:
        """Make one call, once, without retries.

        Raises an AttemptFailed for whatever goes wrong. Cancelling it closes its connection.
        """
        key = self._key(call.instance)
        headers, secrets = self._headers(call.instance)
        if call.job_id:
            headers["x-echelon-job"] = call.job_id
            headers["x-echelon-attempt"] = str(call.attempt)
        target = await self._ready(call.instance, key)
        return await target.complete(call, headers, (key, *secrets))

    async def look(self, instance: Instance, timeout_s: float) -> bool:
        """See whether the provider of an instance answers, at no cost; False: there is no telling without a call.

        Raises an AttemptFailed when it does not.
        """
        key = self._key(instance)
        headers, secrets = self._headers(instance)
        target = await self._ready(instance, key)
        return await target.look(headers, (key, *secrets), timeout_s)

    async def _ready(self, instance: Instance, key: str) -> Target:
        target = self._targets.get(instance.name)
        if target is None or not target.fits(instance, key):
            # In a thread, because the first of a provider loads its prices, and calls in flight must not wait for that.
            (target,) = await asyncio.to_thread(self._build, [(instance, key)])
        return target

    def prepare(self, instances: Iterable[Instance]) -> None:
        """Load what these instances need now, instead of at the first call; those without a key are passed over.

        Raises InstanceUnusable.
        """
        self._build([(instance, self._key(instance)) for instance in instances if self.has_key(instance)])

    def has_key(self, instance: Instance) -> bool:
        """Whether this process has every secret, and every variable of its address, that the instance needs."""
        if self._simulator_url is not None:
            return True
        return not instance.unset and all(secret.resolve(self._environment) is not None for secret in instance.secrets)

    async def aclose(self) -> None:
        """Close every connection. No call may be made afterwards."""
        self._targets.clear()
        if self._closes_http and self._http is not None:
            await self._http.aclose()

    def _key(self, instance: Instance) -> str:
        if self._simulator_url is not None:
            return f"simulated-{instance.name}"
        if instance.unset:
            names = ", ".join(instance.unset)
            raise InstanceUnusable(f"{instance.name}: {names} not set (set it in the worker's environment)")
        if instance.api_key is None:
            return ""
        key = instance.api_key.resolve(self._environment)
        if key is None:
            raise AuthenticationFailed(
                f"{instance.name}: no key: {instance.api_key.env} is not set (set it in the worker's environment)"
            )
        return key

    def _headers(self, instance: Instance) -> tuple[dict[str, str], list[str]]:
        """The headers of a call to an instance, and the secrets among their values."""
        headers = {"user-agent": USER_AGENT}
        secrets: list[str] = []
        simulated = self._simulator_url is not None
        for name, value in instance.headers.items():
            if isinstance(value, str):
                headers[name.lower()] = value
            elif not simulated:
                headers[name.lower()] = self._filled(instance, name, value.resolve(self._environment))
                secrets += [found for found in (r.resolve(self._environment) for r in value.references) if found]
        if simulated:
            headers["x-echelon-instance"] = instance.name
        return headers, secrets

    def _filled(self, instance: Instance, name: str, value: str | None) -> str:
        if value is None:
            raise AuthenticationFailed(
                f"{instance.name}: a variable of the header {name} is not set (set it in the worker's environment)"
            )
        return value

    def _build(self, instances: Iterable[tuple[Instance, str]]) -> list[Target]:
        """The targets of these instances with their keys, each built unless it is there."""
        with self._building:
            targets = [self._target(instance, key) for instance, key in instances]
            if targets:
                from echelon_workers.providers import prices

                prices.load(target.whose_prices for target in targets)
            self._targets.update((target.instance.name, target) for target in targets)
            return targets

    def _target(self, instance: Instance, key: str) -> Target:
        target = self._targets.get(instance.name)
        if target is not None and target.fits(instance, key):
            return target
        try:
            provider = _provider(instance)
            from echelon_workers.providers.target import Target

            if self._http is None:
                self._http = open_http(self._max_connections)
            url = self._base_url(instance)
            return Target.build(instance, provider, self._http, self._turns, base_url=url, key=key)
        except AttemptFailed:
            raise
        except Exception as exc:
            said = scrub(f"{type(exc).__name__}: {exc}", (key,))
            raise InstanceUnusable(f"{instance.name}: cannot be called as it is configured: {said}") from None

    def _base_url(self, instance: Instance) -> str | None:
        if self._simulator_url is None:
            return instance.base_url
        return self._simulator_url + _SIMULATED_PATHS.get(instance.provider, "/openai/v1")


def _provider(instance: Instance) -> type[Adapter]:
    module, _, name = PROVIDERS.get(instance.provider, instance.provider).partition(":")
    try:
        found: type[Adapter] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise InstanceUnusable(
            f"{instance.name}: provider {instance.provider!r} cannot be loaded: {exc} "
            f"(one of {', '.join(PROVIDERS)} with the 'workers' extra installed, or package.module:Class)"
        ) from exc
    return found
