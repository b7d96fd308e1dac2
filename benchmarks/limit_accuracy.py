"""How exactly limits hold, counted where the calls arrive: four workers, and always more work than any limit allows.

One worker has a wrong clock, one is killed on the way, and one is added. What is compared, and how to read it:
benchmarks/README.md.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.arena import Arena
from bench.command import Scale, run_benchmark
from bench.counting import Found, Killed, count
from bench.feeding import Feeder
from bench.fleet import Fleet
from bench.limits import Load, LoadBuilder, Scope
from bench.peers import Peers
from bench.results import Goal, Results, Row, progress

SLOTS = 250
CLOCKS_WRONG = (False, False, False, True)
CALL_AT_ONCE_S = 3.0
#: A window of bursts, how long there are bursts, and when a worker is killed in them: as the second one begins.
BURST_S, BURSTS_S, BURST_AGAIN_S = 4.0, 12.0, 4.15


@dataclass
class LimitAccuracy:
    """One run of this benchmark."""

    arena: Arena
    results: Results
    scale: Scale

    def run(self) -> None:
        """Ours, then the others."""
        found = self.limits()
        self.peers(found)
        self._goals(found)

    def limits(self) -> dict[str, tuple[Scope, Found]]:
        """All limits at the same time, each on instances of its own; at the end, bursts."""
        seconds, kill_s, add_s = self.scale.of(full=(190.0, 85.0, 100.0), short=(50.0, 30.0, 33.0))
        load = self._load(seconds)
        progress(f"{len(load.scopes)} limits, four workers, {seconds:g} s, and {BURSTS_S:g} s of bursts")
        simulator = self.arena.simulator()
        simulator.load(load.script)
        fleet = Fleet(self.arena, 0, load.configuration, simulator.url, SLOTS)
        fleet.start(CLOCKS_WRONG)
        self._wrong_clock = fleet.workers[CLOCKS_WRONG.index(True)]
        feeder = Feeder(fleet.client, load.feeds)
        feeder.start()
        began = time.monotonic()
        _wait_until(began + kill_s)
        killed = [fleet.kill(fleet.workers[0])]
        _wait_until(began + add_s)
        fleet.add()
        _wait_until(began + seconds)
        self._check_waiting(fleet, load, bursts=False)
        _wait_until(began + seconds + BURST_AGAIN_S)
        killed.append(fleet.kill(fleet.workers[0]))
        _wait_until(began + seconds + BURSTS_S)
        for bursts in (False, True):
            self._check_waiting(fleet, load, bursts=bursts)
        rows = simulator.arrivals(operation="call")
        feeder.stop()
        self._show_shares(fleet, feeder.ids, killed)
        fleet.stop()
        counted = count(load, rows, feeder.ids, killed, round((began + seconds) * 1e9))
        found = {scope.title: (scope, one) for scope, one in counted}
        for title, (_, one) in found.items():
            progress(f"  {title:26} {one}")
        return found

    def _load(self, seconds: float) -> Load:
        builder = LoadBuilder(seconds, BURSTS_S)
        builder.window("v10", 240, 24)
        if self.scale.short:
            builder.window("v100", 2_400, 24)
        else:
            builder.per_minute("w600", 600)
            builder.per_minute("w6000", 6_000)
            builder.tokens("t200000", 200_000)
        builder.bucket("b600", 20, 600)
        builder.bucket("b6000", 100, 6_000)
        builder.at_once(CALL_AT_ONCE_S)
        builder.burst(240, BURST_S, int(BURSTS_S / BURST_S))
        return builder.build(self.arena.folder / "limits")

    @staticmethod
    def _check_waiting(fleet: Fleet, load: Load, *, bursts: bool) -> None:
        for feed in load.feeds:
            queue = load.configuration.resolve(feed.target).queue
            if (feed.after_s > 0) == bursts and not fleet.waiting(queue):
                raise RuntimeError(f"the queue {queue} ran empty: its limit was not what held its jobs back")

    def _show_shares(self, fleet: Fleet, ids: Mapping[str, Sequence[str]], killed: Sequence[Killed]) -> None:
        shares = fleet.shares([id for some in ids.values() for id in some])
        total = sum(shares.values())
        wrong = shares.get(self._wrong_clock.pid, 0)
        progress(f"  {total:,} answered by {len(shares)} workers, {wrong / total:.0%} by that with the wrong clock")
        held = [sum(map(len, worker.held.values())) for worker in killed]
        progress(f"  the killed ones held {held} jobs")

    def peers(self, found: Mapping[str, tuple[Scope, Found]]) -> None:
        """One of the limits as others hold it."""
        limit, window_s, seconds = self.scale.of(full=(600, 60.0, 95.0), short=(240, 24.0, 32.0))
        progress(f"{limit} in {window_s:g} s, as others hold it, {seconds:g} s")
        ours = found[f"{limit} in {window_s:g} s"][1]
        self.others = Peers(self.arena, limit, window_s).run(seconds)
        for peer in self.others:
            what = f"{limit} in {window_s:g} s: "
            note = f"{peer.title} {peer.note}".strip()
            share = None if peer.share is None else peer.share * 100
            self.results.rows += [
                Row(what=f"{what}calls above it", unit="", ours=ours.over, stock=peer.over, note=note),
                Row(what=f"{what}share of it used", unit="%", ours=ours.used * 100, stock=share, note=note),
            ]

    def _goals(self, found: Mapping[str, tuple[Scope, Found]]) -> None:
        for title, (scope, one) in found.items():
            late = (
                f"p50 {one.late_p50:.1f}, most {one.late_most:.0f} ms at {one.late_most_at_s:.0f} s"
                if scope.timed
                else ""
            )
            self.results.rows.append(
                Row(what=f"{title}: calls above it", unit="", ours=one.over, note=f"of {one.calls:,}")
            )
            if scope.binds:
                self.results.rows.append(Row(what=f"{title}: share of it used", unit="%", ours=one.used * 100))
            if scope.timed:
                self.results.rows.append(Row(what=f"{title}: start, p99", unit="ms", ours=one.late_p99, note=late))
        over, divided, *_ = self.others
        least = min(one.used for scope, one in found.values() if scope.binds)
        latest = max(one.late_p99 for scope, one in found.values() if scope.timed)
        beside = None if divided.share is None else divided.share * 100
        above = sum(one.over for _, one in found.values())
        self.results.goals += [
            Goal.at_most("calls above any limit in any trailing window", above, 0, over.over),
            Goal.at_least("share of the limit used while work waits, least, %", least * 100, 99.5, beside),
            Goal.at_most("start later than the earliest lawful moment, p99, latest, ms", latest, 25),
        ]


def _wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


if __name__ == "__main__":
    sys.exit(run_benchmark("limit_accuracy", __doc__, lambda *run: LimitAccuracy(*run).run()))
