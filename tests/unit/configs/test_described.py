"""The resolved configuration in words."""

from collections.abc import Callable

from echelon_configs import Configuration
from echelon_configs.described import described, summary

TEXT = """
task_groups:
  g:
    description: about g
    e: {models: [openai-gpt4, mine], rpm_limit: 1000, thinking_config: {budget_tokens: 512}}
polling_pools:
  p: {task_groups: [g], rate_limiting: {bucket_size: 5, refill_rate: 0.5, rpm_limit: 10}}
  q: {task_groups: [g], rate_limiting: {algorithm: token_bucket}}
nodes:
  n: {llm_group: g.e, system_prompt: "first line\\nsecond line", timeout: 5}
rate_limiting: {enabled: false, bucket_size: 600, refill_rate: 200}
global_fallback: {enabled: false}
concurrency_control: {levels: [{group_level: {limit: 7}}]}
"""
MODEL = """
model_type: openai_compatible
model_name: m
base_url: ${NOWHERE}
headers: {X-Team: '${TEAM}'}
parameters: {top_p: 0.5}
"""


def test_every_scope_is_shown_with_what_holds_for_it(configuration: Callable[..., Configuration]) -> None:
    loaded = configuration(TEXT, **{"llms/mine.yaml": MODEL})
    text = described(loaded)
    for said in (
        "1 group, 1 echelon, 2 pools, 1 node, 2 instances, 5 queues; digest ",
        "  fallback  off; at most 3 attempts, 1 s before the first retry",
        "  each group    7 in flight",
        "  tokens    reserved before a call: typical",
        "group g: about g\n  limits    7 in flight (as each group)\n",
        "  limits    token_bucket of 600 requests, 200 more a second (sizes of the top level)",
        "group g: about g",
        "  fallback  none; at most 3 attempts",
        "    priority 1, round_robin over openai-gpt4, mine",
        "    limits  1,000 requests/min",
        "60 s each, 2 retries, at most 1,024 tokens, tools auto, text, thinking 512 tokens, ",
        "temperature as the provider's",
        "pool.p",
        "  limits    10 requests/min, token_bucket of 5 requests, 0.5 more a second",
        "  target    g.e",
        "  prompt    first line...",
        "  calls     5 s each",
        "  cannot be called: NOWHERE not set",
        "  header    X-Team: ${TEAM}",
        "  extra     top_p=0.5",
        "  key       ${OPENAI_API_KEY}",
    ):
        assert said in text, said
    assert summary(loaded) in text
    assert all(queue in text for queue in loaded.queues)
