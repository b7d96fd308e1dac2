"""A granted job as decisions see it, and what the fleet's history keeps of one that moves."""

from echelon_configs import Configuration

from .decision import Decision, Job, job_of
from .ledger.job import JobRequest
from .ledger.verbs import Grant
from .outcome import compact


def job_granted(configuration: Configuration, grant: Grant, request: JobRequest) -> Job:
    """The facts of a granted job."""
    return job_of(
        configuration,
        queue=grant.queue,
        target=grant.target,
        node=grant.node,
        request=request,
        options=grant.options,
    )


def history_of(grant: Grant, decision: Decision, code: str, now_ms: int) -> str:
    """One line of the fleet's history of fallbacks; '' for what is none."""
    if decision.verdict != "move":
        return ""
    line = {"job": grant.id, "at_ms": now_ms, "from": grant.queue, "instance": grant.instance, "to": decision.queue}
    return compact(line | {"strategy": decision.strategy, "outcome": code, "because": decision.because})
