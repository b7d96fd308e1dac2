"""Every scope with its limits and their use, as a table."""

from collections.abc import Iterable

from rich.table import Table

from echelon_workers.ledger.status import RateStatus, ScopeStatus

from .batch.progress import span


def scopes_table(scopes: Iterable[ScopeStatus], *, every: bool = False) -> Table | None:
    """The scopes whose limits are in use or hold jobs back, with `every` all that have limits; None: there are none."""
    shown = [scope for scope in scopes if _is_limited(scope) and (every or _counts(scope))]
    if not shown:
        return None
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column("limit of", no_wrap=True)
    for name in ("in use", "waiting"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("rates")
    table.add_column("next", no_wrap=True)
    for scope in shown:
        in_use, waiting = _of(scope.in_use, scope.concurrency), _of(scope.waiting, scope.queue_size)
        rates = ", ".join(_rate(rate) for rate in scope.rates)
        table.add_row(named(f"{scope.level}:{scope.name}"), in_use, waiting, rates, _next(scope))
    return table


def named(scope: str) -> str:
    """`echelon:fast_group.echelon1` for people; the cluster has no name of its own."""
    return scope.replace(":", " ", 1).strip()


def _is_limited(scope: ScopeStatus) -> bool:
    return scope.concurrency is not None or scope.queue_size is not None or bool(scope.rates)


def _counts(scope: ScopeStatus) -> bool:
    """Whether something of its limits is in use, or holds jobs back."""
    used = scope.in_use or scope.waiting or scope.rests_ms or any(rate.used for rate in scope.rates)
    return bool(used) or scope.next_free_ms != 0


def _of(used: int, most: int | None) -> str:
    return f"{used:,}" if most is None else f"{used:,} of {most:,}"


def _rate(rate: RateStatus) -> str:
    """What is used of what holds now, which a provider may have lowered."""
    most = f"{rate.effective:,.0f}" if rate.effective >= rate.limit else f"{rate.effective:,.0f} ({rate.limit:,.0f})"
    if rate.refill_per_s is not None:
        return f"{rate.used:,.0f} of {most} {rate.unit}, {rate.refill_per_s:,.4g} more a second"
    seconds = (rate.window_ms or 0) / 1000
    return f"{rate.used:,.0f} of {most} {rate.unit} {'a minute' if round(seconds) == 60 else f'in {seconds:,.3g} s'}"


def _next(scope: ScopeStatus) -> str:
    """When one more attempt may start."""
    if scope.rests_ms:
        return f"its provider asks to wait {span(scope.rests_ms / 1000)}"
    if scope.next_free_ms is None:
        return "when one ends"
    return "now" if scope.next_free_ms <= 0 else f"in {max(0.1, scope.next_free_ms / 1000):,.1f} s"
