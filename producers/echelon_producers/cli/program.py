"""The command `echelon`: its subcommands, each imported when it is used."""

from collections.abc import Sequence
from importlib import import_module, metadata
from typing import Any

import click

from .failures import reported
from .where import Where, where_options

#: command -> module, attribute, and the extra of the distribution that it needs beside `cli`
_COMMANDS = {
    "up": (".up", "up_command", "workers,api,flower,embedded"),
    "worker": (".worker", "worker_command", "workers"),
    "submit": (".submit", "submit_command", "cli"),
    "run": (".run", "run_command", "cli"),
    "status": (".status", "status_command", "cli"),
    "config": (".publish", "config_group", "cli"),
    "init": (".config", "init_command", "cli"),
    "simulator": ("..simulator.command", "simulator_command", "simulator"),
    "demo": (".demo", "demo_command", "all"),
}


class Program(click.Group):
    """A group that imports a command when it is named, and says every expected error in one line a cause."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are met."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import it. Raises ClickException, saying what to install, when something that it needs is missing."""
        if cmd_name not in _COMMANDS:
            return None
        module, name, extra = _COMMANDS[cmd_name]
        try:
            command: click.Command = getattr(import_module(module, __package__), name)
        except ModuleNotFoundError as missing:
            if (missing.name or "").startswith("echelon"):
                raise
            advice = f"pip install 'echelon-cluster[{extra}]'"
            raise click.ClickException(f"{cmd_name} needs {missing.name}, which is not installed ({advice})") from None
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest names for one that there is not."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as wrong:
            wrong.message = f"{wrong.message.rstrip('.')} (there are: {', '.join(_COMMANDS)})"
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that is named."""
        with reported():
            return super().invoke(ctx)

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:
        """As click does, under one name."""
        return super().main(args, prog_name or "echelon", **extra)


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"echelon {metadata.version('echelon-cluster')}")
        ctx.exit()


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@where_options
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version.")
@click.pass_context
def program(ctx: click.Context) -> None:
    """A queue-based worker cluster for LLM jobs.

    `echelon demo` shows it at work without any key; `echelon up` starts a cluster.
    """
    ctx.ensure_object(Where)
