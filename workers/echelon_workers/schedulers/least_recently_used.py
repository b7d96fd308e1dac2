"""The one that has rested longest."""

from typing import ClassVar

from echelon_workers.ledger.rotation import Primitive

from .scheduler import Scheduler


class LeastRecentlyUsed(Scheduler):
    """The instance that was granted longest ago by the whole fleet, whichever queue it was for."""

    primitive: ClassVar[Primitive] = "least"
