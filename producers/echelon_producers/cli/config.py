"""`echelon config check | show | schema`, and `echelon init`."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import click

from echelon_configs import ConfigurationInvalid, Loaded, Problem, load
from echelon_configs.described import described, summary
from echelon_configs.schema import schema
from echelon_configs.starter import StarterExists, write_starter

_CONFIGS = click.option(
    "--configs",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the configuration.  [default: ./configs]",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@click.group("config")
def config_group() -> None:
    """Check and show the configuration."""


@config_group.command("check")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@_CONFIGS
@_JSON
def check_command(path: Path | None, configs: Path | None, as_json: bool) -> None:
    """Print every error at once, each as `file:line: path: what is wrong (what would be right)`.

    PATH is a configuration folder, or a _task_groups.yaml that stands alone.
    Exit 0: it can be used, warnings aside; exit 2: it cannot.
    """
    chosen = path or _directory(configs)
    try:
        loaded = load(chosen)
    except ConfigurationInvalid as invalid:
        _refuse(invalid, as_json)
    if as_json:
        click.echo(_document(True, (), loaded.warnings))
        return
    _tell(loaded.warnings)
    warned = f", {len(loaded.warnings)} warning{'s' if len(loaded.warnings) != 1 else ''}" if loaded.warnings else ""
    click.echo(f"{chosen}: ok{warned}; {summary(loaded.configuration)}")


@config_group.command("show")
@_CONFIGS
@_JSON
def show_command(configs: Path | None, as_json: bool) -> None:
    """Print the resolved whole: every scope with its limits and every default."""
    loaded = _loaded(configs)
    if as_json:
        click.echo(loaded.configuration.model_dump_json(indent=2))
    else:
        click.echo(described(loaded.configuration))


@config_group.command("schema")
def schema_command() -> None:
    """Print a JSON Schema for _task_groups.yaml, for editors."""
    click.echo(json.dumps(schema(), indent=2, ensure_ascii=False))


@click.command("init")
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@_CONFIGS
def init_command(directory: Path | None, configs: Path | None) -> None:
    """Write a starter configuration into DIRECTORY (default: the folder of the configuration).

    Writes nothing when one of its files is there already.
    """
    chosen = directory or _directory(configs)
    try:
        written = write_starter(chosen)
    except StarterExists as exists:
        _fail(f"{path}: there is such a file already; nothing was written" for path in exists.files)
    except OSError as failed:
        _fail([f"{failed.filename or chosen}: {failed.strerror or 'cannot be written'}"])
    click.echo(f"{chosen}: wrote {len(written)} files")
    click.echo(f"next: set your keys (export OPENAI_API_KEY=...), then `echelon config check {chosen}`")


def _directory(configs: Path | None) -> Path:
    """`--configs`, given here or before the command; else ECHELON_CONFIGS; else ./configs."""
    if configs is not None:
        return configs
    context = click.get_current_context(silent=True)
    found = getattr(context.obj if context else None, "configs", None)
    return Path(found) if found is not None else Path(os.environ.get("ECHELON_CONFIGS") or "configs")


def _loaded(configs: Path | None) -> Loaded:
    try:
        return load(_directory(configs))
    except ConfigurationInvalid as invalid:
        _refuse(invalid, as_json=False)


def _refuse(invalid: ConfigurationInvalid, as_json: bool) -> NoReturn:
    if as_json:
        click.echo(_document(False, invalid.problems, invalid.warnings))
        raise click.exceptions.Exit(2)
    count = len(invalid.problems)
    click.echo(f"{count} error{'s' if count != 1 else ''}")
    _fail(str(problem) for problem in invalid.problems)


def _document(ok: bool, errors: Iterable[Problem], warnings: Iterable[Problem]) -> str:
    document = {
        "ok": ok,
        "errors": [problem.to_json() for problem in errors],
        "warnings": [problem.to_json() for problem in warnings],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _tell(warnings: Iterable[Problem]) -> None:
    for warning in warnings:
        click.echo(str(warning), err=True)


def _fail(lines: Iterable[str]) -> NoReturn:
    for line in lines:
        click.echo(line, err=True)
    raise click.exceptions.Exit(2)
