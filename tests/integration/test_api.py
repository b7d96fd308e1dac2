"""The HTTP API over a real Redis; jobs are answered by hand."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asgi import Reply, call
from byhand import QUEUES, Hands, answering, publish
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import until

from echelon_producers import AsyncClient, Unavailable
from echelon_producers.api import body as body_module
from echelon_producers.api import create_api, waiting
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger

QUEUE = QUEUES[0]
ONE = {"target": QUEUE, "prompt": "hello"}
Test = Callable[[FastAPI], Coroutine[Any, Any, None]]


@pytest.fixture
def published(address: Address) -> Address:
    publish(address)
    return address


@pytest.fixture
def hands(published: Address) -> Iterator[Hands]:
    with Hands(published) as hands:
        yield hands


@asynccontextmanager
async def api_at(address: Address) -> AsyncIterator[FastAPI]:
    async with AsyncClient(address.url, namespace=address.namespace) as client:
        yield create_api(client)


def asked(address: Address, method: str, path: str, body: object = b"", **more: Any) -> Reply:
    """One request to an API of its own."""

    async def main() -> Reply:
        async with api_at(address) as api:
            return await call(api, method, path, body, **more)

    return asyncio.run(main())


def posted(address: Address, body: object, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asked(address, "POST", "/v1/jobs", body, headers=named)


def waiting_jobs(address: Address) -> int:
    ledger = Ledger(address)
    try:
        lists = [key for queue in QUEUES for key in ledger.keys.queue_lists(queue)]
        return sum(int(ledger.redis.llen(key)) for key in lists)  # type: ignore[arg-type]
    finally:
        ledger.close()


def error_of(reply: Reply) -> dict[str, Any]:
    error: dict[str, Any] = reply.json["error"]
    assert error["code"]
    assert error["message"]
    assert "where" in error
    assert reply.headers["content-type"] == "application/json"
    return error


class TestSubmittingOne:
    def test_a_job_is_accepted_with_its_place(self, published: Address) -> None:
        reply = posted(published, ONE)
        assert reply.status == 202
        assert reply.json["state"] == "queued"
        assert reply.headers["location"] == f"/v1/jobs/{reply.json['id']}"
        read = asked(published, "GET", reply.headers["location"])
        assert (read.status, read.json["state"], read.json["queue"]) == (200, "queued", QUEUE)

    def test_every_field_of_a_job_may_be_given(self, published: Address) -> None:
        job = {
            "messages": [{"role": "user", "content": "你好"}],
            "node": "summary",
            "priority": 7,
            "deadline_s": 60,
            "id": "order-7",
            "temperature": 0.1,
        }
        assert posted(published, job).json == {**posted(published, job).json, "id": "order-7", "state": "queued"}
        read = asked(published, "GET", "/v1/jobs/order-7").json
        assert (read["node"], read["priority"], read["target"]) == ("summary", 7, "node.summary")
        assert waiting_jobs(published) == 1

    @pytest.mark.parametrize("key", ["order-7", '"order-7"'])
    def test_the_idempotency_key_is_the_id(self, published: Address, key: str) -> None:
        replies = [posted(published, ONE, idempotency_key=key) for _ in range(2)]
        assert [(reply.status, reply.json["id"]) for reply in replies] == [(202, "order-7")] * 2
        assert waiting_jobs(published) == 1

    def test_a_repeated_job_that_has_ended_is_answered_with_its_record(self, published: Address, hands: Hands) -> None:
        posted(published, ONE, idempotency_key="order-7")
        hands.answer(hands.take()[0], "done")
        reply = posted(published, ONE, idempotency_key="order-7")
        assert (reply.status, reply.json["answer"]["text"]) == (200, "done")

    def test_an_id_and_another_key_are_refused(self, published: Address) -> None:
        reply = posted(published, {**ONE, "id": "a"}, idempotency_key="b")
        assert (reply.status, error_of(reply)["where"]) == (422, "id")

    def test_who_waits_gets_the_whole_job(self, published: Address) -> None:
        with answering(published):
            reply = posted(published, ONE, prefer="wait=20")
        assert reply.status == 200
        assert reply.json["answer"]["text"] == "answer to: hello"
        assert reply.headers["preference-applied"] == "wait=20"
        assert "location" not in reply.headers

    def test_who_waits_for_a_job_that_dies_is_told(self, published: Address, hands: Hands) -> None:
        posted(published, {**ONE, "id": "j1"})
        hands.bury(hands.take()[0], "no model is left")
        reply = posted(published, {**ONE, "id": "j1"}, prefer="wait=20")
        assert (reply.status, reply.json["state"]) == (200, "dead")
        assert reply.json["error"]["message"] == "no model is left"

    def test_who_waits_in_vain_is_told_where_to_look(self, published: Address) -> None:
        began = time.monotonic()
        reply = posted(published, ONE, prefer="respond-async, wait=1")
        assert 1 <= time.monotonic() - began < 5
        assert (reply.status, reply.json["state"]) == (202, "queued")
        assert reply.headers["location"] == f"/v1/jobs/{reply.json['id']}"
        assert reply.headers["preference-applied"] == "wait=1"

    def test_an_accepted_job_stays_accepted_when_redis_goes_away(
        self, published: Address, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def away(*_: object) -> None:
            raise Unavailable("gone")

        monkeypatch.setattr(AsyncClient, "status", away)
        reply = posted(published, ONE, prefer="wait=20")
        assert (reply.status, reply.json["state"]) == (202, "queued")
        assert waiting_jobs(published) == 1


class TestSubmittingMany:
    def test_all_are_accepted_in_their_order(self, published: Address, hands: Hands) -> None:
        reply = posted(published, {"target": QUEUE, "jobs": ["one", {"prompt": "two"}, {**ONE, "prompt": "three"}]})
        assert reply.status == 202
        assert [job["state"] for job in reply.json["jobs"]] == ["queued"] * 3
        grants = hands.take()
        assert [grant.id for grant in grants] == [job["id"] for job in reply.json["jobs"]]
        assert [json.loads(grant.request)["prompt"] for grant in grants] == ["one", "two", "three"]

    def test_ten_thousand_are_one_request(self, published: Address) -> None:
        reply = posted(published, {"target": QUEUE, "jobs": ["hello"] * 10_000})
        assert (reply.status, len(reply.json["jobs"])) == (202, 10_000)
        assert waiting_jobs(published) == 10_000

    def test_who_waits_gets_all_of_them(self, published: Address) -> None:
        with answering(published):
            reply = posted(published, {"target": QUEUE, "jobs": ["a", "b"]}, prefer="wait=20")
        assert reply.status == 200
        assert [job["answer"]["text"] for job in reply.json["jobs"]] == ["answer to: a", "answer to: b"]

    def test_some_that_have_not_ended_make_it_202(self, published: Address, hands: Hands) -> None:
        posted(published, {**ONE, "id": "j1"})
        hands.answer(hands.take()[0])
        reply = posted(published, {"jobs": [{**ONE, "id": "j1"}, {**ONE, "id": "j2"}]}, prefer="wait=1")
        assert reply.status == 202
        assert [job["state"] for job in reply.json["jobs"]] == ["answered", "queued"]

    def test_a_key_numbers_the_jobs_that_have_no_id(self, published: Address) -> None:
        body = {"target": QUEUE, "jobs": ["a", {"prompt": "b", "id": "own"}, {"prompt": "c"}]}
        for _ in range(2):
            reply = posted(published, body, idempotency_key="batch-1")
            assert [job["id"] for job in reply.json["jobs"]] == ["batch-1:0", "own", "batch-1:2"]
        assert waiting_jobs(published) == 3

    def test_when_one_is_wrong_none_is_submitted_and_it_is_named(self, published: Address) -> None:
        jobs: list[Any] = ["fine"] * 600 + [{"prompt": "hot", "temperature": 9}]
        reply = posted(published, {"target": QUEUE, "jobs": jobs})
        assert (reply.status, error_of(reply)["where"]) == (422, "jobs[600].temperature")
        assert waiting_jobs(published) == 0

    @pytest.mark.parametrize(
        ("body", "where"),
        [
            ({"jobs": []}, "jobs"),
            ({"jobs": ["x"] * 10_001, "target": QUEUE}, "jobs"),
            ({"jobs": {"prompt": "x"}}, "jobs"),
            ({"jobs": "x"}, "jobs"),
            ({"jobs": None}, "jobs"),
            ({"jobs": ["x"]}, "jobs[0].target"),
            ({"jobs": [7], "target": QUEUE}, "jobs[0]"),
            ({"jobs": ["x"], "target": 7}, "jobs[0].target"),
            ({"jobs": ["x"], "target": QUEUE, "prompt": "y"}, "prompt"),
            ({"jobs": [{"prompt": "x", "target": "fast_group.echelon9"}]}, "jobs[0].target"),
        ],
    )
    def test_what_is_no_list_of_jobs_is_refused_with_its_place(self, published: Address, body: Any, where: str) -> None:
        reply = posted(published, body)
        assert (reply.status, error_of(reply)["where"]) == (422, where)


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

    @pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v2", 404), ("PUT", "/v1/jobs", 405)])
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

            every()
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


class TestReading:
    def test_an_unknown_job_is_a_404(self, published: Address) -> None:
        reply = asked(published, "GET", "/v1/jobs/nope")
        assert (reply.status, error_of(reply)["code"]) == (404, "unknown_job")
        assert asked(published, "GET", "/v1/jobs/nope", headers={"prefer": "wait=20"}).status == 404

    def test_a_job_is_shown_whole(self, published: Address, hands: Hands) -> None:
        posted(published, {**ONE, "id": "j1", "prompt": "日本語"})
        hands.answer(hands.take()[0], "答え")
        reply = asked(published, "GET", "/v1/jobs/j1")
        assert reply.status == 200
        assert "答え".encode() in reply.body, "readable as it is"
        assert reply.json["answer"]["usage"]["output_tokens"] == 5
        assert reply.json["trail"][0]["instance"] == "openai-gpt4"
        assert reply.headers["cache-control"] == "no-store"

    def test_who_waits_is_told_when_it_ends(self, published: Address) -> None:
        async def main() -> Reply:
            async with api_at(published) as api:
                job = (await call(api, "POST", "/v1/jobs", ONE)).json["id"]
                with answering(published):
                    return await call(api, "GET", f"/v1/jobs/{job}", headers={"prefer": "wait=20"})

        reply = asyncio.run(main())
        assert (reply.status, reply.json["state"]) == (200, "answered")

    def test_who_waits_in_vain_gets_a_202(self, published: Address) -> None:
        posted(published, {**ONE, "id": "j1"})
        reply = asked(published, "GET", "/v1/jobs/j1", headers={"prefer": "wait=1"})
        assert (reply.status, reply.json["state"], reply.headers["location"]) == (202, "queued", "/v1/jobs/j1")

    def test_a_caller_that_leaves_is_not_waited_for(self, published: Address) -> None:
        async def main() -> None:
            async with api_at(published) as api:
                gone = asyncio.Event()
                asyncio.get_running_loop().call_later(0.2, gone.set)
                async with asyncio.timeout(10):
                    await call(api, "POST", "/v1/jobs", ONE, headers={"prefer": "wait=300"}, gone=gone)

        asyncio.run(main())

    def test_hundreds_wait_at_a_time(self, published: Address) -> None:
        async def main() -> list[Reply]:
            async with api_at(published) as api:
                posts = [call(api, "POST", "/v1/jobs", ONE, headers={"prefer": "wait=20"}) for _ in range(200)]
                with answering(published):
                    return await asyncio.gather(*posts)

        assert {reply.status for reply in asyncio.run(main())} == {200}


class TestTheCluster:
    def test_the_status_is_that_of_the_clients(self, published: Address, hands: Hands) -> None:
        posted(published, ONE)
        hands.beat()
        reply = asked(published, "GET", "/v1/status")
        assert (reply.status, reply.json["revision"], reply.json["totals"]["waiting"]) == (200, 1, 1)
        assert [queue["name"] for queue in reply.json["queues"]] == list(QUEUES)
        assert reply.json["workers"][0]["name"] == "by-hand"

    def test_it_is_ready_with_redis_and_a_configuration(self, published: Address) -> None:
        assert asked(published, "GET", "/healthz").status == 200
        assert asked(published, "GET", "/readyz").status == 200

    @pytest.mark.parametrize(("method", "path"), [("GET", "/readyz"), ("GET", "/v1/status"), ("POST", "/v1/jobs")])
    def test_without_a_configuration_it_is_not(self, address: Address, method: str, path: str) -> None:
        reply = asked(address, method, path, ONE)
        assert (reply.status, error_of(reply)["code"]) == (503, "no_configuration")
        assert int(reply.headers["retry-after"]) > 0
        assert asked(address, "GET", "/healthz").status == 200

    def test_the_openapi_document_refers_to_nothing_it_lacks(self, published: Address) -> None:
        reply = asked(published, "GET", "/openapi.json")
        schemas = reply.json["components"]["schemas"]
        text = reply.body.decode()
        for part in text.split('"$ref":"')[1:]:
            assert part.partition('"')[0].removeprefix("#/components/schemas/") in schemas
        assert {"target", "prompt", "messages", "priority", "deadline_s", "id"} <= schemas["NewJob"][
            "properties"
        ].keys()
        assert {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/status"} <= reply.json["paths"].keys()


def test_every_path_is_documented(published: Address) -> None:
    described = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text()
    paths = asked(published, "GET", "/openapi.json").json["paths"]
    assert [path for path in paths if path.replace("{job_id}", "ID") not in described] == []


PATHS = [("POST", "/v1/jobs"), ("GET", "/v1/jobs/j1"), ("GET", "/v1/status"), ("GET", "/readyz")]


class TestWithoutRedis:
    @pytest.mark.parametrize(("method", "path"), PATHS)
    def test_it_says_so_and_when_to_try_again(self, method: str, path: str) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            nowhere = Address(f"redis://:hidden-word@127.0.0.1:{taken.getsockname()[1]}/0")
            began = time.monotonic()
            reply = asked(nowhere, method, path, ONE)
            assert time.monotonic() - began < 5
            assert (reply.status, error_of(reply)["code"]) == (503, "unavailable")
            assert int(reply.headers["retry-after"]) > 0
            assert b"hidden-word" not in reply.body
            assert asked(nowhere, "GET", "/healthz").status == 200

    @pytest.mark.parametrize(("method", "path"), PATHS)
    def test_a_server_that_never_answers_is_given_up(
        self, method: str, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "REDIS_S", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            began = time.monotonic()
            reply = asked(Address(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"), method, path, ONE)
            assert time.monotonic() - began < 5
        assert (reply.status, error_of(reply)["code"]) == (503, "unavailable")


class Process:
    """`python -m echelon_producers.api`, as a user starts it."""

    def __init__(self, address: Address, *options: str) -> None:
        told = {"ECHELON_REDIS_URL": address.url, "ECHELON_NAMESPACE": address.namespace}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "echelon_producers.api", "--port", "0", *options],
            env={**os.environ, **told},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.url = self.line.removeprefix("api: ").strip()

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def stop(self, sign: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(sign)
        _, said = self.process.communicate(timeout=15)
        return self.process.returncode, said

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


class TestAsAProcess:
    def test_it_serves_and_stops_without_a_word(self, published: Address) -> None:
        with Process(published) as api:
            assert api.line.startswith("api: http://127.0.0.1:")
            assert api.ask("/healthz") == (200, {"status": "alive"})
            with answering(published):
                status, job = api.ask("/v1/jobs", ONE, prefer="wait=20")
            assert (status, job["answer"]["text"]) == (200, "answer to: hello")
            assert api.ask("/v1/jobs", b" " * (32 * 1024 * 1024 + 1))[0] == 413
            assert api.stop() == (0, "")

    def test_who_waits_when_it_stops_is_told_how_far_the_job_is(self, published: Address) -> None:
        with Process(published) as api:
            host, port = api.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), timeout=20) as caller:
                body = json.dumps(ONE).encode()
                head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nPrefer: wait=300\r\nContent-Length: {len(body)}\r\n\r\n"
                caller.sendall(head.encode() + body)
                until(lambda: waiting_jobs(published) == 1, what="the job is accepted")
                began = time.monotonic()
                code, said = api.stop(signal.SIGINT)
                assert (code, said) == (0, "")
                assert time.monotonic() - began < 5
                reply = b"".join(iter(lambda: caller.recv(65536), b""))
            assert reply.startswith(b"HTTP/1.1 202")
            assert b'"state":"queued"' in reply

    def test_a_port_in_use_is_said_on_one_line(self, published: Address) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as taken,
            Process(published, "--port", str(taken.getsockname()[1])) as api,
        ):
            assert api.line == ""
            _, said = api.process.communicate(timeout=15)
            assert api.process.returncode == 1
            assert said.startswith("api: cannot listen on 127.0.0.1:")
            assert len(said.splitlines()) == 1

    def test_without_a_redis_the_variables_are_named(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "echelon_producers.api"], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 2
        assert "ECHELON_REDIS_URL" in done.stderr
        assert len(done.stderr.splitlines()) == 1
