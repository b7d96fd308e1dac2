"""Work that is always there: at once, or evenly until the first window of its limit is full."""

import threading
import time
from collections.abc import Sequence

from echelon_producers import Client

from .limits import Feed
from .side import PROMPT

_TURN_S = 0.02
_MANY = 5_000


class Feeder:
    """Submits what the feeds say. `ids`: the jobs by their target."""

    def __init__(self, client: Client, feeds: Sequence[Feed]) -> None:
        self._client = client
        self._feeds = feeds
        self._left = {feed.target: feed.jobs for feed in feeds}
        self.ids: dict[str, list[str]] = {feed.target: [] for feed in feeds}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._feed_rest, name="feeder", daemon=True)

    def start(self) -> None:
        """Submit what goes at once, and begin with the rest."""
        for feed in self._feeds:
            if not feed.first_s and not feed.after_s:
                self._submit(feed, feed.jobs)
        self._thread.start()

    def stop(self) -> None:
        """Submit no more."""
        self._ended.set()
        self._thread.join()

    def _feed_rest(self) -> None:
        began = time.monotonic()
        feeds = [feed for feed in self._feeds if feed.first_s or feed.after_s]
        while feeds and not self._ended.wait(_TURN_S):
            for feed in list(feeds):
                past_s = time.monotonic() - began - feed.after_s
                if past_s < 0:
                    continue
                due = feed.jobs if past_s >= feed.first_s else int(past_s * feed.first_per_s)
                self._submit(feed, due - len(self.ids[feed.target]))
                if due == feed.jobs:
                    feeds.remove(feed)

    def _submit(self, feed: Feed, many: int) -> None:
        for first in range(0, many, _MANY):
            # Numbered, because the simulator answers the same prompt alike.
            jobs = [f"{PROMPT} ({first + number})" for number in range(min(_MANY, many - first))]
            self.ids[feed.target] += self._client.submit_many(jobs, target=feed.target)
