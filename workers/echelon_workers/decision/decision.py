"""A decision, and the facts of a job that it follows from."""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from echelon_configs import Node
from echelon_workers.ledger.job import JobRequest

Verdict = Literal["answer", "retry", "wait", "move", "bury", "expire"]


class Delay(NamedTuple):
    """A delay before the next attempt, somewhere between two bounds in milliseconds."""

    least_ms: int
    most_ms: int


NO_DELAY = Delay(0, 0)


class Skipped(NamedTuple):
    """What was passed over on the way to a decision, and why; without an instance it is the whole queue."""

    queue: str
    instance: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as a decision sees it: where it is, where it was sent to, under which node, and what it asks.

    `fallback_groups` are its own; None: it says nothing, and its node's hold, else its group's.
    """

    queue: str
    home: str
    request: JobRequest
    node: Node | None = None
    fallback_groups: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a job.

    `answer` it; `retry` it in its queue or `move` it to another (`queue`), there not with the instances in `avoid`,
    after a delay if there is one; `wait` for its instance to take calls again, which spends no attempt; `bury` it; or
    let it `expire`, when its deadline has passed.
    `strategy` is the name that led there, `because` says why in words, `skipped` what was passed over.
    """

    verdict: Verdict
    queue: str = ""
    avoid: tuple[str, ...] = ()
    delay: Delay = NO_DELAY
    strategy: str = ""
    because: str = ""
    skipped: tuple[Skipped, ...] = ()

    @property
    def ends(self) -> bool:
        """Whether it ends the job."""
        return self.verdict in ("answer", "bury", "expire")

    @property
    def delay_ms(self) -> int:
        """The delay, once it is drawn; before that, its least."""
        return self.delay.least_ms

    def drawn(self, chance: float) -> "Decision":
        """The same with its delay drawn from the range: `chance` is from 0 to 1."""
        delay_ms = self.delay.least_ms + int(chance * (self.delay.most_ms - self.delay.least_ms))
        return replace(self, delay=Delay(delay_ms, delay_ms))

    def to_json(self) -> dict[str, Any]:
        """What the attempt trail and `echelon explain` show of it; what is empty is left out."""
        shown: dict[str, Any] = {
            "to": self.queue if self.verdict == "move" else "",
            "avoid": list(self.avoid),
            "strategy": self.strategy,
            "because": self.because,
            "skipped": [skip._asdict() for skip in self.skipped],
        }
        return {"decision": self.verdict} | {name: value for name, value in shown.items() if value}


ANSWER = Decision("answer")
