"""A provider whose prompts say what it does; it counts on the far side, in a file, what arrived.

`say WORDS`, `nap SECONDS` (then answers), `stall SECONDS` (the whole process stands still, then it answers),
`fail CODE TIMES` (the first TIMES calls of this job fail so), `crash`, `limited TIMES SECONDS` (the first TIMES calls
of this job meet a 429 that asks to come back in so many seconds). Whatever the prompt, the instances that the file
SCRIPTED_DOWN lists, if there is one, fail: `openai-one server_failed` a line.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from echelon_configs import Instance
from echelon_workers import errors
from echelon_workers.ledger.job import Answer, Usage
from echelon_workers.providers import Call, ProviderAnswer

FAILURES = {
    cls.code: cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.AttemptFailed)
}


class Providers:
    """Stands where the worker's providers stand (ECHELON_PROVIDERS)."""

    def __init__(
        self, *, environment: Mapping[str, str], max_connections: int, simulator_url: str | None = None
    ) -> None:
        self._arrivals = os.open(environment["SCRIPTED_ARRIVALS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._calls = Counter[str]()
        self._down = Path(environment.get("SCRIPTED_DOWN", "/nowhere"))
        self._without_key = os.environ.get("SCRIPTED_WITHOUT_KEY", "").split(",")

    def has_key(self, instance: Instance) -> bool:
        return instance.name not in self._without_key

    def prepare(self, instances: Iterable[Instance]) -> None:
        """Nothing to load."""

    def _fail_if_down(self, call: Call) -> None:
        try:
            down = dict(line.split() for line in self._down.read_text().splitlines())
        except FileNotFoundError:
            return
        if call.instance.name in down:
            os.write(self._arrivals, f"{call.instance.name}\n".encode())
            raise FAILURES[down[call.instance.name]](f"{call.instance.name} is down")

    async def complete(self, call: Call) -> ProviderAnswer:
        os.write(self._arrivals, f"{call.job_id}\n".encode())
        self._fail_if_down(call)
        verb, _, rest = (call.request.prompt or "").partition(" ")
        if verb == "nap":
            await asyncio.sleep(float(rest))
        elif verb == "stall":
            time.sleep(float(rest))  # noqa: ASYNC251 - that is what it is for
        elif verb == "fail":
            code, _, times = rest.partition(" ")
            if call.attempt <= int(times or 1_000_000):
                raise FAILURES[code](f"scripted {code}")
        elif verb == "limited":
            times, _, seconds = rest.partition(" ")
            self._calls[call.job_id] += 1
            if self._calls[call.job_id] <= int(times):
                raise errors.RateLimited("scripted 429", retry_after_s=float(seconds))
        elif verb == "crash":
            raise ZeroDivisionError("scripted")
        answer = Answer(
            text=f"{call.request.system or ''}{rest}",
            finish_reason="stop",
            usage=Usage(input_tokens=10, output_tokens=2),
            cost_usd="0.001",
            model=call.instance.model,
            instance=call.instance.name,
            latency_ms=1,
        )
        return ProviderAnswer(answer=answer)

    async def aclose(self) -> None:
        os.close(self._arrivals)
