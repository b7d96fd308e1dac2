"""The configuration in force: a revision in Redis, the same for the whole cluster.

A document (JSON, without secrets) with a number and a digest, and beside it the plan that take reads (`plan.py`).
"""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from echelon_configs import Configuration

from .client import AsyncLedger, Ledger
from .plan import plan_of
from .scripts import script
from .verbs import Verb


class RevisionUnreadable(ValueError):
    """What is published is not a configuration as this version knows them."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One published configuration."""

    number: int
    digest: str
    document: bytes

    @property
    def mark(self) -> str:
        """What tells it from any other: a server that was emptied counts from 1 again."""
        return f"{self.number} {self.digest}"

    def configuration(self) -> Configuration:
        """The configuration itself. What a newer version has put into it is left out, so that workers of two versions
        can serve one cluster. Raises RevisionUnreadable."""
        try:
            return Configuration.model_validate_json(self.document, extra="ignore")
        except ValidationError as exc:
            raise RevisionUnreadable(
                f"revision {self.number} of the configuration cannot be read here: {exc.error_count()} fields are not "
                f"as this version knows them (would be right: the same version of echelon-cluster everywhere)"
            ) from exc


def publish(ledger: Ledger, configuration: Configuration, *, only_if_none: bool = False) -> int:
    """Put a configuration in force and return its revision number. The same digest again is the same revision.

    With `only_if_none`, one that is in force already stays. Its limits bind the whole cluster from this moment on.
    """
    plan = plan_of(configuration)
    args: list[str | int] = [configuration.digest(), configuration.model_dump_json(), "1" if only_if_none else ""]
    args += [int(configuration.defaults.deadline_s * 1000), len(plan.scopes)]
    for name, fields in plan.scopes.items():
        args += [name, len(fields)]
        for field in fields.items():
            args += field
    for queue in plan.queues.items():
        args += queue
    return ledger.run(Verb(script("publish"), list(args), int))


def current(ledger: Ledger) -> Revision | None:
    """The revision in force, or None when nothing was ever published here."""
    reply: Any = ledger.redis.hmget(ledger.keys.of("revision"), ["number", "digest", "document"])
    return _read(reply)


async def current_async(ledger: AsyncLedger) -> Revision | None:
    """As `current`, in an event loop."""
    reply: Any = await ledger.redis.hmget(ledger.keys.of("revision"), ["number", "digest", "document"])
    return _read(reply)


def _read(reply: list[bytes | None]) -> Revision | None:
    number, digest, document = reply
    if number is None or digest is None or document is None:
        return None
    return Revision(int(number), digest.decode(), document)
