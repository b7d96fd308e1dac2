"""What a producer says becomes a job, or is refused with what is wrong, where, and what would be right."""

import json
import math
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from byhand import configuration
from hypothesis import given, settings
from hypothesis import strategies as st

from echelon_configs import Limits
from echelon_producers.draft import MOST_REQUEST_BYTES, OPTIONS, Drafter
from echelon_producers.errors import SubmitInvalid
from echelon_workers.ledger.estimate import sizes
from echelon_workers.ledger.job import JobRequest
from echelon_workers.ledger.verbs import NewJob

CONFIGURATION = configuration()
DRAFTER = Drafter(CONFIGURATION)
PROMPT = {"target": "fast_group.echelon1", "prompt": "hello"}


def refused(**job: Any) -> SubmitInvalid:
    with pytest.raises(SubmitInvalid) as caught:
        DRAFTER.draft({**PROMPT, **job})
    return caught.value


def test_a_prompt_and_a_target_make_a_job_with_the_defaults() -> None:
    job = DRAFTER.draft(PROMPT)
    assert (job.queue, job.target, job.node, job.priority) == ("fast_group.echelon1", "fast_group.echelon1", "", 0)
    assert job.deadline_ms == CONFIGURATION.defaults.deadline_s * 1000
    assert json.loads(job.request) == {"prompt": "hello"}
    assert not job.foreign


def test_every_id_is_another_random_uuid() -> None:
    ids = {DRAFTER.draft(PROMPT).id for _ in range(200)}
    assert len(ids) == 200
    assert {(UUID(id).version, str(UUID(id)) == id, UUID(id).variant) for id in ids} == {(4, True, RFC_4122)}


def test_options_are_the_jobs_and_the_rest_is_the_request() -> None:
    options = {"id": "order-7.a:b_c", "priority": 9, "deadline_s": 1.5, "node": "summary"}
    job = DRAFTER.draft({**PROMPT, **options, "temperature": 0.5, "metadata": {"user": "u1"}})
    assert (job.id, job.priority, job.deadline_ms, job.node) == ("order-7.a:b_c", 9, 1500, "summary")
    assert job.queue == "fast_group.echelon1", "an explicit target wins over the node's"
    assert json.loads(job.request) == {"prompt": "hello", "temperature": 0.5, "metadata": {"user": "u1"}}


@pytest.mark.parametrize("options", [{"target": "fast_group"}, {"target": "fast_group", "node": None}])
def test_a_group_is_its_best_echelon(options: dict[str, Any]) -> None:
    assert DRAFTER.draft({**PROMPT, **options}).queue == "fast_group.echelon1"


@pytest.mark.parametrize("options", [{"target": None, "node": "summary"}, {"target": "node.summary"}])
def test_a_node_alone_is_a_target(options: dict[str, Any]) -> None:
    job = DRAFTER.draft({**PROMPT, **options})
    assert (job.queue, job.target, job.node) == ("plan_group.echelon1", "node.summary", "summary")


def test_options_that_are_none_are_left_out() -> None:
    left_out = DRAFTER.draft({**PROMPT, **dict.fromkeys(OPTIONS - {"target"})})
    assert (left_out.priority, left_out.node, len(left_out.id)) == (0, "", 36)


def test_no_target_is_refused_with_the_kinds_of_targets() -> None:
    exc = refused(target=None)
    assert [where for where, _ in exc.problems] == ["target"]
    assert "group.echelon" in str(exc)


def test_an_unknown_target_is_refused_with_the_nearest_names() -> None:
    exc = refused(target="fast_grp.echelon1")
    assert exc.code == "unknown_target"
    assert exc.problems[0][0] == "target"
    assert "did you mean fast_group.echelon1" in str(exc)


def test_an_unknown_node_is_said_to_be_the_node() -> None:
    exc = refused(node="sumary")
    assert (exc.code, exc.problems[0][0]) == ("unknown_target", "node")
    assert "node.summary" in str(exc)


