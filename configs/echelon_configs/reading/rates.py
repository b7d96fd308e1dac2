"""A rate limit as written, with its sizes found."""

from echelon_configs.limits import Limits, RateLimit, RateLimiting
from echelon_configs.problems import Problems
from echelon_configs.raw.limits import (
    RawRateLimiting,
    RawSlidingWindow,
    RawTokenBucket,
    RawTopRateLimiting,
    RawWideRateLimiting,
)
from echelon_configs.text.marked import Marked

_SIZES = {
    "token_bucket": ("bucket_size", "refill_rate"),
    "sliding_window": ("window_size", "max_requests"),
}
_BOUND = {"token_bucket": "bucket_size", "sliding_window": "max_requests"}  # of these two, 0 is no limit


def resolve_rate(
    raw: RawRateLimiting | None, node: Marked | None, top: RateLimiting, problems: Problems
) -> RateLimit | None:
    """The rate in force for a scope. Named without sizes it takes the top level's; with none there, it warns."""
    if raw is None or node is None:
        return None
    algorithm = raw.algorithm or _algorithm_meant(raw) or top.algorithm
    own = _sizes(raw, algorithm, node, problems)
    _warn_of_unused(raw, algorithm, node, problems)
    if not raw.enabled:
        return None
    if own is not None:
        return own if _limits(own) else None
    inherited = top.sizes_for(algorithm)
    if inherited is None:
        problems.warning(
            node,
            f"{algorithm} has no sizes, here or at the top level: no rate limit holds",
            f"write {' and '.join(_SIZES.get(algorithm, ()))}, here or under the top-level rate_limiting",
        )
        return None
    return inherited if _limits(inherited) else None


def resolve_wide(raw: RawWideRateLimiting | None, node: Marked | None, top: RateLimiting, problems: Problems) -> Limits:
    """The rates in force for a pool. `rpm_limit` and `tpm_limit` alone name no algorithm, and take no sizes."""
    if raw is None or node is None:
        return Limits()
    rate = resolve_rate(raw, node, top, problems) if _names_a_rate(raw) else None
    return _wide(raw, rate)


def resolve_top(raw: RawTopRateLimiting | None, node: Marked | None, problems: Problems) -> tuple[RateLimiting, Limits]:
    """The top-level `rate_limiting`: the sizes of both algorithms, and the rates of the cluster as a whole."""
    if raw is None or node is None:
        return RateLimiting(), Limits()
    algorithm = raw.algorithm or _algorithm_meant(raw) or "token_bucket"
    sizes = {name: _sizes(raw, name, node, problems) for name in _SIZES}
    rate = sizes[algorithm] if algorithm in sizes else _sizes(raw, algorithm, node, problems)
    if raw.enabled and rate is None and _names_a_rate(raw):
        problems.warning(
            node,
            f"{algorithm} has no sizes: the cluster as a whole has no rate limit",
            f"write {' and '.join(_SIZES[algorithm])}, or enabled: false",
        )
    limits = _wide(raw, rate if rate is not None and _limits(rate) else None)
    enabled = limits != Limits()
    found = RateLimiting(
        enabled=enabled,
        algorithm=algorithm,
        token_bucket=sizes["token_bucket"],
        sliding_window=sizes["sliding_window"],
        estimate=raw.estimate or "typical",
        settle=raw.settle or "used",
    )
    return found, limits


def _wide(raw: RawWideRateLimiting, rate: RateLimit | None) -> Limits:
    if not raw.enabled:
        return Limits()
    return Limits(requests_per_minute=raw.rpm_limit or None, tokens_per_minute=raw.tpm_limit or None, rate=rate)


def _names_a_rate(raw: RawWideRateLimiting) -> bool:
    """Whether an algorithm or sizes are written, or else nothing that would be of use without them."""
    if raw.algorithm is not None or any(_given(raw, name) for name in _SIZES):
        return True
    return not raw.model_fields_set & {"rpm_limit", "tpm_limit", "estimate", "settle"}


def _algorithm_meant(raw: RawRateLimiting) -> str | None:
    """The algorithm whose sizes are given, when that is only one."""
    given = [name for name in _SIZES if _given(raw, name)]
    return given[0] if len(given) == 1 else None


def _given(raw: RawRateLimiting, algorithm: str) -> bool:
    return getattr(raw, algorithm) is not None or any(getattr(raw, key) is not None for key in _SIZES[algorithm])


def _sizes(raw: RawRateLimiting, algorithm: str, node: Marked, problems: Problems) -> RateLimit | None:
    """The sizes written for `algorithm`: flat, or under its name. None when there are none."""
    if algorithm not in _SIZES:
        # One that only the registry knows takes whatever sizes stand beside its name.
        return RateLimit(
            algorithm=algorithm,
            bucket_size=raw.bucket_size,
            refill_per_s=raw.refill_rate,
            window_s=raw.window_size,
            max_requests=raw.max_requests,
        )
    nested: RawTokenBucket | RawSlidingWindow | None = getattr(raw, algorithm)
    values = {key: _one_value(raw, nested, key, node, problems) for key in _SIZES[algorithm]}
    missing = [key for key, value in values.items() if value is None]
    if len(missing) == len(values):
        return None
    if values[_BOUND[algorithm]] == 0:
        return RateLimit(algorithm=algorithm)
    if missing:
        given = next(key for key in values if key not in missing)
        problems.error(node, f"{algorithm} lacks {missing[0]}", f"write {missing[0]} beside {given}")
        return None
    return _rate(algorithm, values, node, problems)


def _one_value(
    raw: RawRateLimiting, nested: RawTokenBucket | RawSlidingWindow | None, key: str, node: Marked, problems: Problems
) -> float | None:
    flat = getattr(raw, key)
    inner = getattr(nested, key) if nested is not None else None
    if flat is not None and inner is not None and flat != inner:
        problems.error(node.key(key), f"{key} is given twice, as {flat:g} and as {inner:g}", "keep one of the two")
    value: float | None = flat if flat is not None else inner
    return value


def _rate(algorithm: str, values: dict[str, float | None], node: Marked, problems: Problems) -> RateLimit | None:
    if algorithm == "sliding_window":
        requests = values["max_requests"]
        return RateLimit(
            algorithm=algorithm,
            window_s=values["window_size"],
            max_requests=None if requests is None else int(requests),
        )
    bucket, refill = values["bucket_size"], values["refill_rate"]
    if bucket and refill == 0:
        problems.error(node, "a bucket that is never refilled", "write a refill_rate above 0, in requests a second")
    if bucket and bucket < 1:
        problems.error(node, f"a bucket of {bucket:g} never holds a whole request", "write a bucket_size of at least 1")
    return RateLimit(algorithm=algorithm, bucket_size=bucket, refill_per_s=refill)


def _limits(rate: RateLimit) -> bool:
    """Whether these sizes bound anything: a size of 0 is no limit."""
    if rate.algorithm == "token_bucket":
        return bool(rate.bucket_size)
    return bool(rate.max_requests) if rate.algorithm == "sliding_window" else True


def _warn_of_unused(raw: RawRateLimiting, algorithm: str, node: Marked, problems: Problems) -> None:
    for other, keys in _SIZES.items():
        unused = [key for key in keys if getattr(raw, key) is not None]
        if algorithm in _SIZES and other != algorithm and unused:
            problems.warning(
                node.key(unused[0]),
                f"{unused[0]} is not used by {algorithm}",
                f"remove it, or write algorithm: {other}",
            )
