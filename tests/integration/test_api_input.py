"""Whatever is sent to the HTTP API gets an answer that says what is wrong and where."""

import asyncio
import json
from typing import Any

import pytest
from asgi import asked, call, error_of, posted, waiting_jobs
from byhand import QUEUES
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echelon_producers import AsyncClient
from echelon_producers.api import body as body_module
from echelon_producers.api import create_api
from echelon_workers.ledger.address import Address

QUEUE = QUEUES[0]
ONE = {"target": QUEUE, "prompt": "hello"}


class TestBadInput:
    @pytest.mark.parametrize(
        "body", [b"", b"   ", b"{", b"nope", b"\xff\xfe", b'{"a": NaN}', b'"\\ud800"', b"[" * 100_000, b"9" * 5000]
    )
    def test_what_is_not_json_is_a_400(self, published: Address, body: bytes) -> None:
        reply = posted(published, body)
        assert (reply.status, error_of(reply)["code"], error_of(reply)["where"]) == (400, "not_json", "body")
        assert len(reply.body) < 1000

    @pytest.mark.parametrize("body", [[], "text", 7, None, [ONE]])
    def test_what_is_no_object_is_a_400(self, published: Address, body: Any) -> None:
        assert error_of(posted(published, body))["code"] == "not_an_object"

    def test_an_unknown_target_is_refused_with_the_nearest_names(self, published: Address) -> None:
        reply = posted(published, {**ONE, "target": "fast_grup.echelon1"})
        error = error_of(reply)
        assert (reply.status, error["code"], error["where"]) == (422, "unknown_target", "target")
        assert "fast_group.echelon1" in error["message"]

    def test_everything_that_is_wrong_is_listed(self, published: Address) -> None:
        reply = posted(published, {**ONE, "temperature": 9, "tempo": 1})
        assert {problem["where"] for problem in error_of(reply)["problems"]} == {"temperature", "tempo"}

    def test_keys_that_python_has_other_uses_for_are_only_unknown_fields(self, published: Address) -> None:
        reply = posted(published, {**ONE, "self": 1})
        assert (reply.status, error_of(reply)["where"]) == (422, "self")

    def test_a_body_said_to_be_too_large_is_refused(self, published: Address) -> None:
        reply = posted(published, b"{}", content_length=str(33 * 1024 * 1024))
        assert (reply.status, error_of(reply)["code"]) == (413, "too_large")

    @pytest.mark.parametrize(("most_read", "left"), [(100_000, 0), (10_000, 74)])
    def test_a_body_that_turns_out_too_large_is_read_to_its_end_within_reason(
        self, published: Address, monkeypatch: pytest.MonkeyPatch, most_read: int, left: int
    ) -> None:
        monkeypatch.setattr(body_module, "MOST_BODY_BYTES", 1000)
        monkeypatch.setattr(body_module, "MOST_READ_BYTES", most_read)
        chunks = iter([b"x" * 400] * 100)
        assert asked(published, "POST", "/v1/jobs", chunks=chunks).status == 413
        assert len(list(chunks)) == left - bool(left)

    @pytest.mark.parametrize("length", ["-1", "many", "9" * 5000, "²"])
    def test_a_length_that_is_none_does_no_harm(self, published: Address, length: str) -> None:
        assert posted(published, ONE, content_length=length).status in (202, 413)

    def test_a_caller_that_leaves_while_sending_submits_nothing(self, published: Address) -> None:
        reply = asked(published, "POST", "/v1/jobs", ONE, cut=True)
        assert error_of(reply)["code"] == "cut_short"
        assert waiting_jobs(published) == 0

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"sec-fetch-site": "cross-site"}, 403),
            ({"sec-fetch-site": "same-site"}, 403),
            ({"origin": "http://evil.test"}, 403),
            ({"origin": "null"}, 403),
            ({"sec-fetch-site": "same-origin", "origin": "http://proxied.test"}, 202),
            ({"origin": "http://api.test"}, 202),
            ({"content-type": "application/x-www-form-urlencoded"}, 202),
        ],
    )
    def test_a_page_of_another_site_cannot_submit(
        self, published: Address, headers: dict[str, str], status: int
    ) -> None:
        assert asked(published, "POST", "/v1/jobs", ONE, headers=headers).status == status

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [("GET", "/v2", 404), ("PUT", "/v1/jobs", 405), ("POST", "/v1/jobs/", 404), ("GET", "/v1/jobs//", 404)],
    )
    def test_what_there_is_not_is_said_in_json(self, published: Address, method: str, path: str, status: int) -> None:
        reply = asked(published, method, path)
        assert reply.status == status
        assert "POST /v1/jobs" in error_of(reply)["message"]

    def test_nothing_that_is_sent_makes_the_api_fail(self, published: Address) -> None:
        """A fault of the API would come through `call` as an exception."""

        async def one(api: FastAPI, body: bytes, headers: dict[str, str]) -> None:
            reply = await call(api, "POST", "/v1/jobs", body, headers=headers)
            assert reply.status in (200, 202, 400, 422)
            ids = [job["id"] for job in reply.json.get("jobs", [reply.json])] if reply.status < 400 else []
            assert ids or error_of(reply)
            accepted.update(ids)
            read = await call(api, "GET", f"/v1/jobs/{headers.get('idempotency-key', 'x')}")
            assert read.status in (200, 404)

        accepted: set[str] = set()
        with asyncio.Runner() as runner:
            client = AsyncClient(published.url, namespace=published.namespace)
            api = create_api(client)

            @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
            @given(_any_request())
            def every(request: tuple[bytes, dict[str, str]]) -> None:
                runner.run(one(api, *request))

            try:
                every()
            finally:
                runner.run(client.aclose())
        assert accepted
        assert waiting_jobs(published) == len(accepted), "what is refused is not submitted"


def _any_request() -> st.SearchStrategy[tuple[bytes, dict[str, str]]]:
    values: st.SearchStrategy[Any] = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from(QUEUES),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=6,
    )
    names = ["target", "prompt", "messages", "jobs", "id", "priority", "node", "deadline_s", "tools", "metadata", "x"]
    fields = st.dictionaries(st.sampled_from(names), values, max_size=4)
    job = fields | fields.map(lambda some: {**ONE, **some})
    many = st.lists(job | values, max_size=3).map(lambda jobs: {"jobs": jobs})
    body = (job | many | values).map(lambda found: json.dumps(found).encode()) | st.binary(max_size=30)
    latin = st.text(st.characters(min_codepoint=33, max_codepoint=255), min_size=1, max_size=12)
    header = st.fixed_dictionaries({}, optional={"idempotency-key": latin, "prefer": latin, "content-type": latin})
    return st.tuples(body, header)
