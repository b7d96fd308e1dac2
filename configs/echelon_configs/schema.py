"""A JSON Schema for `_task_groups.yaml`, made from the raw classes, for editors that know YAML."""

from typing import Any

from echelon_configs.raw.cluster import RawCluster
from echelon_configs.registry import Registry


def schema(registry: Registry | None = None) -> dict[str, Any]:
    """The schema (draft 2020-12), with the names of strategies, schedulers and algorithms in `registry`."""
    document = RawCluster.model_json_schema()
    definitions: dict[str, Any] = document["$defs"]
    # Echelons may stand in a group by their names.
    definitions["RawGroup"]["additionalProperties"] = {"$ref": "#/$defs/RawEchelon"}
    levels = definitions["RawConcurrencyControl"]["properties"]["levels"]
    mapping = {"$ref": levels.pop("$ref")}
    levels.pop("default", None)
    levels["anyOf"] = [{"type": "array", "items": mapping}, mapping]
    for name in ("RawGroup", "RawPool"):
        definitions[name] = _or_in_a_file(definitions[name])
    document["patternProperties"] = {"^x-": {"description": "holds anchors; read by nobody"}}
    document["required"] = []
    _clean(document, registry or Registry())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Echelon: task groups, polling pools, limits",
        **document,
    }


def _or_in_a_file(definition: dict[str, Any]) -> dict[str, Any]:
    """What is required is required only where no `file:` holds it."""
    required = definition.pop("required", None)
    if required:
        definition["anyOf"] = [{"required": required}, {"required": ["file"]}]
    return definition


def _clean(node: Any, registry: Registry) -> None:
    """Titles that only repeat the key go; the names of the registry come in."""
    if isinstance(node, list):
        for item in node:
            _clean(item, registry)
    elif isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if "x-names" in node:
            node["enum"] = list(registry.names(node.pop("x-names")))
        if node.get("default", ...) is None:
            del node["default"]
        for child in node.values():
            _clean(child, registry)
