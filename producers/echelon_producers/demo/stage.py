"""The demo's cluster: a server of its own, the simulator and two workers, all in one temporary folder."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from echelon_configs import Loaded
from echelon_producers.client import Client
from echelon_producers.cluster.cluster import Cluster
from echelon_producers.cluster.interrupts import Interrupts
from echelon_producers.cluster.parts import Place, simulator_part, worker_part
from echelon_producers.simulator.process import SimulatorControl
from echelon_workers.ledger import revisions
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.server import ServerHold, open_server

from .leftovers import leftovers
from .script import script

WORKERS = 2
SLOTS = 20


class Stage:
    """Within its `with` block there is an empty folder; `start` builds the cluster in it."""

    cluster: Cluster
    client: Client
    simulator: SimulatorControl
    hold: ServerHold

    def __init__(self, say: Callable[[str], None], wishes: Interrupts, *, keep: bool) -> None:
        """`say` is told what goes wrong with a process; `keep` leaves the folder with its data and logs."""
        self.folder = Path(tempfile.mkdtemp(prefix="echelon-demo-"))
        self._say = say
        self._wishes = wishes
        self._keep = keep
        self._to_stop = ExitStack()
        self._sessions: list[int] = []

    def start(self, loaded: Loaded, configs: Path) -> None:
        """Start everything and wait until it is ready. Raises ServerUnavailable, ProcessFailed, OSError."""
        # Neither the user's Redis nor the user's namespace: this cluster is nobody else's business.
        environment = {name: value for name, value in os.environ.items() if name != "ECHELON_NAMESPACE"}
        self.hold = self._to_stop.enter_context(open_server(self.folder / "server", environment=environment))
        ledger = Ledger(self.hold.address)
        self._to_stop.callback(ledger.close)
        configuration = loaded.configuration
        revisions.publish(ledger, configuration)
        self.client = self._to_stop.enter_context(Client(self.hold.address.url, namespace=""))
        self.cluster = Cluster(self.folder / "logs", self._say)
        self._to_stop.callback(self._stop_cluster)
        for simulator in self.cluster.start([simulator_part("--script", str(self._script()))], urgency=self._wishes):
            self.simulator = SimulatorControl(simulator.told)
            place = Place(address=self.hold.address, configs=configs, simulator_url=simulator.told)
            names = [f"worker{number}" for number in range(1, WORKERS + 1)]
            parts = [worker_part(place, ledger, name, slots=SLOTS) for name in names]
            self.cluster.start(parts, urgency=self._wishes)

    def stop(self) -> list[str]:
        """Stop everything; what runs all the same, looked up at the system."""
        self._to_stop.close()
        return leftovers(self._sessions, self.folder)

    def _stop_cluster(self) -> None:
        self._sessions = [process.pid for process in self.cluster]
        self.cluster.stop(urgency=self._wishes)

    def _script(self) -> Path:
        path = self.folder / "simulator.json"
        path.write_text(json.dumps(script()))
        return path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._to_stop.close()
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)
