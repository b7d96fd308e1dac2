"""docker-compose.yml as Compose reads it: anchors merged, variables put in."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]

#: `$$`, or `${NAME}`, `${NAME:-default}`, `${NAME:?what is missing}`
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\})")


def read() -> dict[str, Any]:
    """The file with its anchors merged and its variables as they stand."""
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def filled(value: Any, environment: Mapping[str, str]) -> Any:
    """The same with its variables put in. Raises KeyError for one that must be set and is not."""
    if isinstance(value, dict):
        return {name: filled(part, environment) for name, part in value.items()}
    if isinstance(value, list):
        return [filled(part, environment) for part in value]
    if not isinstance(value, str):
        return value
    return _VARIABLE.sub(lambda found: _value(found, environment), value)


def variables() -> dict[str, str | None]:
    """Every variable of the file with its default; None for one that must be set."""
    found = _VARIABLE.finditer((ROOT / "docker-compose.yml").read_text())
    return {one["name"]: one["rest"] if one["kind"] == "-" else None for one in found if one["name"]}


def served(command: list[str]) -> list[str]:
    """The queues that a worker's command names; none for any other command."""
    return command[2:] if command[:2] == ["echelon", "worker"] else []


def _value(found: re.Match[str], environment: Mapping[str, str]) -> str:
    if found["name"] is None:
        return "$"
    value = environment.get(found["name"], "")
    if not value and found["kind"] == "?":
        raise KeyError(f"{found['name']}: {found['rest']}")
    return value or (found["rest"] if found["kind"] == "-" else "")
