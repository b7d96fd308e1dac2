"""One after the other."""

from typing import ClassVar

from echelon_workers.ledger.rotation import Primitive

from .scheduler import Scheduler


class RoundRobin(Scheduler):
    """Every instance in its turn, as the configuration lists them."""

    primitive: ClassVar[Primitive] = "rotate"
