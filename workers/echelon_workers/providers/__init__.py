"""Calls to LLM providers."""

from echelon_workers.providers.call import Call, GrantLapsed, ProviderAnswer
from echelon_workers.providers.calls import PROVIDERS, Providers

__all__ = ["PROVIDERS", "Call", "GrantLapsed", "ProviderAnswer", "Providers"]
