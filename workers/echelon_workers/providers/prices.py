"""What a call cost, from the price list that genai-prices carries: no network, exact decimals.

The list takes 31 MB, so only the providers that are needed stay in memory (`load`), and the rest goes again. Its own
calculation takes 0.2 ms a call; the plain case (tokens in, cached, out) is worked out here from the list's rates by
the same rules, and a test holds the two equal for every model of the list.
"""

from __future__ import annotations

import gc
import importlib
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

import genai_prices
from genai_prices.data_snapshot import DataSnapshot, find_provider_by_id
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices, Usage

_MILLION = Decimal(1_000_000)
_PLAIN_KINDS = frozenset(
    {"input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "output_reasoning_tokens"}
)
_DATA = "genai_prices.data"

Whose = tuple[str | None, str | None]
"""A provider by its name in the list, or by the base url of its API."""

_kept: dict[Whose, DataSnapshot | None] = {}
_loading = threading.Lock()


def load(wanted: Iterable[Whose]) -> None:
    """Keep the prices of these providers, once; takes 50 ms when there is one that is not kept yet.

    One that the list does not have is kept as that: a server of one's own has no prices.
    """
    with _loading:
        missing = {whose for whose in wanted if whose not in _kept and whose != (None, None)}
        if not missing:
            return
        providers: list[Provider] = importlib.import_module(_DATA).providers
        for whose in missing:
            _kept[whose] = _snapshot(providers, *whose)
        del providers
        # Not only the name: what is imported once stays, unless the module goes.
        sys.modules.pop(_DATA, None)
        genai_prices.__dict__.pop("data", None)
        gc.collect()


def cost_usd(
    counts: Mapping[str, int],
    *,
    model: str,
    provider_id: str | None,
    base_url: str | None,
    context: Mapping[str, str] | None = None,
) -> str | None:
    """The price in US dollars as a decimal number, None when the list does not know the model.

    `counts` are tokens by the list's names. `provider_id` names the list's provider; without it the provider is found
    by `base_url`, so that a model that runs at home is not charged at somebody else's price. Either has to be loaded
    (`load`). Cached tokens and long contexts have their own rates; `context` says in which service tier was answered.
    """
    whose = (provider_id, None if provider_id else base_url)
    # Some prices depend on the date or the hour: rates are looked up anew every minute.
    found = _find(model, whose, int(time.time() // 60)) if _kept.get(whose) else None
    if found is None:
        return None
    provider, info, prices = found
    try:
        price = None if info.price_variants and context else _plain_price(prices, counts)
        if price is None:
            usage = Usage(**{kind: count for kind, count in counts.items() if count})
            now = datetime.now(tz=UTC)
            price = info.calc_price(usage, provider, genai_request_timestamp=now, price_context=context).total_price
    except (LookupError, ValueError):
        return None
    return _written(price)


def _snapshot(providers: list[Provider], provider_id: str | None, base_url: str | None) -> DataSnapshot | None:
    """The part of the list that says what this provider's models cost: it, and those that it falls back on."""
    if provider_id is not None:
        found = find_provider_by_id(providers, provider_id)
    else:
        found = next((one for one in providers if re.match(one.api_pattern, base_url or "")), None)
    if found is None:
        return None
    behind = set(found.fallback_model_providers or ())
    return DataSnapshot([found, *(one for one in providers if one.id in behind)], from_auto_update=False)


@lru_cache(maxsize=512)
def _find(model: str, whose: Whose, minute: int) -> tuple[Provider, ModelInfo, ModelPrice] | None:
    snapshot = _kept[whose]
    assert snapshot is not None
    try:
        provider, info = snapshot.find_provider_model(model, snapshot.providers[0], None, None)
    except LookupError:
        return None
    return provider, info, info.get_prices(datetime.fromtimestamp(minute * 60, tz=UTC))


def _plain_price(prices: ModelPrice, counts: Mapping[str, int]) -> Decimal | None:
    """The price of tokens in, cached and out; None when anything else may cost something.

    The list's rules: a kind of token that has no rate of its own is charged at the rate of the kind it is part of, and
    all tokens are charged at the rate of the tier that the whole input reaches.
    """
    if any(count and kind not in _PLAIN_KINDS for kind, count in counts.items()):
        return None
    rates = {name: rate for name, rate in vars(prices).items() if rate is not None}
    if "requests_kcount" in rates:
        return None
    tokens_in = counts.get("input_tokens", 0)
    total = Decimal(0)
    for name, count, parts in (
        ("input_mtok", tokens_in, ("cache_read", "cache_write")),
        ("output_mtok", counts.get("output_tokens", 0), ("output_reasoning",)),
    ):
        for part in parts:
            if f"{part}_mtok" in rates:
                part_count = counts.get(f"{part}_tokens", 0)
                total += _rate(rates[f"{part}_mtok"], tokens_in) * part_count
                count -= part_count
        if count < 0:
            return None
        if name in rates:
            total += _rate(rates[name], tokens_in) * count
    return total / _MILLION


def _rate(rate: Decimal | TieredPrices, input_tokens: int) -> Decimal:
    if isinstance(rate, Decimal):
        return rate
    reached = [tier.price for tier in rate.tiers if input_tokens > tier.start]
    return reached[-1] if reached else rate.base


def _written(price: Decimal) -> str:
    text = format(price, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
