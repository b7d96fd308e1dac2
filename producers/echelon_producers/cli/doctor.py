"""`echelon doctor`: hold the whole of Redis against the life of a job, and repair what is wrong."""

import json

import click

from echelon_workers.ledger.audit import audit
from echelon_workers.ledger.audit_report import KINDS, AuditReport, Finding
from echelon_workers.ledger.client import Ledger

from .failures import InputWrong
from .where import Where, pass_where, where_options

#: So many of a kind are named.
_NAMED = 3


@click.command("doctor")
@where_options
@click.option("--fix", is_flag=True, help="Repair what is wrong, and say what was done.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@pass_where
@click.pass_context
def doctor_command(ctx: click.Context, where: Where, fix: bool, as_json: bool) -> None:
    """Look for jobs without a place, places without a job, leases without a holder, and wrong counters.

    It can be run at any time, while the cluster works. It ends with 0 when all is well or was repaired, 1 when
    something is wrong still, and 2 when Redis cannot be reached.
    """
    report = _audit(where, fix)
    if as_json:
        click.echo(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        for code, findings in report.by_code().items():
            click.echo(f"{len(findings):>6,}  {KINDS[code].says}: {_named(findings)}")
            click.echo(f"        {_remedy(code, findings, fix)}")
        click.echo(_summary(report))
    ctx.exit(0 if report.is_well else 1)


def _audit(where: Where, fix: bool) -> AuditReport:
    import redis

    from echelon_workers.ledger.server import ServerUnavailable

    try:
        with where.server() as hold:
            ledger = Ledger(hold.address)
            try:
                return audit(ledger, fix=fix)
            finally:
                ledger.close()
    except (redis.ConnectionError, redis.TimeoutError, ServerUnavailable) as away:
        raise InputWrong(f"Redis cannot be used: {away}") from None


def _named(findings: list[Finding]) -> str:
    told = [_printable(f"{one.subject} ({one.detail})" if one.detail else one.subject) for one in findings[:_NAMED]]
    more = len(findings) - len(told)
    return ", ".join(told) + (f" and {more:,} more" if more else "")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _remedy(code: str, findings: list[Finding], fix: bool) -> str:
    """What --fix did, would do, or leaves to people."""
    kind, fixed = KINDS[code], sum(finding.fixed for finding in findings)
    if fixed:
        return f"repaired {fixed:,}: {kind.remedy}" if fixed < len(findings) else f"repaired: {kind.remedy}"
    if not kind.remedy:
        return "nothing is wrong with that" if kind.note else "not repaired by --fix"
    return "not repaired" if fix else f"--fix: {kind.remedy}"


def _summary(report: AuditReport) -> str:
    looked = f"{report.jobs:,} jobs in {report.took_ms / 1000:.1f} s"
    faults = report.faults
    if not faults:
        return f"all is well: {looked}"
    left = sum(not fault.fixed for fault in faults)
    if not left:
        return f"repaired {len(faults):,}: {looked}"
    return f"wrong: {left:,}{f', repaired: {len(faults) - left:,}' if len(faults) > left else ''}: {looked}"
