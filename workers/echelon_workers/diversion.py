"""Jobs that leave their queue without an attempt, because every instance there is out."""

from typing import TYPE_CHECKING

from .decision import Decision, divert
from .granted import history_of, job_granted
from .hand import Held
from .ledger.job import JobRequest, RequestInvalid
from .ledger.verbs import Finish, Grant, finish
from .outcome import End, compact
from .strategies import read_trail

if TYPE_CHECKING:
    from .runtime import Runtime

#: A job that has nowhere to go while all instances of its queue are out is asked about again after this.
LOOK_AGAIN_MS = 5_000
#: The outcome of a job that left its queue without an attempt.
INSTANCES_OUT = "instances_out"


async def send_elsewhere(runtime: "Runtime", held: Held) -> End:
    """All instances of its queue are out: no call is made, and the job goes where its strategy says, or stays."""
    decision = _diversion(runtime, held.grant)
    await runtime.outbox.send(finish(_unstarted(runtime, held.grant, decision)))
    runtime.hand.put_down(held)
    if decision is None:
        return End("given_back", "every instance of its queue is out, and there is nowhere else to go")
    return End("moved", f"every instance of its queue is out: on to {decision.queue}", fallback=decision.queue)


def _diversion(runtime: "Runtime", grant: Grant) -> Decision | None:
    """Where a job goes of whose queue every instance is out; None: it stays. Take has found that they are."""
    configuration = runtime.configuration
    try:
        request = JobRequest.from_json(grant.request)
    except RequestInvalid:
        return None  # the attempt will say so
    queue = configuration.queues.get(grant.queue)
    closed = {*runtime.out, *(member.instance for member in (queue.members if queue else ()))}
    job = job_granted(configuration, grant, request)
    return divert(configuration, job, read_trail(grant.trail), closed=closed)


def _unstarted(runtime: "Runtime", grant: Grant, decision: Decision | None) -> Finish:
    retention_ms = runtime.terms.retention_ms
    if decision is None:
        return Finish(
            id=grant.id,
            lease=grant.lease,
            decision="hold",
            payload="",
            entry="",
            delay_ms=LOOK_AGAIN_MS,
            retention_ms=retention_ms,
        )
    now_ms = runtime.now_ms()
    entry = {"queue": grant.queue, "instance": "", "started_ms": now_ms, "took_ms": 0, "outcome": INSTANCES_OUT}
    error = {"code": INSTANCES_OUT, "message": f"every instance of {grant.queue} was out"}
    return Finish(
        id=grant.id,
        lease=grant.lease,
        decision="move",
        payload=compact(error),
        entry=compact(entry | decision.to_json()),
        avoid=",".join(decision.avoid),
        move_to=decision.queue,
        strategy=decision.strategy,
        history=history_of(grant, decision, INSTANCES_OUT, now_ms),
        retention_ms=retention_ms,
    )
