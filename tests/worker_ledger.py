"""What workers left in the ledger, and a change of what they follow."""

from pathlib import Path

from worker_process import FAST

from echelon_configs import load
from echelon_producers import Client
from echelon_workers.ledger import revisions
from echelon_workers.ledger.client import Ledger


def counts(ledger: Ledger) -> dict[str, int]:
    found = {name.decode(): int(n) for name, n in ledger.redis.hgetall(ledger.keys.of("counts")).items()}
    return {name: n for name, n in found.items() if n}


def held_by(client: Client) -> str:
    return next(queue.held_by for queue in client.cluster_status().queues if queue.name == FAST)


def publish_changed(ledger: Ledger, tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / "configs" / "llms" / "groups" / "_task_groups.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    revisions.publish(ledger, load(tmp_path / "configs").configuration)
