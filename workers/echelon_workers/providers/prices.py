"""What a call cost, from the price list that genai-prices carries: no network, exact decimals."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider
from pydantic_ai.usage import RequestUsage


def cost_usd(usage: RequestUsage, *, model: str, provider_id: str | None, base_url: str | None) -> str | None:
    """The price in US dollars as a decimal number, None when the list does not know the model or usage is missing.

    `provider_id` names the price list's provider; without it the provider is found by `base_url`, so that a model that
    runs at home is not charged at somebody else's price. Cached and long-context tokens are priced at their own rates.
    """
    if usage.unmeasured_requests:
        return None
    found = _find(model, provider_id, base_url)
    if found is None:
        return None
    provider, info = found
    try:
        price = info.calc_price(usage, provider, genai_request_timestamp=datetime.now(tz=UTC)).total_price
    except (LookupError, ValueError):
        return None
    return _plain(price)


@lru_cache(maxsize=1024)
def _find(model: str, provider_id: str | None, base_url: str | None) -> tuple[Provider, ModelInfo] | None:
    """Cached because the library remembers what it found, but looks again each time for what it did not find."""
    if provider_id is None and base_url is None:
        return None
    try:
        return get_snapshot().find_provider_model(model, None, provider_id, None if provider_id else base_url)
    except LookupError:
        return None


def _plain(price: Decimal) -> str:
    text = format(price, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
