"""docs/config.md explains every key and every field."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

import echelon_configs
from echelon_configs.frozen import Frozen
from echelon_configs.raw import calls, cluster, fallbacks, groups, limits, models, nodes, pools
from echelon_configs.raw.fields import Raw

PAGE = (Path(__file__).parents[3] / "docs" / "config.md").read_text(encoding="utf-8")
TABLES = [
    {row.group(1): row.group(0) for row in re.finditer(r"^\| `(\w+)` \|.*\|$", table, re.MULTILINE)}
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
]


def raw_classes() -> Iterator[type[Raw]]:
    for module in (calls, cluster, fallbacks, groups, limits, models, nodes, pools):
        for _, found in inspect.getmembers(module, inspect.isclass):
            if issubclass(found, Raw) and found.__module__ == module.__name__:
                yield found


def resolved_classes() -> Iterator[type[BaseModel]]:
    for name in echelon_configs.__all__:
        found = getattr(echelon_configs, name)
        if inspect.isclass(found) and issubclass(found, BaseModel):
            yield found


@pytest.mark.parametrize("cls", list(raw_classes()))
def test_some_table_explains_every_key_of_a_mapping(cls: type[Raw]) -> None:
    assert any(set(cls.model_fields) <= set(table) for table in TABLES), f"{cls.__name__}: {sorted(cls.model_fields)}"


@pytest.mark.parametrize("cls", list(raw_classes()))
def test_the_page_says_of_a_key_what_the_editor_shows(cls: type[Raw]) -> None:
    for key, field in cls.model_fields.items():
        rows = [table[key] for table in TABLES if key in table]
        assert any(f"| {field.description} |" in row for row in rows), f"{cls.__name__}.{key}: {field.description}"


@pytest.mark.parametrize("cls", list(resolved_classes()))
def test_the_page_gives_every_field_of_the_result_with_its_default(cls: type[BaseModel]) -> None:
    section = re.search(rf"^### {cls.__name__}\n\n(?:[A-Z].*\n\n)?((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert section, cls.__name__
    rows = {
        row.group(1): row for row in re.finditer(r"^\| `(\w+)` \| (.*) \| (.*) \|$", section.group(1), re.MULTILINE)
    }
    assert set(rows) == set(cls.model_fields)
    for name, field in cls.model_fields.items():
        assert rows[name].group(2) == field.description
        default = None if field.is_required() else field.get_default()
        if isinstance(default, Frozen):
            assert rows[name].group(3) == "its own defaults"
        else:
            shown = list(default) if isinstance(default, tuple) else default
            assert rows[name].group(3) == ("required" if field.is_required() else f"`{json.dumps(shown)}`")


def test_every_name_of_the_registry_is_on_the_page() -> None:
    names = echelon_configs.Registry()
    for known in (names.strategies, names.pool_strategies, names.algorithms, names.providers):
        assert all(f"`{name}`" in PAGE for name in known)
