"""`EnhancedFallbackManager`: real jobs with fallbacks of their own, and what the fleet has on record of them."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from byhand import QUEUES, TERMS, Hands, answering
from waiting import until_async

from echelon_producers import Client, EchelonError, JobDied, SubmitInvalid
from echelon_producers.seed import EnhancedFallbackManager, TaskGroupManager
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.options import Options
from echelon_workers.ledger.verbs import Finish, Grant, finish

FAST, LOWER, PLAN = QUEUES[:3]


@pytest.fixture
def manager(published: Address) -> Iterator[EnhancedFallbackManager]:
    with Client(published.url, namespace=published.namespace) as client:
        yield EnhancedFallbackManager(client=client)


def move(hands: Hands, grant: Grant, to: str, strategy: str) -> None:
    """An attempt fails, and the job goes to another queue."""
    line = {"job": grant.id, "from": grant.queue, "to": to, "strategy": strategy, "outcome": "timed_out"}
    end = Finish(
        id=grant.id,
        lease=grant.lease,
        decision="move",
        payload='{"code":"timed_out","message":"no answer"}',
        entry=json.dumps({"queue": grant.queue, "instance": grant.instance, "decision": "move"}),
        retention_ms=TERMS.retention_ms,
        move_to=to,
        strategy=strategy,
        history=json.dumps(line),
        health="failed",
        code="timed_out",
    )
    assert hands.ledger.run(finish(end))


def test_the_seeds_lines_work_as_printed(
    published: Address, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ECHELON_REDIS_URL", published.url)
    monkeypatch.setenv("ECHELON_NAMESPACE", published.namespace)
    task_group_manager, polling_pool_manager = TaskGroupManager(), None

    async def usage() -> str:
        fallback_manager = EnhancedFallbackManager(task_group_manager, polling_pool_manager)
        result = await fallback_manager.execute_with_fallback(
            primary_target="fast_group.echelon1",
            fallback_groups=["fast_group.echelon2", "plan_group.echelon1"],
            prompt="请解释什么是机器学习？",  # noqa: RUF001
        )
        fallback_manager.get_statistics()
        fallback_manager.close()
        return result.text

    with answering(published):
        assert asyncio.run(usage()) == "answer to: 请解释什么是机器学习？"  # noqa: RUF001


def test_many_are_awaited_at_a_time_in_one_loop_after_another(
    published: Address, manager: EnhancedFallbackManager
) -> None:
    async def ask(many: int) -> list[str]:
        calls = (manager.execute_with_fallback(FAST, [LOWER], str(number), timeout_s=30) for number in range(many))
        return [answer.text for answer in await asyncio.gather(*calls)]

    with answering(published):
        for _ in range(2):
            assert asyncio.run(ask(50)) == [f"answer to: {number}" for number in range(50)]


def test_the_job_carries_its_fallbacks(manager: EnhancedFallbackManager, hands: Hands) -> None:
    async def ask(fallback_groups: list[str] | None) -> str:
        waiting = asyncio.create_task(manager.execute_with_fallback(FAST, fallback_groups, "hi", node="summary"))
        (grant,) = await until_async(hands.take)
        hands.answer(grant)
        await waiting
        return grant.options

    assert Options.from_json(asyncio.run(ask([LOWER, "plan_group"]))).fallback_groups == (LOWER, "plan_group")
    assert Options.from_json(asyncio.run(ask([]))).fallback_groups == ()


def test_what_fails_is_raised(manager: EnhancedFallbackManager, hands: Hands) -> None:
    async def ask() -> None:
        waiting = asyncio.create_task(manager.execute_with_fallback(FAST, [LOWER], "hi"))
        hands.bury((await until_async(hands.take))[0])
        await waiting

    with pytest.raises(JobDied, match="every attempt failed") as death:
        asyncio.run(ask())
    assert len(death.value.record.trail) == 1
    with pytest.raises(SubmitInvalid, match="fallback_groups"):
        asyncio.run(manager.execute_with_fallback(FAST, ["nowhere"], "hi"))


def test_statistics_count_by_strategy_and_by_target(
    manager: EnhancedFallbackManager, hands: Hands, published: Address
) -> None:
    empty = manager.get_statistics()
    assert (empty["total_fallbacks"], empty["most_used_strategy"], empty["success_rate"]) == (0, None, None)
    with Client(published.url, namespace=published.namespace) as client:
        client.submit_many(["one", "two", "three"], target=FAST)
    one, two, three = hands.take(queues=(FAST,))
    hands.ledger.redis.hincrby(hands.ledger.keys.of("job", one.id), "started", -700)
    for grant in (one, two, three):
        move(hands, grant, LOWER, "echelon_down")
    one, two, three = hands.take(queues=(LOWER,))
    hands.answer(one)
    hands.bury(two)
    move(hands, three, PLAN, "fallback_groups")

    found = manager.get_statistics()
    assert (found["total_fallbacks"], found["most_used_strategy"], found["success_rate"]) == (4, "echelon_down", 0.5)
    down = found["strategies"]["echelon_down"]
    assert (down["used"], down["answered"], down["dead"], down["success_rate"]) == (3, 1, 1, 0.5)
    assert 700 <= down["lost_ms"] <= found["lost_ms"]
    assert found["strategies"]["fallback_groups"]["success_rate"] is None
    fast, lower, plan = (found["targets"][queue] for queue in (FAST, LOWER, PLAN))
    assert (fast["submitted"], fast["came"], fast["went"], fast["success_rate"]) == (3, 0, 3, None)
    assert fast["lost_ms"] >= 700
    assert (lower["came"], lower["went"], lower["answered"], lower["dead"], lower["success_rate"]) == (3, 1, 1, 1, 0.5)
    assert plan["came"] == 1

    history = manager.get_fallback_history()
    assert [(line["from"], line["to"]) for line in history] == [(LOWER, PLAN)] + [(FAST, LOWER)] * 3
    assert manager.get_fallback_history(limit=1) == history[:1]


def test_going_home_is_a_move_and_no_strategy(
    manager: EnhancedFallbackManager, hands: Hands, published: Address
) -> None:
    with Client(published.url, namespace=published.namespace) as client:
        client.submit(FAST, "hi")
    move(hands, hands.take()[0], LOWER, "model_rotate")
    for queue in (FAST, LOWER, FAST):
        move(hands, hands.take()[0], queue, "home")
    assert manager.get_statistics()["most_used_strategy"] == "model_rotate"


def test_the_history_is_bounded(manager: EnhancedFallbackManager, hands: Hands, published: Address) -> None:
    hands.ledger.redis.rpush(hands.ledger.keys.of("history"), *(["{}"] * 1000))
    with Client(published.url, namespace=published.namespace) as client:
        job = client.submit(FAST, "hi")
    move(hands, hands.take()[0], LOWER, "echelon_down")
    history = manager.get_fallback_history(limit=5000)
    assert (len(history), history[0]["job"]) == (1000, job)


def test_breakers_are_closed_open_or_half_open(manager: EnhancedFallbackManager, hands: Hands) -> None:
    redis, keys = hands.ledger.redis, hands.ledger.keys
    scope, now_ms = keys.of("scope", "model:openai-gpt4"), int(redis.time()[0]) * 1000

    def breaker() -> dict[str, object]:
        return manager.get_circuit_breaker_status()["openai-gpt4"]

    assert breaker() == {"state": "closed", "failures": 0, "open_ms": 0, "why": ""}
    redis.hset(scope, mapping={"bf": 5, "bo": now_ms + 60_000, "bw": "timed_out"})
    assert (breaker()["state"], breaker()["failures"], breaker()["why"]) == ("open", 5, "timed_out")
    assert 50_000 < float(str(breaker()["open_ms"])) <= 60_000
    redis.hset(scope, "bo", now_ms - 1)
    assert breaker()["state"] == "half_open"


def test_without_a_url_it_says_what_would_be_right() -> None:
    with pytest.raises(EchelonError, match="no Redis given"):
        EnhancedFallbackManager()
