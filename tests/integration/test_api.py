"""The HTTP API over a real Redis; jobs are answered by hand."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from asgi import Reply, api_at, asked, call, error_of, posted, waiting_jobs
from byhand import QUEUES, Hands, answering

from echelon_producers import AsyncClient, Client, Unavailable
from echelon_workers.ledger.address import Address

QUEUE = QUEUES[0]
ONE = {"target": QUEUE, "prompt": "hello"}


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

    def test_a_key_that_is_another_jobs_is_refused(self, published: Address) -> None:
        assert posted(published, ONE, idempotency_key="order-7").status == 202
        reply = posted(published, {**ONE, "prompt": "another"}, idempotency_key="order-7")
        error = error_of(reply)
        assert (reply.status, error["code"], error["id"]) == (422, "idempotency_key_reused", "order-7")
        assert "job_ids" not in error
        assert waiting_jobs(published) == 1

    def test_a_draining_queue_is_a_503_of_its_own(self, published: Address) -> None:
        with Client(published.url, namespace=published.namespace) as producer:
            producer.steer("drain", [QUEUE])
        reply = posted(published, ONE)
        error = error_of(reply)
        assert (reply.status, error["code"], error["queue"]) == (503, "queue_draining", QUEUE)
        many = posted(published, {"jobs": [{**ONE, "target": "plan_group"}] * 500 + [ONE]})
        assert len(error_of(many)["accepted"]) == 500
        assert waiting_jobs(published) == 500

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
