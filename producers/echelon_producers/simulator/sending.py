"""Sends what a verdict says: whole answers, streams, errors, and everything that goes wrong on the way."""

import asyncio
from dataclasses import replace

from aiohttp import web

from .arrivals import GONE, STREAMED
from .call import Call
from .exchange import Ask, Failure
from .simulation import Simulation
from .verdict import Verdict
from .wire import Headers, Received, Target, Wire, compact

_BAD_GATEWAY = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1>\r\n</center>\r\n</body>\r\n</html>\r\n"  # noqa: E501
_WRONG_SHAPE = compact({"greeting": "hello", "items": []})
_LEAST_PAUSE_S = 0.005


async def serve(simulation: Simulation, wire: Wire, target: Target, request: web.BaseRequest) -> web.StreamResponse:
    """Answer one request to a provider's path as the script wants it."""
    raw: bytes | None
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raw = None
    headers = request.headers
    # The whole request is here: this is the moment that counts as its arrival.
    call = Call(simulation, wire, Received(target, headers, request.query))
    call.read(raw)
    call.arrive(headers.get("x-echelon-job", ""), headers.get("x-echelon-attempt", ""))
    status = 0
    try:
        return await _carry_out(call, call.judge(), request)
    except (asyncio.CancelledError, ConnectionError):
        status = GONE
        raise
    finally:
        # Only a call that ended in none of the ways below is still open here.
        call.leave(0, status)


async def _carry_out(call: Call, verdict: Verdict, request: web.BaseRequest) -> web.StreamResponse:
    streams = call.ask is not None and call.ask.stream and verdict.reply is not None
    if verdict.wait_s > 0 and not streams:
        await asyncio.sleep(verdict.wait_s)
    if verdict.failure is not None:
        return _failed(call, verdict.failure)
    if verdict.twist == "cut":
        return _hung_up(call, request)
    if verdict.twist == "stall" and verdict.after == 0:
        await asyncio.Event().wait()
    if verdict.reply is None or call.ask is None:
        models = [name for name in call.simulation.script.models if "*" not in name] or [*call.wire.default_models]
        return _answered(call, compact(call.wire.model(call.model) if call.model else call.wire.listing(models)))
    if streams:
        return await _stream(call, call.ask, verdict, request)
    body = compact(call.wire.plain(call.ask, verdict.reply))
    if verdict.twist in ("cut_stream", "stall"):
        return await _partly(call, verdict, request, body)
    if verdict.twist == "broken_body":
        body = body[: len(body) // 2]
    return _answered(call, _WRONG_SHAPE if verdict.twist == "wrong_shape" else body)


def _answered(call: Call, body: bytes) -> web.Response:
    headers = call.wire.headers(call.number, call.standing())
    headers["content-type"] = "application/json"
    call.leave(200)
    return web.Response(body=body, headers=headers)


def _failed(call: Call, failure: Failure) -> web.Response:
    status, error_headers, error = call.wire.error(replace(failure, number=call.number))
    headers: Headers = {**call.wire.headers(call.number, call.standing()), **error_headers}
    html = call.fault is not None and call.fault.kind == "502"
    headers["content-type"] = "text/html" if html else "application/json"
    call.leave(status)
    return web.Response(status=status, body=_BAD_GATEWAY if html else compact(error), headers=headers)


def _hung_up(call: Call, request: web.BaseRequest, status: int = 0, flags: int = 0) -> web.Response:
    call.leave(status, flags)
    if request.transport is not None:
        # close, not abort: what was written before still goes out.
        request.transport.close()
    return web.Response()


async def _partly(call: Call, verdict: Verdict, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    """Send a share of a plain answer, then hang up or fall silent."""
    response = web.StreamResponse(headers={**call.wire.headers(call.number, call.standing()),
                                           "content-type": "application/json"})  # fmt: skip
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: max(1, int(len(body) * verdict.after))])
    if verdict.twist == "stall":
        await asyncio.Event().wait()
    return _hung_up(call, request, 200)


async def _stream(call: Call, ask: Ask, verdict: Verdict, request: web.BaseRequest) -> web.StreamResponse:
    assert verdict.reply is not None
    first_s = verdict.wait_s * call.live.first_token_share
    await asyncio.sleep(first_s)
    kind = "text/event-stream" if ask.as_events else "application/json"
    response = web.StreamResponse(headers={**call.wire.headers(call.number, call.standing()), "content-type": kind,
                                           "cache-control": "no-cache"})  # fmt: skip
    response.enable_chunked_encoding()
    frames = _twisted(call, verdict, call.wire.frames(ask, verdict.reply, call.live.answer.chunk_tokens))
    try:
        await response.prepare(request)
        await _send(response, frames, verdict.wait_s - first_s)
        if verdict.twist == "stall":
            await asyncio.Event().wait()
    except (asyncio.CancelledError, ConnectionError):
        call.leave(200, GONE | STREAMED)
        raise
    if verdict.twist == "cut_stream":
        return _hung_up(call, request, 200, STREAMED)
    call.leave(200, STREAMED)
    return response


def _twisted(call: Call, verdict: Verdict, frames: list[bytes]) -> list[bytes]:
    sent = frames[: max(1, int(len(frames) * verdict.after))]
    if verdict.twist in ("cut_stream", "stall"):
        return sent
    if verdict.twist == "stream_error":
        return [*sent, call.wire.failed_frame()]
    if verdict.twist == "broken_body":
        return [*sent[:-1], sent[-1][: len(sent[-1]) // 2] + b"\n\n"]
    return [b"data: %b\n\n" % _WRONG_SHAPE] if verdict.twist == "wrong_shape" else frames


async def _send(response: web.StreamResponse, frames: list[bytes], over_s: float) -> None:
    """Write the frames spread over `over_s` seconds, several at once where the pauses would be too short."""
    steps = max(1, min(len(frames), int(over_s / _LEAST_PAUSE_S)))
    for step in range(steps):
        if over_s > 0:
            await asyncio.sleep(over_s / steps)
        await response.write(b"".join(frames[len(frames) * step // steps : len(frames) * (step + 1) // steps]))
