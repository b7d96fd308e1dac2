"""Task groups and echelons: every accepted spelling, and what is wrong with others."""

from collections.abc import Callable

import pytest

from echelon_configs import Configuration, RateLimit, Thinking

Build = Callable[..., Configuration]
Errors = Callable[..., list[str]]
Error = Callable[..., str]

FULL = """
task_groups:
  g:
    description: about g
    concurrency_limit: 50
    queue_size: 500
    rpm_limit: 900
    tpm_limit: 90000
    rotation_strategy: weighted
    rate_limiting: {algorithm: sliding_window, window_size: 10, max_requests: 20}
    best:
      description: about best
      models: [openai-gpt4, gemini-pro]
      concurrency_limit: 10
      queue_size: 100
      rpm_limit: 60
      tpm_limit: 6000
      priority: 2
      timeout: 12.5
      max_retries: 0
      temperature: 0
      max_tokens: 10000
      function_calling: required
      response_format: {type: object, properties: {a: {type: string}}}
      thinking_config: {enabled: true, budget_tokens: 2048}
      rotation_strategy: least_recently_used
      rate_limiting: {algorithm: token_bucket, bucket_size: 5, refill_rate: 0.5}
    fallback_config:
      strategy: task_group_switch
      fallback_groups: [h.only, g.best, model.gemini-pro]
      max_attempts: 7
      retry_delay: 0
      circuit_breaker: {failure_threshold: 9, recovery_time: 8.5, half_open_requests: 7}
  h:
    only: {models: [openai-gpt4]}
"""


def test_every_key_of_a_group_reaches_the_configuration(configuration: Build) -> None:
    group = configuration(FULL).groups["g"]
    assert group.description == "about g"
    assert group.limits.concurrency == 50
    assert group.limits.queue_size == 500
    assert (group.limits.requests_per_minute, group.limits.tokens_per_minute) == (900, 90000)
    assert group.limits.rate == RateLimit(algorithm="sliding_window", window_s=10, max_requests=20)
    fallback = group.fallback
    assert (fallback.strategy, fallback.max_attempts, fallback.retry_delay_s) == ("task_group_switch", 7, 0.0)
    assert fallback.fallback_groups == ("h.only", "g.best", "model.gemini-pro")
    breaker = fallback.circuit_breaker
    assert (breaker.failure_threshold, breaker.recovery_time_s, breaker.half_open_requests) == (9, 8.5, 7)


def test_every_key_of_an_echelon_reaches_the_configuration(configuration: Build) -> None:
    echelon = configuration(FULL).groups["g"].echelons["best"]
    assert (echelon.description, echelon.priority, echelon.rotation) == ("about best", 2, "least_recently_used")
    assert echelon.models == ("openai-gpt4", "gemini-pro")
    limits = echelon.limits
    assert (limits.concurrency, limits.queue_size) == (10, 100)
    assert (limits.requests_per_minute, limits.tokens_per_minute) == (60, 6000)
    assert limits.rate == RateLimit(algorithm="token_bucket", bucket_size=5, refill_per_s=0.5)
    settings = echelon.settings
    assert (settings.timeout_s, settings.max_retries, settings.temperature) == (12.5, 0, 0.0)
    assert (settings.max_tokens, settings.function_calling) == (10000, "required")
    assert settings.thinking == Thinking(enabled=True, budget_tokens=2048)
    assert settings.response_format == {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "schema": {"type": "object", "properties": {"a": {"type": "string"}}},
            "strict": False,
        },
    }


def test_what_is_not_written_has_its_default(configuration: Build) -> None:
    group = configuration("task_groups: {g: {e: {models: [openai-gpt4]}}}").groups["g"]
    settings = group.best.settings
    assert (settings.timeout_s, settings.max_retries, settings.max_tokens) == (60.0, 2, 1024)
    assert (settings.function_calling, settings.response_format, settings.temperature) == ("auto", "text", None)
    assert settings.thinking == Thinking(enabled=False, budget_tokens=None)
    assert (group.best.priority, group.best.rotation) == (1, "round_robin")
    assert group.fallback.strategy == "echelon_down"
    assert (group.fallback.max_attempts, group.fallback.retry_delay_s) == (3, 1.0)
    assert set(dict(group.best.limits).values()) == {None}


