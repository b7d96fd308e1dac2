"""Which behaviour holds for a call, and whose limits it shares."""

import pytest

from echelon_producers.simulator.behaviours import Behaviours
from echelon_producers.simulator.faults import fingerprint
from echelon_producers.simulator.script import parse_script

KEY = fingerprint("secret")


def test_the_most_specific_entry_that_has_a_field_wins() -> None:
    behaviours = Behaviours(parse_script({
        "models": {"*": {"latency_s": 1, "context_window": 10}, "m": {"latency_s": 2}},
        "keys": {"secret": {"latency_s": 3}},
        "instances": {"*": {"max_concurrency": 5}, "eu": {"latency_s": 4}},
    }))  # fmt: skip
    latencies = [behaviours.of(*names).draw_latency_s() for names in
                 (("x", "", ""), ("m", "", ""), ("m", KEY, ""), ("m", KEY, "us"), ("m", KEY, "eu"))]  # fmt: skip
    assert latencies == [1, 2, 3, 3, 4]
    assert behaviours.of("m", KEY, "eu").context_window == 10


@pytest.mark.parametrize(
    ("script", "one", "other", "shared"),
    [
        ({"models": {"*": {"limits": {"rpm": 1}}}}, ("a", "", ""), ("b", "", ""), False),
        ({"models": {"*": {"limits": {"rpm": 1}}}}, ("a", "k", "x"), ("a", "l", "y"), True),
        ({"models": {"a": {"limits": {"rpm": 1}}}}, ("a", "", "x"), ("a", "", "y"), True),
        ({"instances": {"*": {"limits": {"rpm": 1}}}}, ("a", "", "x"), ("a", "", "y"), False),
        ({"instances": {"x": {"limits": {"rpm": 1}}}}, ("a", "", "x"), ("b", "", "x"), True),
        ({"keys": {"*": {"limits": {"rpm": 1}}}}, ("a", "k", ""), ("a", "l", ""), False),
        ({"keys": {"secret": {"limits": {"rpm": 1}}}}, ("a", KEY, ""), ("b", KEY, ""), True),
    ],
)
def test_a_limit_belongs_to_the_entry_it_is_written_in(
    script: object, one: tuple[str, str, str], other: tuple[str, str, str], shared: bool
) -> None:
    behaviours = Behaviours(parse_script(script))
    first, second = behaviours.of(*one).quota, behaviours.of(*other).quota
    assert first is not None
    assert second is not None
    assert (first is second) == shared


def test_latencies_are_the_same_for_the_same_seed() -> None:
    def draws(seed: int) -> list[float]:
        script = parse_script({"seed": seed, "models": {"*": {"latency_s": {"p50": 1, "p99": 9}}}})
        live = Behaviours(script).of("m", "", "")
        return [live.draw_latency_s() for _ in range(20)]

    assert draws(1) == draws(1) != draws(2)


def test_an_instances_behaviour_holds_only_where_the_header_names_it() -> None:
    behaviours = Behaviours(parse_script({"instances": {"*": {"latency_s": 4}}}))
    assert behaviours.of("m", "", "").draw_latency_s() == 0
