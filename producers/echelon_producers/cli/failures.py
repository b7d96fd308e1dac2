"""How errors end the program: one line a cause on standard error, 1 for failed work, 2 for wrong input."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import click
import redis

from echelon_configs import ConfigurationInvalid, Problem, UnknownTarget
from echelon_producers.errors import EchelonError, IdempotencyConflict, NotListed, QueueDraining, SubmitInvalid
from echelon_workers.ledger.address import AddressInvalid
from echelon_workers.ledger.server import ServerUnavailable


class WorkFailed(click.ClickException):
    """The work was not done. Each line of the message is a cause."""

    exit_code = 1
    prefix = "echelon: "

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it, one cause a line."""
        for line in self.message.splitlines():
            click.echo(f"{self.prefix}{line}", file=file or sys.stderr)


class InputWrong(WorkFailed):
    """What was given cannot be worked with."""

    exit_code = 2


class ConfigurationWrong(InputWrong):
    """The files are wrong: their lines stand as `echelon config check` prints them."""

    prefix = ""


@contextmanager
def reported() -> Iterator[None]:
    """Turn every error that can be expected into one that click prints. Anything else is a bug, with a traceback."""
    try:
        yield
    except ConfigurationInvalid as invalid:
        raise ConfigurationWrong(str(invalid)) from None
    except (SubmitInvalid, IdempotencyConflict, QueueDraining, NotListed, UnknownTarget, AddressInvalid) as wrong:
        raise InputWrong(_told(wrong)) from None
    except (EchelonError, ServerUnavailable) as failed:
        raise WorkFailed(_told(failed)) from None
    except redis.RedisError as failed:
        raise WorkFailed(f"Redis cannot be used: {failed}") from None
    except BrokenPipeError:
        raise
    except OSError as failed:
        told = str(failed) if failed.filename is None else f"{failed.filename}: {failed.strerror}"
        raise WorkFailed(told) from None
    except KeyboardInterrupt:
        sys.exit(130)


def warn(text: str) -> None:
    """Say something on standard error that does not stop the work."""
    click.echo(f"echelon: {text}", err=True)


def tell_of(warnings: Iterable[Problem]) -> None:
    """Print what is doubtful about a configuration, a line each, on standard error."""
    for warning in warnings:
        click.echo(str(warning), err=True)


def _told(error: Exception) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", ())])
