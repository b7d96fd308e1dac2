"""The Python client against a real server; jobs are answered by hand."""

import asyncio
import threading
import time
from typing import Any

import pytest
from byhand import QUEUES, Hands, answering, configuration, publish, waiting
from waiting import until, until_async

from echelon_producers import (
    AsyncClient,
    Client,
    EchelonError,
    JobDied,
    JobExpired,
    NoConfiguration,
    ResultTimeout,
    SubmitInvalid,
    UnknownJob,
    client,
)
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger

QUEUE = QUEUES[0]


@pytest.fixture
def never_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits hears of the end by a publish, or not within the time of a test."""
    monkeypatch.setattr(client, "LOOK_AGAIN_S", 600.0)


def subscribers(address: Address, job: str) -> int:
    ledger = Ledger(address)
    try:
        reply: Any = ledger.redis.pubsub_numsub(ledger.keys.of("ended", job))
        return int(reply[0][1])
    finally:
        ledger.close()


class TestSubmitting:
    def test_a_submitted_job_waits_in_its_queue_with_its_record(self, producer: Client, published: Address) -> None:
        job = producer.submit(QUEUE, "hello", priority=3, node="summary", deadline_s=60)
        record = producer.status(job)
        assert (record.state, record.queue, record.node, record.priority) == ("queued", QUEUE, "summary", 3)
        assert record.deadline_ms - record.created_ms == 60_000
        assert waiting(published) == 1

    def test_many_jobs_keep_their_order(self, producer: Client, hands: Hands) -> None:
        ids = producer.submit_many([f"prompt {number}" for number in range(1200)], target=QUEUE)
        taken = [grant for _ in range(3) for grant in hands.take(want=400, queues=(QUEUE,))]
        assert [grant.id for grant in taken] == ids
        assert [grant.request for grant in taken[:2]] == [b'{"prompt":"prompt 0"}', b'{"prompt":"prompt 1"}']

    def test_a_job_of_many_may_name_a_target_of_its_own(self, producer: Client) -> None:
        jobs = ["one", {"prompt": "two", "target": "plan_group"}, {"prompt": "three", "target": None}]
        queues = [producer.status(id).queue for id in producer.submit_many(jobs, target=QUEUE)]
        assert queues == [QUEUE, "plan_group.echelon1", QUEUE]

    def test_when_one_of_many_is_wrong_nothing_is_submitted(self, producer: Client, published: Address) -> None:
        jobs: list[Any] = [{"prompt": "fine"} for _ in range(700)] + [{"prompt": "hot", "temperature": 9}]
        with pytest.raises(SubmitInvalid) as caught:
            producer.submit_many(jobs, target=QUEUE)
        assert caught.value.problems[0][0] == "jobs[700].temperature"
        assert waiting(published) == 0

    @pytest.mark.parametrize("jobs", ["one prompt", {"prompt": "one"}])
    def test_one_job_where_many_are_expected_is_refused(self, producer: Client, jobs: Any) -> None:
        with pytest.raises(SubmitInvalid, match="a list of jobs"):
            producer.submit_many(jobs, target=QUEUE)

    @pytest.mark.parametrize("job", [None, 7, ["prompt"], b"prompt"])
    def test_what_is_no_job_is_refused_with_its_place(self, producer: Client, job: Any) -> None:
        with pytest.raises(SubmitInvalid, match=r"^jobs\[1\]: a "):
            producer.submit_many(["fine", job], target=QUEUE)

    def test_without_a_configuration_nothing_can_be_submitted(self, address: Address) -> None:
        with Client(address.url, namespace=address.namespace) as producer, pytest.raises(NoConfiguration, match="up"):
            producer.submit(QUEUE, "hello")

    def test_without_a_url_the_variables_are_named(self) -> None:
        with pytest.raises(EchelonError, match="ECHELON_REDIS_URL"):
            Client()

    def test_the_environment_names_the_server(self, published: Address, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ECHELON_REDIS_URL", published.url)
        monkeypatch.setenv("ECHELON_NAMESPACE", published.namespace)
        with Client() as producer:
            assert producer.status(producer.submit(QUEUE, "hello")).state == "queued"

    def test_a_new_revision_is_seen(self, producer: Client, published: Address) -> None:
        before = producer.configuration()
        changed = configuration().model_copy(update={"nodes": {}})
        publish(published, changed)
        assert producer.configuration() is before, "not asked for again at once"
        assert producer.configuration(fresh=True) == changed

    def test_a_server_that_was_emptied_counts_from_one_again(self, producer: Client, published: Address) -> None:
        producer.configuration()
        ledger = Ledger(published)
        ledger.redis.delete(ledger.keys.of("revision"))
        ledger.close()
        changed = configuration().model_copy(update={"nodes": {}})
        assert publish(published, changed) == 1
        assert producer.configuration(fresh=True) == changed

    def test_a_configuration_of_another_version_is_said_to_be_one(self, address: Address) -> None:
        ledger = Ledger(address)
        ledger.redis.hset(ledger.keys.of("revision"), mapping={"number": 1, "digest": "x", "document": '{"new": 1}'})
        ledger.close()
        with Client(address.url, namespace=address.namespace) as producer, pytest.raises(NoConfiguration) as caught:
            producer.configuration()
        assert "the same version" in str(caught.value)

    def test_threads_share_a_client(self, producer: Client, published: Address) -> None:
        ids: list[str] = []
        with answering(published):
            threads = [threading.Thread(target=lambda: ids.append(_submit_and_wait(producer))) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(set(ids)) == 8


def _submit_and_wait(producer: Client) -> str:
    job = producer.submit(QUEUE, "hello")
    assert producer.result(job, timeout_s=10).text == "answer to: hello"
    return job


class TestWaiting:
    def test_an_answer_that_is_there_is_read_at_once(self, producer: Client, hands: Hands) -> None:
        job = producer.submit(QUEUE, "hello")
        hands.answer(hands.take()[0], "hi")
        answer = producer.result(job, timeout_s=0)
        assert (answer.text, answer.usage.output_tokens, answer.cost_usd) == ("hi", 5, "0.001")

    @pytest.mark.usefixtures("never_looks_by_itself")
    def test_who_waits_is_told_by_a_publish(self, producer: Client, hands: Hands, published: Address) -> None:
        job = producer.submit(QUEUE, "hello")
        grant = hands.take()[0]
        finisher = threading.Thread(
            target=lambda: (until(lambda: subscribers(published, job), what="heard"), hands.answer(grant))
        )
        finisher.start()
        assert producer.result(job, timeout_s=10).text == "an answer"
        finisher.join()

    @pytest.mark.parametrize("timeout_s", [0, 0.2])
    def test_a_timeout_leaves_the_job_on_its_way(self, producer: Client, hands: Hands, timeout_s: float) -> None:
        job = producer.submit(QUEUE, "hello")
        began = time.monotonic()
        with pytest.raises(ResultTimeout, match="queued"):
            producer.result(job, timeout_s=timeout_s)
        assert timeout_s <= time.monotonic() - began < timeout_s + 1.5
        hands.answer(hands.take()[0])
        assert producer.result(job, timeout_s=1).text == "an answer"

    def test_a_dead_job_raises_with_its_record(self, producer: Client, hands: Hands) -> None:
        job = producer.submit(QUEUE, "hello")
        hands.bury(hands.take()[0], "no model is left")
        with pytest.raises(JobDied, match="no model is left") as caught:
            producer.result(job)
        assert caught.value.record.trail[0]["instance"] == "openai-gpt4"

    def test_an_expired_job_raises(self, producer: Client, hands: Hands) -> None:
        job = producer.submit(QUEUE, "hello", deadline_s=0.001)
        until(lambda: not hands.take() and producer.status(job).has_ended, what="the deadline has passed")
        with pytest.raises(JobExpired, match="deadline"):
            producer.result(job)

    def test_an_unknown_job_raises_at_once(self, producer: Client) -> None:
        with pytest.raises(UnknownJob, match="no-such-job"):
            producer.result("no-such-job", timeout_s=60)


class TestInAnEventLoop:
    def test_a_job_is_submitted_and_its_answer_awaited(self, published: Address) -> None:
        async def main() -> None:
            async with AsyncClient(published.url, namespace=published.namespace) as producer:
                job = await producer.submit(QUEUE, "hello")
                assert (await producer.result(job, timeout_s=10)).text == "answer to: hello"
                assert (await producer.status(job)).state == "answered"

        with answering(published):
            asyncio.run(main())

    @pytest.mark.usefixtures("never_looks_by_itself")
    def test_hundreds_wait_over_one_connection(self, published: Address, hands: Hands) -> None:
        async def main() -> None:
            async with AsyncClient(published.url, namespace=published.namespace) as producer:
                jobs = await producer.submit_many(["hello"] * 600, target=QUEUE)
                results = [asyncio.create_task(producer.result(job, timeout_s=20)) for job in jobs]
                every_job = lambda: all(subscribers(published, job) for job in (jobs[0], jobs[-1]))  # noqa: E731
                await until_async(every_job, what="the first and the last are waited for")
                assert pubsub_connections(published) == before + 1
                while grants := hands.take(want=300):
                    for grant in grants:
                        hands.answer(grant, grant.id)
                assert [answer.text for answer in await asyncio.gather(*results)] == jobs
                await until_async(lambda: not subscribers(published, jobs[0]), what="nobody listens any more")

        before = pubsub_connections(published)
        asyncio.run(main())

    @pytest.mark.usefixtures("never_looks_by_itself")
    def test_two_may_wait_for_the_same_job(self, published: Address, hands: Hands) -> None:
        async def main() -> None:
            async with AsyncClient(published.url, namespace=published.namespace) as producer:
                job = await producer.submit(QUEUE, "hello")
                first = asyncio.create_task(producer.result(job, timeout_s=10))
                await until_async(lambda: subscribers(published, job), what="the first waits")
                second = asyncio.create_task(producer.result(job, timeout_s=10))
                third = asyncio.create_task(producer.result(job, timeout_s=0.05))
                with pytest.raises(ResultTimeout):
                    await third
                hands.answer(hands.take()[0])
                assert await first == await second

        asyncio.run(main())

    @pytest.mark.usefixtures("never_looks_by_itself")
    def test_a_cut_subscription_is_made_anew_and_nothing_is_missed(self, published: Address, hands: Hands) -> None:
        async def main() -> None:
            async with AsyncClient(published.url, namespace=published.namespace) as producer:
                jobs = await producer.submit_many(["one", "two"], target=QUEUE)
                results = [asyncio.create_task(producer.result(job, timeout_s=15)) for job in jobs]
                await until_async(lambda: subscribers(published, jobs[1]), what="it waits")
                one, two = hands.take()
                hands.ledger.redis.client_kill_filter(_type="pubsub", skipme=True)
                hands.answer(one)  # published to nobody
                assert (await results[0]).text == "an answer"
                await until_async(lambda: subscribers(published, jobs[1]), what="it waits again")
                hands.answer(two)
                assert (await results[1]).text == "an answer"

        asyncio.run(main())

    def test_a_timeout_leaves_the_client_usable(self, published: Address, hands: Hands) -> None:
        async def main() -> None:
            async with AsyncClient(published.url, namespace=published.namespace) as producer:
                job = await producer.submit(QUEUE, "hello")
                with pytest.raises(ResultTimeout, match=f"{job} is queued"):
                    await producer.result(job, timeout_s=0.05)
                hands.answer(hands.take()[0])
                assert (await producer.ended(job, timeout_s=5)).state == "answered"

        asyncio.run(main())

    def test_validating_many_jobs_lets_others_run(self, published: Address) -> None:
        async def main() -> None:
            turns = 0

            async def others() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            async with AsyncClient(published.url, namespace=published.namespace) as producer:
                await producer.configuration()
                task = asyncio.create_task(others())
                await producer.submit_many(["hello"] * 10 * client.DRAFTS_A_TURN, target=QUEUE)
                task.cancel()
            assert turns >= 10

        asyncio.run(main())

    def test_more_coroutines_than_connections_wait_their_turn(self, published: Address) -> None:
        async def main() -> None:
            async with AsyncClient(published.url, namespace=published.namespace) as producer:
                await asyncio.gather(*(producer.submit(QUEUE, "hello") for _ in range(300)))

        asyncio.run(main())
        assert waiting(published) == 300


def pubsub_connections(address: Address) -> int:
    ledger = Ledger(address)
    try:
        return len(ledger.redis.client_list(_type="pubsub"))
    finally:
        ledger.close()


class TestTheAddress:
    def test_the_environments_namespace_counts_beside_a_url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ECHELON_NAMESPACE", "blue")
        with Client("redis://127.0.0.1:1/0") as named, Client("redis://127.0.0.1:1/0", namespace="") as plain:
            assert (named.address.namespace, plain.address.namespace) == ("blue", "")
        monkeypatch.setenv("ECHELON_REDIS_URL", "redis://127.0.0.1:2/0")
        with Client() as found, Client(namespace="green") as chosen:
            assert (found.address.url, found.address.namespace) == ("redis://127.0.0.1:2/0", "blue")
            assert (chosen.address.url, chosen.address.namespace) == ("redis://127.0.0.1:2/0", "green")
