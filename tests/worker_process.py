"""Real worker processes for tests: Celery's own command line, in a session of their own."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from waiting import until

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger

#: A small cluster: two echelons of two instances each, a pool over them, a node.
GROUPS = """\
task_groups:
  fast_group:
    echelon1: {models: [openai-one, openai-two], priority: 1, timeout: 20, max_retries: 2}
    echelon2: {models: [openai-three], priority: 2, timeout: 20, max_retries: 0}
    fallback_strategy: echelon_down
polling_pools:
  all_pool: {task_groups: [fast_group], rotation_strategy: round_robin}
"""
WORKFLOW = """\
nodes:
  polite_node:
    type: llm_node
    config: {llm_group: fast_group.echelon1, system_prompt: "Be polite. "}
"""
FAST = "fast_group.echelon1"
SLOW = "fast_group.echelon2"


def write_configs(directory: Path) -> Path:
    """A configuration directory for the tests."""
    groups = directory / "llms" / "groups"
    groups.mkdir(parents=True)
    (groups / "_task_groups.yaml").write_text(GROUPS)
    workflows = directory / "workflows"
    workflows.mkdir()
    (workflows / "test.yaml").write_text(WORKFLOW)
    return directory


@dataclass(slots=True)
class WorkerProcess:
    """One worker, running."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def send(self, number: int) -> None:
        """Send a signal to the worker."""
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 30) -> int:
        """Stop the worker and return its exit code."""
        if self.process.poll() is None:
            self.send(number)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)

    def output(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors="replace")


#: Starts one worker, as `start_worker` does; and how many calls have arrived for each job, by the provider's count.
Start = Callable[..., WorkerProcess]
Arrivals = Callable[[], Counter[str]]


def start_worker(
    address: Address, log: Path, *queues: str, slots: int = 20, wait: bool = True, **environment: str
) -> WorkerProcess:
    """Start a worker on the scripted provider; by default wait until its first heartbeat is in Redis."""
    here = Path(__file__).parent
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")]),
        "PYTHONWARNINGS": "ignore",
        "ECHELON_REDIS_URL": address.url,
        "ECHELON_NAMESPACE": address.namespace,
        "ECHELON_PROVIDERS": "scripted_provider:Providers",
        "SCRIPTED_ARRIVALS": str(log.parent / "arrivals"),
        **environment,
    }
    command = [sys.executable, "-m", "celery", "-A", "echelon_workers.app", "worker", "-c", str(slots), "-l", "INFO"]
    command += ["-n", f"{log.stem}@test", *(["-Q", ",".join(queues)] if queues else [])]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=variables, stdout=out, stderr=out, start_new_session=True)
    worker = WorkerProcess(process, log)
    if wait:
        wait_until_ready(worker, address)
    return worker


def wait_until_ready(worker: WorkerProcess, address: Address) -> None:
    """Until the worker has said that it serves queues."""
    ledger = Ledger(address)
    try:
        until(lambda: _serves(worker, ledger), timeout_s=30, what=f"the worker serves ({worker.output()[-2000:]})")
    finally:
        ledger.close()


def _serves(worker: WorkerProcess, ledger: Ledger) -> bool:
    assert worker.process.poll() is None, f"the worker exited {worker.process.returncode}:\n{worker.output()[-4000:]}"
    pid = str(worker.process.pid).encode()
    names = [name for name in ledger.redis.zrange(ledger.keys.of("workers"), 0, -1) if b":" + pid + b":" in name]
    return any(ledger.redis.exists(ledger.keys.of("taker", name.decode())) for name in names)
