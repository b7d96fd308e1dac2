"""The pool: jobs in greenlets over one event loop."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from waiting import until

from echelon_workers.pool import TaskPool, wait_for


@pytest.fixture
def pool() -> Iterator[TaskPool]:
    pool = TaskPool(limit=4)
    pool.start()
    yield pool
    pool.stop()


def start(pool: TaskPool, body: Callable[[], object], **options: Any) -> list[object]:
    results: list[object] = []
    pool.apply_async(body, callback=results.append, **options)
    return results


def test_a_job_awaits_in_synchronous_code_and_its_value_comes_back(pool: TaskPool) -> None:
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    results = start(pool, lambda: wait_for(double(4)) + wait_for(double(1)))
    assert until(lambda: results) == [10]


def test_an_exception_of_what_is_awaited_is_raised_in_the_job(pool: TaskPool) -> None:
    async def fail() -> None:
        raise LookupError("not there")

    def body() -> str:
        try:
            wait_for(fail())
        except LookupError as exc:
            return f"caught {exc}"
        return "nothing was raised"

    results = start(pool, body)
    assert until(lambda: results) == ["caught not there"]


def test_all_jobs_run_in_one_thread_at_the_same_time(pool: TaskPool) -> None:
    gate, threads = asyncio.Event(), set()

    def body() -> bool:
        threads.add(threading.get_ident())
        return wait_for(gate.wait())

    results = [start(pool, body) for _ in range(3)]
    until(lambda: len(pool.busy) == 3, what="three jobs run")
    assert pool.free == 1
    pool.loop.call_soon_threadsafe(gate.set)
    until(lambda: all(results), what="all three have ended")
    assert len(threads) == 1
    assert pool.free == 4


def test_celery_gets_a_token_for_each_job_and_can_stop_it_by_that(pool: TaskPool) -> None:
    tokens: list[int] = []
    ended: list[asyncio.Task[None]] = []
    pool.ended = ended.append

    def body() -> object:
        return wait_for(asyncio.Event().wait())

    for _ in range(2):
        start(pool, body, accept_callback=lambda token, _time: tokens.append(token))
    until(lambda: len(tokens) == 2, what="both were accepted")
    assert len(set(tokens)) == 2
    pool.terminate_job(tokens[0])
    until(lambda: len(ended) == 1, what="the stopped one has ended")
    assert list(pool.busy) == [tokens[1]]


def test_the_pool_grows_and_shrinks_but_never_below_one(pool: TaskPool) -> None:
    asked = threading.Event()
    pool.grown = asked.set
    pool.grow(3)
    assert (pool.limit, pool.num_processes) == (7, 7)
    assert asked.wait(10)
    pool.shrink(100)
    assert pool.limit == 1


def test_slots_are_not_free_below_zero_after_a_shrink(pool: TaskPool) -> None:
    for _ in range(3):
        start(pool, lambda: wait_for(asyncio.Event().wait()))
    until(lambda: len(pool.busy) == 3, what="three jobs run")
    pool.shrink(3)
    assert pool.free == 0


@pytest.mark.parametrize("warm", [True, False])
def test_stopping_lets_the_owner_finish_everything_first(warm: bool) -> None:
    pool, seen = TaskPool(limit=1), []
    pool.start()
    pool.finish_all = seen.append
    if warm:
        pool.stop()
    else:
        pool.terminate()
    assert seen == [warm]
    pool.stop()
    assert seen == [warm], "a pool that has stopped stops only once"
