"""Reading what a caller sends: bounded, JSON, and from where it may come."""

from urllib.parse import urlsplit

from fastapi import Request
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from .refusals import Refused

MOST_BODY_BYTES = 32 * 1024 * 1024
#: A body that is too large is read to its end and thrown away, because few clients look for an answer while they still
#: send; above this the connection is cut.
MOST_READ_BYTES = 8 * MOST_BODY_BYTES


async def read_json(request: Request) -> object:
    """The JSON document in the body. Raises Refused: 400 when it is none, 413 when it is above 32 MB."""
    body = await _read(request)
    try:
        # Strict JSON: no NaN, no lone surrogates, no nesting without end.
        return from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        what = f"not JSON: {exc}" if body.strip() else "empty"
        message = f'{what} (would be right: a JSON object such as {{"target": "fast_group", "prompt": "..."}})'
        raise Refused(400, "not_json", message, "body") from exc


async def _read(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    length = int(declared) if declared.isascii() and declared.isdigit() and len(declared) < 16 else 0
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if max(size, length) <= MOST_BODY_BYTES:
                parts.append(part)
            elif max(size, length) > MOST_READ_BYTES:
                break
    except ClientDisconnect as exc:
        raise Refused(400, "cut_short", "the connection closed before the body ended", "body") from exc
    if max(size, length) > MOST_BODY_BYTES:
        raise _too_large()
    return b"".join(parts)


def _too_large() -> Refused:
    message = f"larger than {MOST_BODY_BYTES} bytes (would be right: several requests with fewer jobs each)"
    return Refused(413, "too_large", message, "body")


def refuse_other_sites(request: Request) -> None:
    """Refuse what a page of another site makes a browser send: whoever reads a page must not pay for its prompts.

    Programs that are no browsers send neither of these headers. The rule is that of Go's `http.CrossOriginProtection`.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        same = site in ("same-origin", "none")
    else:
        same = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not same:
        message = "sent by a page of another site (would be right: let the web app's server send it)"
        raise Refused(403, "other_site", message, "header Sec-Fetch-Site" if site else "header Origin")
