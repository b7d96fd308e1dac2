"""Reads one polling pool."""

from echelon_configs.raw.pools import RawPool
from echelon_configs.reading.drafts import Draft, DraftPool, Reading
from echelon_configs.reading.names import check_name
from echelon_configs.reading.rates import resolve_wide
from echelon_configs.reading.validate import validate
from echelon_configs.text.marked import Marked, Place


def read_pool(name: str, written: Marked, body: Marked, draft: Draft, reading: Reading) -> DraftPool:
    """A pool, as far as it can be read."""
    check_name(name, "a pool", Place(written.file, written.key_line, written.path), reading.problems)
    raw = validate(RawPool, body, reading.problems, reading.registry)
    rates = raw.rate_limiting if raw else None
    limits = resolve_wide(rates, body.get("rate_limiting"), draft.rate_limiting, reading.problems)
    return DraftPool(name, body, raw, limits)
