"""Workflow nodes: the seed's form, the flat form, and what is wrong."""

from collections.abc import Callable

import pytest

from echelon_configs import Configuration, Thinking

Build = Callable[..., Configuration]

GROUPS = """
task_groups:
  plan: {one: {models: [openai-gpt4]}, two: {models: [openai-gpt4], priority: 2}}
  fast_small_group: {translation: {models: [openai-gpt4]}, analysis: {models: [openai-gpt4]}}
polling_pools:
  turns: {task_groups: [plan]}
"""

KEYS = """
      description: about n
      llm_group: plan.one
      fallback_groups: [plan.two, pool.turns, model.openai-gpt4]
      system_prompt: "Plan it."
      temperature: 0.5
      max_tokens: 3000
      function_calling: none
      response_format: json
      thinking_config: {enabled: true, budget_tokens: 1000}
      task_config: {timeout: 45, max_retries: 0}
      concurrency_config: {limit: 5, queue_size: 50}
      rpm_limit: 60
      tpm_limit: 6000
"""
SEED_FORM = f"nodes:\n  n:\n    type: llm_node\n    config:{KEYS}"
FLAT_FORM = f"workflow_nodes:\n  n:\n      type: llm_node{KEYS}"


@pytest.mark.parametrize("text", [SEED_FORM, FLAT_FORM])
def test_every_key_of_a_node_reaches_the_configuration(configuration: Build, text: str) -> None:
    node = configuration(GROUPS, **{"workflows/w.yaml": text}).nodes["n"]
    assert (node.description, node.type, node.target) == ("about n", "llm_node", "plan.one")
    assert node.fallback_groups == ("plan.two", "pool.turns", "model.openai-gpt4")
    assert node.system_prompt == "Plan it."
    stated = node.overrides
    assert (stated.timeout_s, stated.max_retries, stated.temperature) == (45.0, 0, 0.5)
    assert (stated.max_tokens, stated.function_calling, stated.response_format) == (3000, "none", "json_object")
    assert stated.thinking == Thinking(enabled=True, budget_tokens=1000)
    assert (node.limits.concurrency, node.limits.queue_size) == (5, 50)
    assert (node.limits.requests_per_minute, node.limits.tokens_per_minute) == (60, 6000)


@pytest.mark.parametrize(
    "text",
    [
        FLAT_FORM.replace("workflow_nodes", "nodes"),
        SEED_FORM.replace("nodes", "workflow_nodes"),
        SEED_FORM.replace("    config:", "    rpm_limit: 60\n    config:").replace("      rpm_limit: 60\n", ""),
        FLAT_FORM.replace("task_config: {timeout: 45, max_retries: 0}", "timeout: 45\n      max_retries: 0"),
        FLAT_FORM.replace(
            "concurrency_config: {limit: 5, queue_size: 50}", "concurrency_limit: 5\n      queue_size: 50"
        ),
    ],
)
def test_all_spellings_of_a_node_mean_the_same(configuration: Build, text: str) -> None:
    expected = configuration(GROUPS, **{"workflows/w.yaml": SEED_FORM}).model_dump_json()
    assert configuration(GROUPS, **{"workflows/w.yaml": text}).model_dump_json() == expected


def test_a_node_is_a_target_with_its_own_fallbacks(configuration: Build) -> None:
    loaded = configuration(GROUPS, **{"workflows/w.yaml": FLAT_FORM})
    resolved = loaded.resolve("node.n")
    assert (resolved.target, resolved.queue, resolved.node) == ("node.n", "plan.one", loaded.nodes["n"])
    assert resolved.fallback_groups == ("plan.two", "pool.turns", "model.openai-gpt4")


def test_a_job_may_be_submitted_under_a_node_to_another_target(configuration: Build) -> None:
    loaded = configuration(GROUPS, **{"workflows/w.yaml": FLAT_FORM})
    resolved = loaded.resolve("fast_small_group.analysis", node="n")
    assert (resolved.queue, resolved.node) == ("fast_small_group.analysis", loaded.nodes["n"])


@pytest.mark.parametrize(
    ("keys", "target", "fallbacks"),
    [
        ("llm_group: plan", "plan", ()),
        ("polling_pool: turns", "pool.turns", ()),
        ("polling_pool: pool.turns", "pool.turns", ()),
        ("model: openai-gpt4", "model.openai-gpt4", ()),
        ("llm_group: plan.one, polling_pool: turns", "plan.one", ("pool.turns",)),
        (
            "llm_group: plan.one, polling_pool: turns, fallback_groups: [plan.two]",
            "plan.one",
            ("plan.two", "pool.turns"),
        ),
        ("llm_group: plan.one, polling_pool: turns, fallback_groups: [pool.turns]", "plan.one", ("pool.turns",)),
    ],
)
def test_a_node_goes_to_its_group_then_its_pool_or_to_one_model(
    configuration: Build, keys: str, target: str, fallbacks: tuple[str, ...]
) -> None:
    node = configuration(GROUPS + f"nodes: {{n: {{{keys}}}}}").nodes["n"]
    assert (node.target, node.fallback_groups) == (target, fallbacks)


