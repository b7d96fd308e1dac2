"""What a script may say: how each simulated model behaves, and which faults strike when.

A script is one JSON document. `parse_script` turns it into frozen models or lists everything that is wrong with it.
Every field is described in docs/simulator.md (a test holds the two together).
"""

import difflib
import math
from statistics import NormalDist
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

FaultKind = Literal[
    "400", "401", "403", "404", "408", "413", "429", "500", "502", "503", "504", "529",
    "quota", "context_too_long", "refusal", "stall", "slow", "cut", "cut_stream", "stream_error",
    "broken_body", "wrong_shape", "outage",
]  # fmt: skip
Provider = Literal["openai", "anthropic", "gemini"]
Operation = Literal["call", "models"]

_P99_QUANTILE = NormalDist().inv_cdf(0.99)
_MID_ANSWER = ("stall", "cut_stream", "stream_error")
# What a model listing, the cheap health probe, can suffer too unless the fault says otherwise.
_STRIKES_LISTINGS = ("401", "403", "500", "502", "503", "504", "529", "stall", "slow", "cut", "outage")


class ScriptError(ValueError):
    """A script that cannot be used; `problems` holds one line for each thing wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Part(BaseModel):
    """A part of a script: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Distribution(Part):
    """A number (`0.5`), a range (`{"low": 0.1, "high": 0.5}`) or a lognormal (`{"p50": 0.8, "p99": 6}`)."""

    constant: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    low: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    high: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    p50: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    p99: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, data: Any) -> Any:
        if isinstance(data, int | float) and not isinstance(data, bool):
            return {"constant": data}
        return data

    @model_validator(mode="after")
    def _is_one_form(self) -> "Distribution":
        if self.model_fields_set not in ({"constant"}, {"low", "high"}, {"p50", "p99"}):
            raise ValueError('write a number, {"low": ..., "high": ...} or {"p50": ..., "p99": ...}')
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        if self.p50 is not None and self.p99 is not None and self.p50 > self.p99:
            raise ValueError(f"p50 {self.p50:g} is above p99 {self.p99:g}")
        return self

    def quantile(self, share: float) -> float:
        """The value below which `share` (between 0 and 1) of the draws fall; a uniform `share` makes it a draw."""
        if self.constant is not None:
            return self.constant
        if self.low is not None and self.high is not None:
            return self.low + (self.high - self.low) * share
        assert self.p50 is not None
        assert self.p99 is not None
        # A lognormal's logarithm is normal, with mean ln(p50) and deviation ln(p99 / p50) / z(0.99).
        deviation = math.log(self.p99 / self.p50) / _P99_QUANTILE
        return self.p50 * math.exp(deviation * NormalDist().inv_cdf(min(max(share, 1e-9), 1 - 1e-9)))


class AnswerShape(Part):
    """How long answers are; the draw depends on the prompt alone, so the same prompt has the same answer."""

    tokens: Distribution = Distribution(constant=40)
    reasoning_tokens: Distribution = Distribution(constant=64)
    cached_share: float = Field(default=0, ge=0, le=1)
    chunk_tokens: int = Field(default=4, ge=1)


class Limits(Part):
    """Request and token rates, as an exact trailing window or a token bucket; a rate left out is no limit."""

    rpm: int | None = Field(default=None, ge=1)
    tpm: int | None = Field(default=None, ge=1)
    window_s: float = Field(default=60, gt=0, allow_inf_nan=False)
    algorithm: Literal["sliding_window", "token_bucket"] = "sliding_window"
    tokens_counted: Literal["used", "reserved", "input"] = "used"

    @model_validator(mode="after")
    def _admits_one(self) -> "Limits":
        for name, rate in (("rpm", self.rpm), ("tpm", self.tpm)):
            if rate is not None and math.floor(rate * self.window_s / 60) < 1:
                raise ValueError(f"{name} {rate} allows less than one in {self.window_s:g} s: raise it or window_s")
        return self


class Behaviour(Part):
    """How one model, key or instance behaves; a field left out is taken from a less specific entry."""

    latency_s: Distribution | None = None
    first_token_share: float | None = Field(default=None, ge=0, le=1)
    answer: AnswerShape | None = None
    limits: Limits | None = None
    max_concurrency: int | None = Field(default=None, ge=0)
    context_window: int | None = Field(default=None, ge=0)


class Fault(Part):
    """One fault: what happens, to which calls, how often and when."""

    kind: FaultKind
    provider: Provider | None = None
    model: str | None = None
    instance: str | None = None
    key: str | None = None
    operation: Operation | None = None
    share: float = Field(default=1, gt=0, le=1)
    skip: int = Field(default=0, ge=0)
    count: int | None = Field(default=None, ge=1)
    from_s: float = Field(default=0, ge=0)
    to_s: float | None = Field(default=None, gt=0)
    clock: Literal["script", "start"] = "script"
    delay_s: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    retry_after_s: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    after: float | None = Field(default=None, ge=0, le=1)
    mode: Literal["close", "503"] = "close"

    @field_validator("kind", mode="before")
    @classmethod
    def _number_to_name(cls, kind: Any) -> Any:
        return str(kind) if isinstance(kind, int) and not isinstance(kind, bool) else kind

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "Fault":
        if self.to_s is not None and self.to_s <= self.from_s:
            raise ValueError(f"to_s {self.to_s:g} is not after from_s {self.from_s:g}")
        if self.after is not None and self.kind not in _MID_ANSWER:
            raise ValueError(f"after is for {', '.join(_MID_ANSWER)}, not {self.kind}")
        if self.mode != "close" and self.kind != "outage":
            raise ValueError(f"mode is for outage, not {self.kind}")
        if self.operation == "models" and self.kind not in _STRIKES_LISTINGS:
            raise ValueError(f"{self.kind} cannot strike model listings")
        return self

    def strikes(self, operation: Operation) -> bool:
        """Whether this fault is meant for calls, model listings, or both."""
        if self.operation is not None:
            return self.operation == operation
        return operation == "call" or self.kind in _STRIKES_LISTINGS


class Script(Part):
    """Everything the simulator is told: behaviours by model, key and instance, and the faults in order."""

    seed: int = 0
    models: dict[str, Behaviour] = {}
    keys: dict[str, Behaviour] = {}
    instances: dict[str, Behaviour] = {}
    faults: tuple[Fault, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The script as the JSON document that would give it again."""
        return self.model_dump(mode="json", exclude_unset=True)


_KNOWN_KEYS = sorted({name for part in (Script, Behaviour, Fault, Limits, AnswerShape, Distribution)
                      for name in part.model_fields})  # fmt: skip


def parse_script(data: object) -> Script:
    """The script in a decoded JSON document; raises `ScriptError` with every problem found."""
    if not isinstance(data, dict):
        raise ScriptError(['a script is a JSON object, such as {"models": {"*": {"latency_s": 0.2}}}'])
    try:
        return Script.model_validate(data)
    except ValidationError as invalid:
        raise ScriptError([_problem(error) for error in invalid.errors()]) from None


def _problem(error: Any) -> str:
    where = ".".join(str(step) for step in error["loc"]) or "script"
    name = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{_nearest(name, _KNOWN_KEYS)}"
    if name == "kind" and error["type"] == "literal_error":
        return f"{where}: unknown fault {error['input']!r} (one of {', '.join(get_args(FaultKind))})"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=2)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
