"""Submitting a part of a file where there is little room: nothing is lost, and nothing is asked more than it must."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from echelon_producers.cli.batch import sending
from echelon_producers.cli.batch.progress import Progress
from echelon_producers.cli.batch.sending import Sending
from echelon_producers.cli.batch.tally import Tally
from echelon_workers.ledger.verbs import Full, NewJob, Verb

JOBS = [NewJob(id=f"j{number}", queue="a.b", request="{}", target="a.b") for number in range(10)]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_LEAST_WAIT_S", 0.001)


class Queue:
    """A queue with a limit, as submit sees it; `leave` is called whenever it refuses."""

    def __init__(self, limit: int, leave: "Callable[[Queue], None]", retry_ms: int = 60_000) -> None:
        self.limit, self.waiting, self.asked = limit, 0, 0
        self.accepted: list[str] = []
        self._leave, self._retry_ms = leave, retry_ms

    async def submit(self, verb: Verb[list[bool] | Full]) -> list[bool] | Full:
        self.asked += 1
        assert self.asked < 200
        ids = [str(id) for id in verb.args[2 :: int(verb.args[1])]]
        if self.waiting + len(ids) > self.limit:
            full = Full("echelon:a.b", self.limit, self.waiting, self._retry_ms)
            self._leave(self)
            return full
        self.waiting += len(ids)
        fresh = [id not in self.accepted for id in ids]
        self.accepted += ids
        return fresh


def send(queue: Queue, tally: Tally | None = None) -> tuple[Sending, list[str]]:
    known: list[str] = []

    async def main() -> Sending:
        one = Sending(queue.submit, known.extend, tally or Tally())
        one.ids = {job.id for job in JOBS}
        async with asyncio.timeout(5):
            await one.send(JOBS)
        return one

    return asyncio.run(main()), known


def test_where_there_is_room_it_is_one_call() -> None:
    queue = Queue(10, lambda _: None)
    one, known = send(queue)
    assert (queue.asked, known, one.ids) == (1, [], set())


def test_what_was_accepted_before_is_told() -> None:
    queue = Queue(30, lambda _: None)
    queue.accepted = ["j3", "j9"]
    assert send(queue)[1] == ["j3", "j9"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_a_queue_smaller_than_the_part_is_filled_again_and_again_in_order(limit: int) -> None:
    def leave(queue: Queue) -> None:
        queue.waiting = max(0, queue.waiting - 1)

    queue = Queue(limit, leave, retry_ms=1)
    one, _ = send(queue)
    assert queue.accepted == [job.id for job in JOBS]
    assert one.ids == set()


def test_it_waits_as_long_as_it_is_told_and_says_so() -> None:
    tally, told = Tally(), list[str]()

    async def main() -> None:
        def leave(queue: Queue) -> None:
            asyncio.get_running_loop().call_later(0.02, empty, queue)

        def empty(queue: Queue) -> None:
            told.append(tally.full)
            told.append(Progress(tally, 10)._text())
            queue.waiting = 0

        queue = Queue(5, leave, retry_ms=40)
        queue.waiting = 5
        one = Sending(queue.submit, lambda _: None, tally)
        async with asyncio.timeout(5):
            await one.send(JOBS)

    asyncio.run(main())
    waited: Iterator[str] = (text for text in told if text)
    assert next(waited) == "echelon a.b is full (5 wait), again in 0.0 s"
    assert next(waited).endswith(", echelon a.b is full (5 wait), again in 0.0 s")
    assert tally.full == ""


def test_it_looks_again_at_once_when_one_of_its_own_jobs_has_ended() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def leave(queue: Queue) -> None:
            def ended() -> None:
                queue.waiting = 0
                one.one_left()

            loop.call_later(0.01, ended)

        queue = Queue(5, leave, retry_ms=60_000)
        queue.waiting = 5
        one = Sending(queue.submit, lambda _: None, Tally())
        async with asyncio.timeout(5):
            await one.send(JOBS)

    asyncio.run(main())
