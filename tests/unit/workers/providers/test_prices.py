"""Prices: exact decimals, the same as the price list's own calculation."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import Usage

from echelon_workers.providers.prices import cost_usd, load


@pytest.fixture(autouse=True, scope="module")
def _loaded() -> None:
    load(
        [
            ("openai", None),
            ("anthropic", None),
            (None, "https://api.deepseek.com/v1"),
            (None, "http://127.0.0.1:8000/v1"),
        ]
    )


PLAIN = {"input_tokens": 1000, "output_tokens": 500}
CACHED = {**PLAIN, "cache_read_tokens": 300, "cache_write_tokens": 200, "output_reasoning_tokens": 100}
LONG = {"input_tokens": 900_000, "output_tokens": 70, "cache_read_tokens": 400_000}


@pytest.mark.parametrize("counts", [PLAIN, CACHED, LONG], ids=["plain", "cached", "long"])
def test_every_model_of_the_list_costs_what_the_list_says(counts: dict[str, int]) -> None:
    seen = 0
    load((provider.id, None) for provider in get_snapshot().providers)
    for provider in get_snapshot().providers:
        for model in provider.models:
            used = Usage(**counts)
            ours = cost_usd(counts, model=model.id, provider_id=provider.id, base_url=None)
            try:
                found, info = get_snapshot().find_provider_model(model.id, None, provider.id, None)
                theirs = info.calc_price(used, found, genai_request_timestamp=datetime.now(tz=UTC)).total_price
            except (LookupError, ValueError):
                assert ours is None
                continue
            assert ours is not None
            assert Decimal(ours) == theirs, (provider.id, model.id)
            seen += 1
    assert seen > 1000


def test_a_price_is_written_without_exponent_or_idle_zeros() -> None:
    assert cost_usd(PLAIN, model="gpt-4o", provider_id="openai", base_url=None) == "0.0075"
    assert cost_usd({"input_tokens": 1}, model="gpt-4o-mini", provider_id="openai", base_url=None) == "0.00000015"
    assert cost_usd({}, model="gpt-4o", provider_id="openai", base_url=None) == "0"


def test_an_unknown_model_has_no_price() -> None:
    assert cost_usd(PLAIN, model="my-llama", provider_id="openai", base_url=None) is None


def test_a_server_of_ones_own_has_no_price_though_the_model_has_one_elsewhere() -> None:
    assert cost_usd(PLAIN, model="gpt-4o", provider_id=None, base_url="http://127.0.0.1:8000/v1") is None
    assert cost_usd(PLAIN, model="gpt-4o", provider_id=None, base_url=None) is None


def test_a_compatible_provider_is_known_by_its_address() -> None:
    used = PLAIN
    assert cost_usd(used, model="deepseek-chat", provider_id=None, base_url="https://api.deepseek.com/v1") is not None


def test_a_provider_that_was_not_loaded_has_no_price() -> None:
    assert cost_usd(PLAIN, model="gpt-4o", provider_id=None, base_url="https://nowhere.invalid/v1") is None


def test_more_cached_than_there_was_input_has_no_price() -> None:
    odd = {"input_tokens": 1, "cache_read_tokens": 5}
    assert cost_usd(odd, model="gpt-4o", provider_id="openai", base_url=None) is None


def test_what_costs_beside_tokens_is_left_to_the_list() -> None:
    searched = {**PLAIN, "web_searches": 1000}
    price = cost_usd(searched, model="claude-sonnet-4-5", provider_id="anthropic", base_url=None)
    plain = cost_usd(PLAIN, model="claude-sonnet-4-5", provider_id="anthropic", base_url=None)
    assert price is not None
    assert plain is not None
    assert Decimal(price) - Decimal(plain) == 10
