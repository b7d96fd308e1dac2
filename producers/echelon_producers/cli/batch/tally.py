"""What has become of the lines of a file."""

from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(slots=True)
class Tally:
    """What has become of the lines so far. `kept`: lines that were answered before."""

    answered: int = 0
    kept: int = 0
    failed: int = 0
    bad: int = 0
    under_way: int = 0
    #: what is full, and how long room there is waited for; empty while everything is accepted
    full: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = field(default_factory=Decimal)

    @property
    def done(self) -> int:
        """Lines of which nothing more will come."""
        return self.answered + self.kept + self.failed + self.bad
