"""Rate limits: sizes flat or nested, taken from the top level, or none with a warning."""

from collections.abc import Callable
from pathlib import Path

import pytest

from echelon_configs import Configuration, Limits, RateLimit, Registry, load

Build = Callable[..., Configuration]

POOL = """
task_groups: {{a: {{e: {{models: [openai-gpt4]}}}}}}
polling_pools: {{p: {{task_groups: [a], rate_limiting: {}}}}}
"""
TOP = """
rate_limiting:
  enabled: true
  algorithm: sliding_window
  token_bucket: {bucket_size: 100, refill_rate: 10}
  sliding_window: {window_size: 60, max_requests: 600}
"""
BUCKET = RateLimit(algorithm="token_bucket", bucket_size=100, refill_per_s=10)
WINDOW = RateLimit(algorithm="sliding_window", window_s=60, max_requests=600)


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("{algorithm: token_bucket, bucket_size: 100, refill_rate: 10}", BUCKET),
        ("{algorithm: token_bucket, token_bucket: {bucket_size: 100, refill_rate: 10}}", BUCKET),
        ("{token_bucket: {bucket_size: 100, refill_rate: 10}}", BUCKET),
        ("{bucket_size: 100, refill_rate: 10}", BUCKET),
        ("{algorithm: sliding_window, window_size: 60, max_requests: 600}", WINDOW),
        ("{sliding_window: {window_size: 60, max_requests: 600}}", WINDOW),
        (
            "{algorithm: token_bucket, token_bucket: {bucket_size: 100, refill_rate: 10}, "
            "sliding_window: {window_size: 60, max_requests: 600}}",
            BUCKET,
        ),
        ("{enabled: false, algorithm: token_bucket, bucket_size: 100, refill_rate: 10}", None),
        ("{algorithm: token_bucket, bucket_size: 0, refill_rate: 10}", None),
        ("{algorithm: token_bucket, bucket_size: 0}", None),
        ("{algorithm: sliding_window, window_size: 60, max_requests: 0}", None),
        ("{algorithm: sliding_window, max_requests: none}", None),
    ],
)
def test_sizes_stand_flat_or_under_the_algorithms_name(
    configuration: Build, warnings: Callable[..., list[str]], written: str, rate: RateLimit | None
) -> None:
    assert configuration(POOL.format(written)).pools["p"].limits.rate == rate
    assert warnings(POOL.format(written)) == []


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("{algorithm: token_bucket}", BUCKET),
        ("{algorithm: sliding_window}", WINDOW),
        ("{enabled: true}", WINDOW),
        (
            "{algorithm: token_bucket, bucket_size: 5, refill_rate: 1}",
            RateLimit(algorithm="token_bucket", bucket_size=5, refill_per_s=1),
        ),
    ],
)
def test_a_rate_named_without_sizes_takes_those_of_the_top_level(
    configuration: Build, written: str, rate: RateLimit
) -> None:
    loaded = configuration(POOL.format(written) + TOP)
    assert loaded.pools["p"].limits.rate == rate
    assert loaded.limits.rate == WINDOW


def test_sizes_of_the_top_level_are_taken_even_where_it_is_off(configuration: Build) -> None:
    loaded = configuration(POOL.format("{algorithm: token_bucket}") + TOP.replace("enabled: true", "enabled: false"))
    assert loaded.limits.rate is None
    assert not loaded.rate_limiting.enabled
    assert loaded.pools["p"].limits.rate == BUCKET


def test_a_rate_without_sizes_anywhere_is_none_with_a_warning(
    configuration: Build, warnings: Callable[..., list[str]]
) -> None:
    groups = POOL.format("{algorithm: sliding_window}")
    assert configuration(groups).pools["p"].limits.rate is None
    assert "sliding_window has no sizes, here or at the top level: no rate limit holds" in warnings(groups)[0]


def test_a_top_level_rate_without_sizes_is_none_with_a_warning(warnings: Callable[..., list[str]]) -> None:
    found = warnings("task_groups: {a: {e: {models: [openai-gpt4]}}}\nrate_limiting: {enabled: true}\n")
    assert "token_bucket has no sizes: the cluster as a whole has no rate limit" in found[0]


def test_a_size_of_the_other_algorithm_is_a_warning(warnings: Callable[..., list[str]]) -> None:
    found = warnings(POOL.format("{algorithm: token_bucket, bucket_size: 5, refill_rate: 1, window_size: 60}"))
    assert "window_size is not used by token_bucket (remove it, or write algorithm: sliding_window)" in found[0]


def test_an_algorithm_that_the_registry_adds_takes_the_sizes_beside_its_name(tree: Callable[..., Path]) -> None:
    leaky = Registry(algorithms=("leaky_bucket", "token_bucket"))
    directory = tree(POOL.format("{algorithm: leaky_bucket, bucket_size: 7}"))
    rate = load(directory, environment={"OPENAI_API_KEY": "set"}, registry=leaky).configuration.pools["p"].limits.rate
    assert rate == RateLimit(algorithm="leaky_bucket", bucket_size=7)


