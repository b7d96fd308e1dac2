"""`echelon up`: a whole cluster in the foreground."""

import importlib.util
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import click
import redis
from click.core import ParameterSource

from echelon_configs import Loaded
from echelon_producers.cluster.cluster import Cluster
from echelon_producers.cluster.interrupts import Interrupts
from echelon_producers.cluster.log import own_folder
from echelon_producers.cluster.parts import Place, api_part, flower_part, simulator_part, worker_part
from echelon_producers.cluster.ports import PortTaken, choose_port
from echelon_producers.cluster.process import Part, Process, ProcessFailed
from echelon_workers.ledger import revisions
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.server import DIRECTORY, ServerHold, ServerUnavailable

from .failures import InputWrong, WorkFailed, tell_of, warn
from .publish import tell_of_dropped
from .where import Where, pass_where, where_options
from .worker import celery_app

_LOOK_EVERY_S = 0.5
#: what a part needs to be installed, and the extra that brings it
_NEEDS = {"api": ("fastapi", "api"), "flower": ("flower", "flower")}


@click.command("up")
@where_options
@click.option("--simulate", is_flag=True, help="Start the simulator and point every instance at it: no keys needed.")
@click.option("--per-queue", is_flag=True, help="One worker process for each queue instead of one for all.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 1000), help="Worker processes.")
@click.option(
    "--slots",
    envvar="ECHELON_SLOTS",
    default=100,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Jobs a worker runs at once.",
)
@click.option(
    "--api-port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port of the HTTP API."
)
@click.option("--flower-port", default=5555, show_default=True, type=click.IntRange(0, 65535), help="Port of Flower.")
@click.option("--no-api", is_flag=True, help="Without the HTTP API.")
@click.option("--no-flower", is_flag=True, help="Without Flower.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the processes say, each line with its process.")
@pass_where
@click.pass_context
def up_command(
    ctx: click.Context,
    where: Where,
    simulate: bool,
    per_queue: bool,
    workers: int,
    slots: int,
    api_port: int,
    flower_port: int,
    no_api: bool,
    no_flower: bool,
    verbose: bool,
) -> None:
    """Start a whole cluster in the foreground: a server if none is given, workers, the HTTP API and Flower.

    The configuration is checked and published first. One Ctrl-C stops everything cleanly, a second one gives running
    jobs back at once, a third one kills. A port that is in use is replaced by the next free one, unless it was asked
    for.
    """
    loaded = where.load()
    celery_app()  # its settings are in the environment: better told here than by every worker
    wanted = {} if no_api else {"api": _port(ctx, "api_port", api_port)}
    wanted |= {} if no_flower else {"flower": _port(ctx, "flower_port", flower_port)}
    ports = {name: port for name, port in wanted.items() if _installed(name)}
    # Simulated providers take any key.
    tell_of(warning for warning in loaded.warnings if not (simulate and "is not set" in warning.message))
    with (
        Interrupts() as wishes,
        where.server() as hold,
        _ledger(hold) as ledger,
        own_folder((hold.folder or DIRECTORY) / "logs") as logs,
        _Server(where, hold) as server,
    ):
        queues = list(loaded.configuration.queues) if per_queue else []
        number = revisions.publish(ledger, loaded.configuration)
        tell_of_dropped(ledger)
        cluster = Cluster(logs, _say, verbose=verbose)
        try:
            place = Place(address=hold.address, configs=where.configs)
            if simulate:
                for simulator in cluster.start([simulator_part()], urgency=wishes):
                    place = replace(place, simulator_url=simulator.told)
            parts = _workers(place, ledger, workers, slots, queues, verbose)
            if "api" in ports:
                parts.append(api_part(place, ports["api"]))
            cluster.start(parts, urgency=wishes)
            if "flower" in ports:
                # Flower asks the workers for their queues once, when it starts: they have to be there.
                cluster.start([flower_part(place, ports["flower"])], urgency=wishes)
            if not wishes():
                _tell(hold, where.configs, number, loaded, list(cluster), slots)
            while not wishes.wait(_LOOK_EVERY_S):
                cluster.look()
                server.look()
            _say("stopping: jobs that run are finished; Ctrl-C again gives them back at once")
        except ProcessFailed as failed:
            raise WorkFailed(str(failed)) from None
        finally:
            cluster.stop(urgency=wishes)
    _say("stopped: nothing is left running")


class _Server(ExitStack):
    """The embedded server, looked after: one whose guardian was killed is gone, and is held anew, with its data."""

    def __init__(self, where: Where, hold: ServerHold) -> None:
        super().__init__()
        self._where = where
        self._ours = hold.folder is not None
        self._client = self.enter_context(hold.address.client(timeout_s=1.0, retries=0))

    def look(self) -> None:
        """Start it again if it is ours and nobody answers there."""
        try:
            self._client.ping()
        except redis.ConnectionError:
            if self._ours:
                self._start_again()
        except redis.RedisError:
            return  # it is there, and busy or loading

    def _start_again(self) -> None:
        _say("the embedded server is gone; it is started again")
        try:
            self.enter_context(self._where.server())
        except (ServerUnavailable, OSError) as failed:
            _say(f"it could not be started: {failed}")


def _say(line: str) -> None:
    """Tell it, if anybody still listens: a terminal that was closed is no reason not to stop in order."""
    with suppress(OSError):
        click.echo(line, err=True)


def _port(ctx: click.Context, name: str, port: int) -> int:
    asked = ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    try:
        return choose_port(port, asked=asked, option=f"--{name.replace('_', '-')}")
    except PortTaken as taken:
        raise InputWrong(str(taken)) from None


def _installed(name: str) -> bool:
    module, extra = _NEEDS[name]
    if importlib.util.find_spec(module):
        return True
    warn(f"without {name}: {module} is not installed (pip install 'echelon-cluster[{extra}]')")
    return False


@contextmanager
def _ledger(hold: ServerHold) -> Iterator[Ledger]:
    ledger = Ledger(hold.address)
    try:
        yield ledger
    finally:
        ledger.close()


def _workers(place: Place, ledger: Ledger, workers: int, slots: int, queues: list[str], verbose: bool) -> list[Part]:
    if not queues:
        return [
            worker_part(place, ledger, f"worker{number}", slots=slots, verbose=verbose)
            for number in range(1, workers + 1)
        ]
    return [
        worker_part(
            place,
            ledger,
            queue if workers == 1 else f"{queue}.{number}",
            slots=slots,
            queues=[queue],
            verbose=verbose,
        )
        for queue in queues
        for number in range(1, workers + 1)
    ]


def _tell(hold: ServerHold, configs: Path, number: int, loaded: Loaded, processes: list[Process], slots: int) -> None:
    """Where everything is."""
    kept = f"embedded, data in {hold.folder}" if hold.folder else "not ours"
    configuration = loaded.configuration
    counted = f"revision {number}: {len(configuration.queues)} queues, {len(configuration.instances)} instances"
    workers = [process for process in processes if process.part.works]
    rows = [
        ("redis", f"{hold.address.redacted} ({hold.version}, {kept})"),
        ("configuration", f"{configs} ({counted})"),
        ("workers", f"{len(workers)} x {slots} slots"),
    ]
    rows += [(process.name, process.told) for process in processes if not process.part.works]
    rows.append(("logs", str(processes[0].log.path.parent)))
    for name, value in rows:
        click.echo(f"{name:<14}{value}")
    click.echo("ready: Ctrl-C stops everything")
