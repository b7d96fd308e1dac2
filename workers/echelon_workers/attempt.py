"""One attempt of one job, from its grant to its end: small steps over one frozen context.

    prepare -> call -> judge -> report

`attempt` never raises for anything that a provider, a payload or a stop from outside can cause: every such end is an
outcome with a decision. What it returns tells Celery (and so Flower) how the task ended.
"""

import asyncio
import random
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger

from echelon_configs import CallOverrides, CallSettings, Configuration, Instance, Node, Thinking

from .calling import made
from .decision import ANSWER, Decision, decide
from .diversion import send_elsewhere
from .errors import (
    AttemptFailed,
    AuthenticationFailed,
    BadRequest,
    ContextTooLong,
    QuotaExhausted,
    RateLimited,
    UnknownFailure,
)
from .granted import history_of, job_granted
from .hand import Held
from .ledger.job import Answer, JobRequest, RequestInvalid, Usage
from .ledger.verbs import Ending, Finish, Settlement, finish, settle
from .outcome import End, celery_failure, celery_revoked, celery_success, compact
from .providers import Call, GrantLapsed
from .quotas import Stated, stated
from .strategies import read_trail

if TYPE_CHECKING:
    from .runtime import Runtime

logger = get_logger(__name__)

#: An instance that is not the queue's (any more, or not yet) as far as this worker knows.
OTHER_REVISION = UnknownFailure("granted under another revision of the configuration")
#: How long a worker takes to read a revision, many times over.
CATCH_UP_S = 0.2

#: Failures of a request that no model has read.
_UNREAD = (RateLimited, QuotaExhausted, AuthenticationFailed, BadRequest, ContextTooLong)

#: Settings of a call that a job may bring itself.
_OWN = ("temperature", "max_tokens", "function_calling", "response_format")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """All that one attempt needs to know; made once, never changed."""

    held: Held
    request: JobRequest
    instance: Instance
    settings: CallSettings
    number: int
    configuration: Configuration
    timeout_s: float
    left_ms: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to: an answer or a failure, when it started and how long it took, and what the provider
    stated of its own limits."""

    result: Answer | AttemptFailed
    started_ms: int
    took_ms: int
    stated: Stated


async def attempt(runtime: "Runtime", held: Held) -> End:
    """Carry one attempt through all its steps. It may be stopped at any of them."""
    try:
        try:
            return await _steps(runtime, held)
        except GrantLapsed:
            return await _let_lapse(runtime, held)
    except asyncio.CancelledError:
        return await stopped(runtime, held)


async def _steps(runtime: "Runtime", held: Held) -> End:
    if not held.grant.instance:
        return await send_elsewhere(runtime, held)
    prepared = prepare(runtime, held)
    if prepared is OTHER_REVISION:
        return await _give_back(runtime, held)
    if isinstance(prepared, AttemptFailed):
        return await _bury_unprepared(runtime, held, prepared)
    outcome = await call(runtime, prepared)
    decision = judge(prepared, outcome, runtime.out)
    return await report(runtime, prepared, outcome, decision)


def prepare(runtime: "Runtime", held: Held) -> Context | AttemptFailed:
    """Read the record and put its settings together: the job's own, over its node's, over its echelon's."""
    grant, configuration = held.grant, runtime.configuration
    try:
        request = JobRequest.from_json(grant.request)
    except RequestInvalid as exc:
        return BadRequest(f"the job's record cannot be read: {exc}")
    queue = configuration.queues.get(grant.queue)
    members = queue.members if queue else ()
    if not any((member.instance, member.home) == (grant.instance, grant.home) for member in members):
        return OTHER_REVISION
    node = configuration.nodes.get(grant.node) if grant.node else None
    settings = merged(configuration.settings_of(grant.home, grant.instance), node, request)
    left_ms = grant.deadline_ms - runtime.now_ms() if grant.deadline_ms else float("inf")
    return Context(
        held=held,
        request=with_node(request, node),
        instance=configuration.instances[grant.instance],
        settings=settings,
        number=grant.attempts + 1,
        configuration=configuration,
        timeout_s=max(0.001, min(settings.timeout_s, left_ms / 1000)),
        left_ms=left_ms,
    )


