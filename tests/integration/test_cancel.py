"""Cancelling jobs: from Python, over HTTP and on the command line; jobs are answered by hand."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from asgi import asked, error_of
from byhand import QUEUES, Hands
from click.testing import CliRunner, Result

from echelon_producers import AsyncClient, Client, JobCancelled, NoConfiguration, UnknownJob
from echelon_producers.cancelling import LONGEST_REASON
from echelon_producers.cli.program import program
from echelon_workers.ledger.address import Address

FAST = QUEUES[0]
Invoke = Callable[..., Result]
ENDS = {
    "waits": "cancelled",
    "later": "cancelled",
    "runs": "stopping",
    "done": "answered",
    "died": "dead",
    "nobody": "unknown",
}


@pytest.fixture
def invoke(published: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs a command in an empty folder, against the tests' server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECHELON_REDIS_URL", published.url)
    monkeypatch.setenv("ECHELON_NAMESPACE", published.namespace)
    return lambda *arguments: CliRunner().invoke(program, arguments)


def in_every_state(producer: Client, hands: Hands) -> None:
    for id in ("done", "died", "later", "runs"):
        producer.submit(FAST, "hi", id=id)
    done, died, later, _ = hands.take(want=4, queues=(FAST,))
    hands.answer(done)
    hands.bury(died)
    hands.retry(later, delay_ms=60_000)
    producer.submit(FAST, "hi", id="waits")


class TestClient:
    def test_each_job_is_cancelled_or_says_why_not(self, producer: Client, hands: Hands) -> None:
        in_every_state(producer, hands)
        assert producer.cancel_many(ENDS) == ENDS
        assert {producer.status(id).state for id in ("waits", "later")} == {"cancelled"}
        assert (producer.status("done").state, producer.status("died").state) == ("answered", "dead")
        assert hands.take() == []

    def test_the_reason_is_kept_and_told_to_whoever_waits(self, producer: Client, hands: Hands) -> None:
        for id, reason in (("plain", ""), ("why", "its user has left"), ("long", "x" * 9_000)):
            producer.submit(FAST, "hi", id=id)
            assert producer.cancel(id, reason) == "cancelled"
        with pytest.raises(JobCancelled, match=r"job plain is cancelled: cancelled by a producer$") as caught:
            producer.result("plain")
        assert caught.value.record.error == {"code": "cancelled", "message": "cancelled by a producer"}
        assert producer.status("why").error == {
            "code": "cancelled",
            "message": "cancelled by a producer: its user has left",
        }
        assert len((producer.status("long").error or {})["message"]) < LONGEST_REASON + 50

    def test_a_running_job_is_cancelled_whatever_its_attempt_comes_to(self, producer: Client, hands: Hands) -> None:
        ids = producer.submit_many(["one", "two"], target=FAST)
        one, two = hands.take()
        assert producer.cancel_many(ids) == dict.fromkeys(ids, "stopping")
        assert producer.cancel_many(ids) == dict.fromkeys(ids, "stopping")
        hands.retry(one)
        hands.bury(two)
        assert {producer.status(id).state for id in ids} == {"cancelled"}
        assert producer.cancel_many(ids) == dict.fromkeys(ids, "cancelled")

    def test_an_answer_that_was_there_first_is_kept(self, producer: Client, hands: Hands) -> None:
        job = producer.submit(FAST, "hi")
        (grant,) = hands.take()
        hands.answer(grant)
        assert producer.cancel(job) == "answered"
        assert producer.result(job).text == "an answer"

    def test_an_unknown_job_is_said_to_be_unknown(self, producer: Client) -> None:
        with pytest.raises(UnknownJob, match="no job nobody"):
            producer.cancel("nobody")
        assert producer.cancel_many([]) == {}

    def test_hundreds_are_cancelled_at_a_time_and_stay_as_long_as_configured(
        self, producer: Client, hands: Hands
    ) -> None:
        ids = producer.submit_many(["hi"] * 250, target=FAST)
        assert producer.cancel_many(ids) == dict.fromkeys(ids, "cancelled")
        kept_ms = int(hands.ledger.redis.pttl(hands.ledger.keys.of("job", ids[-1])))  # type: ignore[arg-type]
        configured_ms = producer.configuration().defaults.retention_s * 1000
        assert configured_ms - 60_000 < kept_ms <= configured_ms

    def test_a_cancelled_job_that_is_sent_again_is_answered(self, producer: Client, hands: Hands) -> None:
        job = producer.submit(FAST, "hi")
        producer.cancel(job)
        assert producer.redrive([job]) == {job: "done"}
        (grant,) = hands.take()
        hands.answer(grant)
        assert producer.result(job).text == "an answer"

    def test_the_async_client_does_the_same(self, published: Address, producer: Client, hands: Hands) -> None:
        in_every_state(producer, hands)

        async def main() -> None:
            async with AsyncClient(published.url, namespace=published.namespace) as client:
                with pytest.raises(UnknownJob):
                    await client.cancel("nobody")
                assert await client.cancel("waits", "no need") == "cancelled"
                assert await client.cancel_many(ENDS) == ENDS
                with pytest.raises(JobCancelled, match="no need"):
                    await client.result("waits")

        asyncio.run(main())

    def test_without_a_configuration_there_is_nothing_to_cancel(self, address: Address) -> None:
        with Client(address.url, namespace=address.namespace) as client, pytest.raises(NoConfiguration):
            client.cancel("job")

    def test_an_id_that_is_no_text_is_unknown(self, producer: Client) -> None:
        for ask in (producer.status, producer.cancel):
            with pytest.raises(UnknownJob, match="Unicode"):
                ask("j\udc80")


class TestApi:
    @pytest.mark.parametrize(("id", "outcome"), [item for item in ENDS.items() if item[1] != "unknown"])
    def test_what_became_of_the_job_is_said(
        self, published: Address, producer: Client, hands: Hands, id: str, outcome: str
    ) -> None:
        in_every_state(producer, hands)
        reply = asked(published, "POST", f"/v1/jobs/{id}/cancel")
        assert (reply.status, reply.json) == (200, {"id": id, "outcome": outcome})

    def test_an_unknown_job_is_a_404(self, published: Address) -> None:
        reply = asked(published, "POST", "/v1/jobs/nobody/cancel")
        assert (reply.status, error_of(reply)["code"]) == (404, "unknown_job")

    def test_a_page_of_another_site_cannot_cancel(self, published: Address, producer: Client) -> None:
        producer.submit(FAST, "hi", id="waits")
        headers = {"sec-fetch-site": "cross-site"}
        assert asked(published, "POST", "/v1/jobs/waits/cancel", headers=headers).status == 403
        assert producer.status("waits").state == "queued"


class TestCommandLine:
    def test_each_job_is_a_line(self, invoke: Invoke, producer: Client, hands: Hands) -> None:
        in_every_state(producer, hands)
        result = invoke("job", "cancel", "waits", "runs", "--reason", "no need")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == "waits: cancelled\nruns: stopping: its worker closes the call\n"
        assert producer.status("waits").error == {
            "code": "cancelled",
            "message": "cancelled by a producer: no need",
        }
        assert (
            invoke("job", "cancel", "waits", "--json").stdout == '{"jobs": [{"id": "waits", "outcome": "cancelled"}]}\n'
        )

    def test_one_that_had_ended_otherwise_is_failed_work(self, invoke: Invoke, producer: Client, hands: Hands) -> None:
        in_every_state(producer, hands)
        result = invoke("job", "cancel", "waits", "done", "died")
        assert (result.exit_code, result.stdout) == (1, "waits: cancelled\n")
        assert result.stderr == "echelon: job done: it is answered\nechelon: job died: it is dead\n"

    def test_one_that_is_not_there_is_wrong_input(self, invoke: Invoke, producer: Client) -> None:
        producer.submit(FAST, "hi", id="waits")
        result = invoke("job", "cancel", "nobody", "waits", "--json")
        assert result.exit_code == 2
        assert result.stderr.startswith("echelon: job nobody: no such job (")
        assert [job["outcome"] for job in json.loads(result.stdout)["jobs"]] == ["unknown", "cancelled"]

    def test_without_an_id_nothing_is_cancelled(self, invoke: Invoke) -> None:
        assert invoke("job", "cancel").exit_code == 2
