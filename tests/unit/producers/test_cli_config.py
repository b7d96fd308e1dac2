"""`echelon config check | show | schema` and `echelon init`, as a user runs them."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from echelon_configs import Configuration
from echelon_producers.cli.config import config_group, init_command

CONFIGS = Path(__file__).parents[3] / "configs"
KEYS = {f"{name}_API_KEY": "set" for name in ("OPENAI", "ANTHROPIC", "GEMINI", "DEEPSEEK")}
NO_KEYS: dict[str, str | None] = dict.fromkeys([*KEYS, "ECHELON_CONFIGS"])

WRONG = """task_groups:
  fast_small_group:
    translation: {models: [openai-gpt4], rpm_limit: -1}
nodes:
  n: {llm_group: fast_small_group.translation, fallback_groups: [fast_small_group.fast]}
"""

LINE = re.compile(r"^\S+:\d+: .+: .+ \(.+\)$")


@dataclass
class Where:
    configs: Path


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command with no key set, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    program = click.Group("echelon", commands={"config": config_group, "init": init_command})

    def invoke(*arguments: object, environment: dict[str, str] | None = None, obj: object = None) -> Result:
        words = [str(argument) for argument in arguments]
        result = CliRunner().invoke(program, words, env={**NO_KEYS, **(environment or {})}, obj=obj)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong" / "llms" / "groups" / "_task_groups.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(WRONG, encoding="utf-8")
    return tmp_path / "wrong"


def test_a_good_configuration_is_one_line_and_exit_0(run: Run) -> None:
    result = run("config", "check", CONFIGS, environment=KEYS)
    assert result.exit_code == 0
    assert re.fullmatch(r".*/configs: ok; 7 groups, 23 echelons, .*; digest [0-9a-f]{16}\n", result.stdout)
    assert result.stderr == ""


def test_warnings_go_to_standard_error_and_do_not_fail(run: Run) -> None:
    result = run("config", "check", CONFIGS)
    assert result.exit_code == 0
    assert ": ok, 4 warnings; " in result.stdout
    assert len(result.stderr.splitlines()) == 4
    assert all(LINE.match(line) and ": warning: " in line for line in result.stderr.splitlines())


def test_every_error_is_a_line_on_standard_error_and_exit_2(run: Run, wrong: Path) -> None:
    result = run("config", "check", wrong)
    lines = result.stderr.splitlines()
    assert result.exit_code == 2
    assert len(lines) == 2
    assert all(LINE.match(line) for line in lines)
    file = wrong / "llms" / "groups" / "_task_groups.yaml"
    assert lines[0] == (
        f"{file}:3: task_groups.fast_small_group.translation.rpm_limit: -1 is below zero (write a number at least 0)"
    )
    assert lines[1] == (
        f"{file}:5: nodes.n.fallback_groups[0]: group fast_small_group has no echelon 'fast' "
        "(did you mean fast_small_group.translation?)"
    )
    assert "2 errors" in result.stdout


def test_the_result_of_a_check_can_be_one_document(run: Run, wrong: Path) -> None:
    refused, accepted = run("config", "check", wrong, "--json"), run("config", "check", CONFIGS, "--json")
    document = json.loads(refused.stdout)
    assert (refused.exit_code, document["ok"], len(document["errors"])) == (2, False, 2)
    assert document["errors"][0]["line"] == 3
    assert (accepted.exit_code, json.loads(accepted.stdout)["ok"]) == (0, True)
    assert len(json.loads(accepted.stdout)["warnings"]) == 4


def test_a_directory_that_is_not_there_is_exit_2(run: Run, tmp_path: Path) -> None:
    result = run("config", "check", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "there is no such directory (`echelon init` writes a starter" in result.stderr


@pytest.mark.parametrize("command", [("config", "check"), ("config", "show")])
def test_the_directory_comes_from_the_option_the_program_the_environment_or_is_configs(
    run: Run, wrong: Path, command: tuple[str, ...]
) -> None:
    good = str(CONFIGS)
    assert run(*command, "--configs", good, obj=Where(wrong)).exit_code == 0
    assert run(*command, obj=Where(CONFIGS), environment={"ECHELON_CONFIGS": str(wrong)}).exit_code == 0
    assert run(*command, environment={"ECHELON_CONFIGS": good}).exit_code == 0
    missing = run(*command)
    assert (missing.exit_code, missing.stderr.partition(":")[0]) == (2, "configs")
    Path("configs").symlink_to(good)
    assert run(*command).exit_code == 0


def test_show_prints_the_resolved_whole(run: Run) -> None:
    result = run("config", "show", "--configs", CONFIGS)
    assert result.exit_code == 0
    assert "limits  10 in flight, 200,000 waiting (as each echelon), 100 requests/min" in result.stdout
    assert "calls   30 s each, 3 retries, at most 1,024 tokens, tools auto, text, no thinking" in result.stdout


def test_show_json_is_the_configuration_that_would_be_published(run: Run) -> None:
    result = run("config", "show", "--configs", CONFIGS, "--json")
    configuration = Configuration.model_validate_json(result.stdout)
    assert configuration.queues["fast_group.echelon1"].kind == "echelon"
    assert json.loads(result.stdout)["defaults"] == {
        "deadline_s": 3600.0,
        "retention_s": 86400.0,
        "health_check_interval_s": 30.0,
        "durability": "local",
    }


def test_show_refuses_what_cannot_be_used(run: Run, wrong: Path) -> None:
    result = run("config", "show", "--configs", wrong)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 2)


def test_schema_prints_the_one_that_is_shipped(run: Run) -> None:
    result = run("config", "schema")
    assert result.stdout == (CONFIGS / "task_groups.schema.json").read_text(encoding="utf-8")


def test_init_writes_a_configuration_that_passes_its_check(run: Run, tmp_path: Path) -> None:
    assert run("init").exit_code == 0
    assert (tmp_path / "configs" / "llms" / "groups" / "_task_groups.yaml").is_file()
    assert run("config", "check").exit_code == 0


def test_init_refuses_to_overwrite_and_names_the_files(run: Run) -> None:
    assert run("init", "mine").exit_code == 0
    Path("mine/README.md").write_text("changed")
    again = run("init", "mine")
    assert again.exit_code == 2
    assert "mine/README.md: there is such a file already; nothing was written" in again.stderr.splitlines()
    assert len(again.stderr.splitlines()) == 14
    assert Path("mine/README.md").read_text() == "changed"


def test_init_says_when_it_cannot_write(run: Run) -> None:
    Path("taken").write_text("a file")
    result = run("init", "taken")
    assert result.exit_code == 2
    assert result.stderr.startswith("taken")