def merged(settings: CallSettings, node: Node | None, request: JobRequest) -> CallSettings:
    """The settings of a call: the job's own win over its node's, its node's over its echelon's."""
    own = {name: getattr(request, name) for name in _OWN if getattr(request, name) is not None}
    if request.thinking is not None:
        own["thinking"] = Thinking.model_validate(request.thinking)
    if own:
        return settings.updated(*_stated_by(node), CallOverrides(**own))
    return settings.updated(*_stated_by(node))


def _stated_by(node: Node | None) -> tuple[CallOverrides, ...]:
    return (node.overrides,) if node else ()


def with_node(request: JobRequest, node: Node | None) -> JobRequest:
    """The node's system prompt holds where the job brings none of its own."""
    if node is None or node.system_prompt is None or request.system is not None:
        return request
    return request.model_copy(update={"system": node.system_prompt})


async def call(runtime: "Runtime", context: Context) -> Outcome:
    """Call the provider under the attempt's timeout, and classify whatever comes. Raises GrantLapsed if it was too late
    for the call to be sent."""

    def sending() -> None:
        if not runtime.hand.send(context.held):
            raise GrantLapsed
        runtime.taker.sent_one()

    started_ms, began = runtime.now_ms(), time.monotonic()
    said = await made(
        runtime.providers,
        Call(
            instance=context.instance,
            request=context.request,
            settings=context.settings,
            timeout_s=context.timeout_s,
            job_id=context.held.grant.id,
            attempt=context.number,
            sending=sending,
        ),
    )
    took_ms = int((time.monotonic() - began) * 1000)
    if isinstance(said, AttemptFailed):
        return Outcome(said, started_ms, took_ms, stated(said.headers))
    return Outcome(said.answer, started_ms, took_ms, stated(said.rate_limits))


def judge(context: Context, outcome: Outcome, closed: Collection[str] = ()) -> Decision:
    """Decide what becomes of the job; `closed` are the instances that are out for now."""
    if isinstance(outcome.result, Answer):
        return ANSWER
    grant = context.held.grant
    job = job_granted(context.configuration, grant, context.request)
    decision = decide(
        context.configuration,
        job,
        read_trail(grant.trail),
        outcome.result,
        instance=context.instance.name,
        left_ms=context.left_ms - outcome.took_ms,
        closed=closed,
    )
    return decision.drawn(random.random())  # noqa: S311


async def report(runtime: "Runtime", context: Context, outcome: Outcome, decision: Decision) -> End:
    """Tell the ledger, in one call, and say how the task ends."""
    held, result = context.held, outcome.result
    accepted = await runtime.outbox.send(finish(_finish(runtime, context, outcome, decision)))
    runtime.hand.put_down(held)
    if not accepted:
        return End("given_back", "its lease had lapsed: the job has gone on without this worker")
    if isinstance(result, Answer):
        usage = result.usage
        return End(
            "answered",
            f"{usage.input_tokens}+{usage.output_tokens} tokens in {outcome.took_ms} ms by {result.instance}",
        )
    if decision.verdict == "wait":
        return End("moved", f"{result.code}: it waits for an instance, no attempt is spent")
    if decision.verdict == "retry":
        return End("moved", f"{result.code}: again in {decision.delay_ms} ms")
    if decision.verdict == "move":
        line = f"{result.code}: on to {decision.queue} in {decision.delay_ms} ms ({decision.because})"
        return End("moved", line, fallback=decision.queue)
    ended = "expired" if decision.verdict == "expire" else result.code
    return End("dead", f"{ended}: {result.message} ({decision.because})")