def test_echelons_stand_inline_or_under_echelons_or_both(configuration: Build) -> None:
    models = "{models: [openai-gpt4]}"
    inline = configuration(f"task_groups: {{g: {{a: {models}, b: {models}}}}}")
    nested = configuration(f"task_groups: {{g: {{echelons: {{a: {models}, b: {models}}}}}}}")
    both = configuration(f"task_groups: {{g: {{a: {models}, echelons: {{b: {models}}}}}}}")
    assert inline.model_dump_json() == nested.model_dump_json() == both.model_dump_json()


def test_echelons_stand_in_the_order_of_priority_then_as_written(configuration: Build) -> None:
    written = "task_groups: {g: {c: {models: [openai-gpt4], priority: 3}, b: {models: [openai-gpt4]}, "
    written += "z: {models: [openai-gpt4], priority: 2}, a: {models: [openai-gpt4]}}}"
    loaded = configuration(written)
    assert list(loaded.groups["g"].echelons) == ["b", "a", "z", "c"]
    assert loaded.resolve("g").queue == "g.b"


@pytest.mark.parametrize("written", ["0", "none", "null", "~", ""])
def test_a_limit_of_0_or_none_is_no_limit_even_where_the_level_has_one(configuration: Build, written: str) -> None:
    loaded = configuration(
        f"""
task_groups:
  g:
    e:
      models: [openai-gpt4]
      concurrency_limit: {written}
      queue_size: {written}
      rpm_limit: {written}
      tpm_limit: {written}
      max_retries: {written}
    other: {{models: [openai-gpt4]}}
concurrency_control: {{levels: [{{echelon_level: {{limit: 5, queue_size: 6}}}}]}}
"""
    )
    written_echelon, silent = loaded.groups["g"].echelons.values()
    assert set(dict(written_echelon.limits).values()) == {None}
    assert (silent.limits.concurrency, silent.limits.queue_size) == (5, 6)
    assert written_echelon.settings.max_retries == 0


def test_the_short_spelling_of_the_strategy_means_the_same_as_the_long_one(configuration: Build) -> None:
    short = configuration("task_groups: {g: {e: {models: [openai-gpt4]}, fallback_strategy: model_rotate}}")
    long = configuration("task_groups: {g: {e: {models: [openai-gpt4]}, fallback_config: {strategy: model_rotate}}}")
    assert short.model_dump_json() == long.model_dump_json()


def test_a_circuit_breaker_may_stand_at_the_group_or_in_its_fallback(configuration: Build) -> None:
    outer = configuration("task_groups: {g: {e: {models: [openai-gpt4]}, circuit_breaker: {failure_threshold: 2}}}")
    inner = configuration(
        "task_groups: {g: {e: {models: [openai-gpt4]}, fallback_config: {circuit_breaker: {failure_threshold: 2}}}}"
    )
    assert outer.groups["g"].fallback == inner.groups["g"].fallback


def test_global_fallback_holds_where_a_group_says_nothing(configuration: Build) -> None:
    loaded = configuration(
        """
task_groups:
  silent: {e: {models: [openai-gpt4]}}
  loud: {e: {models: [openai-gpt4]}, fallback_config: {max_attempts: 9, circuit_breaker: {recovery_time: 5}}}
global_fallback:
  enabled: true
  max_attempts: 6
  retry_delay: 2.5
  circuit_breaker: {failure_threshold: 4, recovery_time: 40, half_open_requests: 3}
"""
    )
    silent, loud = loaded.groups["silent"].fallback, loaded.groups["loud"].fallback
    assert (silent.strategy, silent.max_attempts, silent.retry_delay_s) == ("echelon_down", 6, 2.5)
    assert silent.circuit_breaker == loaded.global_fallback.circuit_breaker
    assert (loud.max_attempts, loud.retry_delay_s) == (9, 2.5)
    assert (loud.circuit_breaker.failure_threshold, loud.circuit_breaker.recovery_time_s) == (4, 5.0)


