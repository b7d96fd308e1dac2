"""Instances: provider, endpoint, names of secrets, and settings of their own."""

from typing import Any

from echelon_configs.building.calls import call_overrides, given
from echelon_configs.building.limits import build_limits
from echelon_configs.instances import Instance, Retry, Supports, Timeouts
from echelon_configs.limits import ConcurrencyLevels
from echelon_configs.raw.models import RawModel
from echelon_configs.reading.drafts import DraftModel
from echelon_configs.settings import CallOverrides, CallSettings


def build_instance(written: DraftModel, levels: ConcurrencyLevels) -> Instance:
    """An instance with everything its file says."""
    raw = written.raw
    assert raw is not None
    stated = _instance_overrides(raw)
    return Instance(
        name=written.name,
        description=raw.description,
        provider=written.vendor.provider if written.vendor else written.model_type,
        vendor=written.model_type,
        model=written.model_name,
        base_url=written.base_url,
        api_key=written.api_key,
        headers=dict(sorted(written.headers.items())),
        parameters=_sorted(raw.parameters.model_extra) if raw.parameters else {},
        unset=tuple(sorted(set(written.unset))),
        context_window=raw.context_window,
        supports=Supports(**raw.supports.model_dump()) if raw.supports else Supports(),
        weight=raw.weight,
        timeouts=_timeouts(raw),
        retry=_retry(raw),
        limits=build_limits(raw, levels.model, levels, written.rate),
        stated=stated,
        settings=CallSettings().updated(stated),
    )


def _instance_overrides(raw: RawModel) -> CallOverrides:
    parameters = call_overrides(raw.parameters) if raw.parameters else CallOverrides()
    stated = given(
        timeout_s=raw.timeout_config.request_timeout if raw.timeout_config else None,
        max_retries=raw.retry_config.max_retries if raw.retry_config else None,
    )
    return parameters.model_copy(update=stated)


def _timeouts(raw: RawModel) -> Timeouts:
    written = raw.timeout_config
    if written is None:
        return Timeouts()
    return Timeouts(connect_s=written.connect_timeout, read_s=written.read_timeout, write_s=written.write_timeout)


def _retry(raw: RawModel) -> Retry:
    written = raw.retry_config
    if written is None:
        return Retry()
    return Retry(
        base_delay_s=written.base_delay,
        max_delay_s=written.max_delay,
        exponential_base=written.exponential_base,
        jitter=written.jitter,
    )


def _sorted(value: Any) -> Any:
    """Keys in order all the way down, so that equal parameters are equal text."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
