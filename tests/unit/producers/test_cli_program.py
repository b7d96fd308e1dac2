"""The command `echelon`: its options, its errors and its exit codes."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import click
import pytest
import redis
from click.testing import CliRunner, Result

from echelon_configs import ConfigurationInvalid, Problem
from echelon_producers.cli import program as program_module
from echelon_producers.cli.failures import reported
from echelon_producers.cli.program import program
from echelon_producers.cli.where import Where, pass_where, where_options
from echelon_producers.errors import (
    IdempotencyConflict,
    NoConfiguration,
    QueueDraining,
    ResultTimeout,
    SubmitInvalid,
    Unavailable,
)
from echelon_workers.ledger.address import AddressInvalid
from echelon_workers.ledger.server import ServerUnavailable

COMMANDS = tuple(program.list_commands(click.Context(program)))


def invoke(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(program, arguments, env=env)


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom echelon_producers.cli.program import program\n"
        "print(CliRunner().invoke(program, ['--help']).output)\n"
        "print('imported', [name for name in sys.modules if name.startswith('echelon_producers.cli.')])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    listed = [line.split()[0] for line in told.partition("Commands:")[2].splitlines() if line.startswith("  ")]
    assert listed == list(COMMANDS)
    imported = told.partition("imported")[2]
    assert "echelon_producers.cli.program" in imported
    assert "echelon_producers.cli.up" not in imported


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_it_does(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0, result.output
    assert "Usage: " in result.output


def test_an_unknown_command_is_wrong_input() -> None:
    result = invoke("sumbit", "fast_group", "hi")
    assert result.exit_code == 2
    assert "there are: up, worker, submit" in result.output


def test_a_missing_library_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, package: str | None = None) -> object:
        raise ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp")

    monkeypatch.setattr(program_module, "import_module", missing)
    result = invoke("simulator", "--help")
    assert result.exit_code == 1
    assert "simulator needs aiohttp, which is not installed (pip install 'echelon-cluster[simulator]')" in result.output


def test_a_bug_of_ours_is_not_taken_for_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, package: str | None = None) -> object:
        raise ModuleNotFoundError("No module named 'echelon_producers.gone'", name="echelon_producers.gone")

    monkeypatch.setattr(program_module, "import_module", missing)
    assert isinstance(invoke("status").exception, ModuleNotFoundError)


PROBLEM = Problem(file="a.yaml", line=3, path="x.y", message="unknown key", advice="did you mean z?")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigurationInvalid([PROBLEM, PROBLEM]), 2, f"{PROBLEM}\n{PROBLEM}\n"),
        (SubmitInvalid([("a", "wrong"), ("b", "wrong")]), 2, "echelon: a: wrong\nechelon: b: wrong\n"),
        (IdempotencyConflict("j1"), 2, f"echelon: {IdempotencyConflict('j1')}\n"),
        (QueueDraining("a.b"), 2, f"echelon: {QueueDraining('a.b')}\n"),
        (AddressInvalid("bad URL"), 2, "echelon: bad URL\n"),
        (NoConfiguration("nothing"), 1, "echelon: nothing\n"),
        (Unavailable("away"), 1, "echelon: away\n"),
        (ResultTimeout("late"), 1, "echelon: late\n"),
        (ServerUnavailable("none"), 1, "echelon: none\n"),
        (redis.ConnectionError("cut"), 1, "echelon: Redis cannot be used: cut\n"),
        (PermissionError(13, "Permission denied", "out.jsonl"), 1, "echelon: out.jsonl: Permission denied\n"),
        (OSError(28, "No space left on device"), 1, "echelon: [Errno 28] No space left on device\n"),
    ],
)
def test_an_error_that_can_be_expected_is_a_line_a_cause(error: Exception, code: int, said: str) -> None:
    @click.command()
    def fails() -> None:
        with reported():
            raise error

    result = CliRunner().invoke(fails)
    assert (result.exit_code, result.stderr, result.stdout) == (code, said, "")


def test_the_notes_of_an_error_are_told() -> None:
    error = SubmitInvalid([("a", "wrong")])
    error.add_note("none of them was submitted")
    with pytest.raises(click.ClickException, match="a: wrong\nnone of them was submitted"), reported():
        raise error


def test_an_error_that_cannot_be_expected_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), reported():
        raise ZeroDivisionError


def seen(*arguments: str, before: tuple[str, ...] = (), env: dict[str, str] | None = None) -> Where:
    """What a command sees of the options before it and behind it."""
    found: list[Where] = []

    @click.group()
    @where_options
    @click.pass_context
    def group(ctx: click.Context) -> None:
        ctx.ensure_object(Where)

    @group.command()
    @where_options
    @pass_where
    def command(where: Where) -> None:
        found.append(where)

    result = CliRunner().invoke(group, [*before, "command", *arguments], env=env)
    assert result.exit_code == 0, result.output
    return found[0]


def test_the_common_options_may_stand_before_the_command_or_behind_it() -> None:
    options = ("--configs", "there", "--redis", "redis://h/1")
    expected = Where(Path("there"), "redis://h/1", configs_given=True)
    assert seen(*options) == seen(before=options) == expected


def test_without_options_the_environment_holds_and_then_the_defaults() -> None:
    assert seen() == Where(Path("configs"), None)
    assert seen(env={"ECHELON_CONFIGS": "elsewhere"}).configs == Path("elsewhere")
    assert seen(before=("--configs", "there"), env={"ECHELON_CONFIGS": "elsewhere"}).configs == Path("there")
    assert seen("--configs", "here", before=("--configs", "there")).configs == Path("here")


NOBODY = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", "fast_group", "hi"),
        ("status",),
        ("status", "--json"),
        ("worker",),
        ("config", "publish"),
        ("up", "--no-api", "--no-flower"),
    ],
)
def test_a_redis_that_is_away_is_one_line(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    result = invoke("--redis", NOBODY, *arguments)
    assert result.exit_code == 1, result.output
    causes = [line for line in result.stderr.splitlines() if ": warning: " not in line]
    assert len(causes) == 1, causes
    assert causes[0].startswith(f"echelon: Redis at {NOBODY} cannot be used")


@pytest.mark.parametrize("arguments", [("status",), ("submit", "fast_group", "hi"), ("worker", "x")])
def test_a_redis_url_that_is_none_is_wrong_input(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments, "--redis", "http://host")
    assert result.exit_code == 2
    assert "the scheme is 'http'" in result.stderr


@pytest.mark.parametrize("arguments", [("up",), ("config", "publish")])
def test_a_folder_that_is_not_there_is_wrong_input(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert (
        result.stderr
        == "echelon: there is no folder configs (would be right: --configs DIR, or `echelon init` first)\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("up",), ("config", "publish")])
def test_a_configuration_with_errors_is_refused_before_anything_is_started(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = tmp_path / "configs" / "llms" / "groups"
    groups.mkdir(parents=True)
    (groups / "_task_groups.yaml").write_text("task_groups:\n  g:\n    e: {models: [m], rpm_limit: -1, priorty: 1}\n")
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "_task_groups.yaml:3: " in result.stderr
    assert "did you mean priority?" in result.stderr
    assert not (tmp_path / ".echelon").exists()


def test_the_version_is_that_of_the_distribution() -> None:
    assert invoke("--version").output.startswith("echelon ")


def test_the_module_can_be_run() -> None:
    assert importlib.util.find_spec("echelon_producers.__main__")
    told = subprocess.run([sys.executable, "-m", "echelon_producers", "--version"], capture_output=True, text=True)
    assert told.returncode == 0
    assert told.stdout.startswith("echelon ")
