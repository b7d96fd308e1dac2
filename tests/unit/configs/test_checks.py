"""The checks across the configuration: references and circles."""

from collections.abc import Callable

import pytest

from echelon_configs import Configuration

Error = Callable[..., str]
Errors = Callable[..., list[str]]

ECHELONS = "e: {models: [openai-gpt4]}, f: {models: [openai-gpt4], priority: 2}"


def group(name: str, *fallbacks: str) -> str:
    return f"  {name}: {{{ECHELONS}, fallback_config: {{fallback_groups: [{', '.join(fallbacks)}]}}}}\n"


@pytest.mark.parametrize(
    ("fallback", "said"),
    [
        ("b.g", "group b has no echelon 'g' (did you mean b.e or b.f?)"),
        ("c", "there is no group 'c' (known: a, b)"),
        ("bb", "there is no group 'bb' (did you mean b?)"),
        ("c.e", "there is no group 'c' (did you mean a.e or b.e?)"),
        ("b.", "group b has no echelon '' (did you mean b.e or b.f?)"),
        ("pool.x", "there is no pool 'x' (there are none yet)"),
        ("model.mystery", "model 'mystery' has no file, and its name says no provider"),
        ("node.n", "'node.n' is a node, and has no queue"),
        ("a", "group a falls back to itself (name one of its echelons, or another group)"),
    ],
)
def test_a_fallback_names_something_that_exists(error: Error, fallback: str, said: str) -> None:
    groups = "task_groups:\n" + group("a", f"'{fallback}'") + group("b")
    assert error(groups).startswith("_task_groups.yaml:2: task_groups.a.fallback_config.fallback_groups[0]: ")
    assert said in error(groups)


def test_a_fallback_may_name_any_queue_and_echelons_of_its_own_group(
    configuration: Callable[..., Configuration],
) -> None:
    groups = "task_groups:\n" + group("a", "a.f", "b", "b.f", "pool.p", "model.gemini-pro") + group("b")
    loaded = configuration(groups + "polling_pools: {p: {task_groups: [b]}}")
    assert loaded.groups["a"].fallback.fallback_groups == ("a.f", "b", "b.f", "pool.p", "model.gemini-pro")
    assert "model.gemini-pro" in loaded.queues


def test_a_circle_of_fallbacks_is_an_error_that_shows_the_way(error: Error) -> None:
    groups = "task_groups:\n" + group("a", "b.e") + group("b", "c") + group("c", "a.f")
    assert error(groups) == (
        "_task_groups.yaml:4: task_groups.c.fallback_config.fallback_groups[0]: the fallbacks go in a circle: "
        "a -> b -> c -> a (remove one of these steps)"
    )


def test_each_circle_is_reported_once(errors: Errors) -> None:
    groups = "task_groups:\n" + group("a", "b") + group("b", "a") + group("c", "d") + group("d", "c", "a")
    found = errors(groups)
    assert [line.partition("circle: ")[2] for line in found] == [
        "a -> b -> a (remove one of these steps)",
        "c -> d -> c (remove one of these steps)",
    ]


def test_ways_that_meet_again_are_no_circle(configuration: Callable[..., Configuration]) -> None:
    groups = "task_groups:\n" + group("a", "b", "c") + group("b", "d") + group("c", "d") + group("d")
    assert list(configuration(groups).groups) == ["a", "b", "c", "d"]


def test_an_unknown_key_at_the_top_is_refused_with_the_nearest(error: Error) -> None:
    assert error("task_groups: {a: {e: {models: [openai-gpt4]}}}\npoling_pools: {}") == (
        "_task_groups.yaml:2: poling_pools: unknown key 'poling_pools' (did you mean polling_pools?)"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task_groups: [a]", "task_groups: a mapping of names is expected"),
        ("task_groups: {a: {e: {models: [openai-gpt4]}}}\npolling_pools: 3", "polling_pools: a mapping of names is"),
        ("task_groups: {a: {e: {models: [openai-gpt4]}}}\nnodes: [n]", "nodes: a mapping of nodes is expected"),
        (
            "task_groups: {a: {e: {models: [openai-gpt4]}}}\nglobal_fallback: yes",
            "global_fallback: True where a mapping",
        ),
        ("task_groups: {a: {e: {models: [openai-gpt4]}}}\nrate_limiting: 3", "rate_limiting: 3 where a mapping"),
        ("task_groups: {a: {e: {models: [openai-gpt4]}}}\ndefaults: {deadline: 3}", "(did you mean deadline_s?)"),
    ],
)
def test_a_section_of_the_wrong_kind_is_said(error: Error, text: str, said: str) -> None:
    assert said in error(text)
