"""Is the answer the JSON that was asked for? A light check of the top level, not a full JSON Schema validator.

Checked: the text is JSON; for a JSON object that it is an object; for a schema also, at its top level only, `type`,
`required`, the `type`, `enum` and `const` of each property, `additionalProperties: false`, and for an array the `type`
of its items. A `$ref` into the schema's own `$defs` is followed. Everything deeper, and anyOf, allOf, oneOf and
formats, is left to the provider, which with `strict` enforces it while it writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


class NotAsAsked(ValueError):
    """The text is not the JSON that was asked for; the message says why, without quoting the text."""


def unfenced(text: str) -> str:
    """The text without a Markdown code fence around the whole of it, which models add although told not to."""
    stripped = text.strip()
    if not (stripped.startswith("```") and stripped.endswith("```") and "\n" in stripped):
        return text
    return stripped[stripped.index("\n") + 1 : -3].strip()


def check_json(text: str, schema: Mapping[str, Any] | None) -> None:
    """Raise NotAsAsked when the text is not a JSON object or, given a schema, does not match its top level."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as exc:
        raise NotAsAsked(f"not JSON (from character {exc.pos} on)") from None
    except (ValueError, RecursionError):
        raise NotAsAsked("not JSON that can be read (nested too deeply, or a number out of bounds)") from None
    if schema is None:
        if not isinstance(value, dict):
            raise NotAsAsked(f"JSON, but {_name(value)} instead of an object")
        return
    _check(value, _resolve(schema, schema), schema)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity, which Python reads and JSON does not have


def _check(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> None:
    _check_value(value, schema, "the answer")
    if isinstance(value, dict):
        _check_object(value, schema, root)
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        items = _resolve(schema["items"], root)
        for index, item in enumerate(value):
            _check_value(item, items, f"item {index}")


def _check_object(value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any]) -> None:
    required = schema.get("required")
    required = required if isinstance(required, list) else []
    missing = [name for name in required if isinstance(name, str) and name not in value]
    if missing:
        raise NotAsAsked(f"JSON without {', '.join(map(repr, missing[:5]))}")
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    if schema.get("additionalProperties") is False:
        extra = [name for name in value if name not in properties]
        if extra and not schema.get("patternProperties"):
            raise NotAsAsked(f"JSON with {len(extra)} fields the schema does not know")
    for name, inner in properties.items():
        if name in value and isinstance(inner, Mapping):
            _check_value(value[name], _resolve(inner, root), repr(name))


def _check_value(value: Any, schema: Mapping[str, Any], what: str) -> None:
    if value is None and schema.get("nullable") is True:  # OpenAPI's way, which Gemini's schemas use
        return
    wanted = schema.get("type")
    names = wanted if isinstance(wanted, list) else [wanted] if isinstance(wanted, str) else []
    if names and not any(_is(value, name) for name in names):
        raise NotAsAsked(f"JSON in which {what} is {_name(value)} instead of {' or '.join(map(str, names))}")
    choices = schema.get("enum")
    if isinstance(choices, list) and value not in choices:
        raise NotAsAsked(f"JSON in which {what} is none of the values allowed")
    if "const" in schema and value != schema["const"]:
        raise NotAsAsked(f"JSON in which {what} is not the value required")


def _is(value: Any, name: object) -> bool:
    kinds = _TYPES.get(name) if isinstance(name, str) else None
    if kinds is None:
        return True  # not a type JSON Schema knows: nothing to hold against the answer
    if isinstance(value, bool):
        return name == "boolean"
    whole = name != "integer" or isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and isinstance(value, kinds)


def _name(value: Any) -> str:
    return next(name for name in ("null", "boolean", "string", "array", "object", "number") if _is(value, name))


def _resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(10):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        found: Any = root
        for step in reference[2:].split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            return {}
        schema = found
    return {}