def test_a_node_of_another_type_is_left_out_with_a_warning(
    configuration: Build, warnings: Callable[..., list[str]]
) -> None:
    text = "nodes: {t: {type: tool_node, config: {tool: search}}, n: {type: llm_node, llm_group: plan}}"
    assert list(configuration(GROUPS + text).nodes) == ["n"]
    assert (
        "a node of type 'tool_node' is left out (only nodes of type llm_node submit jobs)" in warnings(GROUPS + text)[0]
    )


def test_a_fallback_that_does_not_exist_is_an_error_with_the_nearest_names(error: Callable[..., str]) -> None:
    text = "nodes:\n  n:\n    config:\n      llm_group: plan.one\n      fallback_groups: [fast_small_group.fast]\n"
    assert error(GROUPS, **{"workflows/w.yaml": text}) == (
        "workflows/w.yaml:5: nodes.n.config.fallback_groups[0]: group fast_small_group has no echelon 'fast' "
        "(did you mean fast_small_group.analysis or fast_small_group.translation?)"
    )


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("{}", "n: a node without a target (write llm_group: GROUP.ECHELON, polling_pool: or model:)"),
        ("{type: llm_node, config: {}}", "n: a node without a target"),
        ("[]", "n: a list where a mapping is expected"),
        ("{type: llm_nod, llm_group: plan}", "n.type: there is no type 'llm_nod' (did you mean llm_node?)"),
        ("{llm_group: plant}", "n.llm_group: there is no group 'plant' (did you mean plan?)"),
        ("{llm_group: plan.three}", "group plan has no echelon 'three'"),
        ("{polling_pool: turn}", "n.polling_pool: there is no pool 'turn' (did you mean turns?)"),
        ("{model: mystery}", "n.model: model 'mystery' has no file, and its name says no provider"),
        ("{llm_group: plan, model: openai-gpt4}", "a node with two targets: model beside a group or pool"),
        ("{llm_group: plan.one, fallback_groups: [plan.one]}", "the node falls back to its own target 'plan.one'"),
        ("{llm_group: plan, fallback_groups: [node.n]}", "'node.n' is a node, and has no queue"),
        ("{llm_group: plan, fallback_groups: [plan.two, plan.two]}", "'plan.two' is named twice"),
        ("{llm_group: plan, timeout: 3, task_config: {timeout: 4}}", "timeout is given twice: here and as task_config"),
        ("{llm_group: plan, config: {llm_group: plan}}", "n.config.llm_group: 'llm_group' is given twice"),
        ("{llm_group: plan, promt: x}", "unknown key 'promt'"),
        (
            "{llm_group: plan, config: {sytem_prompt: x}}",
            "n.config.sytem_prompt: unknown key 'sytem_prompt' (did you mean sy",
        ),
        ("{llm_group: plan, concurrency_config: {limit: -1}}", "concurrency_config.limit: -1 is below zero"),
        ("{llm_group: 3}", "n.llm_group: 3 where text is expected"),
    ],
)
def test_what_is_wrong_in_a_node_is_said_with_what_would_be_right(
    errors: Callable[..., list[str]], node: str, said: str
) -> None:
    found = errors(GROUPS, **{"workflows/w.yaml": f"nodes:\n  n: {node}\n"})
    assert found[0].startswith("workflows/w.yaml:2: nodes.n")
    assert said in "\n".join(found)


def test_a_node_given_twice_names_both_places(error: Callable[..., str]) -> None:
    files = {
        "workflows/a.yaml": "nodes: {n: {llm_group: plan}}",
        "workflows/b.yaml": "workflow_nodes: {n: {llm_group: plan}}",
    }
    assert error(GROUPS, **files) == (
        "workflows/b.yaml:1: workflow_nodes.n: node 'n' is given twice (it stands at workflows/a.yaml:1 too)"
    )


def test_an_unknown_key_of_a_workflow_file_is_refused(error: Callable[..., str]) -> None:
    found = error(GROUPS, **{"workflows/w.yaml": "node: {n: {llm_group: plan}}"})
    assert found == "workflows/w.yaml:1: node: unknown key 'node' (did you mean nodes?)"


def test_a_switched_off_concurrency_config_leaves_the_level_in_force(configuration: Build) -> None:
    text = "nodes: {n: {llm_group: plan, concurrency_config: {enabled: false, limit: 3}}}\n"
    text += "concurrency_control: {levels: [{node_level: {limit: 9}}]}"
    assert configuration(GROUPS + text).nodes["n"].limits.concurrency == 9
