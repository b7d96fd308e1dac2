"""What a strategy is: candidates in order, and nothing else.

Whether a candidate is open, fits the job and is within its budget is the decision's to find out, the same for all.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

from .situation import Situation


class Candidate(NamedTuple):
    """A queue to try next; `only`: of its instances no others than these, None: whichever is next in turn."""

    queue: str
    only: frozenset[str] | None = None


class Strategy(ABC):
    """Names the places to try next. Built without arguments, shared by all jobs: it keeps nothing."""

    @abstractmethod
    def candidates(self, situation: Situation) -> Iterable[Candidate]:
        """Where the job may go, the best first. The same situation gives the same candidates."""
