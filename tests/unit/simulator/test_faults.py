"""Which fault strikes which call."""

from dataclasses import replace
from typing import Any

import pytest

from echelon_producers.simulator.faults import FaultPlan, Occasion, fingerprint
from echelon_producers.simulator.markers import read_markers
from echelon_producers.simulator.script import parse_script

CALL = Occasion(operation="call", provider="openai", model="gpt-4o", instance="eu", key=fingerprint("k"),
                since_start_s=100, since_script_s=10)  # fmt: skip


def plan(*faults: dict[str, Any], seed: int = 0) -> FaultPlan:
    return FaultPlan(parse_script({"seed": seed, "faults": list(faults)}))


def kinds(made: FaultPlan, times: int, occasion: Occasion = CALL) -> list[str | None]:
    return [fault.kind if (fault := made.choose(occasion)) else None for _ in range(times)]


@pytest.mark.parametrize(
    ("where", "strikes"),
    [
        ({"model": "gpt-4o"}, True), ({"model": "gpt-*"}, True), ({"model": "claude-*"}, False),
        ({"provider": "openai"}, True), ({"provider": "gemini"}, False), ({"instance": "eu"}, True),
        ({"instance": "us"}, False), ({"key": "k"}, True), ({"key": fingerprint("k")}, True), ({"key": "other"}, False),
        ({"from_s": 10, "to_s": 11}, True), ({"from_s": 10.1}, False), ({"to_s": 10}, False),
        ({"from_s": 99, "clock": "start"}, True), ({"to_s": 50, "clock": "start"}, False),
        ({"operation": "models"}, False), ({"model": "gpt-4o", "instance": "us"}, False),
    ],
)  # fmt: skip
def test_a_fault_strikes_only_what_it_names_and_when(where: dict[str, Any], strikes: bool) -> None:
    assert (plan({"kind": "500", **where}).choose(CALL) is not None) == strikes


def test_skip_and_count_bound_how_often_it_strikes() -> None:
    assert kinds(plan({"kind": "500", "skip": 1, "count": 2}), 5) == [None, "500", "500", None, None]


def test_the_first_fault_that_strikes_is_the_one() -> None:
    assert kinds(plan({"kind": "500", "count": 1}, {"kind": "429"}), 3) == ["500", "429", "429"]


def test_a_share_is_struck_the_same_calls_for_the_same_seed() -> None:
    first, again, other = (kinds(plan({"kind": "500", "share": 0.3}, seed=seed), 2000) for seed in (1, 1, 2))
    assert first == again != other
    assert 500 < first.count("500") < 700


def test_model_listings_suffer_what_a_dead_provider_would_do_to_them() -> None:
    listing = replace(CALL, operation="models", model="")
    assert kinds(plan({"kind": "outage"}), 1, listing) == ["outage"]
    assert kinds(plan({"kind": "429"}), 1, listing) == [None]
    assert kinds(plan({"kind": "outage", "operation": "call"}), 1, listing) == [None]
    assert kinds(plan({"kind": "outage", "model": "gpt-4o"}), 1, listing) == [None]


def test_a_marked_fault_is_counted_for_each_prompt_by_itself() -> None:
    made = plan()
    faults = read_markers("[[sim:fault=500,times=2]]").faults
    struck = [made.choose_marked(faults, prompt, CALL) is not None for prompt in (b"a", b"b", b"a", b"a", b"b", b"b")]
    assert struck == [True, True, True, False, True, False]


def test_a_marked_fault_may_name_the_instance_it_is_for() -> None:
    faults = read_markers("[[sim:fault=500,instance=us]]").faults
    assert plan().choose_marked(faults, b"a", CALL) is None
    assert plan().choose_marked(faults, b"a", replace(CALL, instance="us")) is not None