@pytest.mark.parametrize("name", [5, [], {}, True, "x" * 100_000, "", "\ud800"])
@pytest.mark.parametrize("field", ["target", "node"])
def test_what_is_no_name_is_refused_briefly(field: str, name: object) -> None:
    exc = refused(**{field: name})
    assert exc.problems[0][0] == field
    assert len(str(exc)) < 300


@pytest.mark.parametrize("id", ["", "a b", "ä", "a/b", "x" * 201, 7, ["a"], "{", "a\n", "\ud800"])
def test_an_id_that_could_not_stand_in_a_key_or_a_path_is_refused(id: object) -> None:
    assert refused(id=id).problems[0][0] == "id"


@pytest.mark.parametrize("priority", [-1, 10, 1.0, "5", True, [3], pytest.param(10**5000, id="huge")])
def test_a_priority_is_a_whole_number_from_0_to_9(priority: object) -> None:
    assert refused(priority=priority).problems[0][0] == "priority"


@pytest.mark.parametrize(
    "deadline_s", [0, -1, math.nan, math.inf, pytest.param(10**5000, id="huge"), 30 * 86_400 + 1, "60", True]
)
def test_a_deadline_is_a_number_of_seconds_within_reason(deadline_s: object) -> None:
    assert refused(deadline_s=deadline_s).problems[0][0] == "deadline_s"


def test_a_deadline_is_never_rounded_to_none() -> None:
    assert DRAFTER.draft({**PROMPT, "deadline_s": 1e-9}).deadline_ms == 1


@pytest.mark.parametrize(
    ("fallback_groups", "options"),
    [
        (None, ""),
        ([], {"fallback_groups": []}),
        (
            ["plan_group", "fast_group.echelon2", "plan_group"],
            {"fallback_groups": ["plan_group", "fast_group.echelon2"]},
        ),
    ],
)
def test_a_jobs_own_fallbacks_are_in_its_options(fallback_groups: list[str] | None, options: object) -> None:
    job = DRAFTER.draft({**PROMPT, "fallback_groups": fallback_groups})
    assert (json.loads(job.options) if job.options else "") == options
    assert json.loads(job.request) == {"prompt": "hello"}


@pytest.mark.parametrize(
    ("fallback_groups", "code"),
    [
        (["plan_grup"], "unknown_target"),
        (["x" * 10_000], "unknown_target"),
        (["\ud800"], "unknown_target"),
        (["node.summary"], "invalid_job"),
        ("plan_group", "invalid_job"),
        ([7], "invalid_job"),
        (["plan_group"] * 21, "invalid_job"),
    ],
)
def test_a_fallback_is_checked_like_a_target(fallback_groups: object, code: str) -> None:
    exc = refused(fallback_groups=fallback_groups)
    assert (exc.code, exc.problems[0][0]) == (code, "fallback_groups")
    assert len(str(exc)) < 1000


def test_every_problem_of_a_request_is_listed_with_its_field() -> None:
    exc = refused(temperature=3, max_tokens=0, tempo=1, prompt="")
    assert {where for where, _ in exc.problems} == {"temperature", "max_tokens", "tempo", "prompt"}
    assert exc.code == "invalid_job"


SURROGATE_TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"title": "\ud800"}}}


@pytest.mark.parametrize("field", [{"prompt": "a lone surrogate: \ud800"}, {"tools": [SURROGATE_TOOL]}])
def test_text_that_is_not_unicode_is_refused(field: dict[str, Any]) -> None:
    assert "unicode" in str(refused(**field)).lower()


