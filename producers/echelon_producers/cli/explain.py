"""`echelon explain`: where a job would go, attempt by attempt."""

import json
from collections.abc import Iterator

import click

from echelon_configs import UnknownTarget
from echelon_configs.problems import nearest
from echelon_producers.explain import OUTCOMES, Path, Step, explain
from echelon_workers.decision import Delay
from echelon_workers.ledger.options import OptionsInvalid, fallbacks_stated

from .failures import InputWrong
from .where import Where, pass_where, where_options


@click.command("explain")
@where_options
@click.argument("target", metavar="TARGET")
@click.option("--node", help="Submitted under this node.")
@click.option(
    "--outcome",
    "outcomes",
    type=click.Choice(OUTCOMES),
    metavar="CODE",
    multiple=True,
    help="How an attempt ends; once for each, the last is repeated.  [default: server_failed]",
)
@click.option("--closed", metavar="INSTANCE", multiple=True, help="An instance that is out for now; may be repeated.")
@click.option("--fallback", metavar="TARGET", multiple=True, help="The job's own fallback; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@pass_where
def explain_command(
    where: Where,
    /,
    target: str,
    node: str | None,
    outcomes: tuple[str, ...],
    closed: tuple[str, ...],
    fallback: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the path that a job sent to TARGET would take by the configuration in its folder.

    Nothing runs and no Redis is needed. Instances are named in their order; in a running cluster they take turns.
    """
    configuration = where.load().configuration
    for name in closed:
        if name not in configuration.instances:
            raise UnknownTarget(f"model.{name}", nearest(name, configuration.instances, 3))
    try:
        own = fallbacks_stated(configuration, fallback or None)
    except OptionsInvalid as wrong:
        raise InputWrong(f"--fallback: {wrong}") from None
    path = explain(
        configuration, target, node=node, outcomes=outcomes or ("server_failed",), closed=closed, fallback_groups=own
    )
    click.echo(json.dumps(path.to_json(), indent=2) if as_json else "\n".join(_lines(path)))


def _lines(path: Path) -> Iterator[str]:
    attempts = "1 attempt" if path.max_attempts == 1 else f"{path.max_attempts:,} attempts"
    yield f"{path.target}: at most {attempts} in all, within {path.deadline_s:,.15g} s"
    known: set[tuple[str, str, str]] = set()
    for step in path.steps:
        yield ""
        at = f"{step.instance}  {step.outcome}" if step.attempt else "every instance is out"
        yield f"{step.attempt or '-':>3}  {step.queue}  {at}"
        yield f"     {_decided(step)}"
        for skip in step.decision.skipped:
            if skip not in known:
                yield f"     not {' '.join(filter(None, skip[:2]))}: {skip.why}"
        known.update(step.decision.skipped)


def _decided(step: Step) -> str:
    decision = step.decision
    match decision.verdict:
        case "answer":
            return "the job is answered"
        case "bury":
            return f"dead: {decision.because.partition(' (')[0]}"
        case "expire":
            return f"expired: {decision.because.partition(' (')[0]}"
        case "wait":
            return "waits until the instance takes calls again: no attempt is spent"
    way = "again here" if decision.verdict == "retry" else f"on to {decision.queue}"
    by = f"{decision.strategy}: " if decision.strategy and decision.strategy not in decision.because else ""
    return f"{way} {_shown(decision.delay)} ({by}{decision.because})"


def _shown(delay: Delay) -> str:
    least, most = (f"{ms / 1000:,.4g}" for ms in delay)
    if not delay.most_ms:
        return "at once"
    return f"after {most} s" if least == most else f"after {least} to {most} s"
