"""The resolved configuration in words, for `echelon config show`: every scope, every default, every limit."""

from collections.abc import Iterator
from typing import Literal

from echelon_configs.configuration import Configuration
from echelon_configs.fallbacks import Breaker, Fallback, PoolFallback
from echelon_configs.groups import Echelon, Group
from echelon_configs.instances import Instance
from echelon_configs.limits import ConcurrencyLevels, Level, Limits, RateLimit
from echelon_configs.nodes import Node
from echelon_configs.pools import Pool
from echelon_configs.references import SecretTemplate
from echelon_configs.settings import CallOverrides, CallSettings, Thinking

LevelName = Literal["group", "echelon", "model", "node"]


def described(configuration: Configuration) -> str:
    """The whole configuration as text, some lines a scope."""
    return "\n".join(_lines(configuration))


def summary(configuration: Configuration) -> str:
    """One line: how much of everything there is."""
    echelons = sum(len(group.echelons) for group in configuration.groups.values())
    counts = [
        _count(len(configuration.groups), "group"),
        _count(echelons, "echelon"),
        _count(len(configuration.pools), "pool"),
        _count(len(configuration.nodes), "node"),
        _count(len(configuration.instances), "instance"),
        _count(len(configuration.queues), "queue"),
    ]
    return f"{', '.join(counts)}; digest {configuration.digest()}"


def _lines(configuration: Configuration) -> Iterator[str]:
    yield summary(configuration)
    yield from _cluster(configuration)
    for group in configuration.groups.values():
        yield from _group(group, configuration)
    for pool in configuration.pools.values():
        yield from _pool(pool, configuration)
    for node in configuration.nodes.values():
        yield from _node(node, configuration)
    for instance in configuration.instances.values():
        yield from _instance(instance, configuration)


def _cluster(configuration: Configuration) -> Iterator[str]:
    everywhere, levels = configuration.global_fallback, configuration.concurrency
    yield ""
    yield "cluster"
    yield f"  limits    {_limits(configuration.limits)}"
    kept = configuration.defaults
    on_a_replica = ", on a replica too" if kept.is_replicated else ""
    yield f"  defaults  deadline {_s(kept.deadline_s)}, answers kept {_s(kept.retention_s)}{on_a_replica}"
    state = "" if everywhere.enabled else "off; "
    yield f"  fallback  {state}{_attempts(everywhere.max_attempts, everywhere.retry_delay_s)}"
    yield f"  breaker   {_breaker(everywhere.circuit_breaker)}"
    for name in ("group", "echelon", "model", "node"):
        level: Level = getattr(levels, name)
        bounds = _limits(Limits(concurrency=level.limit, queue_size=level.queue_size))
        yield f"  each {name:<8} {bounds if levels.enabled else f'{bounds} (off)'}"
    for rate in (configuration.rate_limiting.token_bucket, configuration.rate_limiting.sliding_window):
        if rate is not None:
            yield f"  sizes     {rate.algorithm} {_rate(rate)}"
    rates = configuration.rate_limiting
    yield f"  tokens    reserved before a call: {rates.estimate}; counted after it: {rates.settle}"


def _group(group: Group, configuration: Configuration) -> Iterator[str]:
    yield ""
    yield f"group {group.name}{_about(group.description)}"
    yield f"  limits    {_limits(group.limits, configuration, 'group')}"
    yield f"  fallback  {_fallback(group.fallback)}"
    yield f"  breaker   {_breaker(group.fallback.circuit_breaker)}"
    for echelon in group.echelons.values():
        yield from _echelon(echelon, configuration)


def _echelon(echelon: Echelon, configuration: Configuration) -> Iterator[str]:
    yield f"  {echelon.queue}{_about(echelon.description)}"
    yield f"    priority {echelon.priority}, {echelon.rotation} over {', '.join(echelon.models)}"
    yield f"    limits  {_limits(echelon.limits, configuration, 'echelon')}"
    yield f"    calls   {_settings(echelon.settings)}"


def _pool(pool: Pool, configuration: Configuration) -> Iterator[str]:
    yield ""
    yield f"{pool.queue}{_about(pool.description)}"
    members = configuration.queues[pool.queue].members
    yield f"  {pool.rotation} over {_count(len(members), 'member')} of {', '.join(pool.task_groups)}"
    yield f"  limits    {_limits(pool.limits, configuration)}"
    yield f"  fallback  {_pool_fallback(pool.fallback)}"
    every = pool.health_check_interval_s
    probes = f"a probe every {_s(every)}" if every else "no probes"
    yield (
        f"  health    {probes}, unhealthy after {pool.failure_threshold} "
        f"failures, tried again after {_s(pool.recovery_time_s)}"
    )


def _node(node: Node, configuration: Configuration) -> Iterator[str]:
    yield ""
    yield f"node.{node.name}{_about(node.description)}"
    chain = " -> ".join([node.target, *node.fallback_groups])
    yield f"  target    {chain}"
    if node.system_prompt is not None:
        yield f"  prompt    {_first_line(node.system_prompt)}"
    yield f"  limits    {_limits(node.limits, configuration, 'node')}"
    yield f"  calls     {_overrides(node.overrides)}"


