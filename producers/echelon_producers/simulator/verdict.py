"""What becomes of a call: decided here without input or output, carried out in sending.py."""

from dataclasses import dataclass, replace
from typing import Literal

from .answers import compose, reserved_tokens
from .behaviours import Live
from .exchange import Ask, Failure, Reply
from .markers import Marked
from .script import Fault

Twist = Literal["cut", "stall", "cut_stream", "stream_error", "broken_body", "wrong_shape"]
_TWISTS: dict[str, Twist] = {
    "stall": "stall", "cut_stream": "cut_stream", "stream_error": "stream_error", "broken_body": "broken_body",
    "wrong_shape": "wrong_shape",
}  # fmt: skip
_SLOW_S = 10.0
_AGAIN_S = 1.0
_SOME_WINDOW = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Fail with `failure`, or say `reply` after `wait_s`, or neither; `twist` is what goes wrong with it on the way.

    `after` is the share of the answer that is sent before the twist. `admitted` calls hold their place in the gate.
    """

    failure: Failure | None = None
    reply: Reply | None = None
    wait_s: float = 0
    twist: Twist | None = None
    after: float = 0
    admitted: bool = False


def fail(fault: Fault, model: str, tokens: int = 0, window: int = 0) -> Verdict | None:
    """The verdict of a fault that needs no answer: an error, or a connection cut; None for the other kinds."""
    wait_s = fault.delay_s or 0
    if fault.kind == "cut" or (fault.kind == "outage" and fault.mode == "close"):
        return Verdict(twist="cut", wait_s=wait_s)
    if fault.kind == "outage":
        return Verdict(failure=Failure(kind="503", model=model, retry_after_s=fault.retry_after_s), wait_s=wait_s)
    if fault.kind == "context_too_long":
        most = window or _SOME_WINDOW
        failure = Failure(kind=fault.kind, model=model, limit=most, used=max(tokens, most + 1))
        return Verdict(failure=failure, wait_s=wait_s)
    if fault.kind == "quota" or fault.kind.isdigit():
        again_s = _AGAIN_S if fault.kind == "429" and fault.retry_after_s is None else fault.retry_after_s
        return Verdict(failure=Failure(kind=fault.kind, model=model, retry_after_s=again_s), wait_s=wait_s)
    return None


def decide(
    ask: Ask, tokens: int, live: Live, fault: Fault | None, marked: Marked, number: int, now_ns: int
) -> Verdict:  # fmt: skip
    """What becomes of a well-formed call of `tokens` input tokens: its fault first, then the limits, then an answer."""
    if fault is not None:
        failed = fail(fault, ask.model, tokens, live.context_window)
        if failed is not None:
            return failed
        if fault.kind == "stream_error" and not ask.stream:
            return Verdict(failure=Failure(kind="500", model=ask.model), wait_s=fault.delay_s or 0)
    if live.context_window and tokens > live.context_window:
        failure = Failure(kind="context_too_long", model=ask.model, limit=live.context_window, used=tokens)
        return Verdict(failure=failure)
    reply = compose(ask, tokens, live.answer, marked, number)
    refused = _refusal(ask, reply, live, now_ns)
    if refused is not None:
        return Verdict(failure=replace(refused, model=ask.model))
    if fault is not None and fault.kind == "refusal":
        reply = replace(reply, text="", thoughts="", tool=None, finish="content_filter")
    return _said(reply, live, fault, marked)


def listed(fault: Fault | None) -> Verdict:
    """What becomes of a model listing that no fault fails."""
    return Verdict(wait_s=_delay_s(fault), twist="stall" if fault is not None and fault.kind == "stall" else None)


def _delay_s(fault: Fault | None) -> float:
    if fault is None:
        return 0
    return fault.delay_s if fault.delay_s is not None else _SLOW_S if fault.kind == "slow" else 0


def _refusal(ask: Ask, reply: Reply, live: Live, now_ns: int) -> Failure | None:
    """The 429 of the model's limits, or None after taking a place and spending the quota."""
    refused = live.gate.refusal() if live.gate else None
    if refused is None and live.quota is not None:
        refused = live.quota.admit(_counted_tokens(live.quota.tokens_counted, ask, reply, live), now_ns)
    if refused is None and live.gate:
        live.gate.inside += 1
    return refused


def _counted_tokens(counted: str, ask: Ask, reply: Reply, live: Live) -> int:
    if counted == "reserved":
        return reserved_tokens(ask, reply.input_tokens, live.answer)
    return reply.input_tokens if counted == "input" else reply.input_tokens + reply.output_tokens


def _said(reply: Reply, live: Live, fault: Fault | None, marked: Marked) -> Verdict:
    wait_s = live.draw_latency_s() if marked.latency_s is None else marked.latency_s
    if fault is None:
        return Verdict(reply=reply, wait_s=wait_s, admitted=True)
    wait_s += _delay_s(fault)
    twist = _TWISTS.get(fault.kind)
    after = 0 if twist == "stall" else 0.5
    return Verdict(
        reply=reply, wait_s=wait_s, twist=twist, after=after if fault.after is None else fault.after, admitted=True
    )