def _finish(runtime: "Runtime", context: Context, outcome: Outcome, decision: Decision) -> Finish:
    grant, result = context.held.grant, outcome.result
    code = "" if isinstance(result, Answer) else result.code
    usage = result.usage or Usage()
    entry: dict[str, Any] = {
        "attempt": context.number,
        "queue": grant.queue,
        "instance": context.instance.name,
        "started_ms": outcome.started_ms,
        "took_ms": outcome.took_ms,
        "outcome": "answered" if isinstance(result, Answer) else result.code,
        "usage": usage.model_dump(),
        "cost_usd": result.cost_usd,
        **decision.to_json(),
    }
    if isinstance(result, Answer):
        payload = result.model_dump_json()
        foreign = celery_success(grant.id, result.model_dump(mode="json")) if grant.foreign else ""
    else:
        error = result.to_json()
        entry |= {"error": error, "delay_ms": decision.delay_ms}
        if ends := decision.verdict in ("bury", "expire"):
            error = {**error, "because": decision.because}
        if decision.verdict == "expire":
            error |= {"code": "expired", "message": f"its deadline passed while it ran ({result.code})"}
        payload = compact(error)
        foreign = celery_failure(grant.id, f"{error['code']}: {error['message']}") if ends and grant.foreign else ""
    return Finish(
        id=grant.id,
        lease=grant.lease,
        decision=decision.verdict,
        payload=payload,
        entry=compact(entry),
        delay_ms=decision.delay_ms,
        avoid=",".join(decision.avoid),
        move_to=decision.queue if decision.verdict == "move" else "",
        strategy=decision.strategy,
        retention_ms=runtime.terms.retention_ms,
        foreign_result=foreign,
        input_tokens=_counted(usage.input_tokens),
        output_tokens=_counted(usage.output_tokens),
        cost_usd=result.cost_usd or "0",
        counted_tokens=_against_limits(result),
        stated=str(outcome.stated),
        health="ok" if isinstance(result, Answer) else result.health,
        out_ms=0 if isinstance(result, Answer) else result.out_ms,
        code=code,
        history=history_of(grant, decision, code, runtime.now_ms()),
    )


def _against_limits(result: Answer | AttemptFailed) -> int | None:
    """The tokens that the provider has counted; None where nobody knows, as of a call that was cut off."""
    if result.usage is not None and (tokens := result.usage.input_tokens + result.usage.output_tokens) > 0:
        return _counted(tokens)
    return 0 if isinstance(result, _UNREAD) else None


def _counted(tokens: int) -> int:
    """What a provider says may be anything; what Redis adds up has to be a number that stays exact."""
    return min(max(tokens, 0), 2**40)


async def _give_back(runtime: "Runtime", held: Held) -> End:
    """It was granted under another revision than this worker knows, one published at this very moment: it goes back
    whole, and is taken anew when this worker has caught up."""
    runtime.look_for_revision()
    await asyncio.sleep(CATCH_UP_S)
    await put_away(runtime, held, "unused", {})
    return End("given_back", "it was granted under another revision")


async def _bury_unprepared(runtime: "Runtime", held: Held, failure: AttemptFailed) -> End:
    await put_away(runtime, held, "bury", failure.to_json())
    return End("dead", f"{failure.code}: {failure.message}")


async def _let_lapse(runtime: "Runtime", held: Held) -> End:
    """This worker did not come to the call in time: the grant goes back whole, and is taken anew."""
    runtime.taker.too_many()
    await put_away(runtime, held, "unused", {})
    return End("given_back", "its grant was not used in time, and is taken anew")


async def stopped(runtime: "Runtime", held: Held) -> End:
    """The attempt was stopped from outside; `held.stop` says why."""
    why = held.stop or "return"
    if why == "lost":
        runtime.hand.put_down(held)
        return End("given_back", "its lease was lost: the job has gone on without this worker")
    if why == "cancel":
        await put_away(runtime, held, "cancel", {"code": "cancelled", "message": "cancelled while it ran"})
        return End("cancelled", "cancelled while it ran")
    await put_away(runtime, held, "return" if held.sent else "unused", {})
    return End("given_back", "given back to its queue")


async def put_away(runtime: "Runtime", held: Held, ending: Ending, reason: Mapping[str, Any]) -> None:
    """Settle a job that ends without an outcome of its own."""
    grant = held.grant
    said = {"bury": celery_failure, "cancel": celery_revoked}.get(ending)
    settlement = Settlement(
        id=grant.id,
        lease=grant.lease,
        ending=ending,
        reason=compact(reason),
        foreign_result=said(grant.id, str(reason.get("message", ""))) if said is not None and grant.foreign else "",
    )
    await runtime.outbox.send(settle([settlement], runtime.terms))
    runtime.hand.put_down(held)