def test_with_global_fallback_off_a_silent_group_has_no_fallback(configuration: Build) -> None:
    loaded = configuration(
        """
task_groups:
  silent: {e: {models: [openai-gpt4]}}
  loud: {e: {models: [openai-gpt4]}, fallback_strategy: model_rotate}
global_fallback: {enabled: false}
"""
    )
    assert loaded.groups["silent"].fallback.strategy is None
    assert loaded.groups["loud"].fallback.strategy == "model_rotate"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("llms/groups/g.yaml", "e: {models: [openai-gpt4]}"),
        ("llms/g.yaml", "g: {e: {models: [openai-gpt4]}}"),
        ("g.yaml", "task_groups: {g: {e: {models: [openai-gpt4]}}}"),
    ],
)
def test_a_group_may_have_a_file_of_its_own_with_or_without_its_name_around(
    configuration: Build, name: str, text: str
) -> None:
    inline = configuration("task_groups: {g: {e: {models: [openai-gpt4]}}}").model_dump_json()
    registry = "task_groups: {g: {file: g.yaml, enabled: true}}"
    assert configuration(registry, **{name: text}).model_dump_json() == inline


def test_errors_in_a_groups_own_file_name_that_file(error: Error) -> None:
    found = error(
        "task_groups: {g: {file: g.yaml}}", **{"llms/groups/g.yaml": "e:\n  models: [openai-gpt4]\n  rpm: 3\n"}
    )
    assert found == "g.yaml:3: e.rpm: unknown key 'rpm' (did you mean rpm_limit?)"


def test_a_disabled_group_is_left_out_and_its_file_need_not_be_there(configuration: Build) -> None:
    loaded = configuration(
        "task_groups: {a: {e: {models: [openai-gpt4]}}, b: {file: nowhere.yaml, enabled: false}, c: {enabled: false}}"
    )
    assert list(loaded.groups) == ["a"]


def test_a_reference_to_a_disabled_group_is_dropped_with_a_warning(warnings: Errors) -> None:
    found = warnings(
        """
task_groups:
  a: {e: {models: [openai-gpt4]}, fallback_config: {fallback_groups: [b.e]}}
  b: {enabled: false, e: {models: [openai-gpt4]}}
polling_pools:
  p: {task_groups: [a, b]}
"""
    )
    assert [line.partition(" (")[0].partition(": ")[2] for line in found] == [
        "task_groups.a.fallback_config.fallback_groups[0]: warning: 'b.e' is disabled, and left out here",
        "polling_pools.p.task_groups[1]: warning: 'b' is disabled, and left out here",
    ]


def test_a_file_that_nobody_names_is_a_warning(warnings: Errors) -> None:
    found = warnings(**{"llms/groups/lost.yaml": "e: {models: [openai-gpt4]}"})
    assert found == [
        "lost.yaml:1: (file): warning: is not read (name it in _task_groups.yaml: lost: {file: lost.yaml})"
    ]


