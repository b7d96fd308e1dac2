"""The command `echelon`: its subcommands, each imported when it is used."""

from importlib import import_module, metadata
from typing import Any, NamedTuple

import click

from .failures import reported
from .where import Where, where_options


class _Command(NamedTuple):
    """Where a command is, which extra of the distribution it needs, and what it does, in one line."""

    module: str
    name: str
    extra: str
    does: str


_COMMANDS = {
    "up": _Command(".up", "up_command", "all", "Start a whole cluster in the foreground; Ctrl-C stops it."),
    "worker": _Command(".worker", "worker_command", "workers", "Run one Celery worker for some queues, or for all."),
    "submit": _Command(".submit", "submit_command", "cli", "Submit one job; with --wait, print its answer."),
    "run": _Command(".run", "run_command", "cli", "Submit a whole file and write the answers to another."),
    "explain": _Command(".explain", "explain_command", "cli", "Show where a job would go, attempt by attempt."),
    "status": _Command(".status", "status_command", "cli", "Show queues, workers and the server, as they are now."),
    "jobs": _Command(".jobs", "jobs_command", "cli", "List jobs that wait, run or died."),
    "job": _Command(".job", "job_group", "cli", "Show a job, attempt by attempt; cancel it; send it again."),
    "queue": _Command(".queue", "queue_group", "cli", "Pause queues, drain them and let them go on; move their jobs."),
    "doctor": _Command(".doctor", "doctor_command", "cli", "Audit Redis as the cluster runs; with --fix, repair it."),
    "config": _Command(".publish", "config_group", "cli", "Check, show and publish the configuration."),
    "init": _Command(".config", "init_command", "cli", "Write a starter configuration."),
    "simulator": _Command(
        "..simulator.command", "simulator_command", "simulator", "Serve fake providers that count what arrives."
    ),
    "demo": _Command(".demo", "demo_command", "all", "See it at work: 300 prompts on the simulator, and a report."),
}


class Program(click.Group):
    """A group that imports a command when it is named, and says every expected error in one line a cause."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click calls it so
        """In the order in which they are met."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import it. Raises ClickException, saying what to install, when something that it needs is missing."""
        if cmd_name not in _COMMANDS:
            return None
        about = _COMMANDS[cmd_name]
        try:
            command: click.Command = getattr(import_module(about.module, __package__), about.name)
        except ModuleNotFoundError as missing:
            if (missing.name or "").startswith("echelon"):
                raise
            advice = f"pip install 'echelon-cluster[{about.extra}]'"
            raise click.ClickException(f"{cmd_name} needs {missing.name}, which is not installed ({advice})") from None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List them without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about.does) for name, about in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest names for one that there is not."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as wrong:
            there_are = f"{wrong.message.rstrip('.')} (there are: {', '.join(_COMMANDS)})"
            raise click.UsageError(there_are, ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that is named."""
        with reported():
            return super().invoke(ctx)


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"echelon {metadata.version('echelon-cluster')}")
        ctx.exit()


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@where_options
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
@click.pass_context
def program(ctx: click.Context) -> None:
    """A queue-based worker cluster for LLM jobs.

    `echelon demo` shows it at work without any key; `echelon up` starts a cluster.
    """
    ctx.ensure_object(Where)
