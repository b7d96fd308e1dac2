"""`echelon demo`, as a stranger runs it: in an empty folder, without a key, without a Redis."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SECONDS = 60


def demo(folder: Path, *options: str, seconds: float = SECONDS) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return subprocess.run(
        [sys.executable, "-m", "echelon_producers", "demo", *options],
        cwd=folder,
        env={**environment, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.fixture(scope="module")
def shown() -> "subprocess.CompletedProcess[str]":
    # A short path: the server's socket has to fit into one.
    with tempfile.TemporaryDirectory(prefix="echelon-test-") as folder:
        ended = demo(Path(folder))
        left = [path.name for path in Path(folder).iterdir()]
    assert left == [], "the demo left files behind"
    return ended


def test_every_job_of_the_demo_is_answered(shown: "subprocess.CompletedProcess[str]") -> None:
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stdout.splitlines()[-1] == "demo: 300 jobs, 300 answered, 0 dead, 0 lost"
    assert shown.stderr == ""


def test_the_simulator_counted_what_is_on_record(shown: "subprocess.CompletedProcess[str]") -> None:
    line = next(line for line in shown.stdout.splitlines() if line.startswith("simulator "))
    arrived, attempts = (int(number) for number in re.findall(r"\d+", line)[:2])
    assert arrived == attempts
    assert arrived >= 300


def test_an_outage_makes_jobs_fall_back(shown: "subprocess.CompletedProcess[str]") -> None:
    line = next(line for line in shown.stdout.splitlines() if line.startswith("outage "))
    failed, fell_back = (int(number) for number in re.findall(r"(\d+) (?:calls|jobs)", line))
    assert failed > 0
    assert fell_back > 0


def test_the_report_has_a_row_for_each_queue(shown: "subprocess.CompletedProcess[str]") -> None:
    rows = [line.split() for line in shown.stdout.splitlines()]
    queues = [row for row in rows if len(row) == 9 and "." in row[0] and row[1].isdigit()]
    assert len(queues) >= 25
    assert sum(int(row[1]) for row in queues) == 300
    assert all(row[1] == row[2] for row in queues)
    assert ["all", "300", "300"] in [row[:3] for row in rows]


def test_the_demo_says_that_nothing_is_left_running_and_it_is_so(shown: "subprocess.CompletedProcess[str]") -> None:
    assert re.search(r"^stop +nothing is left running", shown.stdout, re.MULTILINE)
    if sys.platform == "linux":
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert not [command for command in commands if b"echelon-demo-" in command]


def test_a_configuration_with_errors_is_told_and_nothing_is_started(tmp_path: Path) -> None:
    groups = tmp_path / "configs" / "llms" / "groups"
    groups.mkdir(parents=True)
    (groups / "_task_groups.yaml").write_text("task_groups: {g: {e: {models: [openai-gpt4], rpm_limit: -1}}}\n")
    ended = demo(tmp_path)
    assert ended.returncode == 2
    assert "_task_groups.yaml:1: task_groups.g.e.rpm_limit" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["configs"]
