"""Task groups: echelons in order, and where jobs go after a failure."""

from echelon_configs.building.calls import call_overrides, given
from echelon_configs.building.limits import build_limits
from echelon_configs.fallbacks import Breaker, Fallback, GlobalFallback
from echelon_configs.groups import Echelon, Group
from echelon_configs.limits import ConcurrencyLevels
from echelon_configs.raw.fallbacks import RawBreaker
from echelon_configs.reading.checks import kept
from echelon_configs.reading.drafts import Draft, DraftEchelon, DraftGroup
from echelon_configs.settings import CallSettings

#: What a group that does not state it takes from `global_fallback`.
_INHERITED = ("max_attempts", "retry_delay_s", "fallback_on_refusal")


def build_global_fallback(draft: Draft) -> GlobalFallback:
    """What holds where a group says nothing."""
    raw = draft.global_fallback
    return GlobalFallback(
        enabled=raw.enabled,
        circuit_breaker=_breaker(raw.circuit_breaker, Breaker()),
        **given(
            max_attempts=raw.max_attempts,
            retry_delay_s=raw.retry_delay,
            fallback_on_refusal=raw.fallback_on_refusal,
        ),
    )


def build_group(written: DraftGroup, draft: Draft, levels: ConcurrencyLevels, everywhere: GlobalFallback) -> Group:
    """A group with its echelons, the best first."""
    raw = written.raw
    assert raw is not None  # there were no errors
    echelons = [_echelon(written, echelon, draft, levels) for echelon in written.echelons.values()]
    return Group(
        name=written.name,
        description=raw.description,
        echelons={echelon.name: echelon for echelon in sorted(echelons, key=lambda echelon: echelon.priority)},
        fallback=_fallback(written, draft, everywhere),
        limits=build_limits(raw, levels.group, levels, written.rate),
    )


def _fallback(written: DraftGroup, draft: Draft, everywhere: GlobalFallback) -> Fallback:
    assert written.raw is not None
    config, short = written.raw.fallback_config, written.raw.fallback_strategy
    named = short or (config.strategy if config else None)
    breaker = _breaker(config.circuit_breaker if config else None, everywhere.circuit_breaker)
    stated = given(
        max_attempts=config.max_attempts if config else None,
        retry_delay_s=config.retry_delay if config else None,
        fallback_on_refusal=config.fallback_on_refusal if config else None,
    )
    inherited = {name: getattr(everywhere, name) for name in _INHERITED}
    silent = named is None and config is None
    return Fallback(
        strategy=named or (None if silent and not everywhere.enabled else Fallback().strategy),
        fallback_groups=kept(config.fallback_groups if config else None, draft),
        circuit_breaker=_breaker(written.raw.circuit_breaker, breaker),
        **{**inherited, **stated},
    )


def _echelon(group: DraftGroup, written: DraftEchelon, draft: Draft, levels: ConcurrencyLevels) -> Echelon:
    raw = written.raw
    assert raw is not None
    assert group.raw is not None
    stated = call_overrides(raw)
    return Echelon(
        group=group.name,
        name=written.name,
        description=raw.description,
        models=tuple(name for name in raw.models if name not in draft.disabled_models),
        priority=raw.priority,
        rotation=raw.rotation_strategy or group.raw.rotation_strategy or "round_robin",
        limits=build_limits(raw, levels.echelon, levels, written.rate),
        stated=stated,
        settings=CallSettings().updated(stated),
    )


def _breaker(raw: RawBreaker | None, default: Breaker) -> Breaker:
    if raw is None:
        return default
    stated = given(
        failure_threshold=raw.failure_threshold,
        recovery_time_s=raw.recovery_time,
        half_open_requests=raw.half_open_requests,
    )
    return default.model_copy(update=stated)
