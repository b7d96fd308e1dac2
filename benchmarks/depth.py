"""What a job costs the server, taken and finished, behind a million waiting jobs against behind a thousand; and what it
takes of its memory.

What is compared, and how to read it: benchmarks/README.md.
"""

import sys
from dataclasses import dataclass

from bench.arena import Arena
from bench.command import Scale, run_benchmark
from bench.echelon_side import MODELS, QUEUE, TARGET, write_configs
from bench.memory import bytes_each, stock_message_bytes
from bench.results import Goal, Results, Row, median, progress
from bench.server_time import spent_on
from bench.verbs import Caller

from echelon_configs import load

BATCH = 16
FEW = 1_000
ANSWERED = 10_000
#: Beside its request a waiting job has a record of some twenty fields, its place and its deadline.
MOST_BYTES = 1_500


@dataclass
class Depth:
    """One run of this benchmark: two databases of one server, in turns."""

    arena: Arena
    results: Results
    scale: Scale

    def run(self) -> None:
        """Fill both, then let them take turns."""
        many, rounds, jobs = self.scale.of(full=(1_000_000, 20, 1_000), short=(200_000, 10, 500))
        configuration = load(write_configs(self.arena.folder / "configs", MODELS[:1])).configuration
        shallow, deep = (Caller(self.arena, db, configuration) for db in (0, 1))
        shallow.submit(TARGET, FEW)
        progress(f"submitting {many:,} jobs")
        waiting = bytes_each(deep.redis, many, lambda: deep.submit(TARGET, many))
        few_us, many_us = [], []
        for number in range(rounds + 1):
            found = [self._round(caller, jobs) for caller in (shallow, deep)]
            if not number:
                continue  # the first round warms up
            few_us.append(found[0])
            many_us.append(found[1])
        ratio = median([b / a for a, b in zip(few_us, many_us, strict=True)])
        few, most = median(few_us), median(many_us)
        progress(f"  {few:.1f} us a job behind {FEW:,}, {most:.1f} behind {many:,}: {ratio:.3f} x")
        what = f"server time of a job, taken and finished, {many:,} waiting"
        note = f"baseline: {FEW:,} waiting"
        self.results.rows.append(Row(what=what, unit="us", ours=most, stock=few, note=note))
        self.results.goals.append(Goal.at_most(f"cost per job at {many:,} waiting, against {FEW:,}", ratio, 1.1, 1.0))
        self._memory(waiting, Caller(self.arena, 2, configuration))

    def _memory(self, waiting: float, caller: Caller) -> None:
        """A job that waits, beside a message of stock Celery; and one that is answered, until it expires."""

        def answer() -> None:
            caller.submit(TARGET, ANSWERED)
            for _ in range(0, ANSWERED, BATCH):
                for grant in caller.take([(QUEUE, MODELS[0])], BATCH).grants:
                    caller.finish(grant)

        kept = bytes_each(caller.redis, ANSWERED, answer)
        stock = stock_message_bytes(self.arena, 3, ANSWERED)
        self.results.rows += [
            Row(what="memory of a waiting job", unit="bytes", ours=waiting, stock=stock, note="baseline: its message"),
            Row(what="memory of an answered job", unit="bytes", ours=kept, note="until its retention is over"),
        ]
        self.results.goals.append(Goal.at_most("bytes of a waiting job, short prompt", waiting, MOST_BYTES, stock))

    @staticmethod
    def _round(caller: Caller, jobs: int) -> float:
        """Server time of each of so many jobs, in us. As many are submitted afterwards, so the depth stays."""

        def work() -> None:
            for _ in range(0, jobs, BATCH):
                for grant in caller.take([(QUEUE, MODELS[0])], BATCH).grants:
                    caller.finish(grant)

        spent = spent_on(caller.redis, work)
        done = spent.calls - -(-jobs // BATCH)
        caller.submit(TARGET, done)
        return spent.us / done


if __name__ == "__main__":
    sys.exit(run_benchmark("depth", __doc__, lambda *run: Depth(*run).run()))