def test_keys_that_begin_with_x_hold_anchors(configuration: Build) -> None:
    loaded = configuration(
        """
x-common: &common {models: [openai-gpt4], timeout: 5}
task_groups:
  g:
    a: {<<: *common}
    b: {<<: *common, timeout: 6}
"""
    )
    assert [echelon.settings.timeout_s for echelon in loaded.groups["g"].echelons.values()] == [5.0, 6.0]


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("{e: {models: []}}", "g.e.models: an echelon of nothing: no models (name at least one model)"),
        ("{e: {}}", "g.e.models: is missing (write models: [NAME, ...])"),
        ("{echelon1: }", "g.echelon1: an echelon of nothing (write models: [NAME, ...] below it)"),
        ("{}", "g: a group of nothing: no echelons (write echelon1: with models: [NAME, ...] below it)"),
        ("[]", "g: a list where a mapping is expected (write KEY: VALUE lines below it)"),
        ("", "g: nothing where a mapping is expected (write KEY: VALUE lines below it)"),
        ("{e: {models: openai-gpt4}}", "g.e.models: 'openai-gpt4' where a list is expected"),
        ("{e: {models: [3]}}", "g.e.models[0]: 3 where text is expected (put it in quotes)"),
        ("{e: {models: [openai-gpt4, openai-gpt4]}}", "g.e.models[1]: 'openai-gpt4' is named twice"),
        ("{e: {models: [openai-gpt4], rpm_limit: -1}}", "g.e.rpm_limit: -1 is below zero (write a number at least 0)"),
        ("{e: {models: [openai-gpt4], tpm_limit: lots}}", "g.e.tpm_limit: 'lots' where a whole number is expected"),
        ("{e: {models: [openai-gpt4], tpm_limit: 1.5}}", "g.e.tpm_limit: 1.5 where a whole number is expected"),
        ("{e: {models: [openai-gpt4], rpm_limit: true}}", "g.e.rpm_limit: True where a whole number is expected"),
        ("{e: {models: [openai-gpt4], priority: -2}}", "g.e.priority: -2 is below zero"),
        ("{e: {models: [openai-gpt4], timeout: 0}}", "g.e.timeout: 0 is not above 0 (write a number above 0)"),
        ("{e: {models: [openai-gpt4], timeout: 30s}}", "g.e.timeout: '30s' where a number is expected"),
        ("{e: {models: [openai-gpt4], temperature: 3}}", "g.e.temperature: 3 is not at most 2"),
        ("{e: {models: [openai-gpt4], max_tokens: 0}}", "g.e.max_tokens: 0 is not at least 1"),
        ("{e: {models: [openai-gpt4], max_retries: -1}}", "g.e.max_retries: -1 is below zero"),
        ("{e: {models: [openai-gpt4], function_calling: yes}}", "g.e.function_calling: True is not one of the words"),
        (
            "{e: {models: [openai-gpt4], response_format: xml}}",
            "g.e.response_format: there is no response format 'xml'",
        ),
        ("{e: {models: [openai-gpt4], response_format: {a: 1}}}", "response_format: this mapping is not a JSON schema"),
        (
            "{e: {models: [openai-gpt4], response_format: {type: json_schema}}}",
            "response_format: a json_schema needs its schema",
        ),
        (
            "{e: {models: [openai-gpt4], thinking_config: {budget_tokens: 0}}}",
            "g.e.thinking_config.budget_tokens: 0 is not at least 1",
        ),
        (
            "{e: {models: [openai-gpt4], thinking_config: {budget: 9}}}",
            "g.e.thinking_config.budget: unknown key 'budget' (did you mean budget_tokens?)",
        ),
        (
            "{e: {models: [openai-gpt4]}, fallback_strategy: echelon_up}",
            "g.fallback_strategy: there is no strategy 'echelon_up' (did you mean echelon_down? known: echelon_down, "
            "model_rotate, provider_failover, task_group_switch or polling_pool_switch, or package.module:Class)",
        ),
        (
            "{e: {models: [openai-gpt4], rotation_strategy: random}}",
            "g.e.rotation_strategy: there is no rotation 'random' (known: round_robin",
        ),
        (
            "{e: {models: [openai-gpt4]}, fallback_strategy: model_rotate, fallback_config: {strategy: echelon_down}}",
            "g.fallback_strategy: the strategy is given twice: model_rotate, and echelon_down in fallback_config",
        ),
        (
            "{e: {models: [openai-gpt4]}, circuit_breaker: {failure_threshold: 1}, "
            "fallback_config: {circuit_breaker: {failure_threshold: 2}}}",
            "g.circuit_breaker: the circuit breaker is given twice",
        ),
        (
            "{e: {models: [openai-gpt4]}, fallback_confg: {strategy: model_rotate}}",
            "g.fallback_confg: unknown key 'fallback_confg' (did you mean fallback_config",
        ),
        ("{e: {models: [openai-gpt4]}, desciption: x}", "unknown key 'desciption' (did you mean description?)"),
        ("{e: {models: [openai-gpt4]}, zzz: 3}", "unknown key 'zzz' (an echelon is a mapping: write models:"),
        ("{e: {models: [openai-gpt4], conurrency_limit: 3}}", "(did you mean concurrency_limit?)"),
        ("{e.f: {models: [openai-gpt4]}}", "'e.f' cannot be the name of an echelon"),
        ("{e: {models: [openai-gpt4]}, echelons: {e: {models: [openai-gpt4]}}}", "echelon 'e' is given twice"),
        ("{e: {models: [openai-gpt4]}, echelons: [e]}", "g.echelons: a mapping of echelons is expected"),
        ("{file: ../g.yaml}", "g.file: '../g.yaml' is not the name of a file here"),
        ("{file: /etc/passwd}", "g.file: '/etc/passwd' is not the name of a file here"),
        ("{file: 3}", "g.file: 3 is not the name of a file here"),
        ("{file: nowhere.yaml}", "g.file: there is no file 'nowhere.yaml' (looked for "),
        ("{file: g.yaml, rpm_limit: 3}", "g.rpm_limit: 'rpm_limit' beside `file:` (move it into 'g.yaml')"),
    ],
)
def test_what_is_wrong_in_a_group_is_said_with_what_would_be_right(error: Error, group: str, said: str) -> None:
    files = {"llms/groups/g.yaml": "e: {models: [openai-gpt4]}"} if "g.yaml, rpm" in group else {}
    found = error(f"task_groups:\n  g: {group}\n  other: {{e: {{models: [openai-gpt4]}}}}\n", **files)
    assert found.startswith("_task_groups.yaml:2: task_groups.g")
    assert said in found


