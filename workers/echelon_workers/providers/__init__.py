"""Calls to LLM providers."""

from echelon_workers.providers.call import Call, ProviderAnswer
from echelon_workers.providers.calls import PROVIDERS, Providers

__all__ = ["PROVIDERS", "Call", "ProviderAnswer", "Providers"]
