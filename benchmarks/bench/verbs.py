"""Jobs submitted, taken and finished by calling the ledger itself, with no worker around it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from echelon_configs import Configuration
from echelon_producers import Client
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.verbs import Finish, Grant, Taken, Terms, Verb, finish, take

from .arena import Arena
from .side import PROMPT

#: No lease lapses while something is measured.
TERMS = Terms(lease_ms=3_600_000)
ANSWER = f'{{"text":"{PROMPT}","finish_reason":"stop","usage":{{"input_tokens":18,"output_tokens":18}}}}'
TRAIL = '{"attempt":1,"instance":"openai-bench","started_ms":0,"took_ms":50,"outcome":"answered"}'
_MANY = 20_000


@dataclass(eq=False)
class Caller:
    """One worker's part of the protocol over one database of the arena's server."""

    arena: Arena
    db: int
    configuration: Configuration
    name: str = "bench:1:caller"
    _sequence: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(Address(self.arena.url(self.db)))
        self.redis = self.arena.client(self.db)
        self.redis.flushdb()
        revisions.publish(self.ledger, self.configuration)

    def submit(self, target: str, jobs: int) -> None:
        """Put jobs into a queue."""
        with Client(self.ledger.address.url) as client:
            for first in range(0, jobs, _MANY):
                client.submit_many([PROMPT] * min(_MANY, jobs - first), target=target)

    def take(self, queues: Sequence[tuple[str, str]], want: int, worker: str | None = None) -> Taken:
        """One take, by this caller or by another worker that takes for the first time."""
        if worker is not None:
            return self.ledger.run(take(worker, 1, 0, queues, want=want, fills=False, terms=TERMS))
        verb = take(self.name, self._sequence + 1, self._sequence, queues, want=want, fills=False, terms=TERMS)
        taken = self.ledger.run(verb)
        self._sequence += 1
        return taken

    def finish(self, grant: Grant) -> None:
        """Answer a job."""
        self.ledger.run(finished(grant))


def finished(grant: Grant) -> Verb[bool]:
    """The verb that answers a job."""
    return finish(
        Finish(
            id=grant.id,
            lease=grant.lease,
            decision="answer",
            payload=ANSWER,
            entry=TRAIL,
            retention_ms=TERMS.retention_ms,
            input_tokens=18,
            output_tokens=18,
        )
    )
