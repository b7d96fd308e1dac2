"""The built wheel, installed outside the repository: what a stranger gets."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it with the project's own backend, as pip would."""
    folder = tmp_path_factory.mktemp("wheel")
    code = f"from hatchling.build import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked where nothing of the repository is; its dependencies come from this environment."""
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run(installed: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # PYTHONPATH comes before the editable install of this checkout; -P keeps the working folder out.
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-P", *command],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_owns_three_prefixed_names_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "echelon_configs",
        "echelon_workers",
        "echelon_producers",
    }


def test_it_carries_its_scripts_types_and_starter_configuration(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for package in ("echelon_configs", "echelon_workers", "echelon_producers"):
        assert f"{package}/py.typed" in names
    assert "echelon_workers/ledger/lua/take.lua" in names
    assert "echelon_workers/ledger/lua/parts/lease.lua" in names
    assert any(name.endswith("_task_groups.yaml") for name in names)


def test_a_web_app_imports_the_client_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()  # a web app may well have folders of these names
    (tmp_path / "workers").mkdir()
    code = "import echelon_producers as p; from echelon_producers import Client; print(p.__file__)"
    done = run(installed, "-c", code, cwd=tmp_path)
    assert done.stdout.startswith(str(installed)), done.stderr


def test_init_writes_a_starter_configuration_that_check_accepts(installed: Path, tmp_path: Path) -> None:
    begun = run(installed, "-m", "echelon_producers", "init", "configs", cwd=tmp_path)
    assert begun.returncode == 0, begun.stderr
    checked = run(installed, "-m", "echelon_producers", "config", "check", "configs", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "ok" in checked.stdout
