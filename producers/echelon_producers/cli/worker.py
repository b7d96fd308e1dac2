"""`echelon worker`: one Celery worker in this process."""

import os
from typing import Any

import click

from echelon_configs import Configuration, ConfigurationInvalid, UnknownTarget
from echelon_workers.ledger import revisions
from echelon_workers.ledger.client import Ledger

from .failures import InputWrong, tell_of, warn
from .where import Where, pass_where, where_options

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@click.command("worker")
@where_options
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
@click.option(
    "--slots",
    envvar="ECHELON_SLOTS",
    default=100,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Jobs to run at once.",
)
@click.option(
    "--loglevel", default="INFO", show_default=True, type=click.Choice(_LEVELS, case_sensitive=False), help="Log level."
)
@click.option("--name", help="Name of the worker in Celery and Flower.  [default: worker.PID]")
@pass_where
def worker_command(where: Where, queues: tuple[str, ...], slots: int, loglevel: str, name: str | None) -> None:
    """Run one Celery worker in this process, for the queues named or for all.

    It works by the configuration in force. Where nothing was ever published it publishes that of ./configs.
    SIGTERM or Ctrl-C lets running jobs finish; SIGQUIT gives them back at once.
    """
    with where.server() as hold:
        ledger = Ledger(hold.address)
        try:
            configuration = _in_force(where, ledger)
        finally:
            ledger.close()
        _check(queues, configuration)
        # Celery's command line is configured by the environment; a URL with a password has no place in arguments.
        os.environ["ECHELON_REDIS_URL"] = hold.address.url
        os.environ["ECHELON_SLOTS"] = str(slots)
        app = celery_app()
        served = [f"--queues={','.join(queues)}"] if queues else []
        node = f"--hostname={name or f'worker.{os.getpid()}'}@%h"
        app.worker_main(["--quiet", "worker", f"--loglevel={loglevel.upper()}", node, *served])


def celery_app() -> Any:
    """The workers' Celery app. Raises InputWrong when a variable of the environment has no value that can be used."""
    try:
        from echelon_workers.app import app
    except ValueError as invalid:  # echelon_workers.settings.SettingInvalid, not to be imported here
        raise InputWrong(str(invalid)) from None
    return app


def _in_force(where: Where, ledger: Ledger) -> Configuration:
    revision = revisions.current(ledger)
    if revision is None:
        loaded = where.load()
        tell_of(loaded.warnings)
        number = revisions.publish(ledger, loaded.configuration, only_if_none=True)
        warn(f"nothing was published here: {where.configs} is in force now, as revision {number}")
        revision = revisions.current(ledger)
    elif where.configs.is_dir():
        _compare(where, revision)
    if revision is None:
        raise InputWrong(
            "the configuration was removed from Redis a moment ago (would be right: `echelon config publish`)"
        )
    try:
        return revision.configuration()
    except revisions.RevisionUnreadable as exc:
        raise InputWrong(str(exc)) from exc


def _compare(where: Where, revision: revisions.Revision) -> None:
    try:
        same = where.load().configuration.digest() == revision.digest
    except ConfigurationInvalid:
        same = False
    if not same:
        warn(
            f"{where.configs} differs from revision {revision.number}, which is in force and which this worker obeys "
            f"(to put it in force: echelon config publish)"
        )


def _check(queues: tuple[str, ...], configuration: Configuration) -> None:
    wrong = [queue for queue in queues if queue not in configuration.queues]
    if wrong:
        raise InputWrong("\n".join(_unknown(queue, configuration) for queue in wrong))


def _unknown(queue: str, configuration: Configuration) -> str:
    try:
        resolved = configuration.resolve(queue).queue
    except UnknownTarget as unknown:
        near = [name for name in unknown.nearest if name in configuration.queues]
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(configuration.queues)}"
        return f"there is no queue {queue!r} ({hint})"
    return f"{queue} is a target, not a queue (would be right: {resolved})"