def _instance(instance: Instance, configuration: Configuration) -> Iterator[str]:
    yield ""
    yield f"{instance.queue}{_about(instance.description)}"
    wire = "" if instance.vendor == instance.provider else f" ({instance.provider})"
    yield f"  {instance.vendor}{wire}: {instance.model} at {instance.base_url or 'the usual endpoint'}"
    yield f"  key       {instance.api_key or 'none'}"
    yield f"  weight    {instance.weight:g}"
    if instance.context_window is not None:
        yield f"  context   {instance.context_window:,} tokens"
    able = [f"{'' if can else 'no '}{name}" for name, can in instance.supports if can is not None]
    if able:
        yield f"  supports  {', '.join(able)}"
    if instance.unset:
        yield f"  cannot be called: {', '.join(instance.unset)} not set"
    for name, value in instance.headers.items():
        yield f"  header    {name}: {value.template if isinstance(value, SecretTemplate) else value}"
    if instance.parameters:
        yield f"  extra     {', '.join(f'{name}={value!r}' for name, value in instance.parameters.items())}"
    extras = [f"{name} {_s(value)}" for name, value in instance.timeouts if value is not None]
    if extras:
        yield f"  timeouts  {', '.join(extras)}"
    retry = [f"{name} {value}" for name, value in instance.retry if value is not None]
    if retry:
        yield f"  retries   {', '.join(retry)}"
    yield f"  limits    {_limits(instance.limits, configuration, 'model')}"
    yield f"  calls     {_settings(instance.settings)}"


def _about(description: str) -> str:
    return f": {_first_line(description)}" if description.strip() else ""


def _first_line(text: str) -> str:
    whole = text.strip()
    first = whole.partition("\n")[0][:90]
    return first if first == whole else f"{first}..."


def _limits(limits: Limits, configuration: Configuration | None = None, level: LevelName | None = None) -> str:
    """The limits of a scope. Those that are its level's, or the top level's, say so."""
    levels = configuration.concurrency if configuration else ConcurrencyLevels()
    default: Level = getattr(levels, level) if level and levels.enabled else Level()
    parts = [
        f"{limits.concurrency:,} in flight{_as_each(level, limits.concurrency == default.limit)}"
        if limits.concurrency
        else "",
        f"{limits.queue_size:,} waiting{_as_each(level, limits.queue_size == default.queue_size)}"
        if limits.queue_size
        else "",
        f"{limits.requests_per_minute:,} requests/min" if limits.requests_per_minute else "",
        f"{limits.tokens_per_minute:,} tokens/min" if limits.tokens_per_minute else "",
        _rate_in_force(limits.rate, configuration) if limits.rate else "",
    ]
    return ", ".join(part for part in parts if part) or "none"


def _as_each(level: LevelName | None, same: bool) -> str:
    return f" (as each {level})" if same else ""


def _rate_in_force(rate: RateLimit, configuration: Configuration | None) -> str:
    top = configuration.rate_limiting.sizes_for(rate.algorithm) if configuration else None
    return f"{rate.algorithm} {_rate(rate)}{' (sizes of the top level)' if rate == top else ''}"


def _rate(rate: RateLimit) -> str:
    if rate.bucket_size is not None and rate.refill_per_s is not None:
        return f"of {rate.bucket_size:g} requests, {rate.refill_per_s:g} more a second"
    if rate.max_requests is not None and rate.window_s is not None:
        return f"of {rate.max_requests:,} requests in {_s(rate.window_s)}"
    return "no limit"


def _fallback(fallback: Fallback) -> str:
    if fallback.strategy is None:
        return f"none; {_attempts(fallback.max_attempts, fallback.retry_delay_s)}"
    then = f", then {', '.join(fallback.fallback_groups)}" if fallback.fallback_groups else ""
    refused = "; also when content is refused" if fallback.fallback_on_refusal else ""
    return f"{fallback.strategy}{then}; {_attempts(fallback.max_attempts, fallback.retry_delay_s)}{refused}"


def _pool_fallback(fallback: PoolFallback) -> str:
    return f"{fallback.strategy}, at most {_count(fallback.max_instance_attempts, 'attempt')}"


def _attempts(most: int, delay_s: float) -> str:
    return f"at most {_count(most, 'attempt')}, {_s(delay_s)} before the first retry"


def _breaker(breaker: Breaker) -> str:
    failures, probes = _count(breaker.failure_threshold, "failure"), _count(breaker.half_open_requests, "probe")
    return f"opens after {failures}, for {_s(breaker.recovery_time_s)}, then {probes}"


def _settings(settings: CallSettings) -> str:
    stated = CallOverrides(**dict(settings))
    parts = [_overrides(stated)]
    if settings.temperature is None:
        parts.append("temperature as the provider's")
    return ", ".join(parts)


def _overrides(stated: CallOverrides) -> str:
    parts = [
        f"{_s(stated.timeout_s)} each" if stated.timeout_s is not None else "",
        _count(stated.max_retries, "retry", "retries") if stated.max_retries is not None else "",
        f"temperature {stated.temperature:g}" if stated.temperature is not None else "",
        f"at most {stated.max_tokens:,} tokens" if stated.max_tokens is not None else "",
        f"tools {stated.function_calling}" if stated.function_calling is not None else "",
        _format(stated.response_format),
        _thinking(stated.thinking) if stated.thinking is not None else "",
    ]
    return ", ".join(part for part in parts if part) or "as the echelon's"


def _format(written: object) -> str:
    return written if isinstance(written, str) else "JSON schema" if written is not None else ""


def _thinking(thinking: Thinking) -> str:
    if not thinking.enabled:
        return "no thinking"
    return f"thinking {thinking.budget_tokens:,} tokens" if thinking.budget_tokens else "thinking"


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def _s(seconds: float) -> str:
    return f"{seconds:,.15g} s" if seconds < 1000 else f"{seconds:,.0f} s"
