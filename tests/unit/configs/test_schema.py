"""The JSON Schema that editors check `_task_groups.yaml` by."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from echelon_configs.registry import Registry
from echelon_configs.schema import schema

CONFIGS = Path(__file__).parents[3] / "configs"
FIXTURES = Path(__file__).parent / "fixtures"


def accepts(value: Any, rule: dict[str, Any], root: dict[str, Any]) -> bool:
    """The part of JSON Schema that our schema uses."""
    if "$ref" in rule:
        return accepts(value, root["$defs"][rule["$ref"].rpartition("/")[2]], root)
    if "anyOf" in rule and not any(accepts(value, branch, root) for branch in rule["anyOf"]):
        return False
    if "const" in rule and value != rule["const"]:
        return False
    if "enum" in rule and value not in rule["enum"]:
        return False
    if "pattern" in rule and not re.search(rule["pattern"], str(value)):
        return False
    if not _is_of(value, rule.get("type")):
        return False
    if isinstance(value, dict):
        return _accepts_keys(value, rule, root)
    if isinstance(value, list):
        long_enough: bool = len(value) >= rule.get("minItems", 0)
        return long_enough and all(accepts(item, rule.get("items", {}), root) for item in value)
    return _in_range(value, rule)


def _is_of(value: Any, kind: str | None) -> bool:
    kinds: dict[str | None, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
    }
    if kind is None:
        return True
    return isinstance(value, kinds[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _accepts_keys(value: dict[str, Any], rule: dict[str, Any], root: dict[str, Any]) -> bool:
    if not set(rule.get("required", [])) <= set(value):
        return False
    known, others = rule.get("properties", {}), rule.get("additionalProperties", True)
    for key, inner in value.items():
        if any(re.search(pattern, key) for pattern in rule.get("patternProperties", {})):
            continue
        wanted = known.get(key, others)
        if wanted is False or (isinstance(wanted, dict) and not accepts(inner, wanted, root)):
            return False
    return True


def _in_range(value: Any, rule: dict[str, Any]) -> bool:
    if isinstance(value, str):
        return bool(rule.get("minLength", 0) <= len(value) <= rule.get("maxLength", 10**9))
    if not isinstance(value, int | float) or isinstance(value, bool):
        return True
    low, high = rule.get("minimum", value), rule.get("maximum", value)
    return bool(low <= value <= high and value > rule.get("exclusiveMinimum", value - 1))


@pytest.fixture
def ours() -> Any:
    return yaml.safe_load((CONFIGS / "llms/groups/_task_groups.yaml").read_text(encoding="utf-8"))


def test_our_file_and_the_seeds_follow_the_schema(ours: Any) -> None:
    seed = yaml.safe_load((FIXTURES / "seed_task_groups.yaml").read_text(encoding="utf-8"))
    assert accepts(ours, schema(), schema())
    assert accepts(seed, schema(), schema())
    assert accepts({"task_groups": {"g": {"file": "g.yaml"}}, "x-notes": 3}, schema(), schema())


@pytest.mark.parametrize(
    "change",
    [
        {"task_groups": {"g": {"e": {}}}},
        {"task_groups": {"g": {"e": {"models": ["a"], "wrong": 1}}}},
        {"task_groups": {"g": {"e": {"models": ["a"], "rpm_limit": -1}}}},
        {"task_groups": {"g": {"fallback_strategy": "up", "e": {"models": ["a"]}}}},
        {"polling_pools": {"p": {}}},
        {"concurrency_control": {"levels": [{"no_level": {}}]}},
        {"wrong": 1},
    ],
)
def test_what_the_check_refuses_the_schema_refuses_too(ours: Any, change: dict[str, Any]) -> None:
    assert not accepts({**ours, **change}, schema(), schema())


def test_the_schema_beside_our_configuration_is_the_one_that_is_printed() -> None:
    shipped = json.loads((CONFIGS / "task_groups.schema.json").read_text(encoding="utf-8"))
    assert shipped == schema()


def test_our_file_names_the_schema_for_editors() -> None:
    path = CONFIGS / "llms/groups/_task_groups.yaml"
    named = re.search(r"^# yaml-language-server: \$schema=(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert named
    assert (path.parent / named.group(1)).resolve() == (CONFIGS / "task_groups.schema.json").resolve()


def test_the_names_of_a_registry_are_in_its_schema() -> None:
    text = json.dumps(schema(Registry(strategies=("my_own_way",))))
    assert "my_own_way" in text
    assert "echelon_down" not in text


def test_every_key_is_explained() -> None:
    for name, definition in schema()["$defs"].items():
        for key, rule in definition.get("properties", {}).items():
            assert rule.get("description"), f"{name}.{key}"
