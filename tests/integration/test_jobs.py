"""Finding jobs and sending them again: from Python, over HTTP and on the command line; jobs are answered by hand."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgi import asked, error_of
from byhand import QUEUES, Hands
from click.testing import CliRunner, Result

from echelon_configs import UnknownTarget
from echelon_producers import AsyncClient, Client, NotListed
from echelon_producers.cli.program import program
from echelon_workers.ledger.address import Address

FAST, LOWER, PLAN = QUEUES[:3]
Invoke = Callable[..., Result]


@pytest.fixture
def invoke(published: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs a command in an empty folder, against the tests' server, for a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECHELON_REDIS_URL", published.url)
    monkeypatch.setenv("ECHELON_NAMESPACE", published.namespace)
    monkeypatch.setattr("echelon_producers.cli.status._PIPE_COLUMNS", 80)
    return lambda *arguments: CliRunner().invoke(program, arguments)


def died(producer: Client, hands: Hands, *ids: str, queue: str = FAST, message: str = "every attempt failed") -> None:
    for id in ids:
        producer.submit(queue, "hi", id=id)
    for grant in hands.take(queues=(queue,)):
        hands.bury(grant, message)


def in_every_state(producer: Client, hands: Hands) -> None:
    died(producer, hands, "dead")
    for id in ("delayed", "running"):
        producer.submit(FAST, "hi", id=id)
    hands.retry(hands.take()[0], delay_ms=60_000)
    producer.submit(PLAN, "hi", id="queued")


class TestClient:
    def test_jobs_are_found_by_state_and_queue(self, producer: Client, hands: Hands) -> None:
        in_every_state(producer, hands)
        assert {job.id: job.state for job in producer.jobs()} == {
            state: state for state in ("queued", "running", "delayed", "dead")
        }
        assert [job.id for job in producer.jobs("dead")] == ["dead"]
        assert [job.id for job in producer.jobs("queued", queue=PLAN)] == ["queued"]
        assert producer.jobs("queued", queue=FAST) == []
        assert len(producer.jobs(limit=3)) == 3

    def test_a_queued_job_says_what_it_waits_for(self, producer: Client) -> None:
        producer.submit(FAST, "hi")
        producer.steer("pause", [FAST])
        assert [job.waits_for for job in producer.jobs("queued")] == ["paused"]

    @pytest.mark.parametrize(
        ("state", "said"),
        [
            ("answered", "state: answered jobs are not listed: they are found by their ids"),
            ("cancelled", "cancelled jobs are not listed"),
            ("asleep", "there is no state asleep (would be right: queued, delayed, running or dead)"),
        ],
    )
    def test_other_states_are_not_listed(self, producer: Client, state: str, said: str) -> None:
        with pytest.raises(NotListed) as caught:
            producer.jobs(state)
        assert said in str(caught.value)
        assert caught.value.where == "state"

    @pytest.mark.parametrize("limit", [0, -1, 20_001, 1.5, True, "9"])
    def test_a_limit_out_of_range_is_refused(self, producer: Client, limit: Any) -> None:
        with pytest.raises(NotListed, match="limit: not a whole number from 1 to 20000"):
            producer.jobs(limit=limit)

    def test_an_unknown_queue_is_refused_with_the_nearest_names(self, producer: Client) -> None:
        for call in (lambda: producer.jobs(queue="fast_group.echelon9"), lambda: producer.redrive_dead(queue="fast")):
            with pytest.raises(UnknownTarget):
                call()

    def test_a_job_that_is_sent_again_is_answered(self, producer: Client, hands: Hands) -> None:
        died(producer, hands, "a", "b")
        assert producer.redrive(["a", "a", "nobody"]) == {"a": "done", "nobody": "unknown"}
        hands.answer(hands.take()[0], "at last")
        assert producer.result("a", timeout_s=10).text == "at last"
        assert producer.redrive(["a"]) == {"a": "answered"}
        record = producer.status("a")
        assert ([entry["decision"] for entry in record.trail], record.attempts) == (["bury", "answer"], 1)

    def test_the_async_client_does_the_same(self, published: Address, producer: Client, hands: Hands) -> None:
        died(producer, hands, "a", "b", "c")

        async def use() -> list[Any]:
            async with AsyncClient(published.url, namespace=published.namespace) as client:
                found = [job.id for job in await client.jobs("dead", limit=2)]
                return [found, await client.redrive(["a"]), await client.redrive_dead(code="server_failed")]

        found, one, others = asyncio.run(use())
        assert len(found) == 2
        assert one == {"a": "done"}
        assert others == {"b": "done", "c": "done"}

    def test_who_waits_for_a_job_that_is_sent_again_gets_its_answer(
        self, published: Address, producer: Client, hands: Hands
    ) -> None:
        died(producer, hands, "a")

        async def use() -> str:
            async with AsyncClient(published.url, namespace=published.namespace) as client:
                await client.redrive(["a"])
                waiting = asyncio.create_task(client.result("a", timeout_s=20))
                hands.answer(hands.take()[0], "at last")
                return (await waiting).text

        assert asyncio.run(use()) == "at last"


class TestApi:
    def test_the_dead_are_listed(self, published: Address, producer: Client, hands: Hands) -> None:
        in_every_state(producer, hands)
        reply = asked(published, "GET", f"/v1/jobs?state=dead&queue={FAST}&limit=5")
        assert (reply.status, [job["id"] for job in reply.json["jobs"]]) == (200, ["dead"])
        assert reply.json["jobs"][0]["error"]["code"] == "server_failed"
        assert len(asked(published, "GET", "/v1/jobs").json["jobs"]) == 4

    @pytest.mark.parametrize(
        ("query", "where", "code"),
        [
            ("state=answered", "state", "invalid_query"),
            ("limit=0", "limit", "invalid_query"),
            ("limit=1001", "limit", "invalid_query"),
            ("limit=many", "limit", "invalid_query"),
            ("limit=99999999999999999999", "limit", "invalid_query"),
            ("stat=dead", "stat", "invalid_query"),
            ("queue=fast", "queue", "unknown_target"),
        ],
    )
    def test_what_cannot_be_listed_is_refused(self, published: Address, query: str, where: str, code: str) -> None:
        reply = asked(published, "GET", f"/v1/jobs?{query}")
        assert reply.status == 422
        assert (error_of(reply)["where"], error_of(reply)["code"]) == (where, code)

    def test_a_job_is_sent_again_once(self, published: Address, producer: Client, hands: Hands) -> None:
        died(producer, hands, "a")
        reply = asked(published, "POST", "/v1/jobs/a/redrive")
        assert (reply.status, reply.json) == (202, {"id": "a", "state": "queued"})
        assert reply.headers["location"] == "/v1/jobs/a"
        again = asked(published, "POST", "/v1/jobs/a/redrive")
        assert (again.status, error_of(again)["code"]) == (409, "not_ended")
        hands.answer(hands.take()[0])
        answered = asked(published, "POST", "/v1/jobs/a/redrive")
        assert (answered.status, error_of(answered)["code"]) == (409, "answered")
        unknown = asked(published, "POST", "/v1/jobs/nobody/redrive")
        assert (unknown.status, error_of(unknown)["code"]) == (404, "unknown_job")


class TestCommandLine:
    def test_jobs_are_listed_within_80_columns(self, invoke: Invoke, producer: Client, hands: Hands) -> None:
        in_every_state(producer, hands)
        died(producer, hands, "long", message="x" * 300 + "\n\x1b[31m")
        result = invoke("jobs")
        assert (result.exit_code, result.stderr) == (0, "")
        lines = result.stdout.splitlines()
        assert len(lines) == 10
        assert max(map(len, lines)) <= 80
        assert "\x1b" not in result.stdout
        assert f"  {FAST}: timed_out: too slow" in lines
        assert f"  {FAST}: openai-gpt4" in lines

    def test_jobs_as_json_and_filtered(self, invoke: Invoke, producer: Client, hands: Hands) -> None:
        in_every_state(producer, hands)
        found = json.loads(invoke("jobs", "--state", "dead", "--json").stdout)["jobs"]
        assert [(job["id"], job["error"]["code"]) for job in found] == [("dead", "server_failed")]
        result = invoke("jobs", "--queue", FAST, "--limit", "1")
        assert len(result.stdout.splitlines()) == 2
        assert "the newest 1; --limit shows more" in result.stderr

    @pytest.mark.parametrize("option", [("--state", "answered"), ("--limit", "0"), ("--queue", "nowhere")])
    def test_what_cannot_be_listed_is_wrong_input(self, invoke: Invoke, option: tuple[str, str]) -> None:
        result = invoke("jobs", *option)
        assert result.exit_code == 2
        assert result.stdout == ""

    def test_a_job_is_shown_attempt_by_attempt(self, invoke: Invoke, producer: Client, hands: Hands) -> None:
        producer.submit(FAST, "hi", id="a", node="summary")
        hands.retry(hands.take()[0])
        hands.bury(hands.take()[0])
        producer.redrive(["a"])
        hands.answer(hands.take()[0])
        result = invoke("job", "show", "a")
        assert result.exit_code == 0
        told = [line.split("  ")[0] if line.startswith("attempt") else line for line in result.stdout.splitlines()]
        assert [line for line in told if line.startswith("attempt")] == ["attempt 1", "attempt 2", "attempt 1"]
        assert "it was dead: server_failed: every attempt failed" in " ".join(result.stdout.split())
        assert "state      answered" in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= 80
        assert json.loads(invoke("job", "show", "a", "--json").stdout) == producer.status("a").to_json()

    def test_an_unknown_job_is_not_shown(self, invoke: Invoke) -> None:
        result = invoke("job", "show", "nobody")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "no job nobody" in result.stderr

    def test_jobs_are_sent_again_by_their_ids(self, invoke: Invoke, producer: Client, hands: Hands) -> None:
        died(producer, hands, "a", "b")
        assert invoke("job", "redrive", "a", "b").stdout == "sent again: 2 of 2 jobs\n"
        result = invoke("job", "redrive", "a", "nobody")
        assert result.exit_code == 1
        assert result.stderr.splitlines() == [
            "echelon: job a: it has not ended",
            "echelon: job nobody: no such job (it was never submitted here, or its retention is over)",
        ]

    def test_the_dead_are_sent_again_by_a_filter(self, invoke: Invoke, producer: Client, hands: Hands) -> None:
        died(producer, hands, "a", "b")
        died(producer, hands, "c", queue=PLAN)
        assert invoke("job", "redrive", "--state", "dead", "--queue", PLAN).stdout == "sent again: 1 dead jobs\n"
        assert invoke("job", "redrive", "--code", "timed_out").stdout == "sent again: 0 dead jobs\n"
        said = json.loads(invoke("job", "redrive", "--state", "dead", "--all", "--json").stdout)
        assert {job["id"]: job["redrive"] for job in said["jobs"]} == {"a": "done", "b": "done"}

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("--state", "dead"),
            ("a", "--all"),
            ("--all", "--queue", FAST),
            ("a", "--state", "dead"),
            ("--queue", "x"),
        ],
    )
    def test_nothing_is_sent_again_by_mistake(
        self, invoke: Invoke, producer: Client, hands: Hands, arguments: tuple[str, ...]
    ) -> None:
        died(producer, hands, "a")
        result = invoke("job", "redrive", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert producer.status("a").state == "dead"