def test_the_size_of_a_request_is_counted_in_bytes() -> None:
    fits = "x" * (MOST_REQUEST_BYTES - 100)
    assert DRAFTER.draft({**PROMPT, "prompt": fits}).request
    exc = refused(prompt="é" * (MOST_REQUEST_BYTES // 2 + 1))
    assert exc.problems[0][0] == "request"
    assert "bytes" in str(exc)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELD = st.sampled_from([*OPTIONS, *JobRequest.model_fields]) | st.text(max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(FIELD, JSON, max_size=6), st.booleans())
def test_whatever_is_said_becomes_a_job_that_can_be_read_or_is_refused(said: dict[str, Any], helped: bool) -> None:
    job = drafted({**PROMPT, **said} if helped else said)
    if isinstance(job, SubmitInvalid):
        assert job.problems, "a refusal says why"
        assert all(where and what for where, what in job.problems)
        assert len(str(job)) < 10_000
    else:
        assert job.queue in CONFIGURATION.queues
        assert 0 <= job.priority <= 9
        assert job.deadline_ms > 0
        assert JobRequest.from_json(job.request)


def drafted(said: dict[str, Any]) -> NewJob | SubmitInvalid:
    try:
        return DRAFTER.draft(said)
    except SubmitInvalid as exc:
        return exc


@settings(max_examples=100, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300),
    st.none() | st.floats(min_value=0, max_value=2),
    st.integers(0, 9),
    st.none() | st.from_regex(r"[A-Za-z0-9._:-]{1,200}", fullmatch=True),
)
def test_what_is_right_is_accepted_as_it_was_said(
    prompt: str, temperature: float | None, priority: int, id: str | None
) -> None:
    said = {"target": "fast_group", "prompt": prompt, "temperature": temperature, "priority": priority, "id": id}
    job = DRAFTER.draft(said)
    request = JobRequest.from_json(job.request)
    assert (request.prompt, request.temperature) == (prompt, temperature)
    assert job.priority == priority
    assert id in (None, job.id)


def limited(tokens_per_minute: int) -> Drafter:
    group = CONFIGURATION.groups["fast_group"]
    tight = group.model_copy(update={"limits": Limits(tokens_per_minute=tokens_per_minute)})
    return Drafter(CONFIGURATION.model_copy(update={"groups": {**CONFIGURATION.groups, "fast_group": tight}}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"metadata": {"a": "1", "b": "2"}}, {"metadata": {"b": "2", "a": "1"}}),
        ({"metadata": {}, "tools": [], "system": None}, {}),
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"thinking": {"enabled": True, "budget_tokens": None}}, {"thinking": {"enabled": True}}),
        ({"max_tokens": 5, "temperature": 0.5}, {"temperature": 0.5, "max_tokens": 5}),
    ],
)
def test_the_same_job_is_written_in_the_same_way(one: dict[str, Any], other: dict[str, Any]) -> None:
    drafter = Drafter(configuration())
    written = [drafter.draft({"target": "plan_group", "prompt": "x", **said}).request for said in (one, other)]
    assert written[0] == written[1]


def test_the_order_of_a_schema_is_kept_because_models_answer_in_it() -> None:
    properties = {"b": {"type": "string"}, "a": {"type": "string"}}
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"properties": properties}}}
    job = {"target": "plan_group", "prompt": "x", "response_format": schema}
    assert b'"properties":{"b":' in Drafter(configuration()).draft(job).request  # type: ignore[operator]


def test_a_job_says_what_tokens_it_needs() -> None:
    job = DRAFTER.draft({**PROMPT, "max_tokens": 7})
    assert (job.input_tokens, job.worst_input_tokens) == sizes(JobRequest(prompt="hello"))
    assert (job.max_tokens, DRAFTER.draft(PROMPT).max_tokens) == (7, 0)


def test_a_job_that_could_never_start_is_refused_with_the_limit_and_what_would_fit() -> None:
    drafter = limited(100)
    assert drafter.draft(PROMPT).input_tokens < 100
    with pytest.raises(SubmitInvalid) as caught:
        drafter.draft({**PROMPT, "prompt": "x" * 4000})
    ((where, what),) = caught.value.problems
    assert where == "request"
    assert what.startswith("about 1,007 tokens of input, and group:fast_group lets 100 tokens a minute through")
    assert drafter.draft({"target": "plan_group", "prompt": "x" * 4000}).queue == "plan_group.echelon1"
