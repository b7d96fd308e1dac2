"""docs/workers.md names every ECHELON_ variable of the code, with the default it has."""

import re
from pathlib import Path

import pytest

from echelon_workers.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
SOURCES = ("configs/echelon_configs", "workers/echelon_workers", "producers/echelon_producers")


def in_code() -> set[str]:
    """Every name in the sources that looks like a variable of ours."""
    files = [file for folder in SOURCES for file in (ROOT / folder).rglob("*.py")]
    return {name for file in files for name in re.findall(r"\bECHELON_[A-Z_]*[A-Z]\b", file.read_text())}


def documented() -> dict[str, str]:
    """Variable -> default, as the table of docs/workers.md has them."""
    rows = re.findall(
        r"^\| `(ECHELON_\w+)` \| .* \| ([^|]+) \| [^|]+ \|$", (ROOT / "docs/workers.md").read_text(), re.M
    )
    return {name: default.strip("`") for name, default in rows}


def test_every_variable_in_the_code_is_in_the_table_and_no_other() -> None:
    assert set(documented()) == in_code()


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("ECHELON_CONFIGS", "configs"),
        ("ECHELON_SLOTS", "slots"),
        ("ECHELON_GRACE_S", "grace_s"),
        ("ECHELON_LEASE_S", "lease_s"),
        ("ECHELON_PROVIDERS", "providers"),
        ("ECHELON_INBOX", "inbox"),
        ("ECHELON_SIMULATOR_URL", "simulator_url"),
    ],
)
def test_the_documented_default_is_the_one_in_force(name: str, field: str) -> None:
    value = getattr(WorkerSettings.from_environment({}), field)
    shown = "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    assert documented()[name] == shown


def test_the_documented_address_is_the_one_in_force() -> None:
    address = WorkerSettings.from_environment({}).address
    assert (documented()["ECHELON_REDIS_URL"], documented()["ECHELON_NAMESPACE"]) == (address.url, "none")
    assert address.namespace == ""
