"""Scripts: what is accepted, how errors read, and that the documentation knows every field."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echelon_producers.simulator.script import (
    AnswerShape,
    Behaviour,
    Distribution,
    Fault,
    FaultKind,
    Limits,
    Script,
    ScriptError,
    parse_script,
)

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

DOCS = Path(__file__).parents[3] / "docs" / "simulator.md"
FULL: dict[str, Any] = {
    "seed": 7,
    "models": {
        "*": {"latency_s": 0.2, "answer": {"tokens": {"low": 10, "high": 20}, "cached_share": 0.5}},
        "gpt-4o": {"limits": {"rpm": 60, "tpm": 1000, "algorithm": "token_bucket"}, "max_concurrency": 3},
    },
    "instances": {"eu": {"latency_s": {"p50": 0.5, "p99": 4}, "context_window": 8192}},
    "faults": [{"kind": 503, "model": "gpt-*", "share": 0.5, "count": 3, "from_s": 5, "to_s": 25}],
}


def test_a_script_survives_the_way_to_json_and_back() -> None:
    script = parse_script(FULL)
    assert parse_script(json.loads(json.dumps(script.to_json()))) == script
    assert script.faults[0].kind == "503"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ([], "a script is a JSON object"),
        ({"model": {}}, "model: unknown key (did you mean model or models?)"),
        ({"models": {"m": {"latency": 1}}}, "models.m.latency: unknown key (did you mean latency_s?)"),
        ({"models": {"m": {"latency_s": -1}}}, "models.m.latency_s.constant: Input should be greater than"),
        ({"models": {"m": {"latency_s": {"low": 1}}}}, "models.m.latency_s: write a number"),
        ({"models": {"m": {"latency_s": {"low": 2, "high": 1}}}}, "low 2 is above high 1"),
        ({"models": {"m": {"latency_s": {"p50": 2, "p99": 1}}}}, "p50 2 is above p99 1"),
        ({"models": {"m": {"latency_s": True}}}, "models.m.latency_s: Input should be a valid dictionary"),
        ({"models": {"m": {"limits": {"rpm": 0}}}}, "models.m.limits.rpm: Input should be greater than or equal to 1"),
        ({"models": {"m": {"limits": {"rpm": 3, "window_s": 2}}}}, "rpm 3 allows less than one in 2 s"),
        ({"faults": [{"kind": "teapot"}]}, "faults.0.kind: unknown fault 'teapot' (one of 400, "),
        ({"faults": [{"kind": "500", "from_s": 5, "to_s": 5}]}, "to_s 5 is not after from_s 5"),
        ({"faults": [{"kind": "500", "after": 0.5}]}, "after is for stall, cut_stream, stream_error, not 500"),
        ({"faults": [{"kind": "500", "mode": "503"}]}, "mode is for outage, not 500"),
        ({"faults": [{"kind": "quota", "operation": "models"}]}, "quota cannot strike model listings"),
        ({"faults": [{"kind": "500", "share": 0}]}, "faults.0.share: Input should be greater than 0"),
    ],
)
def test_a_wrong_script_is_told_what_is_wrong_and_where(data: object, problem: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse_script(data)
    assert problem in str(caught.value)


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(ScriptError) as caught:
        parse_script({"seed": "x", "faults": [{"kind": "teapot"}, {"kind": "500", "count": 0}]})
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["seed", "faults.0.kind", "faults.1.count"]


@quick
@given(st.floats(0, 1))
def test_a_range_is_never_left(share: float) -> None:
    drawn = Distribution.model_validate({"low": 0.1, "high": 0.5}).quantile(share)
    assert 0.1 <= drawn <= 0.5


def test_a_lognormal_has_the_quantiles_it_is_named_by() -> None:
    latency = Distribution.model_validate({"p50": 0.8, "p99": 6})
    assert latency.quantile(0.5) == pytest.approx(0.8)
    assert latency.quantile(0.99) == pytest.approx(6)


def test_the_documentation_names_every_field_and_every_fault() -> None:
    text = DOCS.read_text("utf-8")
    fields = {name for part in (Script, Behaviour, AnswerShape, Limits, Fault) for name in part.model_fields}
    assert [name for name in sorted(fields | set(get_args(FaultKind))) if f"`{name}`" not in text] == []
