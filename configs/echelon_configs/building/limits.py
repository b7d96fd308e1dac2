"""The limits of each scope: what is written there, else what its level says."""

from echelon_configs.limits import ConcurrencyLevels, Level, Limits, RateLimit
from echelon_configs.raw.limits import RawLevel, ScopeLimits
from echelon_configs.reading.drafts import Draft


def build_levels(draft: Draft) -> ConcurrencyLevels:
    """`concurrency_control`; a limit of 0 is no limit."""
    raw = draft.concurrency
    levels = raw.levels

    def level(written: RawLevel | None) -> Level:
        return Level(limit=written.limit or None, queue_size=written.queue_size or None) if written else Level()

    return ConcurrencyLevels(
        enabled=raw.enabled,
        group=level(levels.group_level),
        echelon=level(levels.echelon_level),
        model=level(levels.model_level),
        node=level(levels.node_level),
    )


def build_limits(raw: ScopeLimits, level: Level, levels: ConcurrencyLevels, rate: RateLimit | None = None) -> Limits:
    """What is written at the scope wins, 0 (no limit) too; else what its level says, while the levels hold."""
    default = level if levels.enabled else Level()
    return Limits(
        concurrency=_bound(raw.concurrency_limit, default.limit),
        queue_size=_bound(raw.queue_size, default.queue_size),
        requests_per_minute=raw.rpm_limit or None,
        tokens_per_minute=raw.tpm_limit or None,
        rate=rate,
    )


def _bound(written: int | None, default: int | None) -> int | None:
    return default if written is None else written or None
