"""The configuration in force, as a producer sees it: read from Redis, looked at again every few seconds."""

import time

from echelon_configs import Configuration
from echelon_workers.ledger.revisions import Revision

from .errors import NoConfiguration

#: A new revision is seen by producers at the latest after this. Workers see it at once.
LOOK_AGAIN_S = 5.0


class Catalogue:
    """Keeps the last revision that was read. It does not read by itself: clients for threads and for loops differ."""

    def __init__(self) -> None:
        self._configuration: Configuration | None = None
        self._number = 0
        self._stale_at = 0.0

    @property
    def fresh(self) -> Configuration | None:
        """The configuration, unless it is time to look again."""
        return self._configuration if time.monotonic() < self._stale_at else None

    def update(self, revision: Revision | None) -> Configuration:
        """Take in what was read. Raises NoConfiguration when nothing is published."""
        if revision is None:
            raise NoConfiguration("no configuration is published in this Redis (would be right: `echelon up`, or a worker, first)")
        if self._configuration is None or revision.number != self._number:
            self._configuration = Configuration.model_validate_json(revision.document)
            self._number = revision.number
        self._stale_at = time.monotonic() + LOOK_AGAIN_S
        return self._configuration
