"""`echelon demo`: see it at work."""

import sys
from pathlib import Path

import click

from echelon_producers.cluster.process import ProcessFailed

from .failures import WorkFailed
from .status import console
from .where import Where, pass_where, where_options


@click.command("demo")
@where_options
@click.option("--prompts", default=300, show_default=True, type=click.IntRange(1, 100_000), help="Jobs to submit.")
@click.option("--keep", is_flag=True, help="Keep the folder with the data and the logs.")
@pass_where
def demo_command(where: Where, prompts: int, keep: bool) -> None:
    """Show a whole cluster at work: hundreds of real prompts in many languages, answered by simulated providers.

    It starts a server, the simulator and two workers of its own in a temporary folder, needs no key, and leaves nothing
    running. It uses ./configs where there is one, else the starter that `echelon init` writes. Its last line counts.
    """
    from echelon_producers.demo.demo import Demo
    from echelon_producers.demo.environment import missing

    wrong = missing()
    if wrong:
        raise WorkFailed("\n".join(wrong))
    try:
        code = Demo(console(), _configs(where), prompts, keep=keep).run()
    except ProcessFailed as failed:
        raise WorkFailed(str(failed)) from None
    sys.exit(code)


def _configs(where: Where) -> Path | None:
    """The folder to use; None for the starter."""
    return where.configs if where.configs_given or where.configs.is_dir() else None
