"""The tokens that a job reserves, and jobs that could never get theirs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echelon_configs import load
from echelon_workers.ledger.estimate import format_size, sizes, system_size
from echelon_workers.ledger.job import parse_request
from echelon_workers.ledger.needs import Needs, NeverFits, Rooms

CONFIGS = """
task_groups:
  a:
    small: {{models: [openai-gpt4], max_tokens: 100, tpm_limit: {small}}}
    large: {{models: [openai-gpt4, gemini-pro], max_tokens: 200, tpm_limit: {large}}}
    thinking: {{models: [openai-gpt4], max_tokens: 100, thinking_config: {{budget_tokens: 4000}}}}
    formed: {{models: [openai-gpt4], response_format: json}}
nodes:
  plain: {{llm_group: a.small}}
  told: {{llm_group: a.small, system_prompt: Be brief., max_tokens: 50, tpm_limit: {node}}}
  deep: {{llm_group: a.small, thinking_config: {{budget_tokens: 4000}}}}
polling_pools: {{p: {{task_groups: [a.small, a.large], rate_limiting: {{tpm_limit: {pool}}}}}}}
rate_limiting: {{estimate: {estimate}}}
"""
DEFAULTS = {"small": 0, "large": 0, "node": 0, "pool": 0, "estimate": "typical"}

NeedsOf = Callable[..., Needs]


@pytest.fixture
def needs(tmp_path: Path) -> Callable[..., NeedsOf]:
    """Under some limits, what a request needs that is sent to a target."""

    def under(**limits: object) -> NeedsOf:
        (tmp_path / "_task_groups.yaml").write_text(CONFIGS.format(**{**DEFAULTS, **limits}), encoding="utf-8")
        configuration = load(tmp_path / "_task_groups.yaml", environment={}).configuration
        rooms = Rooms(configuration)

        def asked(target: str, prompt: str = "x" * 400, **request: Any) -> Needs:
            room = rooms.of(configuration.resolve(target))
            return Needs(*room.needs(parse_request({"prompt": prompt, **request})))

        return asked

    return under


def test_a_job_needs_its_input_and_its_echelon_says_the_rest(needs: Callable[..., NeedsOf]) -> None:
    assert needs()("a.small") == Needs(*sizes(parse_request({"prompt": "x" * 400})), 0)


def test_what_job_or_node_allow_as_output_is_stated(needs: Callable[..., NeedsOf]) -> None:
    asked = needs()
    assert asked("a.small", max_tokens=7).max_tokens == 7
    assert asked("node.told").max_tokens == 50
    assert asked("node.told", max_tokens=7).max_tokens == 7
    assert asked("node.plain").max_tokens == 0


def test_thinking_that_leaves_no_room_comes_on_top_of_the_output(needs: Callable[..., NeedsOf]) -> None:
    asked = needs()
    assert asked("a.thinking").max_tokens == 0, "all of it is the echelon's, and take knows that"
    assert asked("node.deep").max_tokens == 4100
    assert asked("a.thinking", max_tokens=90).max_tokens == 4090
    assert asked("a.thinking", max_tokens=5000).max_tokens == 5000
    assert asked("a.thinking", thinking={"enabled": False}, max_tokens=90).max_tokens == 90
    assert asked("a.small", thinking={"enabled": True}).max_tokens == 100 + 1024
    assert asked("a.small", thinking={"enabled": True, "budget_tokens": 2000}).max_tokens == 2100


def test_what_node_and_echelon_add_counts_where_the_job_says_nothing(needs: Callable[..., NeedsOf]) -> None:
    asked = needs()
    plain, told, formed = asked("a.small"), asked("node.told"), asked("a.formed")
    assert told.worst_input_tokens == plain.worst_input_tokens + system_size("Be brief.").worst_input_tokens
    assert asked("node.told", system="Hm").input_tokens == asked("a.small", system="Hm").input_tokens
    assert formed.input_tokens == plain.input_tokens + format_size("json_object").input_tokens
    assert asked("a.formed", response_format="text").input_tokens == plain.input_tokens


def test_typically_the_input_and_one_token_have_to_fit(needs: Callable[..., NeedsOf]) -> None:
    assert needs(small=108)("a.small").input_tokens == 107
    with pytest.raises(NeverFits) as caught:
        needs(small=107)("a.small")
    assert str(caught.value) == (
        "about 107 tokens of input, and echelon:a.small lets 107 tokens a minute through: it would wait for ever "
        "(would be right: a shorter request, or a target with a higher tpm_limit)"
    )


def test_in_the_worst_case_all_that_it_can_take_has_to_fit(needs: Callable[..., NeedsOf]) -> None:
    assert needs(small=644, estimate="worst_case")("a.small").worst_input_tokens == 544
    with pytest.raises(NeverFits) as caught:
        needs(small=643, estimate="worst_case")("a.small")
    assert str(caught.value) == (
        "up to 544 tokens of input and 100 of output, and echelon:a.small lets 643 tokens a minute through: it would "
        "wait for ever (would be right: max_tokens of at most 99, or a target with a higher tpm_limit)"
    )
    assert needs(small=643, estimate="worst_case")("a.small", max_tokens=99).max_tokens == 99
    with pytest.raises(NeverFits, match=r"a shorter request, or a target"):
        needs(small=544, estimate="worst_case")("a.small")


def test_one_member_with_room_is_enough(needs: Callable[..., NeedsOf]) -> None:
    assert needs(small=10)("pool.p").input_tokens == 107
    assert needs(small=10, large=200)("pool.p").input_tokens == 107
    with pytest.raises(NeverFits, match=r"and echelon:a.large lets 90 tokens"):
        needs(small=10, large=90)("pool.p")
    with pytest.raises(NeverFits, match=r"and pool:p lets 80 tokens"):
        needs(small=90, large=0, pool=80)("pool.p")


def test_the_nodes_own_limit_holds_for_its_jobs_alone(needs: Callable[..., NeedsOf]) -> None:
    asked = needs(node=50)
    assert asked("node.plain").input_tokens == 107
    with pytest.raises(NeverFits, match=r"and node:told lets 50 tokens"):
        asked("node.told")
