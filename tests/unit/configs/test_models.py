"""Single-model files: inheritance, variables, keys and headers, and models that need no file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from echelon_configs import CallOverrides, Configuration, SecretReference, SecretTemplate, load
from echelon_configs.conventions import VENDORS, by_convention

Build = Callable[..., Configuration]
Errors = Callable[..., list[str]]

FULL = """
description: about mine
model_type: openai_compatible
model_name: some-model
base_url: https://llm.example.com/v1/
api_key: ${MY_KEY}
headers:
  Authorization: Bearer ${MY_TOKEN}
  X-Team: ${TEAM:research}
  X-Plain: yes please
parameters:
  temperature: 0.1
  max_tokens: 2000
  function_calling: required
  response_format: json_object
  thinking_config: {enabled: false}
  top_p: 0.9
  stop: [a, b]
  extra_body: {z: 1, a: [true, null]}
retry_config: {max_retries: 4, base_delay: 0.5, max_delay: 20, exponential_base: 2, jitter: true}
timeout_config: {request_timeout: 90, connect_timeout: 5, read_timeout: 60, write_timeout: 10}
concurrency_limit: 8
queue_size: 80
rpm_limit: 500
tpm_limit: 50000
rate_limiting: {algorithm: token_bucket, bucket_size: 10, refill_rate: 1}
weight: 2.5
"""


def test_every_key_of_a_model_file_reaches_the_configuration(configuration: Build) -> None:
    loaded = configuration(**{"llms/mine.yaml": FULL})
    instance = loaded.instances["mine"]
    assert (instance.name, instance.description) == ("mine", "about mine")
    assert (instance.provider, instance.vendor, instance.model) == (
        "openai_compatible",
        "openai_compatible",
        "some-model",
    )
    assert instance.base_url == "https://llm.example.com/v1"
    assert instance.api_key == SecretReference(env="MY_KEY")
    assert instance.headers == {
        "Authorization": SecretTemplate(template="Bearer ${MY_TOKEN}"),
        "X-Plain": "yes please",
        "X-Team": SecretTemplate(template="${TEAM:research}"),
    }
    assert instance.parameters == {"extra_body": {"a": [True, None], "z": 1}, "stop": ["a", "b"], "top_p": 0.9}
    assert dict(instance.retry) == {
        "base_delay_s": 0.5,
        "max_delay_s": 20.0,
        "exponential_base": 2.0,
        "jitter": True,
    }
    assert dict(instance.timeouts) == {"connect_s": 5.0, "read_s": 60.0, "write_s": 10.0}
    limits = instance.limits
    assert (limits.concurrency, limits.queue_size, limits.requests_per_minute) == (8, 80, 500)
    assert (limits.tokens_per_minute, limits.rate and limits.rate.bucket_size) == (50000, 10.0)
    assert instance.weight == 2.5
    settings = loaded.settings_of("model.mine")
    assert (settings.timeout_s, settings.max_retries, settings.temperature) == (90.0, 4, 0.1)
    assert (settings.max_tokens, settings.function_calling, settings.response_format) == (
        2000,
        "required",
        "json_object",
    )


def test_a_single_model_is_a_target_by_itself(configuration: Build) -> None:
    loaded = configuration(**{"llms/mine.yaml": FULL})
    queue = loaded.queues[loaded.resolve("model.mine").queue]
    assert (queue.kind, [(member.instance, member.home) for member in queue.members]) == (
        "model",
        [("mine", "model.mine")],
    )


def test_models_alone_make_a_cluster_as_before_there_were_groups(configuration: Build) -> None:
    loaded = configuration("task_groups: {}", **{"llms/mine.yaml": FULL})
    assert list(loaded.queues) == ["model.mine"]


def test_naming_the_groups_file_of_a_directory_reads_the_directory(tree: Callable[..., Path]) -> None:
    directory = tree("task_groups: {}", **{"llms/mine.yaml": "model_type: openai\nmodel_name: m"})
    assert list(load(directory / "llms/groups/_task_groups.yaml").configuration.instances) == ["mine"]


def test_a_key_that_many_models_lack_is_one_warning(tree: Callable[..., Path]) -> None:
    names = ", ".join(f"openai-m{number}" for number in range(300))
    warnings = load(tree(f"task_groups: {{g: {{e: {{models: [{names}]}}}}}}"), environment={}).warnings
    assert ["openai-m7, ... (" in str(warning) for warning in warnings] == [True]


def test_a_cluster_of_nothing_is_refused(error: Callable[..., str]) -> None:
    assert "a cluster of nothing: no task group and no model" in error("polling_pools: {}")


def test_an_echelon_wins_over_the_file_and_the_file_over_the_default(configuration: Build) -> None:
    groups = "task_groups: {g: {e: {models: [mine], max_tokens: 7}}}"
    loaded = configuration(groups, **{"llms/mine.yaml": FULL})
    settings = loaded.settings_of("g.e", "mine")
    assert (settings.max_tokens, settings.timeout_s, settings.temperature) == (7, 90.0, 0.1)
    assert loaded.settings_of("g.e").timeout_s == 60.0
    assert settings.updated(CallOverrides(max_tokens=9)).max_tokens == 9


def test_a_file_inherits_what_it_does_not_say(configuration: Build) -> None:
    files = {
        "llms/provider/openai/common.yaml": (
            "api_key: ${SHARED}\nparameters: {top_p: 0.5, seed: 1}\nrpm_limit: 5\ndescription: no\nenabled: true\n"
        ),
        "llms/provider/openai/child.yaml": "inherits_from: common\nmodel_name: gpt-x\nparameters: {top_p: 0.9}\n",
        "llms/grandchild.yaml": "inherits_from: [provider/openai/child.yaml]\nmodel_type: openai\nrpm_limit: 9\n",
    }
    loaded = configuration(environment={"SHARED": "x"}, **files)
    child, grandchild = loaded.instances["child"], loaded.instances["grandchild"]
    assert (child.provider, child.model, child.description) == ("openai", "gpt-x", "")
    assert child.api_key == grandchild.api_key == SecretReference(env="SHARED")
    assert child.parameters == grandchild.parameters == {"seed": 1, "top_p": 0.9}
    assert (child.limits.requests_per_minute, grandchild.limits.requests_per_minute) == (5, 9)
    assert "common" not in loaded.instances


@pytest.mark.parametrize("written", ["common", "common.yaml", "provider/openai/common", "../openai/common.yaml"])
def test_a_parent_may_be_named_in_several_ways(configuration: Build, written: str) -> None:
    files = {
        "llms/provider/openai/common.yaml": "rpm_limit: 5\n",
        "llms/provider/openai/child.yaml": f"inherits_from: {written}\nmodel_name: gpt-x\n",
    }
    assert configuration(**files).instances["child"].limits.requests_per_minute == 5


def test_of_several_parents_the_later_wins(configuration: Build) -> None:
    files = {
        "llms/_a.yaml": "rpm_limit: 1\ntpm_limit: 1\n",
        "llms/_b.yaml": "rpm_limit: 2\n",
        "llms/child.yaml": "inherits_from: [_a, _b]\nmodel_type: openai\nmodel_name: m\n",
    }
    limits = configuration(**files).instances["child"].limits
    assert (limits.requests_per_minute, limits.tokens_per_minute) == (2, 1)


def test_an_error_in_a_parent_names_the_parents_line_once(error: Callable[..., str]) -> None:
    files = {
        "llms/_base.yaml": "rpm_limit: 1\ntmp_limit: 1\n",
        "llms/one.yaml": "inherits_from: _base\nmodel_type: openai\nmodel_name: m\n",
        "llms/two.yaml": "inherits_from: _base\nmodel_type: openai\nmodel_name: m\n",
    }
    assert (
        error(**files) == "llms/_base.yaml:2: tmp_limit: unknown key 'tmp_limit' (did you mean tpm_limit or rpm_limit?)"
    )


def test_a_circle_of_inheritance_is_reported_once(errors: Errors) -> None:
    files = {
        "llms/a.yaml": "inherits_from: b\nmodel_type: openai\nmodel_name: m\n",
        "llms/b.yaml": "inherits_from: c\nmodel_type: openai\nmodel_name: m\n",
        "llms/c.yaml": "inherits_from: a\nmodel_type: openai\nmodel_name: m\n",
    }
    assert errors(**files) == [
        "llms/c.yaml:1: inherits_from: inherits_from goes in a circle: a.yaml -> b.yaml -> c.yaml -> a.yaml "
        "(remove one of these lines)"
    ]


def test_a_file_that_inherits_from_itself_is_a_circle(error: Callable[..., str]) -> None:
    found = error(**{"llms/a.yaml": "inherits_from: a\nmodel_type: openai\nmodel_name: m\n"})
    assert "goes in a circle: a.yaml -> a.yaml" in found


def test_a_parent_that_does_not_exist_is_an_error_with_the_nearest_name(error: Callable[..., str]) -> None:
    files = {
        "llms/_common.yaml": "rpm_limit: 1\n",
        "llms/a.yaml": "inherits_from: _comon\nmodel_type: openai\nmodel_name: m\n",
    }
    assert "there is no model file '_comon' (did you mean _common?)" in error(**files)


def test_a_base_that_nobody_uses_is_a_warning(warnings: Errors) -> None:
    assert "nothing inherits from this file" in warnings(**{"llms/common.yaml": "rpm_limit: 1"})[0]


def test_variables_are_filled_in_with_their_defaults_and_their_types(configuration: Build) -> None:
    text = """
