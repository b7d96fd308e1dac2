"""Foreign messages, as kombu writes them: adopted or refused, never an exception."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_process import FAST, write_configs

from echelon_configs import Configuration, Limits, load
from echelon_workers.adoption import Refused, adopt, is_usable_id
from echelon_workers.ledger.estimate import sizes
from echelon_workers.ledger.job import parse_request
from echelon_workers.ledger.verbs import NewJob


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    return load(write_configs(Path(tmp_path_factory.mktemp("adoption")) / "configs")).configuration


def message(
    args: list[Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    headers: dict[str, Any] | None = None,
    properties: dict[str, Any] | None = None,
    embed: dict[str, Any] | None = None,
    **envelope: Any,
) -> bytes:
    body = json.dumps([args or [], {"prompt": "hello"} if kwargs is None else kwargs, embed or {}]).encode()
    whole = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": FAST, "id": "3d3a", "eta": None, "expires": None, **(headers or {})},
        "properties": {"body_encoding": "base64", "delivery_info": {"routing_key": FAST}, **(properties or {})},
        **envelope,
    }
    return json.dumps(whole).encode()


def adopted(raw: bytes, configuration: Configuration) -> NewJob:
    job = adopt(raw, configuration)
    assert isinstance(job, NewJob), job
    return job


def refused(raw: bytes, configuration: Configuration) -> str:
    refusal = adopt(raw, configuration)
    assert isinstance(refusal, Refused)
    assert refusal.queue in ("", *configuration.queues)
    return refusal.why


def test_a_message_becomes_a_job_of_the_same_id(configuration: Configuration) -> None:
    job = adopted(message(properties={"priority": 4}), configuration)
    assert (job.id, job.queue, job.target, job.priority, job.foreign) == ("3d3a", FAST, FAST, 4, True)
    assert json.loads(job.request) == {"prompt": "hello"}
    assert job.deadline_ms == configuration.defaults.deadline_s * 1000


def test_the_task_may_be_any_target_and_a_node_may_be_named(configuration: Configuration) -> None:
    assert adopted(message(headers={"task": "fast_group"}), configuration).queue == FAST
    job = adopted(message(kwargs={"prompt": "x", "node": "polite_node"}), configuration)
    assert (job.node, json.loads(job.request)) == ("polite_node", {"prompt": "x"})


def test_expires_becomes_the_deadline(configuration: Configuration) -> None:
    assert adopted(message(headers={"expires": "2999-01-01T00:00:00+00:00"}), configuration).deadline_ms > 10**12
    assert adopted(message(headers={"expires": "1999-01-01T00:00:00"}), configuration).deadline_ms < 0


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (message(headers={"eta": "2030-01-01T00:00:00"}), "countdown and eta are not supported"),
        (message(embed={"callbacks": [{}]}), "link is not supported"),
        (message(embed={"errbacks": [{}]}), "link_error is not supported"),
        (message(embed={"chain": [{}]}), "chains are not supported"),
        (message(embed={"chord": {}, "chain": [1]}), "chains are not supported"),
        (message(args=["hello"]), "positional arguments are not understood"),
        (message(kwargs={}), "prompt"),
        (message(kwargs={"prompt": "x", "tempreture": 1}), "temperature"),
        (message(kwargs={"prompt": "x", "node": "rude_node"}), "polite_node"),
        (message(headers={"task": "fast_group.echelon9"}), "fast_group.echelon1"),
        (message(headers={"task": None}), "names no task"),
        (message(headers={"id": "a b"}), "'a b' cannot be used"),
        (message(headers={"expires": "soon"}), "not a Celery message of protocol 2"),
        (message(**{"content-type": "application/x-python-serialize"}), "task_serializer='json'"),
        (message(body="%%%"), "not a Celery message"),
        (message(properties={"priority": float("inf")}), "not a Celery message"),
        (message(headers={"task": "no"}, properties={"delivery_info": {"routing_key": "\ud800"}}), "no target 'no'"),
        (b"{", "not a Celery message"),
        (b"{" * 100_000, "not a Celery message"),
        (b'{"headers": 7, "body": []}', "cannot be used"),
    ],
)
def test_what_cannot_be_a_job_is_refused_with_its_reason(raw: bytes, why: str, configuration: Configuration) -> None:
    assert why in refused(raw, configuration)


@pytest.mark.parametrize("id", ["bad id with spaces", "ünïcode", "x" * 201, "x" * 1000])
def test_a_sender_whose_id_no_job_can_have_is_told_under_it(id: str, configuration: Configuration) -> None:
    refusal = adopt(message(headers={"id": id}), configuration)
    assert isinstance(refusal, Refused)
    assert (refusal.sender, is_usable_id(refusal.id)) == (id, True)


@pytest.mark.parametrize("id", [None, "", 7, ["a"], "x" * 1001, "\ud800"])
def test_what_is_no_id_is_nobody_who_could_be_told(id: object, configuration: Configuration) -> None:
    refusal = adopt(message(headers={"id": id}), configuration)
    assert isinstance(refusal, Refused)
    assert (refusal.sender, is_usable_id(refusal.id)) == ("", True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(raw=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_always_refused_and_never_raises(raw: bytes, configuration: Configuration) -> None:
    assert isinstance(adopt(raw, configuration), Refused)


@given(
    field=st.sampled_from(["headers", "properties", "body", "content-type"]),
    inner=st.sampled_from(["task", "id", "eta", "expires", "priority", "delivery_info", "body_encoding"]),
    value=JSON,
)
def test_a_message_with_one_strange_value_never_raises(
    field: str, inner: str, value: Any, configuration: Configuration
) -> None:
    whole = json.loads(message())
    if isinstance(whole.get(field), dict):
        whole[field][inner] = value
    else:
        whole[field] = value
    assert isinstance(adopt(json.dumps(whole).encode(), configuration), NewJob | Refused)


ODD = JSON | st.sampled_from(
    [
        "\x00",
        "\ud800",
        "9" * 5000,
        10**400,
        -(10**400),
        float("nan"),
        1e308,
        "2030-13-45",
        "1e9",
        ["x"] * 500,
        "x" * 10**5,
    ]
)


@given(odd=ODD, place=st.sampled_from(["id", "task", "eta", "expires", "kwargs", "args", "embed", "body"]))
def test_odd_values_make_a_job_or_a_refusal_that_can_be_written_down(
    odd: Any, place: str, configuration: Configuration
) -> None:
    whole: dict[str, Any] = json.loads(message())
    body: list[Any] = [[], {"prompt": "hello"}, {}]
    if place in ("id", "task", "eta", "expires"):
        whole["headers"][place] = odd
    elif place == "body":
        body = odd
    else:
        body[("args", "kwargs", "embed").index(place)] = odd
    whole |= {"body": json.dumps(body), "properties": {"delivery_info": {}}}
    found = adopt(json.dumps(whole).encode(), configuration)
    if isinstance(found, Refused):
        assert found.why
        assert json.dumps({"message": found.why, "id": found.id, "queue": found.queue}).isascii()
        assert len(found.sender.encode("utf-8")) <= 4000
    else:
        assert 0 <= found.priority <= 9
        for text in (found.id, found.target, found.request, found.options):
            assert isinstance(text, bytes) or text.encode("utf-8") is not None


@given(raw=st.sampled_from([message(), message(kwargs={"prompt": "häß"})]), cut=st.integers(0, 400), data=st.data())
def test_a_message_that_was_cut_or_is_in_another_encoding_is_refused(
    raw: bytes, cut: int, data: st.DataObject, configuration: Configuration
) -> None:
    cut_off = raw[: min(cut, len(raw) - 1)]
    other = raw.decode().encode(data.draw(st.sampled_from(["utf-16", "utf-32", "cp037"])))
    assert isinstance(adopt(cut_off, configuration), Refused)
    assert isinstance(adopt(other, configuration), Refused | NewJob)


@pytest.mark.parametrize("depth", [900, 5_000, 200_000])
def test_a_message_that_is_nested_too_deeply_is_refused(depth: int, configuration: Configuration) -> None:
    nested = '{"a":' * depth + "1" + "}" * depth
    body = f'[[], {{"prompt": "x", "metadata": {nested}}}, {{}}]'
    assert refused(message(body=body, properties={"body_encoding": None}), configuration)
    assert refused(nested.encode(), configuration)


def test_a_job_says_what_tokens_it_needs(configuration: Configuration) -> None:
    job = adopted(message(kwargs={"prompt": "hello", "max_tokens": 7}), configuration)
    assert (job.input_tokens, job.worst_input_tokens) == sizes(parse_request({"prompt": "hello"}))
    assert job.max_tokens == 7


def test_a_message_that_could_never_start_is_refused_with_the_limit(configuration: Configuration) -> None:
    tight = configuration.model_copy(update={"limits": Limits(tokens_per_minute=100)})
    assert adopted(message(), tight).input_tokens < 100
    why = refused(message(kwargs={"prompt": "x" * 4000}), tight)
    assert why.startswith("request: about 1,007 tokens of input, and cluster lets 100 tokens a minute through")
    assert adopted(message(kwargs={"prompt": "x" * 4000}), configuration).input_tokens == 1007


def test_a_message_may_bring_fallbacks_of_its_own(configuration: Configuration) -> None:
    job = adopted(message(kwargs={"prompt": "hello", "fallback_groups": ["fast_group"]}), configuration)
    assert json.loads(job.options) == {"fallback_groups": ["fast_group"]}
    assert json.loads(job.request) == {"prompt": "hello"}
    assert adopted(message(), configuration).options == ""
    assert "fast_grup" in refused(message(kwargs={"prompt": "x", "fallback_groups": ["fast_grup"]}), configuration)
    why = refused(message(kwargs={"prompt": "x", "fallback_groups": "plan_group"}), configuration)
    assert why.startswith("fallback_groups: not a list of targets")
