"""Each strategy: where it sends a job, and in which order."""

import pytest
from configured import configured

from echelon_configs import Registry
from echelon_workers.strategies import Attempt, Candidate, Situation, Strategy, StrategyUnusable, strategy_named

CONFIGURATION = configured(
    """
task_groups:
  fast:
    first: {models: [openai-a, openai-b, claude-a], priority: 1}
    second: {models: [openai-c, gemini-a], priority: 2}
    third: {models: [openai-d], priority: 3}
    fallback_config: {fallback_groups: [other.only, pool.all, fast.third]}
  other:
    only: {models: [claude-b]}
  alone:
    only: {models: [openai-a]}
polling_pools:
  all: {task_groups: [fast, alone]}
  part: {task_groups: [alone.only]}
"""
)


def names(strategy: str, home: str = "fast.first", *failed: str, queue: str = "") -> list[tuple[str, str]]:
    """The queues that a strategy names, each with the instances that it wants there."""
    trail = tuple(Attempt(queue or home, instance, "server_failed", "here") for instance in failed)
    situation = Situation(configuration=CONFIGURATION, queue=queue or home, home=home, trail=trail)
    found = [Candidate(*candidate) for candidate in strategy_named(strategy).candidates(situation)]
    return [(queue, "any" if only is None else " ".join(sorted(only))) for queue, only in found]


@pytest.mark.parametrize(
    ("home", "queues"),
    [
        ("fast.first", ["fast.second", "fast.third"]),
        ("fast.second", ["fast.third"]),
        ("fast.third", []),
        ("alone.only", []),
    ],
)
def test_echelon_down_names_the_echelons_below_home(home: str, queues: list[str]) -> None:
    assert names("echelon_down", home) == [(queue, "any") for queue in queues]


def test_echelon_down_looks_down_from_home_wherever_the_job_is() -> None:
    assert names("echelon_down", "fast.first", "openai-d", queue="fast.third")[0] == ("fast.second", "any")


def test_model_rotate_names_the_models_of_home_that_have_not_failed() -> None:
    assert names("model_rotate", "fast.first", "openai-a") == [("fast.first", "claude-a openai-b")]
    assert names("model_rotate", "fast.third", "openai-d") == [("fast.third", "")]


def test_provider_failover_names_other_providers_here_and_then_below() -> None:
    assert names("provider_failover", "fast.first", "openai-a") == [
        ("fast.first", "claude-a"),
        ("fast.second", "gemini-a"),
        ("fast.third", ""),
    ]
    assert names("provider_failover", "fast.first", "openai-a", "claude-a") == [
        ("fast.first", ""),
        ("fast.second", "gemini-a"),
        ("fast.third", ""),
    ]


def test_two_servers_that_speak_the_format_of_openai_are_two_providers() -> None:
    def server(host: str) -> str:
        return f"{{model_type: openai_compatible, model_name: m, base_url: 'https://{host}/v1', api_key: none}}"

    whole = configured(
        "task_groups: {g: {e: {models: [one, same, two]}}}", one=server("a"), same=server("a"), two=server("b")
    )
    failed = (Attempt("g.e", "one", "timed_out", "here"),)
    situation = Situation(configuration=whole, queue="g.e", home="g.e", trail=failed)
    assert list(strategy_named("provider_failover").candidates(situation)) == [Candidate("g.e", frozenset({"two"}))]


def test_task_group_switch_names_the_fallback_groups_as_written() -> None:
    assert names("task_group_switch") == [("other.only", "any"), ("pool.all", "any"), ("fast.third", "any")]
    assert names("task_group_switch", "alone.only") == []


def test_polling_pool_switch_names_the_pools_among_the_fallback_groups_else_those_of_its_echelon() -> None:
    assert names("polling_pool_switch") == [("pool.all", "any")]
    assert names("polling_pool_switch", "alone.only") == [("pool.all", "any"), ("pool.part", "any")]


def test_instance_rotation_takes_whichever_is_next_in_the_pool() -> None:
    assert names("instance_rotation", "pool.all", "openai-a") == [("pool.all", "any")]


def test_simple_retry_takes_the_same_instance_and_another_only_after_it() -> None:
    assert names("simple_retry", "pool.all", "openai-a") == [("pool.all", "openai-a"), ("pool.all", "any")]


def test_a_group_strategy_has_no_way_for_a_job_that_was_sent_to_a_model() -> None:
    strategies = ("echelon_down", "task_group_switch")
    assert [names(strategy, "model.openai-a", "openai-a") for strategy in strategies] == [[], []]


@pytest.mark.parametrize("name", Registry().strategies + Registry().pool_strategies)
def test_every_name_that_the_configuration_knows_is_a_strategy_in_a_module_of_its_name(name: str) -> None:
    found = strategy_named(name)
    assert type(found).__module__ == f"echelon_workers.strategies.{name}"
    assert type(found).__doc__
    assert strategy_named(name) is found


class Upwards(Strategy):
    """One of a user's own."""

    def candidates(self, situation: Situation) -> list[Candidate]:
        return [Candidate("fast.first")]


def test_a_strategy_of_ones_own_is_found_by_its_dotted_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mine", __import__("types").SimpleNamespace(Upwards=Upwards))
    assert names("mine:Upwards") == [("fast.first", "any")]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such:X", "ModuleNotFoundError"),
        ("json:NoClass", "AttributeError"),
        ("decimal:Decimal", "no strategy"),
    ],
)
def test_one_that_cannot_be_used_says_which_and_why(name: str, why: str) -> None:
    with pytest.raises(StrategyUnusable, match=f"{name}.*{why}"):
        strategy_named(name)
