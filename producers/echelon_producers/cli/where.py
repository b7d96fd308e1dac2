"""The options that every command knows: where the configuration is, and where Redis."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from echelon_workers.ledger.address import URL_VARIABLES
from echelon_workers.ledger.server import DIRECTORY, ServerHold, choose_server

if TYPE_CHECKING:
    from echelon_configs import Loaded

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Where:
    """What was given with `--configs` and `--redis`, before the command or behind it."""

    configs: Path = Path("configs")
    redis_url: str | None = None
    configs_given: bool = False

    def server(self) -> ServerHold:
        """The cluster's Redis: the one that is named, else the embedded server of ./.echelon while it is held.

        Raises AddressInvalid, ServerUnavailable.
        """
        return choose_server(self.redis_url)

    def load(self) -> "Loaded":
        """The configuration in the folder. Raises ConfigurationInvalid, InputWrong when there is no such folder."""
        from echelon_configs import load

        from .failures import InputWrong

        if not self.configs.is_dir():
            raise InputWrong(
                f"there is no folder {self.configs} (would be right: --configs DIR, or `echelon init` first)"
            )
        return load(self.configs)


def where_options(command: F) -> F:
    """Add `--configs` and `--redis` to a command."""
    configs = click.option(
        "--configs",
        type=click.Path(path_type=Path),
        metavar="DIR",
        envvar="ECHELON_CONFIGS",
        expose_value=False,
        callback=_set_configs,
        help="Folder of the configuration.  [default: ./configs]",
    )
    redis = click.option(
        "--redis",
        metavar="URL",
        expose_value=False,
        callback=_set_redis,
        help=f"Redis or Valkey.  [default: {' or '.join(URL_VARIABLES)}, else the embedded server of ./{DIRECTORY}]",
    )
    return configs(redis(command))


def where_of(ctx: click.Context) -> Where:
    """What was given; the defaults where nothing was."""
    found = ctx.find_object(Where)
    return found if found is not None else Where()


pass_where = click.make_pass_decorator(Where, ensure=True)


def _set_configs(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None and not _said_before(ctx, "configs"):
        ctx.obj = replace(where_of(ctx), configs=value, configs_given=True)


def _set_redis(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.obj = replace(where_of(ctx), redis_url=value)


def _said_before(ctx: click.Context, name: str) -> bool:
    """Whether the value only comes from the environment, while the command line gave one before the command."""
    from_environment = ctx.get_parameter_source(name) is click.core.ParameterSource.ENVIRONMENT
    return from_environment and where_of(ctx).configs_given