@pytest.mark.parametrize("top", [False, True])
@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("tokn_bucket", "there is no algorithm 'tokn_bucket' (did you mean token_bucket? known: token_bucket or"),
        ("my.limits:Leaky", "there is no algorithm 'my.limits:Leaky' (known: token_bucket or sliding_window)"),
    ],
)
def test_an_algorithm_that_there_is_not_is_an_error_and_never_no_limit(
    error: Callable[..., str], written: str, said: str, top: bool
) -> None:
    rates = f"{{algorithm: '{written}', bucket_size: 7, refill_rate: 1}}"
    groups = f"task_groups: {{a: {{e: {{models: [openai-gpt4]}}}}}}\nrate_limiting: {rates}"
    assert said in error(groups if top else POOL.format(rates))


@pytest.mark.parametrize(
    ("written", "limits"),
    [
        ("{rpm_limit: 60}", Limits(requests_per_minute=60)),
        ("{tpm_limit: 9000, enabled: true}", Limits(tokens_per_minute=9000)),
        ("{rpm_limit: 60, tpm_limit: 9000, enabled: false}", Limits()),
        ("{rpm_limit: none, tpm_limit: 0}", Limits()),
        ("{rpm_limit: 60, bucket_size: 100, refill_rate: 10}", Limits(requests_per_minute=60, rate=BUCKET)),
    ],
)
def test_a_pool_and_the_cluster_have_limits_a_minute_in_their_rate_limiting(
    configuration: Build, warnings: Callable[..., list[str]], written: str, limits: Limits
) -> None:
    everywhere = f"task_groups: {{a: {{e: {{models: [openai-gpt4]}}}}}}\nrate_limiting: {written}"
    assert configuration(POOL.format(written)).pools["p"].limits == limits
    assert configuration(everywhere).limits == limits
    assert configuration(everywhere).rate_limiting.enabled == (limits != Limits())
    assert warnings(POOL.format(written)) == warnings(everywhere) == []


def test_limits_a_minute_alone_take_no_sizes_of_the_top_level(configuration: Build) -> None:
    assert configuration(POOL.format("{rpm_limit: 60}") + TOP).pools["p"].limits == Limits(requests_per_minute=60)
    both = configuration(POOL.format("{rpm_limit: 60, algorithm: token_bucket}") + TOP)
    assert both.pools["p"].limits == Limits(requests_per_minute=60, rate=BUCKET)


def test_every_other_scope_has_all_its_limits_beside_its_other_keys(configuration: Build) -> None:
    limits = "concurrency_limit: 1, queue_size: 2, rpm_limit: 3, tpm_limit: 4"
    scope = f"{limits}, rate_limiting: {{bucket_size: 100, refill_rate: 10}}"
    loaded = configuration(
        f"task_groups: {{a: {{{scope}, e: {{models: [m], {scope}}}}}}}\nnodes: {{n: {{llm_group: a, {scope}}}}}",
        **{"llms/m.yaml": f"{{model_type: openai, model_name: m, {scope}}}"},
    )
    every = (loaded.groups["a"], loaded.groups["a"].best, loaded.nodes["n"], loaded.instances["m"])
    wanted = Limits(concurrency=1, queue_size=2, requests_per_minute=3, tokens_per_minute=4, rate=BUCKET)
    assert [scope.limits for scope in every] == [wanted] * 4


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (
            "task_groups: {a: {e: {models: [openai-gpt4], rate_limiting: {rpm_limit: 3, bucket_size: 5, "
            "refill_rate: 1}}}}",
            "unknown key 'rpm_limit' (write it beside rate_limiting:, not in it)",
        ),
        (
            "task_groups: {a: {e: {models: [openai-gpt4]}}}\npolling_pools: {p: {task_groups: [a], tpm_limit: 3}}",
            "unknown key 'tpm_limit' (write it under rate_limiting:)",
        ),
        (
            "task_groups: {a: {e: {models: [openai-gpt4]}}}\nnodes: {n: {llm_group: a, limit: 3}}",
            "unknown key 'limit' (write it under concurrency_config:)",
        ),
    ],
)
def test_a_key_that_stands_elsewhere_is_told_its_place(error: Callable[..., str], groups: str, said: str) -> None:
    assert said in error(groups)


@pytest.mark.parametrize("estimate", ["typical", "worst_case"])
def test_how_tokens_are_estimated_is_said_at_the_top_level(
    configuration: Build, warnings: Callable[..., list[str]], estimate: str
) -> None:
    groups = f"task_groups: {{a: {{e: {{models: [openai-gpt4]}}}}}}\nrate_limiting: {{estimate: {estimate}}}"
    loaded = configuration(groups)
    assert loaded.rate_limiting.estimate == estimate
    assert loaded.limits == Limits()
    assert warnings(groups) == []
    assert configuration("task_groups: {a: {e: {models: [openai-gpt4]}}}").rate_limiting.estimate == "typical"