model_type: ${TYPE:openai_compatible}
model_name: ${MODEL}
base_url: ${SCHEME:https}://${HOST:localhost}:${PORT:-8000}/v1
api_key: ${MY_KEY:not-needed}
parameters:
  max_tokens: ${TOKENS:500}
  top_p: ${TOP_P}
  user: "${NUMBER}"
  seed: ${EMPTY:7}
concurrency_limit: ${LIMIT:0}
"""
    environment = {"MODEL": "m-1", "HOST": "gpu", "TOP_P": "0.25", "NUMBER": "42", "EMPTY": ""}
    instance = configuration(environment=environment, **{"llms/mine.yaml": text}).instances["mine"]
    assert (instance.model, instance.base_url) == ("m-1", "https://gpu:8000/v1")
    assert instance.settings.max_tokens == 500
    assert instance.parameters == {"seed": 7, "top_p": 0.25, "user": "42"}
    assert instance.limits.concurrency is None
    assert instance.api_key == SecretReference(env="MY_KEY", default="not-needed")
    assert instance.unset == ()


def test_a_reference_in_a_flow_mapping_needs_quotes(error: Callable[..., str]) -> None:
    found = error(**{"llms/mine.yaml": "model_type: openai\nmodel_name: m\nparameters: {seed: ${SEED}}\n"})
    assert "(inside { } and [ ] put ${...} in quotes)" in found


def test_an_unset_variable_is_a_warning_and_the_instance_says_so(configuration: Build, warnings: Errors) -> None:
    text = "model_type: openai_compatible\nmodel_name: m\nbase_url: ${NOWHERE}\n"
    text += "parameters:\n  seed: ${SEED}\n  user: a${SEED}\n"
    instance = configuration(**{"llms/mine.yaml": text}).instances["mine"]
    assert instance.unset == ("NOWHERE",)
    assert instance.parameters["user"] == "a${SEED}"
    assert warnings(**{"llms/mine.yaml": text}) == [
        "llms/mine.yaml:3: base_url: warning: ${NOWHERE} is not set (export NOWHERE=..., or write ${NOWHERE:default})",
        "llms/mine.yaml:5: parameters.seed: warning: ${SEED} is not set (export SEED=..., or write ${SEED:default})",
        "llms/mine.yaml:6: parameters.user: warning: ${SEED} is not set (export SEED=..., or write ${SEED:default})",
    ]


def test_an_unset_key_is_one_warning_that_names_the_instances(warnings: Errors) -> None:
    groups = "task_groups:\n  g:\n    e:\n      models: [groq-a, groq-b]\n"
    found = warnings(groups, {"GROQ_API_KEY": ""})
    assert found == [
        "_task_groups.yaml:4: task_groups.g.e.models[0]: warning: ${GROQ_API_KEY} is not set: workers here take no "
        "jobs for groq-a, groq-b (export GROQ_API_KEY=... where workers run)"
    ]


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("api_key: ${MY_KEY}", SecretReference(env="MY_KEY")),
        ("api_key: Bearer ${MY_KEY}", SecretReference(env="MY_KEY")),
        ("api_key: '${MY_KEY:EMPTY}'", SecretReference(env="MY_KEY", default="EMPTY")),
        ("api_key: none", None),
        ("api_key:", None),
        ("api_key: ''", None),
        ("weight: 1", SecretReference(env="OPENAI_API_KEY")),
    ],
)
def test_a_key_is_a_reference_or_none_or_the_providers_usual_one(
    configuration: Build, written: str, key: SecretReference | None
) -> None:
    text = f"model_type: openai\nmodel_name: m\n{written}\n"
    assert configuration(environment={"MY_KEY": "x"}, **{"llms/mine.yaml": text}).instances["mine"].api_key == key


@pytest.mark.parametrize(
    ("name", "vendor", "model"),
    [
        ("openai-gpt4", "openai", "gpt-4"),
        ("openai-gpt3.5-turbo", "openai", "gpt-3.5-turbo"),
        ("openai-gpt-4.1", "openai", "gpt-4.1"),
        ("gpt-6-luna", "openai", "gpt-6-luna"),
        ("anthropic-claude-opus", "anthropic", "claude-opus-4-8"),
        ("claude-sonnet-4-6", "anthropic", "claude-sonnet-4-6"),
        ("gemini-pro", "gemini", "gemini-3.1-pro-preview"),
        ("google-gemini-3.8-flash", "gemini", "gemini-3.8-flash"),
        ("mistral-large", "mistral", "mistral-large-latest"),
        ("groq-llama-3.3-70b-versatile", "groq", "llama-3.3-70b-versatile"),
        ("deepseek-flash", "deepseek", "deepseek-flash"),
        ("openrouter/meta-llama/llama-4", "openrouter", "meta-llama/llama-4"),
        ("ollama-llama3:8b", "ollama", "llama3:8b"),
        ("vllm-qwen3", "vllm", "qwen3"),
    ],
)
def test_a_model_without_a_file_follows_its_providers_conventions(
    configuration: Build, name: str, vendor: str, model: str
) -> None:
    instance = configuration(f"task_groups: {{g: {{e: {{models: ['{name}']}}}}}}").instances[name]
    assert (instance.vendor, instance.model) == (vendor, model)
    assert (instance.base_url is not None) is (instance.provider == "openai_compatible")
    assert instance.unset == ()


def test_every_vendor_speaks_a_format_that_is_known(configuration: Build) -> None:
    for vendor in VENDORS:
        assert vendor.provider in ("openai", "anthropic", "gemini", "openai_compatible")
        assert by_convention(f"{vendor.prefixes[0]}x") == (vendor, "x")


@pytest.mark.parametrize("name", ["mystery", "openai-", "gpt", "clade-opus", "-"])
def test_a_name_that_says_no_provider_has_no_convention(name: str) -> None:
    assert by_convention(name) is None


def test_a_model_of_unknown_origin_is_an_error_with_a_file_to_paste(error: Callable[..., str]) -> None:
    found = error("task_groups:\n  g:\n    e:\n      models: [my-model]\n")
    assert found == (
        "_task_groups.yaml:4: task_groups.g.e.models[0]: model 'my-model' has no file, and its name says no provider "
        '(write llms/my-model.yaml: {model_type: openai_compatible, model_name: "my-model", '
        'base_url: "https://HOST/v1", api_key: "${MY_MODEL_API_KEY}"})'
    )


def test_the_file_to_paste_is_a_model_file_that_works(configuration: Build) -> None:
    text = '{model_type: openai_compatible, model_name: "my-model", '
    text += 'base_url: "https://HOST/v1", api_key: "${MY_MODEL_API_KEY}"}'
    groups = "task_groups: {g: {e: {models: [my-model]}}}"
    assert (
        configuration(groups, {"MY_MODEL_API_KEY": "x"}, **{"llms/my-model.yaml": text}).instances["my-model"].base_url
    )


def test_a_misspelt_model_is_shown_the_nearest_file(error: Callable[..., str]) -> None:
    found = error(
        "task_groups: {g: {e: {models: [mymodell]}}}", **{"llms/my-model.yaml": "model_type: openai\nmodel_name: m"}
    )
    assert "(did you mean my-model? else write llms/mymodell.yaml: " in found


def test_a_file_of_a_vendor_takes_its_endpoint_and_its_variable(configuration: Build) -> None:
    files = {"llms/fast.yaml": "model_type: groq\nmodel_name: m", "llms/provider/mistral/big.yaml": "model_name: large"}
    instances = configuration(**files).instances
    assert (instances["fast"].provider, instances["fast"].base_url) == (
        "openai_compatible",
        "https://api.groq.com/openai/v1",
    )
    assert instances["fast"].api_key == SecretReference(env="GROQ_API_KEY")
    assert (instances["big"].vendor, instances["big"].base_url) == ("mistral", "https://api.mistral.ai/v1")


def test_a_disabled_model_is_left_out_of_echelons_with_a_warning(configuration: Build, warnings: Errors) -> None:
    groups = "task_groups: {g: {e: {models: [mine, openai-gpt4]}}}"
    files = {"llms/mine.yaml": "enabled: false\nmodel_type: openai\nmodel_name: m"}
    assert configuration(groups, **files).groups["g"].best.models == ("openai-gpt4",)
    assert "'mine' is disabled, and left out here" in warnings(groups, **files)[0]


def test_an_echelon_whose_models_are_all_disabled_is_an_echelon_of_nothing(error: Callable[..., str]) -> None:
    groups = "task_groups: {g: {e: {models: [mine]}}}"
    files = {"llms/mine.yaml": "enabled: false\nmodel_type: openai\nmodel_name: m"}
    assert "an echelon of nothing: each of its models is disabled" in error(groups, **files)


def test_two_files_of_one_name_are_refused(error: Callable[..., str]) -> None:
    text = "model_type: openai\nmodel_name: m"
    found = error(**{"llms/a.yaml": text, "llms/provider/openai/a.yaml": text})
    assert "model 'a' has two files (the other is llms/a.yaml; keep one)" in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model_name: m", "model_type is missing (write model_type: openai, anthropic, gemini or openai_compatible)"),
        ("model_type: openai", "model_name is missing (write model_name: the provider's own name for the model)"),
        ("model_type: openai_compatible\nmodel_name: m", "base_url is missing (write base_url: https://HOST/v1)"),
        (
            "model_type: opnai\nmodel_name: m",
            "there is no provider 'opnai' (did you mean openai? known: openai, anthropic",
        ),
        ("model_type: openai\nmodel_name: m\nbase_url: ftp://x", "'ftp://x' is not the address of a server"),
        ("model_type: openai\nmodel_name: m\nbase_url: 'https://[x'", "is not the address of a server"),
        ("model_type: openai\nmodel_name: m\nbase_url: https://x:99999", "is not the address of a server"),
        ("model_type: openai\nmodel_name: m\nbase_url: https://me@host/", "a user name stands in the URL"),
        ("model_type: openai\nmodel_name: m\nbase_url: https://${U}:${P}@host/", "a password stands in a URL"),
        ("model_type: openai\nmodel_name: m\nbase_url: ${1X}", "holds a `${` that is not a reference"),
        ("model_type: openai\nmodel_name: m\nheaders: {'a b': x}", "this is not the name of a header"),
        ("model_type: openai\nmodel_name: m\nheaders: {X-A: 'a\tb'}", "takes printable ASCII only"),
        (
            "model_type: openai\nmodel_name: m\nheaders: {X-A: 3}",
            "headers.X-A: 3 where text is expected (put it in quotes)",
        ),
        ("model_type: openai\nmodel_name: m\nheaders: [a]", "headers: a list where a mapping is expected"),
        (
            "model_type: openai\nmodel_name: m\nparameters: {temperature: 9}",
            "parameters.temperature: 9 is not at most 2",
        ),
        ("model_type: openai\nmodel_name: m\nparameter: {}", "unknown key 'parameter' (did you mean parameters?)"),
        ("model_type: openai\nmodel_name: m\nprovider: x", "unknown key 'provider' (did you mean model_type?)"),
        ("model_type: openai\nmodel_name: m\ninherits_from: 3", "3 is not the name of a file"),
        ("model_type: openai\nmodel_name: m\nweight: 0", "weight: 0 is not above 0"),
        ("model_type: openai\nmodel_name: m\nrpm_limit: -1", "rpm_limit: -1 is below zero"),
    ],
)
def test_what_is_wrong_in_a_model_file_is_said_with_what_would_be_right(errors: Errors, text: str, said: str) -> None:
    found = errors(environment={"U": "me", "P": "x"}, **{"llms/mine.yaml": text})
    assert all(line.startswith("llms/mine.yaml:") for line in found)
    assert said in found[0]


def test_a_users_own_provider_is_accepted_and_not_imported(configuration: Build) -> None:
    text = "model_type: 'no_such.module:Provider'\nmodel_name: m"
    instance = configuration(**{"llms/mine.yaml": text}).instances["mine"]
    assert (instance.provider, instance.vendor, instance.api_key) == (
        "no_such.module:Provider",
        "no_such.module:Provider",
        None,
    )
