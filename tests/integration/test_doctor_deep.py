"""`echelon doctor --fix` beside a worker that empties long lists: it finds nothing, and no job is lost or run twice."""

import json
import time
from collections import Counter
from pathlib import Path

from byhand import publish
from waiting import until
from worker_process import FAST, SLOW, start_worker, write_configs

from echelon_configs import load
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.audit import audit
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.verbs import NewJob, submit


def _answered(ledger: Ledger) -> int:
    return sum(int(ledger.redis.hget(ledger.keys.of("totals", queue), "answered") or 0) for queue in (FAST, SLOW))


def test_a_worker_that_empties_long_lists_is_left_alone(address: Address, tmp_path: Path) -> None:
    configs = write_configs(tmp_path / "configs")
    publish(address, load(configs).configuration)
    ledger = Ledger(address)
    jobs = [
        NewJob(id=f"j{i}", queue=FAST, request=json.dumps({"prompt": "say hello"}), target=FAST, priority=i % 2)
        for i in range(6000)
    ]
    for first in range(0, len(jobs), 500):
        ledger.run(submit(jobs[first : first + 500]))
    worker = start_worker(address, tmp_path / "deep.log", slots=40, ECHELON_CONFIGS=str(configs))
    try:
        audits, deadline = 0, time.monotonic() + 8
        while time.monotonic() < deadline:
            assert audit(ledger, fix=True).findings == ()
            audits += 1
        assert (audits > 3, _answered(ledger) > 100) == (True, True), (audits, _answered(ledger))
        until(lambda: _answered(ledger) == len(jobs), timeout_s=60, what="every job is answered")
    finally:
        worker.stop()
        ledger.close()
    calls = Counter((tmp_path / "arrivals").read_text().split())
    assert (len(calls), set(calls.values())) == (len(jobs), {1})