def test_another_estimate_is_an_error(error: Callable[..., str]) -> None:
    groups = "task_groups: {a: {e: {models: [openai-gpt4]}}}\nrate_limiting: {estimate: best}"
    assert "estimate: 'best' is not one of the words known here (write 'typical' or 'worst_case')" in error(groups)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "{algorithm: token_bucket, bucket_size: 5}",
            "token_bucket lacks refill_rate (write refill_rate beside bucket_size)",
        ),
        ("{algorithm: sliding_window, max_requests: 5}", "sliding_window lacks window_size"),
        ("{algorithm: token_bucket, bucket_size: 5, refill_rate: 0}", "a bucket that is never refilled"),
        ("{algorithm: token_bucket, bucket_size: 0.5, refill_rate: 1}", "a bucket of 0.5 never holds a whole request"),
        ("{algorithm: token_bucket, bucket_size: -1, refill_rate: 1}", "bucket_size: -1 is below zero"),
        ("{algorithm: sliding_window, window_size: 0, max_requests: 5}", "window_size: 0 is not above 0"),
        (
            "{bucket_size: 5, refill_rate: 1, token_bucket: {bucket_size: 6}}",
            "bucket_size is given twice, as 5 and as 6 (keep one of the two)",
        ),
        ("{enabled: maybe}", "enabled: 'maybe' where true or false is expected"),
        ("[]", "a list where a mapping is expected"),
    ],
)
def test_what_is_wrong_in_a_rate_is_said(error: Callable[..., str], written: str, said: str) -> None:
    assert said in error(POOL.format(written))


def test_levels_are_a_list_of_small_mappings_or_one_mapping(configuration: Build) -> None:
    groups = (
        "task_groups: {a: {e: {models: [openai-gpt4]}}}\nnodes: {n: {llm_group: a}}\nconcurrency_control:\n  levels:"
    )
    listed = configuration(
        groups
        + """
    - group_level: {limit: 1, queue_size: 10}
    - echelon_level: {limit: 2}
    - model_level: {limit: 3, queue_size: 30}
      node_level: {limit: 4, queue_size: 0}
"""
    )
    mapped = configuration(
        groups
        + " {node_level: {limit: 4, queue_size: none}, model_level: {limit: 3, queue_size: 30}, "
        + "echelon_level: {limit: 2}, group_level: {limit: 1, queue_size: 10}}"
    )
    assert listed.model_dump_json() == mapped.model_dump_json()
    scopes = (listed.groups["a"], listed.groups["a"].best, listed.instances["openai-gpt4"], listed.nodes["n"])
    assert [(scope.limits.concurrency, scope.limits.queue_size) for scope in scopes] == [
        (1, 10),
        (2, None),
        (3, 30),
        (4, None),
    ]


def test_levels_that_are_off_bind_nobody(configuration: Build) -> None:
    loaded = configuration(
        "task_groups: {a: {e: {models: [openai-gpt4], concurrency_limit: 7}, f: {models: [openai-gpt4]}}}\n"
        "concurrency_control: {enabled: false, levels: [{echelon_level: {limit: 2}}]}"
    )
    assert [echelon.limits.concurrency for echelon in loaded.groups["a"].echelons.values()] == [7, None]


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ("[{group_level: {limit: -5}}]", "levels.group_level.limit: -5 is below zero"),
        ("[{gruop_level: {limit: 5}}]", "unknown key 'gruop_level' (did you mean group_level?)"),
        ("[{group_level: {limit: 1}}, {group_level: {limit: 2}}]", "'group_level' is given twice"),
        ("[group_level]", "'group_level' is not a level"),
        ("[{group_level: {limits: 1}}]", "unknown key 'limits' (did you mean limit?)"),
        ("3", "levels: 3 where a mapping is expected"),
    ],
)
def test_what_is_wrong_in_a_level_is_said(error: Callable[..., str], levels: str, said: str) -> None:
    groups = "task_groups: {a: {e: {models: [openai-gpt4]}}}\nconcurrency_control: {levels: %s}"
    assert said in error(groups % levels).replace("levels[0].", "levels.")


def test_the_defaults_of_jobs_are_an_hour_and_a_day(configuration: Build) -> None:
    assert configuration().defaults.deadline_s == 3600.0
    assert configuration().defaults.retention_s == 86_400.0
    groups = "task_groups: {a: {e: {models: [openai-gpt4]}}}\ndefaults: {deadline_s: 60, retention_s: 120}"
    defaults = configuration(groups).defaults
    assert (defaults.deadline_s, defaults.retention_s) == (60.0, 120.0)
