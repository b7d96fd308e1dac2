"""The steps of an attempt that need no server."""

import pytest

from echelon_configs import CallOverrides, CallSettings, Node, Thinking
from echelon_workers.attempt import merged, with_node
from echelon_workers.ledger.job import parse_request

ECHELON = CallSettings(temperature=0.7, max_tokens=500, timeout_s=30)
NODE = Node(
    name="planning",
    target="plan_group",
    system_prompt="You plan.",
    overrides=CallOverrides(max_tokens=3000, thinking=Thinking(enabled=True, budget_tokens=100)),
)


@pytest.mark.parametrize(
    ("node", "own", "expected"),
    [
        (None, {}, (0.7, 500, False)),
        (NODE, {}, (0.7, 3000, True)),
        (None, {"max_tokens": 7}, (0.7, 7, False)),
        (NODE, {"max_tokens": 7, "temperature": 0.0}, (0.0, 7, True)),
        (NODE, {"thinking": {"enabled": False}}, (0.7, 3000, False)),
    ],
)
def test_the_jobs_own_settings_win_over_its_nodes_and_those_over_its_echelons(
    node: Node | None, own: dict[str, object], expected: tuple[float, int, bool]
) -> None:
    settings = merged(ECHELON, node, parse_request({"prompt": "x", **own}))
    assert (settings.temperature, settings.max_tokens, settings.thinking.enabled) == expected
    assert settings.timeout_s == 30


def test_a_nodes_system_prompt_holds_where_the_job_brings_none() -> None:
    bare, own = parse_request({"prompt": "x"}), parse_request({"prompt": "x", "system": "Mine."})
    assert with_node(bare, NODE).system == "You plan."
    assert with_node(own, NODE).system == "Mine."
    assert with_node(bare, None).system is None
