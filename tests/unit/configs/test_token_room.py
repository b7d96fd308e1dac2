"""Limits of tokens: which holds where, and `max_tokens` that alone are more than a minute lets through."""

from collections.abc import Callable

import pytest

from echelon_configs import Configuration
from echelon_configs.token_limits import TokenLimit, token_limit

GROUPS = """
task_groups:
  a:
    tpm_limit: {group}
    e: {{models: [openai-gpt4, gemini-pro], max_tokens: 500, tpm_limit: {echelon}}}
nodes:
  n: {{llm_group: a, tpm_limit: {node}{more}}}
polling_pools:
  p: {{task_groups: [a], rate_limiting: {{tpm_limit: {pool}}}}}
rate_limiting: {{tpm_limit: {cluster}, estimate: {estimate}}}
"""
NONE = {"group": 0, "echelon": 0, "node": 0, "pool": 0, "cluster": 0, "more": "", "estimate": "worst_case"}


def written(**limits: object) -> str:
    return GROUPS.format(**{**NONE, **limits})


@pytest.mark.parametrize(
    ("scope", "named"),
    [("cluster", "cluster"), ("group", "group:a"), ("echelon", "echelon:a.e"), ("node", "node:n"), ("pool", "pool:p")],
)
def test_the_smallest_limit_on_the_way_holds(
    configuration: Callable[..., Configuration], scope: str, named: str
) -> None:
    every = {"cluster": 9000, "group": 8000, "echelon": 7000, "node": 6000, "pool": 5000}
    loaded = configuration(written(**{**every, scope: 4000}))
    queue = loaded.queues["pool.p"]
    assert token_limit(loaded, queue, queue.members[0], loaded.nodes["n"]) == TokenLimit(named, 4000)


def test_a_limit_counts_only_for_jobs_that_pass_it(configuration: Callable[..., Configuration]) -> None:
    loaded = configuration(written(group=8000, node=900, pool=1000))
    echelon, alone = loaded.queues["a.e"], loaded.queues["model.openai-gpt4"]
    assert token_limit(loaded, echelon, echelon.members[0]) == TokenLimit("group:a", 8000)
    assert token_limit(loaded, alone, alone.members[0]) is None


def test_max_tokens_that_leave_no_room_under_worst_case_are_an_error(error: Callable[..., str]) -> None:
    assert error(written(group=500)) == (
        "_task_groups.yaml:5: task_groups.a.e.max_tokens: max_tokens 500 leave no room in the 500 tokens a minute of "
        "group:a: under estimate: worst_case no job could ever run (write max_tokens well below 500, a higher "
        "tpm_limit, or estimate: typical)"
    )


def test_what_a_node_states_counts_for_its_own_jobs(error: Callable[..., str]) -> None:
    assert "nodes.n.max_tokens: max_tokens 700 leave no room in the 600 tokens a minute of echelon:a.e" in error(
        written(echelon=600, more=", max_tokens: 700")
    )
    assert "max_tokens 500 leave no room in the 400 tokens a minute of node:n" in error(written(node=400))


def test_a_pool_through_which_none_of_its_members_could_go_is_an_error(error: Callable[..., str]) -> None:
    said = error(written(pool=400))
    assert "polling_pools.p.rate_limiting: max_tokens 500 leave no room in the 400 tokens a minute of pool:p" in said


def test_thinking_that_leaves_max_tokens_no_room_comes_on_top(error: Callable[..., str]) -> None:
    more = ", max_tokens: 1000, thinking_config: {budget_tokens: 2000}"
    assert "max_tokens 3,000 leave no room in the 2,500 tokens a minute of echelon:a.e" in error(
        written(echelon=2500, more=more)
    )


@pytest.mark.parametrize(
    "limits",
    [{"group": 500, "estimate": "typical"}, {"group": 501}, {"cluster": 501, "node": 501, "pool": 501}],
)
def test_what_may_run_is_no_problem(warnings: Callable[..., list[str]], limits: dict[str, object]) -> None:
    assert warnings(written(**limits)) == []


def test_one_way_with_room_is_enough(warnings: Callable[..., list[str]]) -> None:
    small = "{model_type: openai, model_name: m, tpm_limit: 100}"
    assert warnings(written(), **{"llms/openai-gpt4.yaml": small}) == []
