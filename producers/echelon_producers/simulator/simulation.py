"""Everything the running simulator knows: its script, what holds for a call, and what has arrived."""

import time

from .arrivals import ArrivalLog
from .behaviours import Behaviours
from .faults import FaultPlan
from .script import Script
from .tallies import Tallies


class Simulation:
    """One simulator's state, on one event loop."""

    def __init__(self, script: Script, most_arrivals: int = 5_000_000) -> None:
        self._first_script = script
        self.log = ArrivalLog(most_arrivals)
        self.tallies = Tallies()
        self.started_ns = time.monotonic_ns()
        self.load(script)

    def load(self, script: Script) -> None:
        """Put a script in force: its quotas start empty and its clock starts now. What arrived stays counted."""
        self.script = script
        self.script_ns = time.monotonic_ns()
        self._renew()

    def load_first(self) -> None:
        """Put the script in force that the simulator was started with."""
        self.load(self._first_script)

    def reset(self) -> None:
        """Forget what arrived, and with it the quotas and how often faults struck; the script and its clock stay."""
        self.log.clear()
        self.tallies.reset()
        self._renew()

    def _renew(self) -> None:
        self.behaviours = Behaviours(self.script)
        self.faults = FaultPlan(self.script)
