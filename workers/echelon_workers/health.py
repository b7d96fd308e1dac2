"""Health: finds out by itself how instances are, so that one that failed comes back though no job asks for it.

At each instance's interval one worker of the fleet looks where its provider lists its models, which costs nothing. If
that fails, the breaker counts it as it counts a job's failure. That it works says little of calls: for an instance
that is not well (half open, or its last attempt failed) a paid call of one token follows, and its outcome counts as
a job's does. Which probes are due, and whether there are permits for them, is decided in Redis
(`ledger/lua/probe.lua`).
"""

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from echelon_configs import CallOverrides, Instance, Thinking

from .calling import made
from .errors import AttemptFailed, ConnectionFailed, RateLimited, ServerFailed, TimedOut
from .ledger.job import JobRequest
from .ledger.probing import EndedProbe, PaidProbe, Probe, Verdict, end_probes, pay_probe, start_probes
from .providers import Call, GrantLapsed

if TYPE_CHECKING:
    from .runtime import Runtime

logger = get_logger(__name__)

#: A worker asks at least this often what is due: an idle one too, so it is not more often than that.
LONGEST_WAIT_S, SHORTEST_WAIT_S = 5.0, 0.2
LOOK_TIMEOUT_S, PAID_TIMEOUT_S = 5.0, 20.0
#: So long an ended probe waits for others.
TOGETHER_S = 0.1
#: A probe's permits come back by themselves after its timeout and this.
SPARE_S = 5.0

_PROMPT = "ping"
#: What the prompt and the answer of a paid call reserve where tokens are limited.
_TOKENS = 32
_ONE_TOKEN = CallOverrides(
    max_tokens=1, function_calling="none", response_format="text", thinking=Thinking(enabled=False)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a probe came to: what it says of its instance, in a word for people, and the tokens it took, if known."""

    verdict: Verdict
    code: str
    out_ms: int = 0
    tokens: int | None = None


_NO_TELLING = Found(verdict="", code="unclear")


class Health:
    """One worker's part in it: it makes the probes that Redis gives it."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._ended: list[EndedProbe] = []

    async def run(self) -> None:
        """Ask what is due, again and again, until cancelled."""
        while True:
            wait_s = LONGEST_WAIT_S
            try:
                wait_s = await self._begin()
            except (RedisError, OSError) as exc:
                logger.debug("what is due could not be asked for: %r", exc)
            await asyncio.sleep(wait_s)

    async def _begin(self) -> float:
        """Begin what is due. Returns for how many seconds nothing is."""
        intervals_ms = self._intervals_ms()
        if not intervals_ms:
            return LONGEST_WAIT_S
        lease_ms = int((LOOK_TIMEOUT_S + SPARE_S) * 1000)
        begun = await self._runtime.ledger.run(start_probes(intervals_ms, lease_ms=lease_ms))
        for probe in begun.probes:
            self._runtime.in_background(self._make(probe))
        again_s = LONGEST_WAIT_S if begun.again_ms is None else begun.again_ms / 1000
        return min(LONGEST_WAIT_S, max(SHORTEST_WAIT_S, again_s))

    def _intervals_ms(self) -> dict[str, int]:
        """The instances of the queues served here, as far as this worker has their keys."""
        runtime = self._runtime
        configuration = runtime.configuration
        queues = [configuration.queues[name] for name in runtime.served if name in configuration.queues]
        names = dict.fromkeys(member.instance for queue in queues for member in queue.members)
        intervals_ms = {name: int(configuration.health_interval_s(name) * 1000) for name in names}
        has_key = runtime.providers.has_key
        return {name: ms for name, ms in intervals_ms.items() if ms > 0 and has_key(configuration.instances[name])}

    async def _make(self, probe: Probe) -> None:
        """Make one probe to its end. Its permits come back by themselves if that does not reach Redis."""
        instance = self._runtime.configuration.instances.get(probe.instance)
        try:
            found = await self._look(instance) if instance else _NO_TELLING
            if instance and probe.unwell and found.verdict != "failed":
                await self._pay(instance, probe)
            else:
                self._end(probe.instance, probe.fence, found)
        except (RedisError, OSError) as exc:
            logger.debug("the probe of %s could not go on: %r", probe.instance, exc)

    async def _look(self, instance: Instance) -> Found:
        """See whether the provider answers at all, without a paid call."""
        look = getattr(self._runtime.providers, "look", None)
        if look is None:
            return _NO_TELLING
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S + 1.0):
                return Found(verdict="ok", code="ok") if await look(instance, LOOK_TIMEOUT_S) else _NO_TELLING
        except (TimedOut, ConnectionFailed, ServerFailed) as failure:
            return Found(verdict="failed", code=failure.code)
        except TimeoutError:
            return Found(verdict="failed", code=TimedOut.code)
        except AttemptFailed as failure:  # of this worker, or of this way of asking: no call has failed
            return Found(verdict="", code=failure.code)
        except Exception:
            logger.exception("the provider of %s raised what it should not", instance.name)
            return _NO_TELLING

    async def _pay(self, instance: Instance, probe: Probe) -> None:
        asked_at, lease_ms = time.monotonic(), int((PAID_TIMEOUT_S + SPARE_S) * 1000)
        paid = await self._runtime.ledger.run(pay_probe(probe, lease_ms=lease_ms, tokens=_TOKENS))
        if paid is not None:
            self._end(instance.name, paid.fence, await self._call(instance, paid, asked_at))

    async def _call(self, instance: Instance, paid: PaidProbe, asked_at: float) -> Found:
        def sending() -> None:
            within_ms = paid.use_within_ms
            if within_ms is not None and (time.monotonic() - asked_at) * 1000 > within_ms:
                raise GrantLapsed

        call = Call(
            instance=instance,
            request=JobRequest(prompt=_PROMPT),
            settings=instance.settings.updated(_ONE_TOKEN),
            timeout_s=PAID_TIMEOUT_S,
            sending=sending,
        )
        try:
            said = await made(self._runtime.providers, call)
        except GrantLapsed:
            return Found(verdict="unused", code="unclear")
        if isinstance(said, AttemptFailed):
            return said_by(said)
        usage = said.answer.usage
        return Found(verdict="ok", code="ok", tokens=usage.input_tokens + usage.output_tokens)

    def _end(self, instance: str, fence: str, found: Found) -> None:
        if found.verdict == "failed":
            logger.info("a probe of %s failed: %s", instance, found.code)
        self._ended.append(
            EndedProbe(
                instance=instance,
                fence=fence,
                verdict=found.verdict,
                code=found.code,
                out_ms=found.out_ms,
                tokens=found.tokens,
            )
        )
        if len(self._ended) == 1:
            self._runtime.in_background(self._tell())

    async def _tell(self) -> None:
        """Tell Redis how probes ended; those that end together in one call."""
        await asyncio.sleep(TOGETHER_S)
        ended, self._ended = self._ended, []
        try:
            await self._runtime.outbox.send(end_probes(ended))
        except RedisError as exc:
            logger.debug("probes could not be ended: %r", exc)


def said_by(failure: AttemptFailed) -> Found:
    """What a failed paid call says of its instance: one that refuses a request works, and a 429 says nothing."""
    tokens = failure.usage.input_tokens + failure.usage.output_tokens if failure.usage else None
    if isinstance(failure, RateLimited):
        tokens = 0
    return Found(verdict=failure.health, code=failure.code, out_ms=failure.out_ms, tokens=tokens)