def test_a_users_own_class_is_accepted_and_not_imported(configuration: Build) -> None:
    loaded = configuration(
        "task_groups: {g: {e: {models: [openai-gpt4], rotation_strategy: 'my.rotation:Mine'}, "
        "fallback_strategy: 'no_such.module:Strategy'}}"
    )
    assert loaded.groups["g"].fallback.strategy == "no_such.module:Strategy"
    assert loaded.groups["g"].best.rotation == "my.rotation:Mine"


@pytest.mark.parametrize("written", ["Round-Robin", "round robin", "ROUND_ROBIN"])
def test_a_name_may_be_written_with_dashes_and_capitals(configuration: Build, written: str) -> None:
    loaded = configuration(f"task_groups: {{g: {{e: {{models: [openai-gpt4], rotation_strategy: '{written}'}}}}}}")
    assert loaded.groups["g"].best.rotation == "round_robin"


def test_other_words_for_the_same_rotation_are_understood(configuration: Build) -> None:
    loaded = configuration("task_groups: {g: {e: {models: [openai-gpt4], rotation_strategy: least_used}}}")
    assert loaded.groups["g"].best.rotation == "least_recently_used"


def test_a_name_that_means_something_else_cannot_be_a_group(error: Error) -> None:
    assert "'pool' is taken: `pool.NAME` means a pool" in error("task_groups: {pool: {e: {models: [openai-gpt4]}}}")


def test_a_budget_that_leaves_no_room_for_an_answer_is_a_warning(warnings: Errors) -> None:
    found = warnings("task_groups: {g: {e: {models: [openai-gpt4], thinking_config: {budget_tokens: 5000}}}}")
    assert "a budget of 5,000 tokens leaves no room in max_tokens 1,024" in found[0]


def test_everything_that_is_wrong_is_said_at_once(errors: Errors) -> None:
    found = errors(
        """
task_groups:
  a:
    e: {models: [openai-gpt4, mystery], rpm_limit: -1, timeout: x, wrong: 1}
    f: {models: []}
    fallback_config: {fallback_groups: [b.nothing, nowhere], max_attempts: 0}
  b:
    e: {models: [openai-gpt4]}
    fallback_strategy: wrong
polling_pools:
  p: {task_groups: [c], rotation_strategy: wrong}
nodes:
  n: {config: {llm_group: fast, max_tokens: many}}
unknown: 1
concurrency_control: {levels: [{grup_level: {limit: 1}}]}
rate_limiting: {algorithm: leaky}
defaults: {deadline_s: -1}
global_fallback: {max_attempts: none}
"""
    )
    lines = [int(line.split(":")[1]) for line in found]
    assert lines == sorted(lines)
    assert sorted(set(lines)) == [4, 5, 6, 9, 11, 13, 14, 15, 16, 17, 18]
    assert len(found) == 18
