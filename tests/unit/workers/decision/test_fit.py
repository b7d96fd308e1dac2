"""Which instances can take a job, and what is said of those that cannot."""

from typing import Any

import pytest
from configured import configured
from walks import job

from echelon_configs import Configuration
from echelon_workers.decision.fit import Fit
from echelon_workers.strategies import Attempt

GROUPS = """
task_groups:
  g:
    e: {models: [able], max_tokens: 100}
    limited: {models: [openai-x], tpm_limit: 500, max_tokens: 100}
    strict: {models: [able], function_calling: required, response_format: json_object}
workflow_nodes:
  wordy: {llm_group: g.e, max_tokens: 4000}
"""
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
PICTURE = [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]


def whole(more: str = "") -> Configuration:
    return configured(GROUPS, able=f"{{model_type: openai, model_name: m{', ' if more else ''}{more}}}")


def why_not(configuration: Configuration, target: str = "g.e", node: str = "", **request: Any) -> str:
    start = job(configuration, target, node, **request)
    queue = configuration.queues[start.queue]
    return Fit(configuration, start, ()).why_not(queue, queue.members[0])


NOT_TOOLS, NOT_JSON = "supports: {tools: false}", "supports: {json_object: false}"
NOT_SCHEMA, NOT_IMAGES = "supports: {json_schema: false}", "supports: {images: false}"


@pytest.mark.parametrize(
    ("instance", "target", "request_", "why"),
    [
        ("", "g.e", {"tools": [TOOL], "response_format": SCHEMA}, ""),
        (NOT_TOOLS, "g.e", {}, ""),
        (NOT_TOOLS, "g.e", {"tools": [TOOL]}, "it cannot call tools"),
        (NOT_TOOLS, "g.e", {"tools": [TOOL], "function_calling": "none"}, ""),
        (NOT_TOOLS, "g.strict", {}, "it cannot call tools"),
        ("supports: {tools: true}", "g.strict", {"tools": [TOOL]}, ""),
        (NOT_JSON, "g.e", {"response_format": "json_object"}, "it cannot answer in the form json_object"),
        (NOT_JSON, "g.strict", {}, "it cannot answer in the form json_object"),
        (NOT_JSON, "g.strict", {"response_format": "text"}, ""),
        (NOT_JSON, "g.e", {"response_format": SCHEMA}, ""),
        (NOT_SCHEMA, "g.e", {"response_format": SCHEMA}, "it cannot answer in the form json_schema"),
        (NOT_SCHEMA, "g.e", {"response_format": "json_object"}, ""),
        (NOT_IMAGES, "g.e", {"messages": [{"role": "user", "content": PICTURE}]}, "it cannot read images"),
        (NOT_IMAGES, "g.e", {"messages": [{"role": "user", "content": "no picture"}]}, ""),
    ],
)
def test_what_the_instance_says_it_cannot_do(instance: str, target: str, request_: dict[str, Any], why: str) -> None:
    if "messages" in request_:
        request_ = {"prompt": None, **request_}
    assert why_not(whole(instance), target, **request_) == why


def test_a_job_needs_its_input_and_its_output_to_fit_into_the_context() -> None:
    small = whole("context_window: 1000")
    assert why_not(small) == ""
    assert why_not(small, prompt="x" * 3600) == "the job needs about 1,007 tokens, and its context has 1,000"
    assert why_not(small, prompt="x" * 3600, max_tokens=93) == ""
    assert why_not(small, node="wordy") == "the job needs about 4,009 tokens, and its context has 1,000"
    assert why_not(whole(), prompt="x" * 3_000_000) == ""


def test_a_job_above_a_limit_of_tokens_would_wait_for_ever() -> None:
    assert why_not(whole(), "g.limited") == ""
    why = why_not(whole(), "g.limited", prompt="x" * 4000)
    assert why == (
        "about 1,007 tokens of input, and echelon:g.limited lets 500 tokens a minute through: it would wait for ever"
    )


def test_an_instance_without_its_address_cannot_be_called() -> None:
    open_ended = whole("base_url: 'https://${NOWHERE_HOST}/v1'")
    assert why_not(open_ended) == "it cannot be called: NOWHERE_HOST not set"


@pytest.mark.parametrize(
    ("refused", "other", "why"),
    [
        ("model_name: m", "model_name: m", "the same model has refused it as too long (refused)"),
        ("model_name: m", "model_name: n", ""),
        (
            "model_name: m, context_window: 8000",
            "model_name: n, context_window: 8000",
            "its context is no larger than that of refused, which was too small",
        ),
        ("model_name: m, context_window: 8000", "model_name: n, context_window: 9000", ""),
        ("model_name: m, context_window: 8000", "model_name: n", ""),
        ("model_name: m", "model_name: n, context_window: 9000", ""),
    ],
)
def test_a_job_that_was_too_long_goes_only_to_a_larger_context(refused: str, other: str, why: str) -> None:
    both = configured(
        "task_groups: {g: {e: {models: [refused, other]}}}",
        refused=f"{{model_type: openai, {refused}}}",
        other=f"{{model_type: openai, {other}}}",
    )
    fit = Fit(both, job(both, "g"), (Attempt("g.e", "refused", "context_too_long", "elsewhere"),))
    queue = both.queues["g.e"]
    assert fit.why_not(queue, queue.members[1]) == why
