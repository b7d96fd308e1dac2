"""The configuration in force, as a producer sees it: read from Redis, looked at again every few seconds."""

import time

from echelon_configs import Configuration
from echelon_workers.ledger.revisions import Revision, RevisionUnreadable

from .errors import NoConfiguration

#: A new revision is seen by producers at the latest after this. Workers see it at once.
LOOK_AGAIN_S = 5.0


class Catalogue:
    """Keeps the last revision that was read. It does not read by itself: clients for threads and for loops differ."""

    def __init__(self) -> None:
        self._configuration: Configuration | None = None
        #: the number and digest of what is kept: a server that was emptied counts from 1 again
        self._kept = (0, "")
        self._stale_at = 0.0

    @property
    def fresh(self) -> Configuration | None:
        """The configuration, unless it is time to look again."""
        return self._configuration if time.monotonic() < self._stale_at else None

    @property
    def number(self) -> int:
        """The revision number of the configuration that is kept, 0 before there is one."""
        return self._kept[0]

    def update(self, revision: Revision | None) -> Configuration:
        """Take in what was read. Raises NoConfiguration when nothing is published, or nothing that can be read."""
        if revision is None:
            raise NoConfiguration(
                "no configuration is published in this Redis (would be right: `echelon up`, or a worker, first)"
            )
        if self._configuration is None or (revision.number, revision.digest) != self._kept:
            self._configuration = _read(revision)
            self._kept = (revision.number, revision.digest)
        self._stale_at = time.monotonic() + LOOK_AGAIN_S
        return self._configuration


def _read(revision: Revision) -> Configuration:
    try:
        return revision.configuration()
    except RevisionUnreadable as exc:
        raise NoConfiguration(str(exc)) from exc
