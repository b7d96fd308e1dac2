"""Literal secrets are refused wherever they stand, and never repeated."""

from collections.abc import Callable
from pathlib import Path

import pytest

from echelon_configs import ConfigurationInvalid, load
from echelon_configs.references import BROKEN_REFERENCE, expand
from echelon_configs.text.leaks import hide, is_literal_secret, is_secret_under

# Made up, in the shapes of the real ones.
SECRETS = [
    "sk-abcdefghijklmnopqrstuvwx",
    "sk-proj-Ab3_dEf-GhIjKlMnOpQrStUv",
    "sk-ant-api03-AbCdEfGhIjKlMnOp-123456",
    "sk-or-v1-0123456789abcdef0123456789abcdef",
    "AIzaSyA1234567890abcdefghijklmnopqrstu",
    "gsk_abcdefghijklmnopqrstuvwxyz012345",
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345",
    "xai-AbCdEfGhIjKlMnOpQrStUvWxYz012345",
    "ghp_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc",
    "Bearer abc123def456ghi789",
    "Basic dXNlcjpwYXNzd29yZDEyMw==",
    "https://user:hunter2@llm.example.com/v1",
    "redis://:hunter2@127.0.0.1:6379/0",
    "8192sk-abcdefghijklmnopqrstuvwx",
]

HARMLESS = [
    "sk-learn-like pipelines",
    "a bearer certificate",
    "Bearer ${OPENAI_API_KEY}",
    "openai-gpt-3.5-turbo",
    "https://api.example.com:8080/v1?a=b@c",
    "task-sk-1",
    "fast_small_group.high_payload",
    "You are a helpful assistant. Use basic words.",
    "claude-opus-4-8-20260101",
    "",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_the_shapes_of_keys_are_known(secret: str) -> None:
    assert is_literal_secret(secret)
    assert is_literal_secret(f"text before, {secret} and after")
    assert secret not in hide(f"x {secret} y")


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_is_no_secret(text: str) -> None:
    assert not is_literal_secret(text)


@pytest.mark.parametrize(
    ("name", "text", "secret"),
    [
        ("azure_key", "9f86d081884c7d659a2feaa0c55ad015", True),
        ("accessToken", "q8Zr2Lx0Tn5Vb7Kd", True),
        ("password", "hunter2", True),
        ("db_password", "x", True),
        ("authorization", "anything", True),
        ("password", "${DB_PASSWORD}", False),
        ("stop_token", "<|end_of_sentence|>", False),
        ("api_key", "none", False),
        ("key", "a short one", False),
        ("max_tokens", "9f86d081884c7d659a2feaa0c55ad015", False),
        ("note", "9f86d081884c7d659a2feaa0c55ad015", False),
    ],
)
def test_what_is_long_and_random_is_a_secret_only_under_a_name_that_says_so(name: str, text: str, secret: bool) -> None:
    assert is_secret_under(name, text) is secret


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "groups",
    [
        "task_groups:\n  g:\n    description: 'SECRET'\n    e: {models: [openai-gpt4]}\n",
        "task_groups:\n  g:\n    e: {models: ['SECRET']}\n",
        "task_groups:\n  g:\n    e: {models: [openai-gpt4], timeout: 'SECRET'}\n",
        "task_groups:\n  g:\n    'SECRET': {models: [openai-gpt4]}\n",
        "task_groups:\n  'SECRET':\n    e: {models: [a]}\n    fallback_config: {fallback_groups: ['SECRET']}\n",
        "'SECRET': 1\ntask_groups:\n  g:\n    e: {models: [openai-gpt4]}\n",
        "task_groups:\n  g:\n    fallback_strategy: 'SECRET'\n    e: {models: [openai-gpt4], 'SECRET': 1}\n",
        "# SECRET\ntask_groups:\n  g:\n    e: {models: [openai-gpt4]}\n",
        "task_groups:\n  g: {file: 'SECRET'}\n",
        "x-note: 'SECRET'\ntask_groups:\n  g:\n    e: {models: [openai-gpt4]}\n",
        "task_groups:\n  g:\n    e: {models: [openai-gpt4]}\nnodes:\n  n: {llm_group: 'SECRET', type: 'SECRET'}\n",
    ],
)
def test_a_secret_is_refused_in_every_place_and_not_repeated(
    tree: Callable[..., Path], groups: str, secret: str
) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        load(tree(groups.replace("SECRET", secret)), environment={})
    said = str(caught.value) + repr(caught.value) + "".join(map(str, caught.value.warnings))
    assert "literal" in said or "password stands in a URL" in said
    assert secret not in said
    assert "hunter2" not in said


