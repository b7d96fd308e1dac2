"""LiteLLM's Router beside ours, where an interpreter with it is at hand: several processes, one Redis, one limit."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from .arena import Arena
from .process import Worker

#: Names a Python interpreter that has `litellm` and `redis` installed. Without it LiteLLM is not measured.
VARIABLE = "BENCH_LITELLM_PYTHON"
_CALLER = Path(__file__).with_name("litellm_caller.py")
_CALLERS = 8


def litellm_python() -> str | None:
    """The interpreter, if there is one."""
    path = os.environ.get(VARIABLE)
    return path if path and os.access(path, os.X_OK) else None


@dataclass(eq=False)
class LiteLLMFleet:
    """Processes that all call one deployment as often as the router lets them, its counts shared in one Redis."""

    arena: Arena
    python: str
    redis_url: str
    simulator_url: str
    per_minute: int
    processes: list[Worker] = field(default_factory=list, init=False)

    def start(self, processes: int) -> None:
        """Start them; each calls as soon as it has loaded."""
        url = f"{self.simulator_url}/openai/v1"
        arguments = [str(_CALLER), url, self.redis_url, str(self.per_minute), str(_CALLERS)]
        environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        for number in range(processes):
            log = self.arena.folder / f"litellm-{number}.log"
            worker = self.arena.keep(Worker(arguments, environment, log, python=self.python))
            self.processes.append(worker)

    def stop(self) -> None:
        """End them."""
        for process in self.processes:
            process.check()
            process.kill()
        self.processes.clear()
