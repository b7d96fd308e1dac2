"""The command line, up to where the server would start."""

import ast
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import echelon_producers.simulator.script as script_module
from echelon_producers.simulator.command import read_latency, simulator_command, with_options
from echelon_producers.simulator.script import ScriptError, parse_script


def test_a_wrong_script_file_ends_with_2_and_says_file_and_place(tmp_path: Path) -> None:
    file = tmp_path / "script.json"
    file.write_text('{"faults": [{"kind": "teapot"}]}')
    result = CliRunner().invoke(simulator_command, ["--script", str(file)])
    assert result.exit_code == 2
    assert f"simulator: {file}: faults.0.kind: unknown fault 'teapot'" in result.stderr


@pytest.mark.parametrize(("text", "problem"), [(None, "No such file"), ("{", "not JSON"), ("[]", "a script is a JSON")])
def test_a_file_that_holds_no_script_ends_with_2(tmp_path: Path, text: str | None, problem: str) -> None:
    file = tmp_path / "script.json"
    if text is not None:
        file.write_text(text)
    result = CliRunner().invoke(simulator_command, ["--script", str(file)])
    assert (result.exit_code, problem in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.2", {"constant": 0.2}), ("0.1-0.5", {"low": 0.1, "high": 0.5}), ("p50=0.8,p99=6", {"p50": 0.8, "p99": 6})],
)
def test_latency_takes_the_three_forms(text: str, value: dict[str, float]) -> None:
    assert read_latency(text).model_dump(exclude_unset=True) == value


@pytest.mark.parametrize("text", ["", "fast", "1-", "5-1", "p50=1", "p50=9,p99=1", "-1", "nan"])
def test_another_latency_is_refused(text: str) -> None:
    with pytest.raises(ScriptError):
        read_latency(text)


def test_the_options_fill_in_what_the_script_leaves_open() -> None:
    given = parse_script({"seed": 1, "models": {"*": {"context_window": 9}, "m": {"latency_s": 3}}})
    script = with_options(given, "0.5", 2)
    assert script.seed == 2
    assert script.to_json()["models"] == {"*": {"context_window": 9, "latency_s": {"constant": 0.5}},
                                          "m": {"latency_s": {"constant": 3.0}}}  # fmt: skip


def test_without_aiohttp_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("server", "sending", "control"):
        monkeypatch.delitem(sys.modules, f"echelon_producers.simulator.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    result = CliRunner().invoke(simulator_command, [])
    assert result.exit_code == 2
    assert result.stderr == "simulator: aiohttp is missing: pip install 'echelon-cluster[simulator]'\n"


def test_the_simulator_imports_nothing_else_of_ours() -> None:
    for file in Path(script_module.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level < 2, file
                assert not (node.module or "").startswith("echelon_"), file
            if isinstance(node, ast.Import):
                assert not any(name.name.startswith("echelon_") for name in node.names), file