@pytest.mark.parametrize("secret", [*SECRETS, "9f86d081884c7d659a2feaa0c55ad015", "short"])
@pytest.mark.parametrize(
    "model",
    [
        "api_key: 'SECRET'",
        "api_key: ${OPENAI_API_KEY:SECRET}",
        "headers: {Authorization: 'SECRET'}",
        "headers: {authorization: 'Bearer SECRET'}",
        "headers: {X-Api-Key: 'SECRET'}",
        "headers: {Cookie: 'session=SECRET'}",
        "headers: {Proxy-Authorization: 'SECRET', x-goog-api-key: 'SECRET'}",
    ],
)
def test_a_key_and_a_header_that_carries_one_are_references_and_nothing_else(
    tree: Callable[..., Path], model: str, secret: str
) -> None:
    text = f"model_type: openai\nmodel_name: m\n{model.replace('SECRET', secret)}\n"
    with pytest.raises(ConfigurationInvalid) as caught:
        load(tree(**{"llms/mine.yaml": text}), environment={})
    assert "mine.yaml:3" in str(caught.value)
    assert secret not in str(caught.value).replace("short", "") or secret == "short"
    assert "'short'" not in str(caught.value)


def test_a_secret_that_comes_out_of_a_variable_is_refused_too(errors: Callable[..., list[str]]) -> None:
    environment = {"URL": "https://me:hunter2@host/v1", "NOTE": "sk-abcdefghijklmnopqrstuvwx"}
    text = "model_type: openai_compatible\nmodel_name: m\nbase_url: ${URL}\nparameters: {note: '${NOTE}'}\n"
    found = errors(environment=environment, **{"llms/mine.yaml": text})
    assert [line.partition(": ")[0] for line in found] == ["llms/mine.yaml:3", "llms/mine.yaml:4"]
    assert all("a variable in it holds a secret" in line for line in found)
    assert "hunter2" not in str(found)


def test_a_variable_for_a_secret_is_not_expanded_into_parameters(error: Callable[..., str]) -> None:
    text = "model_type: openai\nmodel_name: m\nparameters: {user: '${MY_API_KEY}'}\n"
    found = error(environment={"MY_API_KEY": "abc"}, **{"llms/mine.yaml": text})
    assert "would put a secret into the published configuration" in found


def test_no_secret_reaches_the_configuration(tree: Callable[..., Path]) -> None:
    text = (
        "model_type: openai\nmodel_name: m\napi_key: ${OPENAI_API_KEY}\nheaders: {Authorization: 'Bearer ${TOKEN}'}\n"
    )
    environment = {"OPENAI_API_KEY": "the-openai-secret", "TOKEN": "the-token-secret"}
    loaded = load(tree(**{"llms/mine.yaml": text}), environment=environment)
    everything = repr(loaded) + loaded.configuration.model_dump_json() + str(loaded.configuration)
    assert "the-openai-secret" not in everything
    assert "the-token-secret" not in everything
    instance = loaded.configuration.instances["mine"]
    assert instance.api_key is not None
    assert instance.api_key.resolve(environment) == "the-openai-secret"
    assert [str(reference) for reference in instance.secrets] == ["${OPENAI_API_KEY}", "${TOKEN}"]


@pytest.mark.parametrize(
    "text",
    [
        "sk-" * 100_000,
        "1eyJ" * 80_000,
        "a" * 300_000 + "://x",
        "http://" * 46_000,
        "a:" * 166_000,
        "://" + "a:" * 166_000,
        "${A:" * 80_000,
        "basic " * 56_000,
        "-----BEGIN " * 30_000,
    ],
    ids=lambda text: text[:6],
)
def test_text_made_to_be_slow_is_read_to_its_end(text: str) -> None:
    """Quadratic work on these would take minutes, and hold up the whole suite."""
    assert len(hide(text)) <= len(text) + 100
    assert is_secret_under("key", text) in (True, False)
    expand(text, {}, lambda _: None)
    BROKEN_REFERENCE.search(text)
