"""Markers in a prompt, such as `[[sim:fault=500,times=2]]`, that script one job from within.

Several settings may share one marker, separated by commas; several markers may stand in one prompt.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from .exchange import bad_request
from .script import Fault

_MARKER = re.compile(r"\[\[sim:([^\]]*)\]\]")
# The settings of a fault, by the marker's shorter name; `times` is how often it strikes this prompt.
_FAULT_SETTINGS = {
    "fault": "kind", "times": "count", "model": "model", "instance": "instance", "provider": "provider",
    "retry_after": "retry_after_s", "delay": "delay_s", "after": "after", "mode": "mode",
}  # fmt: skip
_OWN_SETTINGS = ("latency", "tokens", "reasoning", "tool")


@dataclass(frozen=True, slots=True)
class Marked:
    """What the markers of one prompt say; None is not said, `tool` "" is any tool."""

    faults: tuple[Fault, ...] = ()
    latency_s: float | None = None
    tokens: int | None = None
    reasoning_tokens: int | None = None
    tool: str | None = None


UNMARKED = Marked()


def read_markers(text: str) -> Marked:
    """What the markers in `text` say; raises `RequestError`, the provider's own 400, for one that is not known."""
    if "[[sim:" not in text:
        return UNMARKED
    marked = UNMARKED
    for found in _MARKER.finditer(text):
        marked = _with_marker(marked, found.group(0), found.group(1))
    return marked


def without_markers(text: str) -> str:
    """`text` as an answer may echo it: a marker in an answer would script the job that quotes it."""
    return _MARKER.sub("", text) if "[[sim:" in text else text


def _with_marker(marked: Marked, marker: str, body: str) -> Marked:
    settings = dict(_setting(part) for part in body.split(",") if part.strip())
    unknown = [name for name in settings if name not in _FAULT_SETTINGS and name not in _OWN_SETTINGS]
    if unknown or not settings:
        known = ", ".join([*_FAULT_SETTINGS, *_OWN_SETTINGS])
        raise bad_request(f"simulator: {marker} has unknown settings {unknown} (known: {known})")
    fault = {_FAULT_SETTINGS[name]: value for name, value in settings.items() if name in _FAULT_SETTINGS}
    try:
        if fault:
            marked = replace(marked, faults=(*marked.faults, Fault.model_validate(fault)))
        return _with_own_settings(marked, settings)
    except ValidationError as invalid:
        first: Any = invalid.errors()[0]
        raise bad_request(f"simulator: {marker}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as invalid:
        raise bad_request(f"simulator: {marker}: {invalid}") from None


def _setting(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip(), value.strip()


def _with_own_settings(marked: Marked, settings: dict[str, str]) -> Marked:
    if "latency" in settings:
        marked = replace(marked, latency_s=max(0.0, float(settings["latency"])))
    if "tokens" in settings:
        marked = replace(marked, tokens=max(0, int(settings["tokens"])))
    if "reasoning" in settings:
        marked = replace(marked, reasoning_tokens=max(0, int(settings["reasoning"])))
    if "tool" in settings:
        marked = replace(marked, tool=settings["tool"])
    return marked
