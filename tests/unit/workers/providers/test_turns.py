"""Steps that become ready together leave the loop room in between."""

import asyncio
import time
from itertools import pairwise

from echelon_workers.providers.turns import STEPS, TURN_S, Turns

WORK_S = TURN_S / 3


def work() -> None:
    end = time.perf_counter() + WORK_S
    while time.perf_counter() < end:
        pass


def test_the_loop_gets_in_between_many_steps() -> None:
    async def run() -> list[int]:
        turns, done, seen = Turns(), [0], []

        async def step() -> None:
            await turns.mine()
            work()
            done[0] += 1

        async def watch() -> None:
            while done[0] < 200:
                seen.append(done[0])
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(step() for _ in range(200)))
        await watching
        return seen

    seen = asyncio.run(run())
    between = [later - earlier for earlier, later in pairwise(seen)]
    assert max(between) <= 2 * STEPS
    assert len(seen) >= 10


def test_every_step_has_its_turn_and_one_that_is_cancelled_holds_up_no_other() -> None:
    async def run() -> list[int]:
        turns, done = Turns(), []

        async def step(n: int) -> None:
            await turns.mine()
            work()
            done.append(n)

        steps = [asyncio.create_task(step(n)) for n in range(50)]
        await asyncio.sleep(0)
        steps[30].cancel()
        await asyncio.gather(*steps, return_exceptions=True)
        await asyncio.gather(step(50))
        return done

    assert asyncio.run(run()) == [*range(30), *range(31, 51)]


def test_a_step_alone_waits_for_nothing() -> None:
    async def run() -> bool:
        task = asyncio.create_task(Turns().mine())
        await asyncio.sleep(0)
        return task.done()

    assert asyncio.run(run())
