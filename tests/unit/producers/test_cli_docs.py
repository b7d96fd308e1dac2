"""docs/cli.md knows every command and every option, and nothing else."""

import re
from pathlib import Path

import click
import pytest

from echelon_producers.cli.program import program

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"
#: Described where the rest of their command is.
ELSEWHERE = ("simulator", "init", "config")


def commands() -> dict[str, click.Command]:
    ctx = click.Context(program)
    found = {name: program.get_command(ctx, name) for name in program.list_commands(ctx)}
    return {name: command for name, command in found.items() if command is not None}


def options(command: click.Command) -> set[str]:
    """Its own and those of its subcommands."""
    found = {option for parameter in command.params if isinstance(parameter, click.Option) for option in parameter.opts}
    parts = command.commands.values() if isinstance(command, click.Group) else ()
    return found.union(*(options(part) for part in parts))


@pytest.mark.parametrize("name", [name for name in commands() if name not in ELSEWHERE])
def test_every_option_of_a_command_is_described_in_its_section(name: str) -> None:
    text = PAGE.read_text()
    section = re.split(rf"^## `echelon {name}", text, flags=re.MULTILINE)[1].partition("\n## ")[0]
    common = text.partition("\n## ")[0]
    for option in options(commands()[name]):
        assert f"{option}" in (common if option in ("--configs", "--redis") else section), option


def test_every_command_has_its_section() -> None:
    text = PAGE.read_text()
    assert [name for name in commands() if f"`echelon {name}" not in text] == []


def test_every_option_on_the_page_exists() -> None:
    known = set.union(*(options(command) for command in (program, *commands().values()))) | {"--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE.read_text())) <= known
